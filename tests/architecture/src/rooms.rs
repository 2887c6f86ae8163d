//! Who may know whom, as cargo sees it.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::{files, root};

/// A room, whom it may know, and the rule that says so. Normal dependencies; tests may know more.
const ROOMS: &[(&str, &[&str], &str)] = &[
    ("keyplane-model", &[], "the model knows nobody"),
    ("keyplane-policy", &["keyplane-model"], "a pure room knows the model alone"),
    ("keyplane-planner", &["keyplane-model"], "a pure room knows the model alone"),
    ("keyplane-verifier", &["keyplane-model"], "a pure room knows the model alone: above all, not the planner that it judges"),
    ("keyplane-port", &["keyplane-model"], "the ports know the model alone"),
    ("keyplane-destination", &["keyplane-model", "keyplane-port"], "what adapters have in common knows none of them"),
    (
        "keyplane-aws",
        &["keyplane-destination", "keyplane-model", "keyplane-port"],
        "an adapter knows ports and model, and no other adapter",
    ),
    (
        "keyplane-gcp",
        &["keyplane-destination", "keyplane-model", "keyplane-port"],
        "an adapter knows ports and model, and no other adapter",
    ),
    (
        "keyplane-azure",
        &["keyplane-destination", "keyplane-model", "keyplane-port"],
        "an adapter knows ports and model, and no other adapter",
    ),
    (
        "keyplane-hsm",
        &["keyplane-model", "keyplane-port", "keyplane-verifier"],
        "an adapter knows ports and model; the custodian judges by itself, with the verifier",
    ),
    ("keyplane-conformance", &["keyplane-model", "keyplane-port"], "the suite knows adapters by their ports only"),
    ("keyplane-emulator-core", &[], "a cloud knows nothing of us"),
    ("keyplane-emulator-wire", &["keyplane-emulator-core"], "a cloud knows nothing of us"),
    ("keyplane-token", &[], "a token knows nothing of us"),
    (
        "keyplane-engine",
        &["keyplane-model", "keyplane-planner", "keyplane-port", "keyplane-verifier"],
        "the engine is generic over the ports",
    ),
    (
        "keyplane-simulation",
        &["keyplane-emulator-core", "keyplane-engine", "keyplane-model", "keyplane-planner", "keyplane-port", "keyplane-verifier"],
        "the simulation is the engine over the emulators' cores",
    ),
    ("keyplane-store", &["keyplane-model", "keyplane-port"], "the ledger's database is behind its port"),
    ("keyplane-audit", &["keyplane-model", "keyplane-port"], "the audit log is behind its port"),
    (
        "keyplane-service",
        &[
            "keyplane-api",
            "keyplane-audit",
            "keyplane-engine",
            "keyplane-model",
            "keyplane-planner",
            "keyplane-policy",
            "keyplane-port",
            "keyplane-store",
            "keyplane-verifier",
        ],
        "the use cases name no adapter",
    ),
    ("keyplane-api", &["keyplane-model"], "the wire types know the model alone"),
    (
        "keyplane-server",
        &[
            "keyplane-api",
            "keyplane-audit",
            "keyplane-aws",
            "keyplane-azure",
            "keyplane-engine",
            "keyplane-gcp",
            "keyplane-hsm",
            "keyplane-model",
            "keyplane-policy",
            "keyplane-port",
            "keyplane-service",
            "keyplane-store",
        ],
        "only the server names real adapters",
    ),
    (
        "keyplane-lab",
        &["keyplane-api", "keyplane-hsm", "keyplane-model"],
        "the lab starts binaries; of the custodian it uses the provisioning of development tokens",
    ),
    (
        "keyplane-bench",
        &["keyplane-lab", "keyplane-model", "keyplane-port", "keyplane-store"],
        "the bench measures the binaries from outside; it fills a ledger through its port",
    ),
    ("keyplane-terraform", &["keyplane-api"], "the provider is a client of the API"),
    ("keyplane-end-to-end", &[], "the tests of the whole are nobody's dependency, and have none but for tests"),
    ("keyplane-architecture", &[], "the tests of the whole are nobody's dependency, and have none but for tests"),
];

