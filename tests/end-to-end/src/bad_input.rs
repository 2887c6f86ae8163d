//! Bad input, as tables: what is reported, about which key and destination, and that the command that is named next helps.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use keyplane_lab::{Options, Ran};
use keyplane_model::{APPROVAL_NAMESPACE, ProblemCode};
use serde_json::{Value, json as value};

use crate::stranger::Stranger;
use crate::world::{HERE, THERE, World, json, problems as problems_of, text};

/// A mistake, what is reported about it, and what the command that is named next does.
struct Case {
    name: &'static str,
    code: ProblemCode,
    key: Option<&'static str>,
    destination: Option<&'static str>,
    next: &'static str,
    then: Then,
}

/// What the command that is named next does.
enum Then {
    /// It works as it is printed.
    Works,
    /// It reports the same cause, because it serves to find out more.
    SaysTheSame,
    /// It works after somebody did what was said, or what only a person can do.
    WorksAfter(fn(&World)),
}

impl Case {
    const fn new(name: &'static str, code: ProblemCode, next: &'static str, then: Then) -> Self {
        Self { name, code, key: None, destination: None, next, then }
    }

    const fn of(mut self, key: &'static str) -> Self {
        self.key = Some(key);
        self
    }

    const fn at(mut self, destination: &'static str) -> Self {
        self.destination = Some(destination);
        self
    }

