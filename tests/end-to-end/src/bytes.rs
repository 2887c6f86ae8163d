//! A key's bytes are only in the HSM and at the destination: not in the database, nor in logs, requests or any file. Of a key pair these
//! are the numbers that only its owner may know; each is searched for by itself.
//!
//! The bytes are read from the token, by a program that is built only for this (`adapters/hsm/examples/reveal.rs`), and from the emulator,
//! which shows what it unwrapped. Both have to agree; otherwise the search would be for the wrong bytes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use keyplane_lab::{DESTINATIONS, Options, Ran};
use keyplane_model::{Algorithm, CloudKind, Purpose};
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};

use crate::matrix::{kill, wait_for_halt};
use crate::world::{HERE, World, json as json_of};

/// A way to write bytes, and the result.
type Form = (String, Vec<u8>);

/// The name of a secret, and its bytes.
pub(crate) type Secret = (String, Vec<u8>);

/// The origin of what is searched, and its content.
pub(crate) type Hay = (String, Vec<u8>);

/// How many bytes of a key are searched for as one: a line of a dump or of PEM holds at least so many.
const PIECE: usize = 16;

/// Every way to write a key, as a whole and in pieces.
fn forms(key: &[u8]) -> Vec<Form> {
    let reversed: Vec<u8> = key.iter().rev().copied().collect();
    let mut forms = Vec::new();
    for (order, key) in [("", key), ("reversed ", &reversed)] {
        let pieces = key.chunks_exact(PIECE).enumerate().map(|(number, piece)| (format!("{order}piece {number}"), piece));
        for (part, bytes) in std::iter::once((format!("{order}key"), key)).chain(pieces) {
            forms.push((format!("{part}, raw"), bytes.to_vec()));
            forms.push((format!("{part}, hex"), hex::encode(bytes).into_bytes()));
            forms.push((format!("{part}, HEX"), hex::encode_upper(bytes).into_bytes()));
            let list = bytes.iter().map(u8::to_string).collect::<Vec<_>>();
            forms.push((format!("{part}, list"), list.join(",").into_bytes()));
            forms.push((format!("{part}, debug"), list.join(", ").into_bytes()));
            // Base64 differs at each of three offsets. Characters that also depend on adjacent bytes are left out.
            for offset in 0..3 {
                let shifted = [&vec![0; offset], bytes].concat();
                let (first, last) = ((offset * 8).div_ceil(6), shifted.len() * 8 / 6);
                for (alphabet, engine) in [("base64", &STANDARD), ("base64url", &URL_SAFE)] {
                    forms.push((format!("{part}, {alphabet} + {offset}"), engine.encode(&shifted).as_bytes()[first..last].to_vec()));
                }
            }
        }
    }
    forms
}

