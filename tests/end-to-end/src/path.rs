//! The way of a key from the policy to its users, and disturbances on it.

use std::collections::BTreeSet;
use std::process::Stdio;

use keyplane_lab::{Options, Policy};
use keyplane_model::{Action, CharterChange, CloudKind, canonical_bytes};
use serde_json::{Value, json};

use crate::bad_input::sql;
use crate::matrix::HELD;
use crate::stranger::Stranger;
use crate::world::{HERE, THERE, World, hashes, json as parsed, problems, text};

/// Runs a command with `--json` and returns what it printed.
fn asked(world: &World, args: &[&str]) -> Value {
    let args: Vec<&str> = std::iter::once("--json").chain(args.iter().copied()).collect();
    parsed(&world.must(&args).unwrap().stdout)
}

#[test]
fn a_key_goes_from_the_policy_to_its_users_at_two_destinations_and_then_nothing_is_to_do() {
    let world = World::raw(Options::fast);
    world.ask("db", "derived", &[HERE, THERE]);
    world.ask("files", "generated", &[HERE, THERE]);
    assert!(asked(&world, &["init"])["installation"].is_string());
    assert!(asked(&world, &["hsm", "enroll"])["routes"].is_array());
    let checked = asked(&world, &["config", "check"]);
    assert!(checked["problems"].as_array().unwrap().is_empty(), "{checked}");
    assert!(asked(&world, &["hsm", "test"])["checks"].as_array().unwrap().iter().all(|check| check["passed"] == true));
    assert_eq!(asked(&world, &["validate"])["keys"], json!(["db", "files"]));
    assert!(asked(&world, &["validate", "--schema"])["$schema"].is_string());
    assert!(asked(&world, &["explain", "db"]).is_object());
    let charter = asked(&world, &["hsm", "charter"]);
    assert_eq!((charter["id"]["serial"].as_u64(), &charter["proposal"]), (Some(1), &Value::Null), "the policy says the same");
    assert_eq!(asked(&world, &["migrate"])["from"], asked(&world, &["migrate"])["to"]);

    let planned = asked(&world, &["plan"]);
    assert_eq!(planned["change_sets"].as_array().unwrap().len(), 2, "{planned}");
    assert_eq!(asked(&world, &["plan"])["change_sets"], planned["change_sets"], "the same look gives the same plan");
    assert_eq!(world.keyplane(&["plan", "--detailed-exitcode"]).code, 2);
    let digest = world.digest("db");
    assert!(asked(&world, &["show", &digest, "--message"])["message"].is_string());
    let approved = asked(&world, &["approve", "--yes", "--all", "--as", "alice", "--key", text(&world.approver_key("alice"))]);
    assert_eq!(approved.as_array().unwrap().len(), 2);
    let applied = asked(&world, &["apply"]);
    assert_eq!(applied["applied"]["done"].as_array().unwrap().len(), 2, "{applied}");

    // Nothing is to do, with a reason for each key; applying again sends no mutating request.
    let before = [HERE, THERE].map(|destination| world.requests(destination).len());
    let applied = asked(&world, &["apply"]);
    assert!(applied["applied"]["done"].as_array().unwrap().is_empty());
    for key in applied["plan"]["keys"].as_array().unwrap() {
        assert_eq!(key["verdict"], "nothing", "{key}");
        assert!(key["reason"].as_str().unwrap().contains("in place"), "{key}");
    }
    world.settled().unwrap();
    for (destination, before) in [HERE, THERE].into_iter().zip(before) {
        let since = world.requests(destination).split_off(before);
        assert!(since.iter().all(|request| request["mutation"].is_null()), "applying again changed something");
    }

    // Each placement has bytes of its own.
    let mut all = hashes(&world.objects(HERE, "db"));
    for (destination, key) in [(THERE, "db"), (HERE, "files"), (THERE, "files")] {
        all.extend(hashes(&world.objects(destination, key)));
    }
    assert_eq!(all.len(), 4);

    let status = asked(&world, &["status"]);
    assert_eq!(status["keys"].as_array().unwrap().len(), 2);
    let evidence = asked(&world, &["evidence"]);
    let lines = evidence["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 4);
    for line in lines {
        assert_eq!(line["evidence"]["strength"], "same-object", "{line}");
        assert!(line["evidence"]["wrapped_under"].is_string(), "{line}");
    }
    for (destination, key) in [(HERE, "db"), (THERE, "files")] {
        let user = world.user(destination).unwrap();
        let encrypted = user.encrypt(key, b"something", &[("table", "orders")]).unwrap();
        assert_eq!(user.decrypt(&encrypted.ciphertext, &[("table", "orders")]).unwrap(), b"something");
        assert!(user.decrypt(&encrypted.ciphertext, &[("table", "others")]).is_err());
    }
}

/// A change of the charter is proposed, shown, approved and adopted as one thing for everybody, whoever runs the commands.
#[test]
fn a_charter_is_proposed_approved_and_adopted_under_its_digest() {
    let world = World::enrolled();
    let file = world.policy_folder().join("profiles.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    let loosened = good.replacen("import: { need: 1, from: [security] }", "import: { need: 0 }", 1);
    std::fs::write(&file, loosened).unwrap();
    let proposed = asked(&world, &["hsm", "charter"]);
    let digest = proposed["proposal"].as_str().unwrap().to_owned();
    assert_eq!((&proposed["adopted"], proposed["id"]["serial"].as_u64()), (&json!(false), Some(1)));
    let message = asked(&world, &["show", &digest, "--message"])["message"].clone();

    // Asking again finds the same proposal, and what is signed depends on the policy no more.
    assert_eq!(asked(&world, &["hsm", "charter"])["proposal"], json!(digest));
    std::fs::write(&file, &good).unwrap();
    assert_eq!(asked(&world, &["show", &digest, "--message"])["message"], message);
    let shown = world.must(&["show", &digest]).unwrap().stdout;
    assert!(shown.contains("LOOSER") && shown.contains("import needs nobody instead of 1 of security"), "{shown}");
    let ran = world.approve(&digest, keyplane_lab::OPERATOR);
    assert_eq!(problems(&ran)[0]["code"], "approval-by-self");
    let first = parsed(&world.approve(&digest, "alice").stdout);
    assert_eq!((first[0]["have"].as_u64(), first[0]["need"].as_u64()), (Some(1), Some(2)), "{first}");

    // One approval of two: the custodian says who is missing, and why an approval that somebody put into the database does not count.
    std::fs::write(&file, good.replacen("import: { need: 1, from: [security] }", "import: { need: 0 }", 1)).unwrap();
    sql(&world, "INSERT INTO charter_approvals SELECT proposal, 'carol', signature, given_at FROM charter_approvals");
    let ran = world.keyplane(&["--json", "hsm", "charter"]);
    let missing = &problems(&ran)[0];
    assert_eq!((ran.code, missing["code"].as_str()), (4, Some("approvals-missing")), "{missing:#}");
    let detail = missing["detail"].as_str().unwrap();
    assert_eq!(detail, "1 of 2 approvals of security; not counted: `carol` (the key that signed is not enrolled for this approver)");
    assert_eq!(missing["next"], json!(format!("keyplane show {digest}")));

    assert_eq!(world.approve(&digest, "carol").code, 0);
    let adopted = asked(&world, &["hsm", "charter"]);
    assert_eq!((&adopted["adopted"], adopted["id"]["serial"].as_u64()), (&json!(true), Some(2)), "{adopted}");
    world.must(&["plan"]).unwrap();
    let ran = world.approve(&digest, "alice");
    assert!(problems(&ran)[0]["detail"].as_str().unwrap().contains("it is in force as charter 2"), "{}", ran.stderr);
}

/// Carol proposes what two of alice, carol and the operator have to approve. She is asked to approve it, so somebody else proposes the same.
#[test]
fn a_charter_that_its_proposer_has_to_approve_is_proposed_by_somebody_else() {
    let world = World::enrolled();
    let file = world.policy_folder().join("profiles.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replacen("import: { need: 1, from: [security] }", "import: { need: 0 }", 1)).unwrap();
    let by_operator = asked(&world, &["hsm", "charter"])["proposal"].as_str().unwrap().to_owned();
    // As if carol had run that command.
    let mut change = asked(&world, &["show", &by_operator])["proposal"]["subject"]["charter"]["change"].clone();
    change["proposer"] = json!("carol@lab.example");
    let change: CharterChange = serde_json::from_value(change).unwrap();
    let first = change.digest().unwrap().to_string();
    let body = String::from_utf8(canonical_bytes(&change).unwrap()).unwrap();
    sql(&world, format!("UPDATE charter_proposals SET digest = '{first}', body = '{body}'").leak());

    assert_eq!(asked(&world, &["hsm", "charter"])["proposal"], json!(first));
    let ran = world.approve(&first, "carol");
    let by_self = &problems(&ran)[0];
    assert_eq!(by_self["code"], "approval-by-self");
    assert!(by_self["next"].as_str().unwrap().contains("keyplane hsm charter --own"), "{by_self:#}");
    let second = asked(&world, &["hsm", "charter", "--own"])["proposal"].as_str().unwrap().to_owned();
    assert_ne!(second, first);
    for name in ["alice", "carol"] {
        let charters = asked(&world, &["status"])["charters"].clone();
        let told: Vec<_> = charters.as_array().unwrap().iter().map(|there| (&there["digest"], there["missing"].is_null())).collect();
        assert_eq!(told, [(&json!(first), false), (&json!(second), false)], "{charters:#}");
        assert_eq!(world.approve(&second, name).code, 0);
    }
    assert_eq!(asked(&world, &["status"])["charters"][1]["missing"], Value::Null);
    let shown = world.must(&["status"]).unwrap().stdout;
    assert!(shown.contains("charter 2") && shown.contains("0 of 2 approvals of security") && shown.contains("has enough"), "{shown}");
    let adopted = asked(&world, &["hsm", "charter"]);
    assert_eq!((&adopted["adopted"], adopted["id"]["serial"].as_u64()), (&json!(true), Some(2)), "{adopted}");
}

/// The database is as a crash leaves it that comes when the token has the new charter and the ledger does not.
#[test]
fn an_adoption_that_a_crash_cut_off_is_completed_whatever_the_policy_says_by_then() {
    let world = World::enrolled();
    let file = world.policy_folder().join("profiles.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replacen("import: { need: 1, from: [security] }", "import: { need: 0 }", 1)).unwrap();
    let digest = asked(&world, &["hsm", "charter"])["proposal"].as_str().unwrap().to_owned();
    for name in ["alice", "carol"] {
        assert_eq!(world.approve(&digest, name).code, 0);
    }
    assert_eq!(asked(&world, &["hsm", "charter"])["adopted"], json!(true));
    sql(&world, "DELETE FROM charters WHERE serial = 2");
    std::fs::write(&file, &good).unwrap();

    let completed = asked(&world, &["hsm", "charter"]);
    assert_eq!((&completed["adopted"], completed["id"]["serial"].as_u64()), (&json!(true), Some(2)), "{completed}");
    // The policy says again what it said before, which is a change of the charter that is in force now.
    let message = asked(&world, &["show", completed["proposal"].as_str().unwrap(), "--message"])["message"].clone();
    assert!(message.as_str().unwrap().contains("\ncharter: 2 "), "{message}");
    assert_eq!(problems(&world.keyplane(&["--json", "plan"]))[0]["code"], "charter-changed");
}

/// Without a terminal nobody can be asked, so nothing is signed.
#[test]
fn nothing_is_signed_before_somebody_was_asked() {
    let world = World::enrolled();
    let digest = world.proposed("db", "derived", &[HERE]);
    let key = world.approver_key("alice");
    let message = world.must(&["show", &digest, "--message"]).unwrap().stdout;
    assert!(message.lines().count() >= 10, "{message}");
    for command in [&["show", &digest][..], &["approve", "--all", "--as", "alice", "--key", text(&key)]] {
        let shown = world.keyplane(command).stdout;
        for line in message.lines() {
            assert!(shown.lines().any(|there| there.trim() == line), "`{line}` is signed, and not shown by {command:?}: {shown}");
        }
    }
    for args in [vec!["approve"], vec!["--json", "approve"]] {
        let ran = world.keyplane(&[&args[..], &["--all", "--as", "alice", "--key", text(&key)]].concat());
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        let fingerprint = ssh_fingerprint(&public);
        assert!(ran.stderr.contains("1 approval(s) as alice") && ran.stderr.contains(&fingerprint), "{}", ran.stderr);
    }
    assert!(world.status().unwrap().open[0].approved_by.is_empty());
    world.must(&["approve", "--yes", "--all", "--as", "alice", "--key", text(&key)]).unwrap();
    assert_eq!(world.status().unwrap().open[0].approved_by.len(), 1);
}

/// The SHA-256 of the key in its wire format, as OpenSSH writes it.
fn ssh_fingerprint(public: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), public).unwrap();
    let output = std::process::Command::new("ssh-keygen").arg("-lf").arg(file.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn two_that_apply_at_the_same_time_double_nothing() {
    let world = World::enrolled();
    world.approved("db", "derived", &[HERE]);
    world.approved("files", "generated", &[HERE]);
    let mut runs: Vec<_> =
        (0..2).map(|_| world.command(&["apply"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).collect();
    let codes: Vec<_> = runs.iter_mut().map(|run| run.wait().unwrap().code().unwrap()).collect();
    assert!(codes.contains(&0) || world.keyplane(&["apply"]).code == 0, "{codes:?}");
    for _ in 0..2 {
        if world.status().unwrap().open.is_empty() {
            break;
        }
        world.approve_all().unwrap();
        world.must(&["apply"]).unwrap();
    }
    world.settled().unwrap();
    for key in ["db", "files"] {
        let objects = world.objects(HERE, key);
        let live: Vec<_> = objects.iter().filter(|object| object["state"] != "PendingDeletion").collect();
        assert_eq!(live.len(), 1, "{objects:#?}");
        assert_eq!(live[0]["materials"].as_array().unwrap().len(), 1);
        assert_eq!(hashes(&objects).len(), 1);
        let target = world.target(HERE, &format!("alias/{key}"));
        assert_eq!(target.as_deref(), live[0]["id"].as_str());
    }
}

#[test]
fn a_surplus_shell_is_named_and_removed_by_an_approved_change_set_alone() {
    let world = World::enrolled();
    world.approved("db", "derived", &[HERE]);
    // The object is made long after its request was given up, and another one was made in its place.
    let late = json!({ "operation": "CreateKey", "effect": { "kind": "late", "after_requests": HELD, "close": true } });
    world.here().post("faults", &late).unwrap();
    world.must(&["apply"]).unwrap();
    world.here().post("late", &json!(null)).unwrap();
    assert_eq!(world.objects(HERE, "db").len(), 2);

    let ran = world.keyplane(&["plan", "--detailed-exitcode"]);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    let status = world.status().unwrap();
    let clean_up = &status.open[0];
    assert_eq!(clean_up.action, Action::CleanUp);
    let surplus: Vec<_> = world.objects(HERE, "db").into_iter().filter(|object| object["state"] == "PendingImport").collect();
    assert_eq!(surplus.len(), 1);
    let surplus = surplus[0]["id"].as_str().unwrap().to_owned();
    assert!(clean_up.reasons.iter().any(|reason| reason.contains(&surplus)), "{:?}", clean_up.reasons);

    let ran = world.keyplane(&["--json", "apply"]);
    assert_eq!(problems(&ran)[0]["code"], "approvals-missing");
    let state = |id: &str| world.objects(HERE, "db").into_iter().find(|object| object["id"] == id).unwrap()["state"].clone();
    assert_eq!(state(&surplus), "PendingImport", "it was removed without an approval");
    world.approve_all().unwrap();
    world.must(&["apply"]).unwrap();
    assert_eq!(state(&surplus), "PendingDeletion");
    world.settled().unwrap();
    let user = world.user(HERE).unwrap();
    assert_eq!(user.decrypt(&user.encrypt("db", b"x", &[]).unwrap().ciphertext, &[]).unwrap(), b"x");
}

#[test]
fn what_others_change_is_told_and_not_undone() {
    let world = World::enrolled();
    world.applied("db", "derived", &[HERE]);
    let id = world.target(HERE, "alias/db").unwrap();
    let stranger = Stranger::new(&world);
    let told = |what: &str| {
        for args in [["--json", "plan"], ["--json", "apply"]] {
            let ran = world.keyplane(&args);
            let problem = &problems(&ran)[0];
            assert_eq!((ran.code, problem["code"].as_str()), (7, Some("drift")), "{what}: {problem:#}");
            assert_eq!((problem["key"].as_str(), problem["destination"].as_str()), (Some("db"), Some(HERE)), "{what}");
        }
    };

    stranger.disables(&id);
    told("disabled");
    // It cannot be used, but is still the right key.
    world.must(&["evidence"]).unwrap();
    assert_eq!(world.objects(HERE, "db")[0]["state"], "Disabled", "it was enabled by itself");
    stranger.enables(&id);
    world.settled().unwrap();

    stranger.gives_back("alias/db");
    told("without its users' name");
    assert_eq!(world.target(HERE, "alias/db"), None, "the name was given again by itself");
    stranger.names("alias/db", &id);
    world.settled().unwrap();

    stranger.empties(&id);
    told("without its material");
    assert_eq!(world.keyplane(&["evidence"]).code, 7);
    assert!(hashes(&world.objects(HERE, "db")).is_empty(), "the material was imported again by itself");
}

/// Here somebody takes the server's record of a wrap out of the database. It is the same for a wrap that was never recorded there.
#[test]
fn bytes_that_left_the_hsm_past_the_ledger_are_told() {
    let world = World::enrolled();
    world.applied("db", "derived", &[HERE]);
    assert_eq!(asked(&world, &["evidence"])["problems"], json!([]));
    sql(&world, "DROP TRIGGER wraps_are_not_removed");
    sql(&world, "DELETE FROM wraps");
    let ran = world.keyplane(&["--json", "evidence"]);
    let problem = &problems(&ran)[0];
    assert_eq!((ran.code, problem["code"].as_str()), (12, Some("wrapping-key-unknown")), "{problem:#}");
    assert_eq!((problem["key"].as_str(), problem["destination"].as_str()), (Some("db"), Some(HERE)), "{problem:#}");
}

/// As after a crash between the ledger's record and the custodian's.
#[test]
fn a_withdrawal_that_was_interrupted_is_ended_by_the_next_plan() {
    let world = World::enrolled();
    let digest = world.approved("db", "derived", &[HERE]);
    sql(&world, "UPDATE change_sets SET state = 'ending'");
    let problem = &problems(&world.keyplane(&["--json", "apply", &digest]))[0];
    assert_eq!((problem["code"].as_str(), problem["next"].as_str()), (Some("change-set-stale"), Some("keyplane plan")), "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().contains("is being withdrawn"), "{problem:#}");
    assert_eq!(problems(&world.approve(&digest, "alice"))[0]["code"], "approval-unknown-digest");

    let planned = asked(&world, &["plan"]);
    assert_eq!(planned["warnings"], json!([]), "{planned}");
    let next = world.digest("db");
    assert_ne!(next, digest);
    assert_eq!(problems(&world.keyplane(&["--json", "apply"]))[0]["code"], "approvals-missing", "the old approvals are for the old digest");
    world.approve_all().unwrap();
    world.must(&["apply"]).unwrap();
    world.settled().unwrap();
}

#[test]
fn what_a_dropped_change_set_left_is_taken_up_by_the_next() {
    let world = World::enrolled();
    let stranger = Stranger::new(&world);
    for (key, source) in [("db", "derived"), ("files", "generated")] {
        world.approved(key, source, &[HERE]);
        world.here().post("faults", &json!({ "operation": "ImportKeyMaterial", "effect": { "kind": "deny" } })).unwrap();
        assert_eq!(world.keyplane(&["apply"]).code, 4);
        let id = world.objects(HERE, key)[0]["id"].as_str().unwrap().to_owned();
        let claim = world.claim(key);
        stranger.gives_back(&claim);
        stranger.takes(&claim);
        let ran = world.keyplane(&["--json", "apply"]);
        assert_eq!(problems(&ran)[0]["code"], "foreign-object");
        assert!(world.status().unwrap().open.is_empty(), "the change set does not fit any more");
        stranger.gives_back(&claim);
        stranger.names(&claim, &id);
        world.must(&["plan"]).unwrap();
        world.approve_all().unwrap();
        world.must(&["apply"]).unwrap();
        world.settled().unwrap();
        let objects = world.objects(HERE, key);
        assert_eq!(objects.len(), 1);
        assert_eq!(world.target(HERE, &format!("alias/{key}")).as_deref(), Some(id.as_str()));
    }
}

/// Runs `keyplane apply`, which has to end because the attempts at a step are used up; returns what it tells.
fn spent(world: &World, key: &str) -> String {
    let ran = world.keyplane(&["--json", "apply"]);
    let problem = &problems(&ran)[0];
    assert_eq!((ran.code, problem["code"].as_str()), (11, Some("attempts-spent")), "{problem:#}");
    assert_eq!((problem["key"].as_str(), problem["destination"].as_str()), (Some(key), Some(HERE)));
    assert!(problem["next"].as_str().unwrap().contains("`keyplane apply`"), "{problem:#}");
    problem["detail"].as_str().unwrap().to_owned()
}

/// How often an operation was requested.
fn count(world: &World, operation: &str) -> usize {
    world.requests(HERE).iter().filter(|request| request["operation"] == operation).count()
}

/// Without a bound on attempts, one `apply` made dozens of keys, and no plan named them.
#[test]
fn a_bot_that_strips_tags_costs_three_keys_then_one_an_apply_and_each_is_named() {
    let world = World::enrolled();
    world.approved("db", "derived", &[HERE]);
    let strips = json!({ "operation": "CreateKey", "times": null, "effect": { "kind": "altered" } });
    world.here().post("faults", &strips).unwrap();
    let mut known = BTreeSet::new();
    for made in [3, 1] {
        let detail = spent(&world, "db");
        let dump = world.here().get("dump").unwrap();
        let all: BTreeSet<String> = dump["keys"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect();
        let new: Vec<&String> = all.difference(&known).collect();
        assert_eq!(new.len(), made, "{detail}");
        assert!(detail.contains("without our marks") && new.iter().all(|id| detail.contains(*id)), "{new:?}: {detail}");
        known = all;
    }
    world.here().delete("faults").unwrap();
    world.must(&["apply"]).unwrap();
    world.settled().unwrap();
    assert_eq!((count(&world, "CreateKey"), world.objects(HERE, "db").len()), (5, 1));
}

#[test]
fn an_alias_call_without_effect_is_made_three_times_then_once_an_apply() {
    let world = World::enrolled();
    world.approved("db", "derived", &[HERE]);
    let undoes = json!({ "operation": "CreateAlias", "times": null, "effect": { "kind": "undone" } });
    world.here().post("faults", &undoes).unwrap();
    for calls in [3, 4] {
        let detail = spent(&world, "db");
        assert!(detail.contains("nothing holds the claim"), "{detail}");
        assert_eq!((count(&world, "CreateKey"), count(&world, "CreateAlias")), (1, calls));
    }
    world.here().delete("faults").unwrap();
    world.must(&["apply"]).unwrap();
    world.settled().unwrap();
    assert_eq!((count(&world, "CreateKey"), count(&world, "CreateAlias")), (1, 4 + 2));
}

/// An approval says what may be done, and the policy what is wanted. The policy may have changed since, planned or not.
#[test]
fn what_the_policy_does_not_want_any_more_is_not_done_though_it_is_approved() {
    let world = World::enrolled();
    let told = |args: &[&str], key: &str, by: &str| {
        let args: Vec<&str> = std::iter::once("--json").chain(args.iter().copied()).collect();
        let ran = world.keyplane(&args);
        let problem = &problems(&ran)[0];
        assert_eq!((ran.code, problem["code"].as_str(), problem["key"].as_str()), (7, Some("change-set-stale"), Some(key)), "{problem:#}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(by) && detail.contains("the key is not wanted any more"), "{detail}");
    };
    let file = |key: &str| world.policy_folder().join(format!("{key}.yaml"));

    // Before it is committed.
    let digest = world.approved("db", "derived", &[HERE]);
    std::fs::remove_file(file("db")).unwrap();
    told(&["apply"], "db", "the policy of this command");
    let folder = world.policy_folder();
    told(&["apply", &digest, "--policy", text(&folder)], "db", "the policy of this command");
    assert!(world.objects(HERE, "db").is_empty(), "something was made");
    assert_eq!(world.status().unwrap().open.len(), 1, "only a plan withdraws a proposal");
    world.must(&["plan"]).unwrap();
    assert!(world.status().unwrap().open.is_empty());

    // After it was begun. Without a policy, the last plan's decides.
    let digest = world.approved("files", "generated", &[HERE]);
    world.here().post("faults", &json!({ "operation": "ImportKeyMaterial", "effect": { "kind": "deny" } })).unwrap();
    assert_eq!(world.keyplane(&["apply"]).code, 4);
    let id = world.objects(HERE, "files")[0]["id"].clone();
    let wanted = std::fs::read_to_string(file("files")).unwrap();
    std::fs::remove_file(file("files")).unwrap();
    told(&["apply"], "files", "the policy of this command");
    assert_eq!(world.status().unwrap().open.len(), 1, "this policy may be anybody's, until a plan is made of it");
    world.must(&["plan"]).unwrap();
    told(&["apply", &digest], "files", "of the intent");
    assert!(world.status().unwrap().open.is_empty(), "it is dropped");
    assert!(hashes(&world.objects(HERE, "files")).is_empty(), "something was imported");

    // Wanted again, it continues with what is there.
    world.write_policy("files.yaml", &wanted).unwrap();
    world.must(&["plan"]).unwrap();
    world.approve_all().unwrap();
    world.must(&["apply"]).unwrap();
    world.settled().unwrap();
    let objects = world.objects(HERE, "files");
    assert_eq!((objects.len(), &objects[0]["id"]), (1, &id));
}

#[test]
fn published_quotas_are_kept() {
    let world = World::raw(|policy| Options { clouds: [CloudKind::Aws].into(), ..Options::published(policy).enrolled() });
    let keys = ["one", "two", "three", "four", "five"];
    for key in keys {
        world.ask(key, "derived", &[HERE]);
    }
    world.must(&["plan"]).unwrap();
    world.approve_all().unwrap();
    world.must(&["apply"]).unwrap();
    let requests = world.requests(HERE);
    let imports = requests.iter().filter(|request| request["operation"] == "ImportKeyMaterial").count();
    assert_eq!(imports, keys.len());
    let throttled: Vec<_> = requests.iter().filter(|request| request["outcome"] == "ThrottlingException").collect();
    assert!(throttled.is_empty(), "{throttled:#?}");
}

#[test]
fn the_example_company_has_a_dozen_keys_and_each_is_explained() {
    let folder = tempfile::TempDir::new().unwrap();
    let lab = keyplane_lab::Lab::start(&folder.path().join("lab"), Options::fast(Policy::Example)).unwrap();
    lab.must(&["init"]).unwrap();
    let validated = parsed(&lab.must(&["--json", "validate"]).unwrap().stdout);
    let keys = validated["keys"].as_array().unwrap();
    for key in keys {
        lab.must(&["explain", key.as_str().unwrap()]).unwrap();
    }
    // The other keys wait for destinations that are not configured, which is reported.
    let waiting = validated["warnings"].as_array().unwrap().iter().map(|warning| &warning["key"]).filter(|key| key.is_string());
    let all: BTreeSet<&str> = keys.iter().chain(waiting).filter_map(Value::as_str).collect();
    assert!(all.len() >= 12 && keys.len() >= 5, "{all:?}");
}
