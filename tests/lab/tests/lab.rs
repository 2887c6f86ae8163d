//! The lab with the real binaries, which have to be built first (`make test` does).

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use keyplane_lab::{Lab, LabError, OPERATOR, Options, Policy};

/// One for each region of AWS, one for Google Cloud, one for each vault of Azure.
const EMULATORS: usize = 5;

const KEY: &str = "
profile: plain
algorithms: [aes-256]
protection: software
approvals: { import: { need: 2, from: [security] }, retire: { need: 2, from: [security] } }
---
key: orders
profile: plain
purpose: encrypt
placements: [aws: { destination: prod-us-east-1, alias: orders, algorithm: aes-256 }]
";

fn options() -> Options {
    Options::fast(Policy::Files(vec![("orders.yaml".to_owned(), KEY.to_owned())]))
}

#[expect(clippy::unwrap_used, reason = "the bounds of what clippy knows to be a test")]
fn fast(folder: &Path) -> Lab {
    Lab::start(folder, options()).unwrap()
}

#[test]
fn a_key_goes_from_a_policy_file_to_its_users() {
    let folder = tempfile::TempDir::new().unwrap();
    let lab = fast(folder.path());
    for args in [&["init"][..], &["hsm", "enroll"], &["plan"]] {
        lab.must(args).unwrap();
    }
    assert_eq!(lab.keyplane(&["plan", "--detailed-exitcode"]).code, 2);
    lab.approve_all().unwrap();
    lab.must(&["apply"]).unwrap();
    lab.must(&["plan", "--detailed-exitcode"]).unwrap();

    let user = lab.user("prod-us-east-1").unwrap();
    let encrypted = user.encrypt("orders", b"order 66", &[("table", "orders")]).unwrap();
    assert_eq!(user.decrypt(&encrypted.ciphertext, &[("table", "orders")]).unwrap(), b"order 66");
    assert!(user.decrypt(&encrypted.ciphertext, &[]).is_err());
    assert!(lab.user("prod-eu-central-1").unwrap().encrypt("orders", b"order 66", &[]).is_err());
}

#[test]
fn whoever_runs_keyplane_is_the_operator_and_approves_nothing_of_their_own() {
    let folder = tempfile::TempDir::new().unwrap();
    let lab = Lab::start(folder.path(), options().enrolled()).unwrap();
    lab.must(&["plan"]).unwrap();
    let key = lab.approver_key(OPERATOR);
    let ran = lab.keyplane(&["--json", "approve", "--yes", "--all", "--as", OPERATOR, "--key", key.to_str().unwrap()]);
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("approval-by-self"), "{}", ran.stderr);
}

#[test]
fn an_emulator_is_stopped_and_started_again_and_ends_with_its_lab() {
    let folder = tempfile::TempDir::new().unwrap();
    let lab = fast(folder.path());
    let emulator = lab.emulator("prod-us-east-1").unwrap();
    let address = emulator.address;
    assert_eq!(emulator.get("state").unwrap()["mutations"], 0);
    assert!(matches!(emulator.get("nothing"), Err(LabError::Refused { status: 404, .. })));
    emulator.stop();
    assert!(matches!(emulator.get("state"), Err(LabError::Control { .. })));
    emulator.restart().unwrap();
    assert_eq!(emulator.get("state").unwrap()["requests"], 0);
    assert!(matches!(Lab::start(folder.path(), Options::fast(Policy::Example)), Err(LabError::NotEmpty(_))));
    drop(lab);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn labs_start_side_by_side_in_one_process() {
    let parent = tempfile::TempDir::new().unwrap();
    let folders: Vec<_> = (0..4).map(|number| parent.path().join(number.to_string())).collect();
    std::thread::scope(|scope| {
        for folder in &folders {
            scope.spawn(move || fast(folder).must(&["init"]).unwrap());
        }
    });
}

#[test]
fn labs_that_begin_enrolled_work_side_by_side_and_know_nothing_of_each_other() {
    let parent = tempfile::TempDir::new().unwrap();
    let labs = ["one", "other"].map(|name| Lab::start(&parent.path().join(name), options().enrolled()).unwrap());
    std::thread::scope(|scope| {
        for lab in &labs {
            scope.spawn(move || {
                lab.must(&["plan"]).unwrap();
                lab.approve_all().unwrap();
            });
        }
    });
    // One after the other, since each emulator generates an RSA pair, within a time-out.
    for lab in &labs {
        lab.must(&["apply"]).unwrap();
        lab.must(&["plan", "--detailed-exitcode"]).unwrap();
    }
    for (lab, name) in labs.iter().zip(["one", "other"]) {
        assert!(lab.config().unwrap().contains(&format!("{name}/token/token.sql")), "the configuration names another lab's token");
        let keys = lab.emulator("prod-us-east-1").unwrap().get("dump").unwrap()["keys"].as_array().unwrap().len();
        assert_eq!(keys, 1, "a lab worked at another one's cloud");
    }
}

#[test]
fn whatever_ends_a_lab_ends_its_emulators() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut up = Command::new(env!("CARGO_BIN_EXE_keyplane-lab"))
        .arg("--folder")
        .arg(folder.path().join("lab"))
        .arg("up")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(up.stdout.take().unwrap()).lines().map(Result::unwrap);
    let addresses: Vec<SocketAddr> =
        lines.filter_map(|line| Some(line.split_once("http://")?.1.split_once('/')?.0.parse().unwrap())).take(EMULATORS).collect();
    assert!(addresses.iter().all(|address| TcpStream::connect(address).is_ok()));
    // After SIGKILL nothing of the lab runs that could end them.
    up.kill().unwrap();
    up.wait().unwrap();
    for address in addresses {
        let ended = (0..300).any(|_| {
            let refused = TcpStream::connect(address).is_err();
            std::thread::sleep(Duration::from_millis(if refused { 0 } else { 100 }));
            refused
        });
        assert!(ended, "the emulator at {address} still runs");
    }
}