/// Rooms that compute, and reach nothing that does more.
const PURE: [&str; 4] = ["keyplane-model", "keyplane-policy", "keyplane-planner", "keyplane-verifier"];

/// What a pure room reaches in no way: runtimes, databases, servers, SDKs.
const IMPURE: [&str; 9] = ["tokio", "async-std", "sqlx", "sqlx-core", "axum", "hyper", "reqwest", "aws-config", "aws-sdk-kms"];

/// Binaries with one TLS provider: two make rustls panic.
const ONE_PROVIDER: [&str; 3] = ["keyplane-server", "keyplane-emulator-wire", "keyplane-lab"];

/// The other providers.
const OTHER_PROVIDERS: [&str; 4] = ["ring", "openssl", "openssl-sys", "native-tls"];

/// Crates that have a lint table of their own, for `unsafe_code` alone.
const OWN_LINTS: [&str; 2] = ["keyplane-hsm", "keyplane-token"];

/// The word that is searched for; this file is searched too.
const UNSAFE: &str = "unsafe";

/// Files in which it may stand.
fn may_be_unsafe(path: &str) -> bool {
    path.starts_with("tests/token/") || path == "adapters/hsm/src/pkcs11.rs"
}

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml"));
    // For this platform: what other platforms need is not there to be read.
    command.other_options(vec!["--filter-platform".to_owned(), host()]);
    command.exec().unwrap()
}

fn host() -> String {
    let output = std::process::Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned())).arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// The workspace's own packages, by name.
fn members(metadata: &Metadata) -> BTreeMap<String, &Package> {
    metadata.workspace_packages().into_iter().map(|package| (package.name.to_string(), package)).collect()
}

