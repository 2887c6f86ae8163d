//! Which crate knows which: compares the table in `architecture.md` with cargo's manifests.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::{files, root};

/// The document with the table of crates and the picture of their layers. The tests read both.
const DOCUMENT: &str = "control-plane/docs/architecture.md";

/// The columns of the table.
const COLUMNS: [&str; 4] = ["room", "owns", "knows", "because"];

/// The heading above the picture of the layers.
const PICTURE: &str = "### After";

/// Crates that only compute. Their dependencies do too.
const PURE: [&str; 4] = ["keyplane-model", "keyplane-policy", "keyplane-planner", "keyplane-verifier"];

/// What a pure crate may not depend on, not even indirectly: runtimes, databases, servers, SDKs.
const IMPURE: [&str; 9] = ["tokio", "async-std", "sqlx", "sqlx-core", "axum", "hyper", "reqwest", "aws-config", "aws-sdk-kms"];

/// Binaries that may have only one TLS provider: two make rustls panic.
const ONE_PROVIDER: [&str; 3] = ["keyplane-server", "keyplane-emulator-wire", "keyplane-lab"];

/// The providers that they may not have.
const OTHER_PROVIDERS: [&str; 4] = ["ring", "openssl", "openssl-sys", "native-tls"];

/// Crates with their own lint table, because of `unsafe_code`.
const OWN_LINTS: [&str; 2] = ["keyplane-hsm", "keyplane-token"];

/// The word to search for. This file is searched too.
const UNSAFE: &str = "unsafe";

/// The files in which it may occur.
fn may_be_unsafe(path: &str) -> bool {
    path.starts_with("tests/token/") || path == "adapters/hsm/src/pkcs11.rs"
}

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml"));
    // For this platform only: the dependencies of others are not downloaded.
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

