//! What root finds in the memory of a running `keyplane`, and so what a core dump holds that is taken by force.
//!
//! The memory is read as debuggers read it (`/proc/PID/mem`), while the process is stopped in the middle of its work.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyplane_lab::Options;
use keyplane_model::{Algorithm, CloudKind};
use serde_json::json;

use crate::bytes::{Hay, Secret, search, secrets};
use crate::matrix::{kill, wait_for_halt};
use crate::site::{AWS, GCP, KEY_VAULT};
use crate::world::{World, json as json_of, wait_for};

/// The memory of a process, one piece for each mapping that can hold data. `None`: only root may read it, and this is somebody else.
fn memory(process: u32) -> Option<Vec<Hay>> {
    let mem = match File::open(format!("/proc/{process}/mem")) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "only root can read the memory of `keyplane`");
            println!("skipped: only root can read the memory of `keyplane`");
            return None;
        }
        opened => opened.unwrap(),
    };
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let read = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (mode, inode, name) = (fields[1], fields[4], fields.get(5).copied().unwrap_or("memory"));
        // What comes from a file and cannot be written is that file's content. Those that begin with `[v` are the kernel's.
        if !mode.starts_with('r') || inode != "0" && !mode.contains('w') || name.starts_with("[v") {
            return None;
        }
        let (begin, end) = fields[0].split_once('-').unwrap();
        let [begin, end] = [begin, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - begin).unwrap()];
        mem.read_exact_at(&mut bytes, begin).unwrap_or_else(|error| panic!("{line}: {error}"));
        Some((format!("{name} at {begin:x}"), bytes))
    };
    Some(maps.lines().filter_map(read).collect())
}

/// A text as it may be in memory. An allocator that takes a text back overwrites its first 16 bytes, so its end is searched for by itself.
fn text(name: &str, text: &str) -> Vec<Secret> {
    let utf16 = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect();
    vec![
        (name.to_owned(), text.as_bytes().to_vec()),
        (format!("the end of {name}"), text.as_bytes()[text.len() - 8..].to_vec()),
        (format!("{name} in UTF-16LE"), utf16(u16::to_le_bytes)),
        (format!("{name} in UTF-16BE"), utf16(u16::to_be_bytes)),
    ]
}

/// The private key of a service account: the lines of its PEM, and its numbers.
fn private_key(key_file: &str) -> Vec<Secret> {
    let file = json_of(key_file);
    let lines: Vec<&str> = file["private_key"].as_str().unwrap().lines().filter(|line| !line.starts_with("-----")).collect();
    // The first line is the same for all keys.
    let whole = lines.iter().skip(1).filter(|line| line.len() == 64).flat_map(|line| text("a line of the PEM", line));
    let der = STANDARD.decode(lines.concat()).unwrap();
    whole.chain(secrets("the service account", Algorithm::Rsa2048, &der)).collect()
}

fn count(hay: &[Hay], needle: &[u8]) -> usize {
    hay.iter().map(|(_, bytes)| bytes.windows(needle.len()).filter(|window| *window == needle).count()).sum()
}

/// A request to each cloud is held, so that the process has used each credential, and is using that of AWS.
#[test]
fn in_the_middle_of_an_apply_memory_holds_no_pin_and_no_secret_of_a_cloud_but_that_of_a_request_to_aws() {
    let clouds = [CloudKind::Aws, CloudKind::Gcp, CloudKind::Azure].into();
    let world = World::raw(|policy| Options { clouds, ..Options::fast(policy).enrolled() });
    world.edit_config(|text| text.replace("call-timeout = \"3s\"", "call-timeout = \"60s\"")).unwrap();
    let sites = [(&AWS, "ImportKeyMaterial"), (&GCP, "ImportCryptoKeyVersion"), (&KEY_VAULT, "ImportKey")];
    for (site, import) in sites {
        world.ask(&format!("at-{}", site.destination), "generated", &[site.destination]);
        let halt = json!({ "operation": import, "effect": { "kind": "halt", "when": "before_effect" } });
        world.emulator(site.destination).unwrap().post("faults", &halt).unwrap();
    }
    world.must(&["plan"]).unwrap();
    world.approve_all().unwrap();

    let mut apply = world.command(&["apply"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    sites.iter().for_each(|(site, _)| wait_for_halt(world.emulator(site.destination).unwrap(), false));
    let status = || std::fs::read_to_string(format!("/proc/{}/status", apply.id())).unwrap();
    assert!(Command::new("kill").args(["-STOP", &apply.id().to_string()]).status().unwrap().success());
    wait_for("the stop", || status().contains("State:\tT").then_some(()));
    let (status, memory) = (status(), memory(apply.id()));
    kill(&mut apply);
    let Some(memory) = memory else { return };
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim();
    assert_ne!(locked, "0 kB", "memory is not locked");

    let read = |name: &str| std::fs::read_to_string(world.folder.join(name)).unwrap().trim().to_owned();
    assert!(count(&memory, b"KEYPLANELAB") > 0, "the search does not find the id of the access key, which is there");
    let secrets = [
        text("the PIN", std::fs::read_to_string(world.pin_file()).unwrap().trim()),
        text("the secret of Azure", &read("azure-client-secret")),
        private_key(&read("google-service-account.json")),
    ];
    assert_eq!(search(&memory, &secrets.concat()), Vec::<String>::new());
    // AWS's SDK holds the secret while its request runs, and wipes it afterwards.
    let aws = read("aws-secret-access-key");
    assert!(count(&memory, aws.as_bytes()) <= 1, "{:#?}", search(&memory, &text("the secret of AWS", &aws)));
    let other = search(&memory, &text("the secret of AWS", &aws));
    assert!(other.iter().all(|found| found.contains(", raw in ")), "{other:#?}");
}