    /// Checks the report of a command, runs the command that is named next, and checks that it helps.
    fn check(&self, world: &World, ran: &Ran) {
        let name = self.name;
        let problems = problems_of(ran);
        let problem = &problems[0];
        assert_eq!(problem["code"], self.code.as_str(), "{name}: {problems:#?}");
        assert_eq!(problem["class"], serde_json::to_value(self.code.class()).unwrap(), "{name}");
        assert_eq!(ran.code, i32::from(self.code.class().exit_code()), "{name}: {problem:#}");
        assert_eq!(problem["key"].as_str(), self.key, "{name}: {problem:#}");
        assert_eq!(problem["destination"].as_str(), self.destination, "{name}: {problem:#}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(!detail.is_empty() && !detail.ends_with('.') && !detail.contains('\n'), "{name}: {detail}");

        let next = command(problem);
        assert_eq!(next, self.next, "{name}: {problem:#}");
        if let Then::WorksAfter(remedy) = &self.then {
            remedy(world);
        }
        let args: Vec<&str> = std::iter::once("--json").chain(next.split_whitespace().skip(1)).collect();
        let second = world.keyplane(&args);
        match self.then {
            Then::Works | Then::WorksAfter(_) => assert_eq!(second.code, 0, "{name}: `{next}` does not help: {}", second.stderr),
            Then::SaysTheSame => {
                let again = problems_of(&second);
                assert!(again.iter().any(|problem| problem["code"] == self.code.as_str()), "{name}: `{next}` does not name it: {again:#?}");
            }
        }
    }
}

/// The command that a problem names: the whole of `next`, or the part in backticks.
fn command(problem: &Value) -> String {
    let next = problem["next"].as_str().unwrap();
    let quoted = next.split('`').skip(1).step_by(2).find(|part| part.starts_with("keyplane "));
    let command = quoted.unwrap_or(next);
    assert!(command.starts_with("keyplane "), "no command: {next}");
    command.to_owned()
}

fn again(world: &World, args: &[&str]) -> Ran {
    let args: Vec<&str> = std::iter::once("--json").chain(args.iter().copied()).collect();
    world.keyplane(&args)
}

/// A policy file without mistakes.
const GOOD: &str = "key: db\nprofile: derived\npurpose: encrypt\n\
                    placements: [aws: { destination: prod-us-east-1, alias: db, algorithm: aes-256 }]\n";

/// A mistake in a policy file, and the key that it is reported for.
struct Mistake {
    name: &'static str,
    code: ProblemCode,
    key: Option<&'static str>,
    spoil: fn(&str) -> String,
}

#[test]
fn every_mistake_in_a_policy_is_told_with_its_place_and_its_key() {
    let wrong = |name, key, spoil| Mistake { name, code: ProblemCode::PolicyInvalid, key, spoil };
    let mistakes = [
        wrong("a bracket never closed", None, |good| good.replace("aes-256 }]", "aes-256 }")),
        wrong("a tab", None, |good| good.replace("profile", "\tprofile")),
        wrong("an unknown field", Some("db"), |good| format!("{good}colour: blue\n")),
        wrong("a field twice", None, |good| format!("{good}profile: derived\n")),
        wrong("a key twice", Some("db"), |good| format!("{good}---\n{good}")),
        wrong("a wrong type", Some("db"), |good| format!("{good}rotation: soon\n")),
        wrong("a duration without a unit", Some("db"), |good| format!("{good}rotation: {{ every: 90 }}\n")),
        wrong("an unknown algorithm", Some("db"), |good| good.replace("aes-256", "aes-257")),
        wrong("an algorithm that the profile does not allow", Some("db"), |good| good.replace("aes-256", "rsa-4096")),
        wrong("a key that is looser than its profile", Some("db"), |good| format!("{good}approvals: {{ import: {{ need: 0 }} }}\n")),
        wrong("a name that is none", None, |good| good.replace("key: db", "key: ../db")),
        wrong("neither a key nor a profile", None, |_| "version: 3\n".to_owned()),
        wrong("a field missing", Some("db"), |good| good.replace("profile: derived\n", "")),
        Mistake {
            name: "an unknown profile",
            code: ProblemCode::NameUnknown,
            key: Some("db"),
            spoil: |good| good.replace("derived", "derivd"),
        },
    ];
    let world = World::enrolled();
    world.write_policy("team.yaml", GOOD).unwrap();
    world.must(&["validate"]).unwrap();
    for Mistake { name, code, key, spoil } in mistakes {
        world.write_policy("team.yaml", &spoil(GOOD)).unwrap();
        for args in [&["validate"][..], &["plan"]] {
            let ran = again(&world, args);
            let case = Case { name, code, key, destination: None, next: "keyplane validate", then: Then::SaysTheSame };
            case.check(&world, &ran);
            let told = problems_of(&ran);
            let place = &told[0]["location"];
            assert!(place["file"].as_str().unwrap().ends_with("policy/team.yaml") && place["line"].is_u64(), "{name}: {told:#?}");
        }
    }
}

#[test]
fn what_is_wrong_with_the_configuration_is_told() {
    let check = "keyplane config check";
    let invalid = |name| Case::new(name, ProblemCode::ConfigInvalid, check, Then::SaysTheSame);
    let edits: &[(Case, &dyn Fn(String) -> String)] = &[
        (invalid("a syntax error"), &|text| text.replace("version = 1", "version = ")),
        (invalid("an unknown field"), &|text| format!("colour = \"blue\"\n{text}")),
        (invalid("a newer format"), &|text| text.replace("version = 1", "version = 2")),
        (invalid("a wrong type"), &|text| text.replace("equal-reads = 2", "equal-reads = \"two\"")),
        (invalid("another database"), &|text| text.replace("sqlite:", "oracle:")),
        (invalid("a secret file that is not there").at(THERE), &|text| text.replace("\"aws-secret-access-key\"", "\"nowhere\"")),
        (Case::new("no PIN file", ProblemCode::PinMissing, check, Then::SaysTheSame), &|text| text.replace("user.pin", "none.pin")),
        (Case::new("no module", ProblemCode::ModuleMissing, check, Then::SaysTheSame), &|text| {
            text.replace("libkeyplane_token", "libnowhere")
        }),
        (Case::new("no such token", ProblemCode::TokenMissing, check, Then::SaysTheSame), &|text| {
            text.replace("\"keyplane-lab\"", "\"elsewhere\"")
        }),
        (Case::new("no policy", ProblemCode::PolicyInvalid, check, Then::SaysTheSame), &|text| text.replace("[\"policy\"]", "[\"token\"]")),
    ];
    let world = World::enrolled();
    world.ask("db", "derived", &[HERE]);
    let good = world.config().unwrap();
    for (case, edit) in edits {
        let bad = edit(good.clone());
        assert_ne!(bad, good, "{}: nothing was edited", case.name);
        world.edit_config(|_| bad).unwrap();
        case.check(&world, &again(&world, &["plan"]));
    }
    std::fs::remove_file(world.config_path()).unwrap();
    invalid("no configuration").check(&world, &again(&world, &["plan"]));
    std::fs::write(world.config_path(), good).unwrap();
    world.must(&["plan"]).unwrap();

    let unknown = Case::new("an unknown key", ProblemCode::NameUnknown, "keyplane validate", Then::Works).of("dp");
    unknown.check(&world, &again(&world, &["explain", "dp"]));
}

#[test]
fn what_is_wrong_with_the_token_or_the_database_is_told() {
    let world = World::raw(Options::fast);
    world.ask("db", "derived", &[HERE]);

    let missing = Case::new("no database", ProblemCode::DatabaseMissing, "keyplane init", Then::Works);
    missing.check(&world, &again(&world, &["status"]));
    let there = Case::new("a database is there", ProblemCode::DatabaseExists, "keyplane status", Then::Works);
    there.check(&world, &again(&world, &["init"]));
    let not_enrolled = Case::new("a token that is not enrolled", ProblemCode::TokenNotEnrolled, "keyplane hsm enroll", Then::Works);
    not_enrolled.check(&world, &again(&world, &["plan"]));
    world.must(&["plan"]).unwrap();

    let pin = std::fs::read_to_string(world.pin_file()).unwrap();
    std::fs::write(world.pin_file(), "00000000").unwrap();
    let wrong = Case::new("a wrong PIN", ProblemCode::PinWrong, "keyplane config check", Then::SaysTheSame);
    wrong.check(&world, &again(&world, &["hsm", "test"]));
    std::fs::write(world.pin_file(), pin).unwrap();
    world.must(&["hsm", "test"]).unwrap();

    sql(&world, "INSERT INTO keyplane_schema (version) VALUES (99)");
    let newer = Case::new("a newer database", ProblemCode::DatabaseNewer, "keyplane --version", Then::Works);
    newer.check(&world, &again(&world, &["status"]));
    newer.check(&world, &again(&world, &["migrate"]));
    sql(&world, "DELETE FROM keyplane_schema WHERE version = 99");
    world.must(&["status"]).unwrap();

    let good = std::fs::read(world.database()).unwrap();
    std::fs::write(world.database(), "no database at all, but long enough to look like a file that has something in it").unwrap();
    let broken = Case::new("a damaged database", ProblemCode::DatabaseBroken, "keyplane status", Then::SaysTheSame);
    broken.check(&world, &again(&world, &["plan"]));
    std::fs::write(world.database(), good).unwrap();
    world.must(&["status"]).unwrap();
}

/// The commands that a help text lists.
fn listed(world: &World, args: &[&str]) -> BTreeSet<String> {
    let help = world.keyplane(args).stdout;
    let lines = help.split_once("Commands:\n").map_or("", |(_, after)| after).lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// A command, or those that it groups.
fn listed_below(world: &World, name: &str) -> Vec<String> {
    let below = listed(world, &["help", name]);
    if below.is_empty() { vec![name.to_owned()] } else { below.iter().map(|below| format!("{name} {below}")).collect() }
}

/// Otherwise an approver can be made to sign for another installation than the own one.
#[test]
fn a_database_of_another_installation_is_refused_by_every_command() {
    let world = World::enrolled();
    let digest = world.proposed("db", "guarded", &[HERE]);
    let commands: [&[&str]; 14] = [
        &["init"],
        &["migrate"],
        &["config", "check"],
        &["validate"],
        &["explain", "db"],
        &["plan"],
        &["show", &digest],
        &["approve", &digest, "--as", "alice", "--signature", "nowhere"],
        &["apply"],
        &["status"],
        &["evidence"],
        &["hsm", "enroll"],
        &["hsm", "test"],
        &["hsm", "charter"],
    ];
    let tried: BTreeSet<String> = commands.iter().map(|command| command.join(" ")).collect();
    let all = listed(&world, &["help"]);
    assert!(all.len() >= 12, "{all:?}");
    for name in all {
        let below = listed_below(&world, &name);
        assert!(below.iter().all(|name| tried.iter().any(|tried| tried.starts_with(name))), "{below:?} are not tried");
    }

    let own = world.config().unwrap();
    let pin = |installation: &str| world.edit_config(|config| format!("installation = \"{installation}\"\n{config}")).unwrap();
    pin("00000000-0000-4000-8000-000000000000");
    for command in commands {
        let problems = problems_of(&again(&world, command));
        assert!(problems.iter().any(|problem| problem["code"] == "other-installation"), "{command:?}: {problems:#?}");
    }
    let other = Case::new("another installation", ProblemCode::OtherInstallation, "keyplane config check", Then::SaysTheSame);
    other.check(&world, &again(&world, &["approve", &digest, "--as", "alice", "--signature", "nowhere"]));
    let told = problems_of(&again(&world, &["status"]));
    let detail = told[0]["detail"].as_str().unwrap();
    let found = detail.split("is of installation ").nth(1).unwrap().split(',').next().unwrap();
    world.edit_config(|_| own.clone()).unwrap();
    pin(found);
    world.must(&["plan"]).unwrap();
}

#[test]
fn what_is_wrong_with_an_approval_is_told() {
    let world = World::enrolled();
    let digest = world.proposed("db", "guarded", &[HERE]);
    let other = world.proposed("logs", "derived", &[HERE]);
    let status = |name, code| Case::new(name, code, "keyplane status", Then::Works);
    let show: &str = format!("keyplane show {digest} --message").leak();
    let signed = |name, code| Case::new(name, code, show, Then::Works).of("db");
    let invalid = |name| signed(name, ProblemCode::ApprovalInvalid);

    let nobody = format!("sha256:{}", "0".repeat(64));
    status("an unknown digest", ProblemCode::ApprovalUnknownDigest).check(&world, &world.approve(&nobody, "alice"));
    status("an unknown digest to apply", ProblemCode::ApprovalUnknownDigest).check(&world, &again(&world, &["apply", &nobody]));

    let by_signature = |signature: &str, name: &str| {
        let file = world.folder.join("approval.sig");
        std::fs::write(&file, signature).unwrap();
        again(&world, &["approve", &digest, "--as", name, "--signature", text(&file)])
    };
    let message = |digest: &str| json(&again(&world, &["show", digest, "--message"]).stdout)["message"].as_str().unwrap().to_owned();
    let (this, another) = (message(&digest), message(&other));
    assert!(this.contains(&digest) && this.contains("key: db") && this.contains("until: "), "{this}");
    let alice = |message: &str, namespace: &str| sign(&world, "alice", message, namespace);
    invalid("an approval of another change set").check(&world, &by_signature(&alice(&another, APPROVAL_NAMESPACE), "alice"));
    invalid("an approval of a digest alone").check(&world, &by_signature(&alice(&format!("{digest}\n"), APPROVAL_NAMESPACE), "alice"));
    let other_charter = this.replace("charter: 1 ", "charter: 2 ");
    invalid("an approval under another charter").check(&world, &by_signature(&alice(&other_charter, APPROVAL_NAMESPACE), "alice"));
    invalid("a signature of another namespace").check(&world, &by_signature(&alice(&this, "file"), "alice"));
    invalid("somebody else's signature").check(&world, &by_signature(&alice(&this, APPROVAL_NAMESPACE), "carol"));
    invalid("a stranger").check(&world, &by_signature(&alice(&this, APPROVAL_NAMESPACE), "mallory"));
    invalid("no signature").check(&world, &by_signature("approved. alice", "alice"));
    invalid("the wrong group").check(&world, &world.approve(&digest, "bob"));
    signed("self-approval", ProblemCode::ApprovalBySelf).check(&world, &world.approve(&digest, keyplane_lab::OPERATOR));
    assert!(world.status().unwrap().open.iter().all(|view| view.approved_by.is_empty()), "something of that was taken");

    // The right signature counts once, even if it is given twice.
    let good = alice(&this, APPROVAL_NAMESPACE);
    for _ in 0..2 {
        let ran = by_signature(&good, "alice");
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let ran = again(&world, &["apply", &digest]);
    let told = &problems_of(&ran)[0];
    assert_eq!((ran.code, told["code"].as_str()), (4, Some("approvals-missing")), "{told:#}");
    assert_eq!((told["key"].as_str(), told["destination"].as_str()), (Some("db"), Some(HERE)));
    // It says how to sign, and what: `keyplane` cannot do more about it.
    let next = command(told);
    let second = again(&world, &next.split_whitespace().skip(1).collect::<Vec<_>>());
    assert_eq!(second.code, 0, "`{next}` does not help: {}", second.stderr);
    let how = json(&second.stdout);
    let signature = sign(&world, "carol", how["message"].as_str().unwrap(), how["namespace"].as_str().unwrap());
    assert_eq!(by_signature(&signature, "carol").code, 0);
    let ran = again(&world, &["apply", &digest]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // Who names change sets is told about those. A plan would look at every key.
    let told = json(&ran.stdout);
    assert_eq!((told["applied"]["done"][0].as_str(), told.get("plan")), (Some(digest.as_str()), None), "{told:#}");
}

#[test]
fn a_policy_that_changes_the_rules_of_approval_is_told() {
    let world = World::enrolled();
    world.ask("db", "derived", &[HERE]);
    let file = world.policy_folder().join("profiles.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    for (name, loosened) in [
        ("fewer approvals", good.replacen("import: { need: 1, from: [security] }", "import: { need: 0 }", 1)),
        ("another group", good.replacen("import: { need: 1, from: [security] }", "import: { need: 1, from: [platform] }", 1)),
    ] {
        assert_ne!(loosened, good);
        std::fs::write(&file, loosened).unwrap();
        let changed = Case::new(name, ProblemCode::CharterChanged, "keyplane hsm charter", Then::Works);
        changed.check(&world, &again(&world, &["plan"]));
    }
    std::fs::write(&file, good).unwrap();
    world.must(&["plan"]).unwrap();
}

#[test]
fn a_key_that_anybody_can_sign_for_is_told_before_it_is_proposed() {
    let world = World::enrolled();
    // Its point is the neutral element of the curve.
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    world.write_policy("eve.yaml", &format!("approver: eve\ngroups: [security]\nkeys: [{key:?}]\n")).unwrap();
    for args in [&["validate"][..], &["plan"], &["hsm", "charter"]] {
        let weak = Case::new("a weak key", ProblemCode::PolicyInvalid, "keyplane validate", Then::SaysTheSame);
        let ran = again(&world, args);
        weak.check(&world, &ran);
        assert!(problems_of(&ran)[0]["detail"].as_str().unwrap().contains("a key of `eve` does not count"), "{}", ran.stderr);
    }
}

#[test]
fn what_a_destination_refuses_is_told() {
    let world = World::enrolled();
    let fault = |operation: &str, times: Value, effect: Value| {
        world.here().post("faults", &value!({ "operation": operation, "times": times, "effect": effect })).unwrap();
    };
    let apply = |name, code, then| Case::new(name, code, "keyplane apply", then).at(HERE);
    let clear: fn(&World) = |world| {
        world.here().delete("faults").unwrap();
    };

    world.approved("denied", "derived", &[HERE]);
    fault("CreateKey", value!(1), value!({ "kind": "deny" }));
    apply("a denied operation", ProblemCode::DestinationDenied, Then::Works).of("denied").check(&world, &again(&world, &["apply"]));

    world.approved("expired", "generated", &[HERE]);
    fault("ImportKeyMaterial", Value::Null, value!({ "kind": "error", "code": "ExpiredImportTokenException" }));
    let expired = apply("an expired import token", ProblemCode::ImportTokenExpired, Then::WorksAfter(clear)).of("expired");
    expired.check(&world, &again(&world, &["apply"]));

    let good = std::fs::read_to_string(world.folder.join("aws-secret-access-key")).unwrap();
    std::fs::write(world.folder.join("aws-secret-access-key"), "another").unwrap();
    let check = "keyplane config check";
    let refused = Case::new("refused credentials", ProblemCode::CredentialsRefused, check, Then::SaysTheSame).of("denied").at(HERE);
    refused.check(&world, &again(&world, &["plan"]));
    std::fs::write(world.folder.join("aws-secret-access-key"), good).unwrap();
    world.must(&["plan"]).unwrap();

    world.here().stop();
    let unreachable = Case::new("an unreachable endpoint", ProblemCode::DestinationUnreachable, check, Then::SaysTheSame);
    unreachable.of("denied").at(HERE).check(&world, &again(&world, &["plan"]));
}

#[test]
fn an_object_that_is_not_ours_is_told_and_left_alone() {
    let world = World::enrolled();
    let stranger = Stranger::new(&world);

    stranger.takes("alias/taken");
    world.ask("taken", "derived", &[HERE]);
    let before = world.target(HERE, "alias/taken");
    let named = Case::new(
        "a foreign object under our users' alias",
        ProblemCode::ForeignObject,
        "keyplane plan",
        Then::WorksAfter(|world| Stranger::new(world).gives_back("alias/taken")),
    );
    let ran = again(&world, &["plan"]);
    assert_eq!(world.target(HERE, "alias/taken"), before);
    named.of("taken").at(HERE).check(&world, &ran);
    world.approve_all().unwrap();
    world.must(&["apply"]).unwrap();

    // The name of a claim is known once its object exists.
    world.approved("claimed", "derived", &[HERE]);
    world.here().post("faults", &value!({ "operation": "CreateAlias", "effect": { "kind": "deny" } })).unwrap();
    assert_eq!(world.keyplane(&["apply"]).code, 4);
    let claim = world.claim("claimed");
    stranger.takes(&claim);
    let before = world.target(HERE, &claim);
    let ran = again(&world, &["apply"]);
    assert_eq!(world.target(HERE, &claim), before);
    let claimed = Case::new(
        "a foreign object under our claim",
        ProblemCode::ForeignObject,
        "keyplane plan",
        Then::WorksAfter(|world| Stranger::new(world).gives_back(&world.claim("claimed"))),
    );
    claimed.of("claimed").at(HERE).check(&world, &ran);
    world.approve_all().unwrap();
    world.must(&["apply"]).unwrap();
}

#[test]
fn a_destination_that_was_changed_after_its_approval_is_told() {
    let world = World::enrolled();
    world.approved("db", "derived", &[HERE]);
    // The same emulator under another name was not approved.
    let address = world.here().address.to_string();
    let port = world.here().address.port();
    world.edit_config(|text| text.replace(&address, &format!("localhost:{port}"))).unwrap();
    let changed = Case::new("a changed destination", ProblemCode::DestinationChanged, "keyplane plan", Then::Works);
    changed.of("db").at(HERE).check(&world, &again(&world, &["apply"]));
    assert!(world.objects(HERE, "db").is_empty(), "something was done there");
    let open = world.status().unwrap().open;
    assert!(open.len() == 1 && open[0].approved_by.is_empty(), "the approval was carried over: {open:#?}");
}

/// Signs elsewhere, as a person would.
fn sign(world: &World, name: &str, message: &str, namespace: &str) -> String {
    use std::io::Write as _;
    let mut child = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
        .arg(world.approver_key(name))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// Changes the database without `keyplane`.
pub(crate) fn sql(world: &World, statement: &'static str) {
    use sqlx::{Connection as _, Executor as _};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite:{}", world.database().display())).await.unwrap();
        connection.execute(statement).await.unwrap();
        connection.close().await.unwrap();
    });
}
