//! Input that could exhaust resources, hang, or leak a secret: special files, links to secrets, limits of the machine, child processes.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use keyplane_lab::Ran;

use crate::world::{HERE, World, problems, text};

/// The only problem that a command reported: its code and its detail.
fn only(ran: &Ran) -> (String, String) {
    let told = problems(ran);
    assert_eq!(told.len(), 1, "{told:#?}");
    (told[0]["code"].as_str().unwrap().to_owned(), told[0]["detail"].as_str().unwrap().to_owned())
}

fn pin(world: &World) -> String {
    std::fs::read_to_string(world.pin_file()).unwrap().trim().to_owned()
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_link_to_the_pin_in_the_policy_folder_tells_nothing_of_it() {
    let world = World::enrolled();
    let link = world.policy_folder().join("team.yaml");
    symlink("../token/user.pin", &link).unwrap();
    for args in [&["--json", "validate"][..], &["--json", "plan"]] {
        let ran = world.keyplane(args);
        let (code, detail) = only(&ran);
        assert!(code == "policy-invalid" && detail.contains("leaves the policy folder"), "{code}: {detail}");
        assert!(!ran.stderr.contains(&pin(&world)) && !ran.stdout.contains(&pin(&world)), "the PIN is told");
    }
    // A link that is named explicitly is followed, but its target is no policy file.
    let ran = world.keyplane(&["--json", "--policy", text(&link), "validate"]);
    assert_eq!(only(&ran).0, "policy-invalid");
    assert!(!ran.stderr.contains(&pin(&world)), "the PIN is told: {}", ran.stderr);
}

/// A vault that is opened by a token in this file.
fn workload(token_file: &str) -> String {
    format!(
        "\n[destination.azure.workload]\nvault = \"corp-vault.vault.azure.net\"\nkind = \"key-vault\"\n\
         credentials = {{ source = \"workload-identity\", tenant = \"t\", client = \"c\", token-file = {token_file:?} }}\n"
    )
}

/// A failure shows as a hang, or takes all memory.
#[test]
fn a_file_that_never_ends_is_not_read_wherever_it_is_named() {
    let world = World::enrolled();
    let digest = world.proposed("db", "derived", &[HERE]);
    let good = world.config().unwrap();
    let never = world.folder.join("fifo");
    fifo(&never);
    for path in [text(&never), "/dev/zero"] {
        let approve = world.keyplane(&["--json", "approve", &digest, "--as", "alice", "--signature", path]);
        let signature = (only(&approve), "approval-invalid");
        let policy = (only(&world.keyplane(&["--json", "--policy", path, "validate"])), "policy-invalid");
        let mut status = Command::new(world.command(&[]).get_program());
        status.args(["--json", "--config", path, "status"]);
        let config = (only(&Ran::from(status.output().unwrap())), "config-invalid");
        world.edit_config(|text| text.replace("token/user.pin", path)).unwrap();
        let pin = (only(&world.keyplane(&["--json", "status"])), "pin-missing");
        world.edit_config(|_| good.replace("\"aws-secret-access-key\"", &format!("{path:?}"))).unwrap();
        let secret = (only(&world.keyplane(&["--json", "status"])), "config-invalid");
        world.edit_config(|_| good.replace("region =", &format!("ca = {path:?}\nregion ="))).unwrap();
        let ca = (only(&world.keyplane(&["--json", "status"])), "config-invalid");
        world.edit_config(|_| format!("{good}{}", workload(path))).unwrap();
        let token = (only(&world.keyplane(&["--json", "status"])), "config-invalid");
        world.edit_config(|_| good.clone()).unwrap();
        for ((code, detail), right) in [signature, policy, config, pin, secret, ca, token] {
            assert!(code == right && detail.ends_with("it is no regular file"), "{path}: {code}: {detail}");
        }
    }
    world.must(&["status"]).unwrap();
}

#[test]
fn a_secret_that_others_can_read_is_refused_until_they_cannot() {
    let world = World::enrolled();
    for (path, code) in [(world.pin_file().to_owned(), "pin-missing"), (world.folder.join("aws-secret-access-key"), "config-invalid")] {
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let (told, detail) = only(&world.keyplane(&["--json", "status"]));
        let remedy = format!("`chmod 600 {}`", path.display());
        assert!(told == code && detail.ends_with(&remedy), "{told}: {detail}");
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        world.must(&["status"]).unwrap();
    }
}

/// The user's signing program records what it is given, and inspects the process that started it.
#[test]
fn who_signs_is_given_no_secret_and_keyplane_leaves_no_core_dump() {
    let world = World::enrolled();
    let digest = world.proposed("db", "derived", &[HERE]);
    let folder = world.folder.join("bin");
    std::fs::create_dir(&folder).unwrap();
    let path = std::env::var("PATH").unwrap();
    let seen = |name: &str| world.folder.join(name);
    let script = format!(
        "#!/bin/sh\nenv > '{}'\ncat /proc/$PPID/limits > '{}'\nPATH='{path}'\nexec ssh-keygen \"$@\"\n",
        seen("seen-env").display(),
        seen("seen-limits").display()
    );
    let program = folder.join("ssh-keygen");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o700)).unwrap();
    world.edit_config(|text| text.replace("pin-file = \"token/user.pin\"", "pin-env = \"LAB_PIN\"")).unwrap();

    let keyplane = world.command(&["approve", "--yes", &digest, "--as", "alice", "--key", text(&world.approver_key("alice"))]);
    // The shell raises the limit, so that `keyplane` has to lower it.
    let ran = Command::new("sh")
        .args(["-c", "ulimit -S -c \"$(ulimit -H -c)\"; exec \"$0\" \"$@\""])
        .arg(keyplane.get_program())
        .args(keyplane.get_args())
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("LAB_PIN", pin(&world))
        .env("AWS_SECRET_ACCESS_KEY", "a-secret-of-a-cloud")
        .env("LC_TIME", "C")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));

    let env = std::fs::read_to_string(seen("seen-env")).unwrap();
    assert!(!env.contains(&pin(&world)) && !env.contains("a-secret-of-a-cloud"), "{env}");
    assert!(env.lines().any(|line| line == "LC_TIME=C"), "{env}");
    let limits = std::fs::read_to_string(seen("seen-limits")).unwrap();
    let core: Vec<&str> = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().split_whitespace().collect();
    assert_eq!(core, ["Max", "core", "file", "size", "0", "0", "bytes"]);
}