/// The packages that a package depends on without its tests and build scripts, itself included, with features as cargo resolves them.
fn reached(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = std::process::Command::new(cargo);
    command.current_dir(root()).args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// A row of the table.
struct Row {
    /// The crate's folder, from the root of the repository.
    room: String,
    /// The crates that it may know, by name without `keyplane-`.
    knows: BTreeSet<String>,
    /// The reason for this limit, for messages.
    because: String,
}

/// The same fields from cargo's manifest. Tests and benchmarks may know more.
struct Crate {
    name: String,
    room: String,
    knows: BTreeSet<String>,
}

/// The rows of the table with these [`COLUMNS`].
fn table(document: &str) -> Vec<Row> {
    let cells = |line: &str| line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let lines = document.lines().skip_while(|line| cells(line) != COLUMNS).skip(2).take_while(|line| line.starts_with('|'));
    let rows = lines.map(|line| match <[String; 4]>::try_from(cells(line)) {
        Ok([room, _, knows, because]) => {
            let knows = knows.split(',').map(|name| name.trim().to_owned()).filter(|name| name != "nobody").collect();
            Row { room: room.trim_matches('`').to_owned(), knows, because }
        }
        Err(cells) => panic!("a row of the table has {} cells: {cells:?}", cells.len()),
    });
    rows.collect()
}

/// The layers of the picture, uppermost first: the crates' names in each line.
fn picture(document: &str, crates: &[Crate]) -> Vec<Vec<String>> {
    let is_room = |word: &&str| crates.iter().any(|room| room.name == *word);
    let lines = document.lines().skip_while(|line| *line != PICTURE).skip_while(|line| !line.starts_with("```")).skip(1);
    lines
        .take_while(|line| !line.starts_with("```"))
        .map(|line| line.split_whitespace().filter(is_room).map(str::to_owned).collect())
        .collect()
}

fn crates(metadata: &Metadata) -> Vec<Crate> {
    let members = members(metadata);
    let short = |name: &str| name.trim_start_matches("keyplane-").to_owned();
    let dependencies = |package: &Package| {
        let normal = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
        normal.map(|dependency| &dependency.name).filter(|name| members.contains_key(*name)).map(|name| short(name)).collect()
    };
    let folder = |package: &Package| package.manifest_path.parent().unwrap().strip_prefix(root()).unwrap().to_string();
    let room = |(name, package): (&String, &&Package)| Crate { name: short(name), room: folder(package), knows: dependencies(package) };
    members.iter().map(room).collect()
}

/// The differences between the table and the manifests.
fn wrong_in_table(rows: &[Row], crates: &[Crate]) -> Vec<String> {
    let mut wrong = Vec::new();
    for Crate { name, room, knows } in crates {
        let found: Vec<&Row> = rows.iter().filter(|row| row.room == *room).collect();
        let [row] = found[..] else {
            wrong.push(format!("`{room}` stands in the table {} times: give it one row", found.len()));
            continue;
        };
        wrong.extend(knows.difference(&row.knows).map(|known| format!("`{name}` must not know `{known}`: {}", row.because)));
        wrong.extend(row.knows.difference(knows).map(|known| format!("the table says that `{name}` knows `{known}`, and it does not")));
    }
    let gone = rows.iter().filter(|row| !crates.iter().any(|room| room.room == row.room));
    wrong.extend(gone.map(|row| format!("the table has a room `{}`, and there is none", row.room)));
    wrong
}

/// The differences between the picture and the manifests: a crate is missing, or knows one that is not below it.
fn wrong_in_picture(layers: &[Vec<String>], crates: &[Crate]) -> Vec<String> {
    let layers_of = |name: &str| (0..layers.len()).filter(|layer| layers[*layer].iter().any(|room| room == name)).collect::<Vec<_>>();
    let mut wrong = Vec::new();
    for Crate { name, knows, .. } in crates {
        match layers_of(name)[..] {
            [layer] => {
                let not_below = knows.iter().filter(|known| layers_of(known).iter().any(|other| *other <= layer));
                wrong.extend(not_below.map(|known| format!("`{name}` knows `{known}`, which is not below it in the picture")));
            }
            ref found => wrong.push(format!("`{name}` stands in {} layers of the picture", found.len())),
        }
    }
    wrong
}

#[test]
fn every_room_knows_exactly_the_rooms_that_the_table_says() {
    let document = std::fs::read_to_string(root().join(DOCUMENT)).unwrap();
    let (rows, crates) = (table(&document), crates(&metadata()));
    assert!(rows.len() > 20, "the search finds nothing");
    let wrong = wrong_in_table(&rows, &crates);
    assert!(wrong.is_empty(), "{DOCUMENT}:\n{}", wrong.join("\n"));
}

#[test]
fn every_arrow_of_the_picture_points_down() {
    let document = std::fs::read_to_string(root().join(DOCUMENT)).unwrap();
    let crates = crates(&metadata());
    let wrong = wrong_in_picture(&picture(&document, &crates), &crates);
    assert!(wrong.is_empty(), "{DOCUMENT}:\n{}", wrong.join("\n"));
}

#[test]
fn each_way_in_which_table_picture_and_manifests_differ_is_found() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let room = |name: &str, knows: &[&str]| Crate { name: name.to_owned(), room: format!("x/{name}"), knows: names(knows) };
    let document = |rows: &str, layers: &str| {
        let head = "| room | owns | knows | because |\n|---|---|---|---|\n";
        format!("# T\n\n{head}{rows}\ntext | text\n\n### After\n\n```\n{layers}\n```\nlow\n")
    };
    let good = "| `x/low` | a | nobody | b |\n| `x/high` | a | low, mid | c |\n| `x/mid` | a | low | d |\n";
    let crates = [room("low", &[]), room("mid", &["low"]), room("high", &["low", "mid"])];
    let find = |rows: &str| wrong_in_table(&table(&document(rows, "")), &crates);
    assert_eq!(find(good), [""; 0]);
    assert_eq!(find(&good.replace("low, mid", "low")), ["`high` must not know `mid`: c"]);
    assert_eq!(find(&good.replace("nobody", "mid")), ["the table says that `low` knows `mid`, and it does not"]);
    assert_eq!(
        find(&good.replace("x/mid", "x/old")),
        ["`x/mid` stands in the table 0 times: give it one row", "the table has a room `x/old`, and there is none"]
    );
    assert_eq!(find(&format!("{good}| `x/low` | a | nobody | b |\n")), ["`x/low` stands in the table 2 times: give it one row"]);

    let look = |layers: &str| wrong_in_picture(&picture(&document(good, layers), &crates), &crates);
    assert_eq!(look("folder/   high\n  |\n mid\n low"), [""; 0]);
    assert_eq!(look("high\nlow mid"), ["`mid` knows `low`, which is not below it in the picture"]);
    assert_eq!(look("high low\nmid\nlow")[0], "`low` stands in 2 layers of the picture");
    assert_eq!(look("high\nlow"), ["`mid` stands in 0 layers of the picture"]);
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

/// Whether a package only tests the product.
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