/// The places where a form of a secret is found.
pub(crate) fn search(hay: &[Hay], secrets: &[Secret]) -> Vec<String> {
    let of =
        |(name, bytes): &Secret| forms(bytes).into_iter().map(|(form, needle)| (format!("{name}: {form}"), needle)).collect::<Vec<_>>();
    let forms: Vec<Form> = secrets.iter().flat_map(of).collect();
    // There are thousands of forms: at each position only those with the same first two bytes are compared.
    let start = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    let mut by_start = vec![Vec::new(); 1 << 16];
    for form in &forms {
        by_start[start(&form.1)].push(form);
    }
    let mut found = Vec::new();
    for (place, content) in hay {
        for at in 0..content.len().saturating_sub(1) {
            let there = by_start[start(&content[at..])].iter().filter(|(_, needle)| content[at..].starts_with(needle));
            found.extend(there.map(|(form, _)| format!("{form} in {place}")));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The secret parts of a key: a secret key's bytes, or of a private key in PKCS#8 (RFC 5208) the numbers that its public key does not show.
pub(crate) fn secrets(name: &str, algorithm: Algorithm, bytes: &[u8]) -> Vec<Secret> {
    let named = |what: &str, bytes: &[u8]| (format!("{what} of `{name}`"), bytes.to_vec());
    match algorithm {
        Algorithm::Aes256 | Algorithm::HmacSha256 => vec![named("the bytes", bytes)],
        Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => {
            // RFC 8017, appendix A.1.2: version, modulus, public exponent, and then these.
            let numbers = elements(private_key(bytes)).into_iter().skip(3);
            ["d", "p", "q", "dp", "dq", "qinv"].into_iter().zip(numbers).map(|(what, number)| named(what, unsigned(number))).collect()
        }
        // RFC 5915: version, and then the number.
        Algorithm::EcP256 | Algorithm::EcP384 => vec![named("the scalar", elements(private_key(bytes))[1])],
    }
}

/// The private key in PKCS#8: after version and algorithm, a SEQUENCE in an OCTET STRING.
fn private_key(pkcs8: &[u8]) -> &[u8] {
    let (info, rest) = element(pkcs8);
    assert!(rest.is_empty(), "something follows the PKCS#8");
    let (key, rest) = element(elements(info)[2]);
    assert!(rest.is_empty(), "something follows the private key");
    key
}

/// The contents of consecutive DER elements.
fn elements(mut der: &[u8]) -> Vec<&[u8]> {
    let mut contents = Vec::new();
    while !der.is_empty() {
        let (content, rest) = element(der);
        contents.push(content);
        der = rest;
    }
    contents
}

/// The content of a DER element, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = match der[1] {
        short @ 0..0x80 => (usize::from(short), &der[2..]),
        long => {
            let (length, rest) = der[2..].split_at(usize::from(long & 0x7f));
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
    };
    rest.split_at(length)
}

/// A number without the leading zero that makes it positive.
fn unsigned(number: &[u8]) -> &[u8] {
    number.strip_prefix(&[0]).unwrap_or(number)
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
    for emulator in world.emulators() {
        hay.push((format!("the requests to {}", emulator.name), serde_json::to_vec(&emulator.get("requests").unwrap()).unwrap()));
    }
    hay
}

/// The bytes of every copy in the ledger, made by the token, by key.
fn token_bytes(world: &World) -> BTreeMap<String, Vec<u8>> {
    let copies = copies(world);
    let config: toml::Table = world.config().unwrap().parse().unwrap();
    let custodian = &config["custodian"];
    let request = json!({
        "module": custodian["module"].as_str(),
        "token": custodian["token"].as_str(),
        "init": custodian["init"].as_str(),
        "pin_file": world.pin_file(),
        "copies": copies.iter().map(|(_, copy)| copy).collect::<Vec<_>>(),
    });
    let mut reveal = Command::new(reveal()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    reveal.stdin.take().unwrap().write_all(&serde_json::to_vec(&request).unwrap()).unwrap();
    let output = reveal.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let bytes: Vec<Vec<u8>> = lines.lines().map(|line| hex::decode(line).unwrap()).collect();
    assert_eq!(bytes.len(), copies.len());
    copies.into_iter().map(|(key, _)| key).zip(bytes).collect()
}

/// Builds the program that shows the token's copies. With the features of the whole workspace, and the configuration that
/// KEYPLANE_CARGO_CONFIG names, so that cargo reuses what it has built for the tests; only this program has `reveal`.
fn reveal() -> PathBuf {
    let cargo = std::env::var_os("CARGO").expect("tests run under cargo");
    let args = ["build", "--quiet", "--workspace", "--example", "reveal", "--features", "keyplane-hsm/reveal"];
    let config = std::env::var_os("KEYPLANE_CARGO_CONFIG").map(|config| ["--config".into(), config]);
    let output = Command::new(cargo).args(args).args(config.into_iter().flatten()).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A test is in `deps`, an example beside that.
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/reveal")
}

/// Every copy in the ledger with bytes of its own, in the input format of `reveal`, with its key's name.
fn copies(world: &World) -> Vec<(String, Value)> {
    const QUERY: &str = "SELECT name, c.* FROM copies c JOIN keys ON keys.id = c.key_id WHERE bytes_of IS NULL ORDER BY name";
    let url = format!("sqlite:{}?mode=ro", world.database().display());
    let read = async {
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query(QUERY).fetch_all(&mut connection).await.unwrap()
    };
    let rows = tokio::runtime::Runtime::new().unwrap().block_on(read);
    let copy = |row: &sqlx::sqlite::SqliteRow| {
        let coordinates = json!({
            "installation": row.get::<&str, _>("installation"),
            "key": row.get::<&str, _>("key_id"),
            "version": row.get::<i64, _>("version"),
            "placement": row.get::<&str, _>("placement_id"),
            "algorithm": row.get::<&str, _>("algorithm"),
            "source": row.get::<&str, _>("source"),
            "epoch": row.get::<i64, _>("epoch"),
            "profile": row.get::<&str, _>("profile"),
            "approvals": json_of(row.get("approvals")),
        });
        let blob = row.get::<Option<&str>, _>("blob").map(json_of);
        (row.get("name"), json!({ "coordinates": coordinates, "blob": blob }))
    };
    rows.iter().map(copy).collect()
}

/// The bytes of a key at a destination, which has to have one object with one material.
fn revealed(world: &World, destination: &str, key: &str) -> Vec<u8> {
    let objects = world.objects(destination, key);
    let [object] = &objects[..] else { panic!("`{key}` at `{destination}`: {objects:#?}") };
    let [material] = &object["materials"].as_array().unwrap()[..] else { panic!("`{key}` at `{destination}`: {object:#}") };
    hex::decode(material["bytes"].as_str().unwrap()).unwrap()
}

/// Runs the real `keyplane` with all logging.
fn run(world: &World, args: &[&str]) -> (String, Ran) {
    let output = world.command(args).env("KEYPLANE_LOG", "trace").output().unwrap();
    (format!("`keyplane {}`", args.join(" ")), Ran::from(output))
}

/// Checks that there are logs, a database and requests to search.
fn is_something(hay: &[Hay]) {
    let is_there = |is: fn(&str) -> bool, least: usize| hay.iter().any(|(place, content)| is(place) && content.len() > least);
    assert!(is_there(|place| place.starts_with("the log of"), 10_000), "nothing was logged");
    assert!(is_there(|place| place.ends_with("keyplane.db"), 10_000), "there is no database");
    assert!(is_there(|place| place.starts_with("the requests"), 1_000), "nothing was requested");
}

#[test]
fn a_key_s_bytes_are_nowhere_but_in_the_hsm_and_at_the_destination() {
    let world = World::raw(|policy| {
        let mut options = Options::fast(policy);
        options.emulator_args.push("--reveal-material".to_owned());
        options
    });
    let mut runs = Vec::new();
    for args in [&["init"][..], &["hsm", "enroll"]] {
        runs.push(run(&world, args));
    }
    world.ask("drawn", "generated", &[HERE]);
    world.ask("derived", "derived", &[HERE]);
    runs.push(run(&world, &["--json", "plan"]));
    world.approve_all().unwrap();

    // A crash leaves files that an orderly end would remove, such as the database's log.
    let import = json!({ "operation": "ImportKeyMaterial", "effect": { "kind": "halt", "when": "after_effect" } });
    world.here().post("faults", &import).unwrap();
    let log = world.folder.join("killed.log");
    let stderr = std::fs::File::create(&log).unwrap();
    let mut apply = world.command(&["apply"]).env("KEYPLANE_LOG", "trace").stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
    wait_for_halt(world.here(), false);
    kill(&mut apply);
    world.here().post("resume", &json!({ "apply": false })).unwrap();
    let there: Vec<&str> = ["drawn", "derived"].into_iter().filter(|key| world.objects(HERE, key).iter().any(has_material)).collect();
    assert!(!there.is_empty(), "it was killed too early");
    let wal = world.database().with_extension("db-wal");
    assert!(wal.metadata().is_ok_and(|file| file.len() > 0), "the crash left no log of the database");
    let hay = everything(&world, &runs);
    for key in there {
        let secrets = secrets(key, Algorithm::Aes256, &revealed(&world, HERE, key));
        assert_eq!(search(&hay, &secrets), Vec::<String>::new(), "after a crash");
    }

    for args in [&["apply"][..], &["--json", "plan"], &["--json", "status"], &["--json", "evidence"], &["hsm", "test"]] {
        runs.push(run(&world, args));
        assert_eq!(runs.last().unwrap().1.code, 0, "{:?}", runs.last().unwrap());
    }
    let hay = everything(&world, &runs);
    is_something(&hay);
    let of_token = token_bytes(&world);
    assert_eq!(of_token.keys().collect::<Vec<_>>(), ["derived", "drawn"]);
    for (key, bytes) in of_token {
        assert_eq!(bytes.len(), 32);
        assert_eq!(bytes, revealed(&world, HERE, &key), "the token and the destination must hold the same `{key}`");
        assert_eq!(search(&hay, &secrets(&key, Algorithm::Aes256, &bytes)), Vec::<String>::new());
    }
}

/// A key that AWS does not take: name, destination, algorithm, purpose and profile.
type Other = (&'static str, &'static str, Algorithm, Purpose, &'static str);

/// One algorithm of each kind, and each way to import at Google Cloud (software and HSM) and Azure (both kinds of vault).
const OTHERS: [Other; 9] = [
    ("mac-derived", "analytics-ring", Algorithm::HmacSha256, Purpose::Mac, "all-derived"),
    ("mac-drawn", "payments-ring", Algorithm::HmacSha256, Purpose::Mac, "all-drawn"),
    ("aes-drawn", "corp-hsm", Algorithm::Aes256, Purpose::Encrypt, "all-drawn"),
    ("rsa-gcp", "analytics-ring", Algorithm::Rsa3072, Purpose::Encrypt, "all-drawn"),
    ("rsa-vault", "corp-vault", Algorithm::Rsa2048, Purpose::Sign, "all-drawn"),
    ("rsa-hsm", "corp-hsm", Algorithm::Rsa2048, Purpose::Encrypt, "all-drawn"),
    ("ec-gcp", "release-ring", Algorithm::EcP384, Purpose::Sign, "all-drawn"),
    ("ec-vault", "corp-vault", Algorithm::EcP256, Purpose::Sign, "all-drawn"),
    ("ec-hsm", "corp-hsm", Algorithm::EcP384, Purpose::Sign, "all-drawn"),
];

/// Profiles for [`OTHERS`], and the keys.
fn write_others(world: &World) {
    let algorithms = Algorithm::ALL.map(Algorithm::as_str).join(", ");
    let profile = |(name, source)| {
        format!(
            "profile: {name}\nalgorithms: [{algorithms}]\nprotection: software\nsource: {source}\n\
             approvals: {{ import: {{ need: 1, from: [security] }}, retire: {{ need: 2, from: [security] }} }}\n"
        )
    };
    world.write_policy("all.yaml", &[("all-derived", "derived"), ("all-drawn", "generated")].map(profile).join("---\n")).unwrap();
    for (key, destination, algorithm, purpose, profile) in OTHERS {
        let cloud = DESTINATIONS.iter().find(|there| there.name == destination).unwrap().cloud();
        let placement = format!("  - {cloud}: {{ destination: {destination}, name: {key}, algorithm: {algorithm} }}\n");
        let text = format!("key: {key}\nprofile: {profile}\npurpose: {purpose}\nplacements:\n{placement}");
        world.write_policy(&format!("{key}.yaml"), &text).unwrap();
    }
}

#[test]
fn the_bytes_of_mac_keys_and_the_private_numbers_of_key_pairs_are_nowhere_else_either() {
    let world = World::raw(|policy| Options {
        clouds: [CloudKind::Gcp, CloudKind::Azure].into(),
        emulator_args: vec!["--reveal-material".to_owned()],
        ..Options::fast(policy)
    });
    write_others(&world);
    let mut runs = Vec::new();
    let mut must = |args: &[&str]| {
        let (command, ran) = run(&world, args);
        assert_eq!(ran.code, 0, "{command}: {}", ran.stderr);
        runs.push((command, ran));
    };
    for args in [&["init"][..], &["hsm", "enroll"], &["--json", "plan"]] {
        must(args);
    }
    world.approve_all().unwrap();
    for args in [&["apply"][..], &["--json", "plan"], &["--json", "status"], &["--json", "evidence"], &["hsm", "test"]] {
        must(args);
    }
    // The token computes a MAC key's check value without showing the key; the cloud's HSM computes it from what arrived.
    let told = runs.iter().find(|(command, _)| command.contains("evidence")).map(|(_, ran)| json_of(&ran.stdout)).unwrap();
    let mac = told["lines"].as_array().unwrap().iter().find(|line| line["key"] == "mac-drawn").unwrap();
    assert_eq!(mac["evidence"]["strength"], "check-value", "{mac}");
    let hay = everything(&world, &runs);
    is_something(&hay);

    let of_token = token_bytes(&world);
    assert_eq!(of_token.len(), OTHERS.len());
    let mut all = Vec::new();
    for (key, destination, algorithm, ..) in OTHERS {
        let bytes = &of_token[key];
        assert!(*bytes == revealed(&world, destination, key), "the token and the destination must hold the same `{key}`");
        let secrets = secrets(key, algorithm, bytes);
        are_those_of(algorithm, bytes, &secrets);
        all.extend(secrets);
    }
    // Each key would be found if it were written as PEM.
    let written: Vec<Hay> = of_token.iter().map(|(key, bytes)| (format!("`{key}` as PEM"), pem(bytes))).collect();
    let found = search(&written, &all);
    for (name, _) in &all {
        assert!(found.iter().any(|found| found.starts_with(&format!("{name}: "))), "{name} cannot be found");
    }
    assert_eq!(search(&hay, &all), Vec::<String>::new());
}

/// Base64 in lines, as in PEM.
fn pem(bytes: &[u8]) -> Vec<u8> {
    STANDARD.encode(bytes).as_bytes().chunks(64).collect::<Vec<_>>().join(&b'\n')
}

/// Checks that these are the secret parts of such a key, and not other parts of its encoding.
fn are_those_of(algorithm: Algorithm, bytes: &[u8], secrets: &[Secret]) {
    let lengths: Vec<usize> = secrets.iter().map(|(_, bytes)| bytes.len()).collect();
    let modulus = match algorithm {
        Algorithm::Aes256 | Algorithm::HmacSha256 | Algorithm::EcP256 => return assert_eq!(lengths, [32]),
        Algorithm::EcP384 => return assert_eq!(lengths, [48]),
        Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => unsigned(elements(private_key(bytes))[1]),
    };
    let [_, (_, p), (_, q), ..] = secrets else { panic!("{lengths:?}") };
    assert_eq!((secrets.len(), product(p, q)), (6, modulus.to_vec()));
}

/// The product of two big-endian numbers.
fn product(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut product = vec![0_u8; a.len() + b.len()];
    for (i, x) in a.iter().rev().enumerate() {
        let mut carry = 0;
        for (j, y) in b.iter().rev().enumerate() {
            let sum = u32::from(product[i + j]) + u32::from(*x) * u32::from(*y) + carry;
            product[i + j] = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        product[i + b.len()] = carry.to_le_bytes()[0];
    }
    product.reverse();
    product
}

fn has_material(object: &serde_json::Value) -> bool {
    !object["materials"].as_array().unwrap().is_empty()
}

#[test]
fn the_search_finds_a_key_in_whatever_way_it_is_written() {
    let key: Vec<u8> = (0..48).map(|n| n * 5 + 3).collect();
    let secret = [("it".to_owned(), key.clone())];
    let around = |middle: &[u8]| vec![("a file".to_owned(), [b"before ", middle, b" after"].concat())];
    for (form, needle) in forms(&key) {
        assert!(search(&around(&needle), &secret).contains(&format!("it: {form} in a file")));
    }
    // As a part of something longer that is encoded as a whole.
    for offset in 0..6 {
        let whole = [&vec![b'x'; offset], &key[..], b"behind"].concat();
        for text in [STANDARD.encode(&whole), URL_SAFE.encode(&whole), hex::encode(&whole), format!("{whole:?}")] {
            assert!(!search(&around(text.as_bytes()), &secret).is_empty(), "{text}");
        }
        // With line breaks in it.
        assert!(!search(&around(&pem(&whole)), &secret).is_empty(), "at {offset} in PEM");
    }
    assert!(search(&around(&[1; 64]), &secret).is_empty());
}

#[test]
fn the_search_reads_every_file_of_a_lab() {
    let world = World::raw(Options::fast);
    let key = [0xA5; 32];
    for place in ["needle", "policy/needle.yaml", "token/needle"] {
        std::fs::write(world.folder.join(place), hex::encode(key)).unwrap();
        let found = search(&everything(&world, &[]), &[("it".to_owned(), key.to_vec())]);
        assert!(found.iter().any(|found| found.ends_with(place)), "{found:?}");
    }
}