/// A failure shows as a hang.
#[test]
fn without_threads_every_command_says_so_and_ends() {
    let world = World::enrolled();
    for args in [&["--json", "status"][..], &["--json", "plan"], &["--json", "apply"], &["--json", "hsm", "test"]] {
        // No stack of this size can be allocated, so no thread starts, as at a limit of processes or memory.
        let ran = Ran::from(world.command(args).env("RUST_MIN_STACK", (1_u64 << 60).to_string()).output().unwrap());
        let (code, detail) = only(&ran);
        assert_eq!((code.as_str(), ran.code), ("resources-short", 9), "{args:?}: {detail}");
        assert!(detail.contains("Resource temporarily unavailable"), "{args:?}: {detail}");
    }
}

/// Runs `keyplane` with so many KiB of address space.
fn limited(world: &World, limit: usize, args: &[&str]) -> Ran {
    let keyplane = world.command(args);
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {limit}; exec \"$0\" \"$@\"")]).arg(keyplane.get_program()).args(keyplane.get_args());
    Ran::from(shell.output().unwrap())
}

/// The token counts a login that lacks memory as a wrong PIN, and locks itself after ten.
#[test]
fn too_little_memory_is_never_told_as_a_wrong_pin() {
    let world = World::enrolled();
    let mut good = 0;
    // From too little to start at all, to enough.
    for limit in (80_000..=480_000).step_by(20_000) {
        let Ran { code, stderr, .. } = limited(&world, limit, &["--json", "config", "check"]);
        assert!(!stderr.contains("pin-wrong") && !stderr.contains("pin-locked"), "{limit}: {stderr}");
        good += usize::from(code == 0);
    }
    assert!(good > 0, "no limit was enough");
    world.must(&["config", "check"]).unwrap();
}

/// Whoever reads that the database failed looks for a fault where none is.
#[test]
fn too_little_memory_is_not_blamed_on_the_database_or_the_token() {
    let world = World::enrolled();
    let (mut good, mut short) = (0, 0);
    for limit in (50_000..=320_000).step_by(10_000) {
        let Ran { code, stderr, .. } = limited(&world, limit, &["--json", "status"]);
        for blamed in ["database-", "token-", "module-"] {
            assert!(!stderr.contains(&format!("\"code\":\"{blamed}")), "{limit}: {stderr}");
        }
        good += usize::from(code == 0);
        short += usize::from(stderr.contains("resources-short"));
    }
    assert!(good > 0 && short > 0, "{good} were enough, {short} were told as too little");
}
