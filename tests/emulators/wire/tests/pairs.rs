//! The source of the binary's RSA pairs: generated or, on request, from files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use keyplane_pairs::Stock;
use serde_json::Value;

/// A running emulator. It ends when this is dropped.
struct Emulator {
    process: Child,
    /// Its first line on standard output.
    ready: Value,
}

impl Emulator {
    fn start(options: &[&str], fixed: bool) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyplane-emulator"));
        command.args(options).arg("--exit-with-stdin").args(fixed.then_some("--fixed-pairs"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, ready: serde_json::from_str(&line).unwrap() }
    }

    /// The body of an answer over plain HTTP.
    fn ask(&self, port: &str, head: &str, body: &str) -> String {
        let mut connection = TcpStream::connect(self.ready[port].as_str().unwrap()).unwrap();
        let head = format!("{head}host: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        connection.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn kms(&self, operation: &str, body: &str) -> Value {
        let head = format!(
            "POST / HTTP/1.1\r\nx-amz-target: TrentService.{operation}\r\ncontent-type: application/x-amz-json-1.1\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=a/b/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=00\r\n"
        );
        serde_json::from_str(&self.ask("listening", &head, body)).unwrap()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

/// The modulus in the PKCS#8 of a 2048-bit pair, which follows headers of fixed length. Certificates and public keys contain it too.
fn modulus(pkcs8: &[u8]) -> &[u8] {
    &pkcs8[38..38 + 256]
}

fn holds(der: &[u8], pkcs8: &[u8]) -> bool {
    der.windows(256).any(|window| window == modulus(pkcs8))
}

/// The bytes between the first pair of PEM's begin and end lines.
fn pem(text: &str) -> Vec<u8> {
    let lines = text.lines().skip(1).take_while(|line| !line.starts_with("-----"));
    STANDARD.decode(lines.collect::<String>()).unwrap()
}

/// The path of a file for this run only.
fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

#[test]
fn aws_wraps_under_pairs_of_the_files_only_when_it_is_told_to() {
    for fixed in [true, false] {
        let emulator = Emulator::start(&["aws"], fixed);
        let key = emulator.kms("CreateKey", r#"{"Origin":"EXTERNAL"}"#);
        let asked =
            format!(r#"{{"KeyId":{},"WrappingAlgorithm":"RSAES_OAEP_SHA_256","WrappingKeySpec":"RSA_2048"}}"#, key["KeyMetadata"]["KeyId"]);
        let given = emulator.kms("GetParametersForImport", &asked);
        let public = STANDARD.decode(given["PublicKey"].as_str().unwrap()).unwrap();
        assert_eq!(holds(&public, Stock::of_clouds().take(2048).unwrap()), fixed);
    }
}

#[test]
fn google_cloud_has_a_service_account_of_the_files_only_when_it_is_told_to() {
    for fixed in [true, false] {
        let file = scratch("account");
        let emulator = Emulator::start(&["gcp", "--make-service-account", file.to_str().unwrap()], fixed);
        let account: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        drop(emulator);
        std::fs::remove_file(file).unwrap();
        assert_eq!(pem(account["private_key"].as_str().unwrap()) == Stock::of_clouds().take(2048).unwrap(), fixed);
    }
}

#[test]
fn a_managed_hsm_attests_under_pairs_of_the_files_only_when_it_is_told_to() {
    for fixed in [true, false] {
        let file = scratch("authority");
        let options = ["azure", "--kind", "managed-hsm", "--metadata-listen", "127.0.0.1:0", "--ca-out", file.to_str().unwrap()];
        let emulator = Emulator::start(&options, fixed);
        let root = emulator.ask("metadata", "GET /_emulator/attestation-root HTTP/1.1\r\n", "");
        drop(emulator);
        std::fs::remove_file(file).unwrap();
        assert_eq!(holds(&pem(&root), Stock::of_clouds().take(2048).unwrap()), fixed);
    }
}
