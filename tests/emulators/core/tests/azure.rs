//! Azure Key Vault and Managed HSM as a state machine: what holds in every order of requests. The official clients test the rest.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::{collections::BTreeMap, time::Duration};

use keyplane_emulator_core::{
    Timestamp,
    azure::{Azure, Config, Kind, Operation, Request},
    crypto::RsaPairs,
    fault::{Effect, HaltPoint, Rule},
    frame::{Answer, Frame},
};
use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use serde_json::{Value, json};

const HOST: &str = "corp-vault.vault.azure.net";
const DAY: u64 = 24 * 60 * 60;

struct World {
    vault: Frame<Azure>,
    rng: ChaCha20Rng,
    now: Timestamp,
}

impl World {
    fn new(kind: Kind) -> Self {
        Self::with(Config::new(kind, HOST))
    }

    fn with(config: Config) -> Self {
        let mut vault = Azure::vault(config, Box::new(RsaPairs::fixed()));
        vault.quotas().turn(false);
        Self { vault, rng: ChaCha20Rng::seed_from_u64(7), now: Timestamp::from_micros(1_800_000_000_000_000) }
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    fn send(&mut self, request: &str, body: &Value) -> Answer<(u16, Value)> {
        let (method, path) = request.split_once(' ').unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::new(method, Some(HOST), path, &format!("api-version=7.6&{query}"), body);
        match self.vault.handle(self.now, &mut self.rng, &request) {
            Answer::Reply(reply) => Answer::Reply((reply.status, reply.body)),
            Answer::Hang => Answer::Hang,
            Answer::Close => Answer::Close,
        }
    }

    fn call(&mut self, request: &str, body: &Value) -> (u16, Value) {
        match self.send(request, body) {
            Answer::Reply(reply) => reply,
            other => panic!("no reply: {other:?}"),
        }
    }

    fn create(&mut self, name: &str) -> (u16, Value) {
        self.call(&format!("POST /keys/{name}/create"), &json!({ "kty": "EC" }))
    }

    fn dump(&mut self) -> Value {
        self.vault.dump(self.now, &mut self.rng)
    }

    fn list(&mut self, path: &str) -> Vec<Value> {
        let (mut items, mut next) = (Vec::new(), format!("GET {path}?maxresults=2"));
        loop {
            let (status, page) = self.call(&next, &Value::Null);
            assert_eq!(status, 200, "{page}");
            items.extend(page["value"].as_array().unwrap().clone());
            match page["nextLink"].as_str() {
                Some(link) => next = format!("GET {}", link.strip_prefix(&format!("https://{HOST}:443")).unwrap()),
                None => return items,
            }
        }
    }
}

/// The expected state of a key, by the documents.
#[derive(Clone, Debug, Default)]
struct Known {
    versions: Vec<String>,
    /// When it was deleted. `None`: it is not.
    deleted: Option<u64>,
}

#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Delete(usize),
    Recover(usize),
    Purge(usize),
    Disable(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..3_usize;
    let step = prop_oneof![
        3 => name.clone().prop_map(Step::Create),
        2 => name.clone().prop_map(Step::Delete),
        2 => name.clone().prop_map(Step::Recover),
        1 => name.clone().prop_map(Step::Purge),
        1 => name.prop_map(Step::Disable),
        1 => (0..60 * DAY).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    // contract: azure.delete.soft, azure.delete.name, azure.delete.recover, azure.import.activation, azure.lists
    #[test]
    fn keys_come_and_go_as_the_documents_say(steps in steps()) {
        let mut world = World::new(Kind::Standard);
        let mut known: BTreeMap<usize, Known> = BTreeMap::new();
        let mut clock = 0;
        for step in steps {
            known.retain(|_, key| key.deleted.is_none_or(|at| at + 90 * DAY > clock));
            match step {
                Step::Create(name) => {
                    let (status, body) = world.create(&format!("key-{name}"));
                    let key = known.entry(name).or_default();
                    prop_assert_eq!(status, if key.deleted.is_some() { 409 } else { 200 });
                    if status == 200 {
                        key.versions.push(body["key"]["kid"].as_str().unwrap().to_owned());
                    }
                }
                Step::Delete(name) => {
                    let live = known.get_mut(&name).filter(|key| key.deleted.is_none());
                    let (status, _) = world.call(&format!("DELETE /keys/key-{name}"), &Value::Null);
                    prop_assert_eq!(status, if live.is_some() { 200 } else { 404 });
                    live.into_iter().for_each(|key| key.deleted = Some(clock));
                }
                Step::Recover(name) => {
                    let gone = known.get_mut(&name).filter(|key| key.deleted.is_some());
                    let (status, _) = world.call(&format!("POST /deletedkeys/key-{name}/recover"), &Value::Null);
                    prop_assert_eq!(status, if gone.is_some() { 200 } else { 404 });
                    gone.into_iter().for_each(|key| key.deleted = None);
                }
                Step::Purge(name) => {
                    let gone = known.get(&name).is_some_and(|key| key.deleted.is_some());
                    let (status, _) = world.call(&format!("DELETE /deletedkeys/key-{name}"), &Value::Null);
                    prop_assert_eq!(status, if gone { 204 } else { 404 });
                    if gone {
                        known.remove(&name);
                    }
                }
                Step::Disable(name) => {
                    let live = known.get(&name).is_some_and(|key| key.deleted.is_none());
                    let (status, _) = world.call(&format!("PATCH /keys/key-{name}/"), &json!({ "attributes": { "enabled": false } }));
                    prop_assert_eq!(status, if live { 200 } else { 404 });
                }
                Step::Pass(seconds) => {
                    clock += seconds;
                    world.pass(seconds);
                    continue;
                }
            }
            let names = |wanted: bool| known.iter().filter(move |(_, key)| key.deleted.is_some() == wanted).map(|(name, _)| format!("https://{HOST}/keys/key-{name}"));
            for (path, deleted) in [("/keys", false), ("/deletedkeys", true)] {
                let seen: Vec<String> = world.list(path).iter().map(|item| item["kid"].as_str().unwrap().to_owned()).collect();
                prop_assert_eq!(seen, names(deleted).collect::<Vec<_>>());
            }
            for (name, key) in known.iter().filter(|(_, key)| key.deleted.is_none()) {
                let (_, current) = world.call(&format!("GET /keys/key-{name}/"), &Value::Null);
                prop_assert_eq!(current["key"]["kid"].as_str(), key.versions.last().map(String::as_str));
                let mut versions = key.versions.clone();
                versions.sort();
                let seen: Vec<String> = world.list(&format!("/keys/key-{name}/versions")).iter().map(|item| item["kid"].as_str().unwrap().to_owned()).collect();
                prop_assert_eq!(seen, versions);
            }
        }
    }

    #[test]
    fn whatever_is_sent_is_answered_and_a_refusal_changes_nothing(
        operation in 0..Operation::ALL.len(),
        name in "[a-zA-Z_-]{0,6}",
        version in "[0-9a-f]{0,4}",
        body in prop_oneof![
            Just(Value::Null),
            Just(json!([])),
            Just(json!({ "kty": "EC", "attributes": { "enabled": 7 } })),
            Just(json!({ "kty": "RSA", "key_size": -1 })),
            Just(json!({ "kty": "EC", "key_ops": ["import"] })),
            Just(json!({ "key": { "kty": "RSA-HSM", "key_hsm": "e30" } })),
            Just(json!({ "key": { "kty": "EC", "crv": "P-256", "x": "", "y": "", "d": "" } })),
            Just(json!({ "alg": "ES256", "value": "AA" })),
            Just(json!({ "tags": { "a": null } })),
        ],
    ) {
        let mut world = World::new(Kind::Premium);
        world.create("key");
        let before = world.dump();
        for path in ["/keys/NAME/VERSION/sign", "/keys/NAME/create", "/keys/NAME", "/keys/NAME/VERSION", "/deletedkeys/NAME/recover", "/deletedkeys/NAME", "/rng", "/keys"] {
            let path = path.replace("NAME", &name).replace("VERSION", &version);
            for method in ["GET", "POST", "PUT", "PATCH"] {
                let (status, answer) = world.call(&format!("{method} {path}"), &body);
                if status >= 400 {
                    prop_assert!(answer["error"]["code"].is_string() && answer["error"]["message"].is_string());
                    prop_assert_eq!(&world.dump()["keys"], &before["keys"]);
                }
                prop_assert!(status != 500, "{} {}: {}", method, path, answer);
                if status < 400 && method != "GET" {
                    return Ok(());
                }
            }
        }
        let operation = Operation::ALL[operation];
        prop_assert_eq!(Operation::from_name(operation.name()), Some(operation));
    }
}

#[test]
fn every_mutating_operation_and_no_other_has_a_number() {
    let mut world = World::new(Kind::Standard);
    world.create("key");
    world.call("GET /keys/key", &Value::Null);
    world.call("GET /keys/key/versions", &Value::Null);
    world.call("PATCH /keys/key", &json!({ "tags": {} }));
    world.call("POST /keys/key/sign", &json!({ "alg": "ES256", "value": "AA" }));
    world.call("POST /nonsense", &Value::Null);
    world.call("DELETE /keys/key", &Value::Null);
    world.call("POST /deletedkeys/key/recover", &Value::Null);
    let seen: Vec<_> = world.vault.journal().entries().map(|entry| (entry.operation.clone(), entry.mutation)).collect();
    let expected = [
        ("CreateKey", Some(1)),
        ("GetKey", None),
        ("GetKeyVersions", None),
        ("UpdateKey", Some(2)),
        ("Sign", None),
        ("/nonsense", None),
        ("DeleteKey", Some(3)),
        ("RecoverDeletedKey", Some(4)),
    ];
    assert_eq!(seen, expected.map(|(name, number)| (name.to_owned(), number)));
}

#[test]
fn a_halt_before_its_effect_lets_it_happen_or_not_as_asked() {
    for apply in [true, false] {
        let mut world = World::new(Kind::Standard);
        world.vault.faults().add(Rule::on_mutation(1, Effect::Halt { when: HaltPoint::BeforeEffect }));
        assert_eq!(world.send("POST /keys/key/create", &json!({ "kty": "EC" })), Answer::Hang);
        assert_eq!(world.send("GET /keys/key", &Value::Null), Answer::Hang);
        world.vault.resume(world.now, &mut world.rng, apply);
        assert_eq!(world.call("GET /keys/key", &Value::Null).0, if apply { 200 } else { 404 });
    }
}

#[test]
fn a_version_that_is_altered_is_made_and_disabled_and_the_one_before_is_not() {
    let mut world = World::new(Kind::Standard);
    world.create("key");
    world.vault.faults().add(Rule::on_operation("CreateKey", Effect::Altered));
    assert_eq!(world.create("key").0, 200);
    let dump = world.dump();
    let states: Vec<bool> = dump["keys"][0]["materials"].as_array().unwrap().iter().map(|held| held["state"] == "disabled").collect();
    assert_eq!(states, [false, true]);
}

// contract: azure.quota.vault
#[test]
fn at_the_published_pace_nothing_is_throttled_and_faster_soon() {
    for (pause, throttled) in [(1_000, false), (800, true)] {
        let mut world = World::new(Kind::Premium);
        world.vault.quotas().turn(true);
        let mut refused = false;
        for n in 0..100 {
            let (status, _) = world.call(&format!("POST /keys/key-{n}/create"), &json!({ "kty": "EC-HSM" }));
            refused |= status == 429;
            world.now = world.now + Duration::from_millis(pause);
        }
        assert_eq!(refused, throttled, "one HSM key in {pause} ms");
    }
}

// contract: azure.disabled, azure.evidence.public
#[test]
fn the_dump_tells_versions_apart_and_shows_material_only_when_told_to() {
    for reveal in [false, true] {
        let mut config = Config::new(Kind::Standard, HOST);
        config.reveal_material = reveal;
        let mut world = World::with(config);
        let (_, first) = world.create("key");
        world.create("key");
        let version = first["key"]["kid"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        world.call(&format!("PATCH /keys/key/{version}"), &json!({ "attributes": { "enabled": false }, "tags": { "a": "b" } }));
        let key = &world.dump()["keys"][0];
        let states: Vec<&str> = key["materials"].as_array().unwrap().iter().map(|held| held["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["disabled", "current"]);
        assert_eq!((&key["id"], &key["state"], &key["tags"]), (&json!("key"), &json!("enabled"), &json!({})));
        assert_eq!((&key["materials"][0]["id"], &key["materials"][0]["tags"]), (&json!(version), &json!({ "a": "b" })));
        assert_eq!(key["materials"][0]["bytes"].is_string(), reveal);
        assert_eq!(key["materials"][0]["sha256"].as_str().unwrap().len(), 64);
    }
}
