//! A key's bytes are nowhere but in the HSM and at the destination: not in the database, nor in logs, requests, or any file.
//!
//! The emulator shows what it unwrapped, which are the very bytes that the HSM made; no other part of the lab is able to.

use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use keyplane_lab::{Options, Ran};
use serde_json::json;

use crate::matrix::{kill, wait_for_halt};
use crate::world::{HERE, World};

/// A way to write bytes, and what they look like then.
type Form = (String, Vec<u8>);

/// What is searched: where it is from, and its content.
type Hay = (String, Vec<u8>);

/// Every way to write a key, whole and by halves.
fn forms(key: &[u8]) -> Vec<Form> {
    let reversed: Vec<u8> = key.iter().rev().copied().collect();
    let (front, back) = key.split_at(key.len() / 2);
    let mut forms = Vec::new();
    for (part, bytes) in [("key", key), ("reversed key", &reversed), ("front half", front), ("back half", back)] {
        forms.push((format!("{part}, raw"), bytes.to_vec()));
        forms.push((format!("{part}, hex"), hex::encode(bytes).into_bytes()));
        forms.push((format!("{part}, HEX"), hex::encode_upper(bytes).into_bytes()));
        let list = bytes.iter().map(u8::to_string).collect::<Vec<_>>();
        forms.push((format!("{part}, list"), list.join(",").into_bytes()));
        forms.push((format!("{part}, debug"), list.join(", ").into_bytes()));
        // Base64 looks different at each of three offsets; what depends on the neighbours is left out.
        for offset in 0..3 {
            let shifted = [&vec![0; offset], bytes].concat();
            let (first, last) = ((offset * 8).div_ceil(6), shifted.len() * 8 / 6);
            for (alphabet, engine) in [("base64", &STANDARD), ("base64url", &URL_SAFE)] {
                forms.push((format!("{part}, {alphabet} + {offset}"), engine.encode(&shifted).as_bytes()[first..last].to_vec()));
            }
        }
    }
    forms
}

/// Where which form of a key is.
fn search(hay: &[Hay], key: &[u8]) -> Vec<String> {
    let forms = forms(key);
    let found = |(place, content): &Hay| {
        let there = forms.iter().filter(|(_, needle)| content.windows(needle.len()).any(|window| window == needle));
        there.map(|(form, _)| format!("{form} in {place}")).collect::<Vec<_>>()
    };
    hay.iter().flat_map(found).collect()
}

/// Every file below a folder.
fn files(folder: &Path, hay: &mut Vec<Hay>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, hay);
        } else {
            hay.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

/// Everything that was written or sent.
fn everything(world: &World, runs: &[(String, Ran)]) -> Vec<Hay> {
    let mut hay = Vec::new();
    files(&world.folder, &mut hay);
    for (command, ran) in runs {
        hay.push((format!("the output of {command}"), ran.stdout.clone().into_bytes()));
        hay.push((format!("the log of {command}"), ran.stderr.clone().into_bytes()));
    }
    hay.push(("the requests".to_owned(), serde_json::to_vec(&world.requests(HERE)).unwrap()));
    hay
}

/// The bytes that a key has at the destination.
fn revealed(world: &World, key: &str) -> Vec<u8> {
    let object = &world.objects(HERE, key)[0];
    hex::decode(object["materials"][0]["bytes"].as_str().unwrap()).unwrap()
}

#[test]
fn a_key_s_bytes_are_nowhere_but_in_the_hsm_and_at_the_destination() {
    let world = World::raw(|policy| {
        let mut options = Options::fast(policy);
        options.emulator_args.push("--reveal-material".to_owned());
        options
    });
    let mut runs = Vec::new();
    let run = |args: &[&str]| {
        let output = world.command(args).env("KEYPLANE_LOG", "trace").output().unwrap();
        (format!("`keyplane {}`", args.join(" ")), Ran::from(output))
    };
    for args in [&["init"][..], &["hsm", "enroll"]] {
        runs.push(run(args));
    }
    world.ask("drawn", "generated", &[HERE]);
    world.ask("derived", "derived", &[HERE]);
    runs.push(run(&["--json", "plan"]));
    world.approve_all().unwrap();

    // A crash leaves what a tidy end would clear away, such as the database's own log.
    let import = json!({ "operation": "ImportKeyMaterial", "effect": { "kind": "halt", "when": "after_effect" } });
    world.here().post("faults", &import).unwrap();
    let log = world.folder.join("killed.log");
    let stderr = std::fs::File::create(&log).unwrap();
    let mut apply = world.command(&["apply"]).env("KEYPLANE_LOG", "trace").stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
    wait_for_halt(&world, false);
    kill(&mut apply);
    world.here().post("resume", &json!({ "apply": false })).unwrap();
    let there: Vec<&str> = ["drawn", "derived"].into_iter().filter(|key| world.objects(HERE, key).iter().any(has_material)).collect();
    assert!(!there.is_empty(), "it was killed too early");
    let wal = world.database().with_extension("db-wal");
    assert!(wal.metadata().is_ok_and(|file| file.len() > 0), "the crash left no log of the database");
    for key in there {
        assert_eq!(search(&everything(&world, &runs), &revealed(&world, key)), Vec::<String>::new(), "after a crash");
    }

    for args in [&["apply"][..], &["--json", "plan"], &["--json", "status"], &["--json", "evidence"], &["hsm", "test"]] {
        runs.push(run(args));
        assert_eq!(runs.last().unwrap().1.code, 0, "{:?}", runs.last().unwrap());
    }
    let hay = everything(&world, &runs);
    assert!(hay.iter().any(|(place, content)| place.starts_with("the log of") && content.len() > 10_000), "nothing was logged");
    assert!(hay.iter().any(|(place, content)| place.ends_with("keyplane.db") && content.len() > 10_000), "there is no database");
    assert!(hay.iter().any(|(place, content)| place == "the requests" && content.len() > 1_000), "nothing was requested");
    for key in ["drawn", "derived"] {
        let bytes = revealed(&world, key);
        assert_eq!(bytes.len(), 32);
        assert_eq!(search(&hay, &bytes), Vec::<String>::new());
    }
}

fn has_material(object: &serde_json::Value) -> bool {
    !object["materials"].as_array().unwrap().is_empty()
}

#[test]
fn the_search_finds_a_key_in_whatever_way_it_is_written() {
    let key: Vec<u8> = (0..32).map(|n| n * 7 + 3).collect();
    let around = |middle: &[u8]| vec![("a file".to_owned(), [b"before ", middle, b" after"].concat())];
    for (form, needle) in forms(&key) {
        assert!(search(&around(&needle), &key).contains(&format!("{form} in a file")));
    }
    // As a part of something longer that is encoded as a whole.
    for offset in 0..6 {
        let whole = [&vec![b'x'; offset], &key[..], b"behind"].concat();
        for text in [STANDARD.encode(&whole), URL_SAFE.encode(&whole), hex::encode(&whole), format!("{whole:?}")] {
            assert!(!search(&around(text.as_bytes()), &key).is_empty(), "{text}");
        }
    }
    assert!(search(&around(&[1; 64]), &key).is_empty());
}

#[test]
fn the_search_reads_every_file_of_a_lab() {
    let world = World::raw(Options::fast);
    let key = [0xA5; 32];
    for place in ["needle", "policy/needle.yaml", "token/needle"] {
        std::fs::write(world.folder.join(place), hex::encode(key)).unwrap();
        let found = search(&everything(&world, &[]), &key);
        assert!(found.iter().any(|found| found.ends_with(place)), "{found:?}");
    }
}
