//! What root finds in the memory of a process that has nothing but the custodian.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use keyplane_model::{Source, WrapScheme};
use keyplane_port::Custodian as _;

use super::fixture::*;
use crate::HsmCustodian;
use crate::provision::{Provisioned, provision};

/// Names the token's folder to the inner process.
const INNER: &str = "KEYPLANE_INNER_TEST";

/// What the inner process prints when it has worked with the token.
const READY: &str = "the custodian has worked";

/// Logs in, works, and waits until its standard input ends. Then it works again.
fn inner(folder: &Path) {
    let pin_file = folder.join("user.pin");
    let token = Provisioned { init: folder.join("token.sql").display().to_string(), label: "lab".to_owned(), pin_file };
    let custodian = HsmCustodian::start(config(token), now()).unwrap().quick();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        let desk = Desk::open(custodian, Source::Generated, WrapScheme::RsaOaepSha256).await;
        desk.mint().await;
        println!("{READY}");
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        desk.custodian.status().await.unwrap();
    });
}

/// Each mapping that can hold data.
fn memory(process: u32) -> Vec<Vec<u8>> {
    let mem = File::open(format!("/proc/{process}/mem")).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let read = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // What comes from a file and cannot be written is that file's content. Those that begin with `[v` are the kernel's.
        let is_file = fields[4] != "0" && !fields[1].contains('w');
        if !fields[1].starts_with('r') || is_file || fields.get(5).is_some_and(|name| name.starts_with("[v")) {
            return None;
        }
        let (begin, end) = fields[0].split_once('-').unwrap();
        let [begin, end] = [begin, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - begin).unwrap()];
        mem.read_exact_at(&mut bytes, begin).unwrap();
        Some(bytes)
    };
    maps.lines().filter_map(read).collect()
}

/// A text in UTF-8, UTF-16 and base64, at each offset of base64 without the characters that also depend on the bytes beside it.
fn forms(text: &str) -> Vec<Vec<u8>> {
    let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect();
    let base64 = (0..3).map(|offset| {
        let shifted = [&vec![0; offset], text.as_bytes()].concat();
        let (first, last) = ((offset * 8).div_ceil(6), shifted.len() * 8 / 6);
        STANDARD_NO_PAD.encode(&shifted).as_bytes()[first..last].to_vec()
    });
    [text.as_bytes().to_vec(), utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)].into_iter().chain(base64).collect()
}

/// The forms of a text that are in memory.
fn found(memory: &[Vec<u8>], text: &str) -> Vec<String> {
    let forms = forms(text);
    let mut found = Vec::new();
    for bytes in memory {
        for at in 0..bytes.len() {
            let here = forms.iter().filter(|form| form[0] == bytes[at] && bytes[at..].starts_with(form));
            found.extend(here.map(|form| String::from_utf8_lossy(form).into_owned()));
        }
    }
    found
}

#[test]
fn between_two_logins_the_custodian_holds_no_pin() {
    if let Some(folder) = std::env::var_os(INNER) {
        return inner(Path::new(&folder));
    }
    let folder = tempfile::TempDir::new().unwrap();
    let token = provision(&kryoptic(), folder.path(), "lab").unwrap();
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["tests::memory::between_two_logins_the_custodian_holds_no_pin", "--exact", "--nocapture"])
        .env(INNER, folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains(READY)), "it ended early");
    let memory = memory(process.id());
    drop(process.stdin.take());
    assert!(process.wait().unwrap().success());

    assert!(!found(&memory, &token.init).is_empty(), "the search does not find the token's file, whose name is there");
    let pin = std::fs::read_to_string(&token.pin_file).unwrap();
    // An allocator that takes a text back overwrites its first 16 bytes.
    for part in [pin.as_str(), &pin[..16], &pin[16..]] {
        assert_eq!(found(&memory, part), Vec::<String>::new());
    }
}
