//! Crates from outside are built once, with the same features for binaries and tests.

use std::collections::{BTreeMap, BTreeSet};

use crate::root;

/// The feature lists with which each crate from outside is built, by name and version. `arguments` are those of `cargo tree`.
fn features(arguments: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = std::process::Command::new(cargo);
    command.current_dir(root()).args(["tree", "--prefix", "none", "--format", "{p}|{f}"]).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut all = BTreeMap::<String, BTreeSet<String>>::new();
    for (package, features) in String::from_utf8(output.stdout).unwrap().lines().filter_map(|line| line.split_once('|')) {
        // A crate of this workspace is listed with its path.
        if !package.contains(" (/") {
            all.entry(package.to_owned()).or_default().insert(features.trim_end_matches(" (*)").to_owned());
        }
    }
    all
}

/// Cargo builds a crate and everything that depends on it once for each list of features. One feature more for the tests would have tokio,
/// serde_json and the clouds' SDKs built twice, which takes minutes.
#[test]
fn tests_ask_no_feature_of_a_crate_that_a_plain_build_does_not_ask() {
    let plain = features(&["--edges", "normal,build"]);
    assert!(plain.keys().any(|name| name.starts_with("serde_json ")), "the search finds nothing");
    let mut wrong = Vec::new();
    for edges in ["normal,build", "normal,build,dev"] {
        for (package, lists) in &features(&["--workspace", "--edges", edges]) {
            match plain.get(package) {
                // One list more is of the tests' own crates, or of build scripts: nothing that a plain build has is built again.
                Some(known) if known.is_subset(lists) => {}
                Some(known) => wrong.push(format!("{package}: --workspace with {edges} asks for {lists:?}, cargo build for {known:?}")),
                None => {}
            }
        }
    }
    assert!(wrong.is_empty(), "ask for the same in the dependencies of `tests/lab`:\n{}", wrong.join("\n"));
}