/// What a package pulls in without its tests and build scripts, itself included, as cargo resolves features for it.
fn reached(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = std::process::Command::new(cargo);
    command.current_dir(root()).args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn every_room_knows_only_whom_it_may_know() {
    let metadata = metadata();
    let members = members(&metadata);
    let mut wrong = Vec::new();
    for (name, package) in &members {
        let Some((_, may, rule)) = ROOMS.iter().find(|(room, ..)| room == name) else {
            wrong.push(format!("`{name}` is no room of the design: say in this table whom it may know"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development) {
            if members.contains_key(&dependency.name) && !may.contains(&dependency.name.as_str()) {
                wrong.push(format!("`{name}` must not know `{}`: {rule}", dependency.name));
            }
        }
    }
    for (room, may, _) in ROOMS {
        for name in std::iter::once(room).chain(*may).filter(|name| !members.contains_key(**name)) {
            wrong.push(format!("there is no room `{name}` any more"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_pure_room_reaches_no_runtime_database_or_sdk() {
    for room in PURE {
        let reached = reached(room);
        assert!(reached.contains("serde"), "the search finds nothing: {reached:?}");
        for impure in IMPURE {
            assert!(!reached.contains(impure), "`{room}` is pure, and must not reach `{impure}`");
        }
    }
}

#[test]
fn our_binaries_have_one_tls_provider() {
    for room in ONE_PROVIDER {
        let reached = reached(room);
        for provider in OTHER_PROVIDERS {
            assert!(!reached.contains(provider), "`{room}` must not reach `{provider}`: aws-lc-rs is the provider");
        }
    }
    assert!(reached("keyplane-server").contains("aws-lc-rs"), "the search finds nothing");
}

#[test]
fn no_emulator_token_lab_or_test_is_in_the_product() {
    let reached = reached("keyplane-server");
    let metadata = metadata();
    let proving: Vec<String> = members(&metadata).into_iter().filter(|(_, package)| proves(package)).map(|(name, _)| name).collect();
    assert!(proving.len() > 5, "the search finds nothing");
    for name in proving {
        assert!(!reached.contains(&name), "the `keyplane` binary must not hold `{name}`");
    }
}

/// Whether a package proves the product, and is no part of it.
fn proves(package: &Package) -> bool {
    package.manifest_path.starts_with(root().join("tests"))
}

#[test]
fn what_runs_in_a_company_knows_nothing_of_what_proves_it() {
    let metadata = metadata();
    let members = members(&metadata);
    for (name, package) in members.iter().filter(|(_, package)| !proves(package)) {
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development) {
            let known = members.get(&dependency.name);
            assert!(!known.is_some_and(|known| proves(known)), "`{name}` must not know `{}`: it runs beside the product", dependency.name);
        }
    }
}

#[test]
fn nothing_normal_asks_the_custodian_to_reveal_keys() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        for dependency in package.dependencies.iter().filter(|dependency| dependency.name == "keyplane-hsm") {
            let asks = dependency.features.iter().any(|feature| feature == "reveal");
            assert!(
                !asks,
                "`{}` must not ask for the feature `reveal` of `keyplane-hsm`: cargo would build it into `keyplane`",
                package.name
            );
        }
    }
    let hsm = metadata.packages.iter().find(|package| package.name.as_str() == "keyplane-hsm").unwrap();
    assert!(hsm.features.get("default").is_none_or(Vec::is_empty), "nothing of `keyplane-hsm` is on by default");
}

#[test]
fn every_crate_comes_from_this_workspace_or_the_public_registry() {
    let lock: toml::Table = std::fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    for package in lock["package"].as_array().unwrap() {
        if let Some(source) = package.get("source") {
            let source = source.as_str().unwrap();
            assert_eq!(source, "registry+https://github.com/rust-lang/crates.io-index", "{}", package["name"]);
        }
    }
}

#[test]
fn every_crate_has_the_lints_of_the_workspace() {
    let workspace: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let wanted = &workspace["workspace"]["lints"];
    assert_eq!(wanted["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for (name, package) in members(&metadata()) {
        let manifest: toml::Table = std::fs::read_to_string(&package.manifest_path).unwrap().parse().unwrap();
        let lints = manifest.get("lints").unwrap_or_else(|| panic!("`{name}` has no lints"));
        if !OWN_LINTS.contains(&name.as_str()) {
            assert_eq!(lints.get("workspace").and_then(toml::Value::as_bool), Some(true), "`{name}` has lints of its own");
            continue;
        }
        let strip = |lints: &toml::Value| {
            let mut lints = lints.clone();
            lints["rust"].as_table_mut().unwrap().remove("unsafe_code");
            lints
        };
        assert_eq!(strip(lints), strip(wanted), "`{name}` may differ in `unsafe_code` alone");
    }
}

#[test]
fn unsafe_code_stands_in_the_token_and_in_one_module_of_the_custodian() {
    let mut there = 0;
    for (path, text) in files(&["rs"]) {
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap_or_default();
            let says = |words: &str| code.contains(words);
            let block = ["{", "fn ", "impl ", "extern "].iter().any(|next| says(&format!("{UNSAFE} {next}")));
            let lint = ["allow", "expect", "warn"].iter().any(|level| says(&format!("{level}({UNSAFE}_code")));
            if block || lint {
                there += 1;
                assert!(may_be_unsafe(&path), "{path}:{number}: unsafe code belongs to the token, or to `adapters/hsm/src/pkcs11.rs`");
            }
        }
    }
    assert!(there > 0, "the search finds nothing");
}

#[test]
fn no_lint_is_allowed_without_a_reason() {
    for (path, text) in files(&["rs"]) {
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.split("//").next().unwrap_or_default().trim_start();
            let allows = code.starts_with(concat!("#[", "allow(")) || code.starts_with(concat!("#![", "allow("));
            assert!(!allows || path.starts_with("tests/token/"), "{path}:{number}: `expect` with a reason, in place of `allow`");
        }
    }
}

#[test]
fn every_crate_says_what_it_owns() {
    for (name, package) in members(&metadata()) {
        for target in package.targets.iter().filter(|target| !target.is_custom_build()) {
            let text = std::fs::read_to_string(&target.src_path).unwrap();
            assert!(text.starts_with("//! "), "`{name}`: {} begins without a word about what it is", target.src_path);
        }
    }
}

#[test]
fn every_member_is_listed_once_with_its_comment() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, members_text) = text.split_once("members = [").unwrap();
    let (members_text, _) = members_text.split_once(']').unwrap();
    let lines: Vec<&str> = members_text.lines().map(str::trim).filter(|line| line.starts_with('"')).collect();
    for line in &lines {
        assert!(line.contains('#'), "{line}: say in a comment what it is");
    }
    assert_eq!(lines.len(), members(&metadata()).len());
}
