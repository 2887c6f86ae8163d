//! AWS KMS as a state machine. Its RSA is symbolic here: what unwraps is what was said to be wrapped. The real thing is
//! tested with itself, and by the official clients.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use keyplane_emulator_core::{
    Timestamp,
    aws::{
        Answer, Aws, Config, ImportTokenUse, MutationsSee, Operation, PolicyText, Readings, RepeatedPendingImport, Request,
        RestoredDisabledKey, RotationsOrder,
    },
    crypto::{Crypto, OaepHash, Pair, RealCrypto, Refused, RsaSize, Secret},
    fault::{Effect, HaltPoint, Rule},
};
use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use serde_json::{Value, json};

/// RSA as a record of what was done: a public key is its number, a ciphertext names key and hash.
#[derive(Default)]
struct Symbolic {
    pairs: AtomicU64,
}

impl Crypto for Symbolic {
    fn make_pair(&self, _: RsaSize) -> Result<Pair, Refused> {
        let number = self.pairs.fetch_add(1, Ordering::Relaxed).to_string();
        Ok(Pair { public: number.clone().into_bytes(), private: Secret::new(number.into_bytes()) })
    }

    fn unwrap_oaep(&self, private: &Secret, hash: OaepHash, wrapped: &[u8]) -> Result<Secret, Refused> {
        let prefix = [format!("{hash:?}:").as_bytes(), private.expose(), b":"].concat();
        wrapped.strip_prefix(prefix.as_slice()).map(Secret::new).ok_or(Refused)
    }

    fn unwrap_kwp(&self, _: &Secret, _: &[u8]) -> Result<Secret, Refused> {
        Err(Refused)
    }

    fn seal(&self, key: &Secret, nonce: [u8; 12], context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Refused> {
        RealCrypto.seal(key, nonce, context, plaintext)
    }

    fn open(&self, key: &Secret, nonce: [u8; 12], context: &[u8], sealed: &[u8]) -> Result<Secret, Refused> {
        RealCrypto.open(key, nonce, context, sealed)
    }

    fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        RealCrypto.hash(parts)
    }
}

struct World {
    aws: Aws,
    rng: ChaCha20Rng,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let mut aws = Aws::new(config, Box::new(Symbolic::default()), &mut rng);
        aws.quotas().turn(false);
        Self { aws, rng, now: Timestamp::from_micros(1_800_000_000_000_000) }
    }

    fn reading(change: impl FnOnce(&mut Readings)) -> Self {
        let mut world = Self::new();
        change(world.aws.readings());
        world
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    fn send(&mut self, operation: &str, body: &Value) -> Answer {
        let request = Request { operation: operation.into(), body: body.to_string().into_bytes() };
        self.aws.handle(self.now, &mut self.rng, &request)
    }

    /// The output, or the error's code.
    fn call(&mut self, operation: &str, body: Value) -> Result<Value, String> {
        match self.send(operation, &body) {
            Answer::Reply(reply) if reply.status == 200 => Ok(serde_json::from_slice(&reply.body).unwrap_or(Value::Null)),
            Answer::Reply(reply) => {
                let body: Value = serde_json::from_slice(&reply.body).unwrap();
                Err(body["__type"].as_str().unwrap().to_owned())
            }
            silent => Err(format!("{silent:?}")),
        }
    }

    fn create(&mut self) -> String {
        let made = self.call("CreateKey", json!({ "Origin": "EXTERNAL" })).unwrap();
        made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
    }

    fn parameters(&mut self, key: &str) -> Result<Value, String> {
        let body = json!({ "KeyId": key, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048" });
        self.call("GetParametersForImport", body)
    }

    fn import_with(&mut self, given: &Value, key: &str, material: u8, more: Value) -> Result<Value, String> {
        let public = STANDARD.decode(given["PublicKey"].as_str().unwrap()).unwrap();
        let wrapped = [b"Sha256:", public.as_slice(), b":", &[material; 32]].concat();
        let mut body = json!({
            "KeyId": key,
            "ImportToken": given["ImportToken"],
            "EncryptedKeyMaterial": STANDARD.encode(wrapped),
            "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.call("ImportKeyMaterial", body)
    }

    fn import(&mut self, key: &str, material: u8, more: Value) -> Result<Value, String> {
        let given = self.parameters(key)?;
        self.import_with(&given, key, material, more)
    }

    fn loaded(&mut self) -> String {
        let key = self.create();
        self.import(&key, 1, json!({})).unwrap();
        key
    }

    fn state(&mut self, key: &str) -> String {
        let described = self.call("DescribeKey", json!({ "KeyId": key })).unwrap();
        described["KeyMetadata"]["KeyState"].as_str().unwrap().to_owned()
    }

    fn count(&mut self) -> usize {
        self.call("ListKeys", json!({})).unwrap()["Keys"].as_array().unwrap().len()
    }

    fn dump(&mut self) -> Value {
        self.aws.dump(self.now, &mut self.rng)
    }
}

fn new_material() -> Value {
    json!({ "ImportType": "NEW_KEY_MATERIAL" })
}

#[test]
fn the_same_requests_with_the_same_seed_get_the_same_bytes() {
    let story = || {
        let mut world = World::new();
        let key = world.loaded();
        world.aws.set_consistency(Duration::from_secs(5));
        world.call("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": key })).unwrap();
        let answers: Vec<Answer> = (0..50)
            .map(|n| match n % 3 {
                0 => world.send("DescribeKey", &json!({ "KeyId": "alias/a" })),
                1 => world.send("Encrypt", &json!({ "KeyId": key, "Plaintext": "AAAA" })),
                _ => world.send("ListAliases", &json!({})),
            })
            .collect();
        (answers, world.dump())
    };
    assert_eq!(story(), story());
}

#[test]
fn consecutive_tokens_have_different_public_keys() {
    let mut world = World::new();
    let key = world.create();
    let publics: Vec<Value> = (0..6).map(|_| world.parameters(&key).unwrap()["PublicKey"].clone()).collect();
    assert!(publics.windows(2).all(|pair| pair[0] != pair[1]));
}

// contract: aws.import.parameters
#[test]
fn a_token_of_another_key_is_refused() {
    let mut world = World::new();
    let (one, other) = (world.create(), world.create());
    let given = world.parameters(&one).unwrap();
    let refused = world.import_with(&given, &other, 1, json!({}));
    assert_eq!(refused, Err("InvalidImportTokenException".into()));
    world.import_with(&given, &one, 1, json!({})).unwrap();
}

#[test]
fn a_ciphertext_opens_only_in_its_context() {
    let mut world = World::new();
    let key = world.loaded();
    let seal = json!({ "KeyId": key, "Plaintext": "AAAA", "EncryptionContext": { "a": "1" } });
    let blob = world.call("Encrypt", seal).unwrap()["CiphertextBlob"].clone();
    let mut open = |context: Value| {
        let body = json!({ "CiphertextBlob": blob, "EncryptionContext": context });
        world.call("Decrypt", body).map(|_| ())
    };
    assert_eq!(open(json!({ "a": "1" })), Ok(()));
    for wrong in [json!(null), json!({ "a": "2" }), json!({ "a1": "" })] {
        assert_eq!(open(wrong), Err("InvalidCiphertextException".into()));
    }
}

// contract: aws.deletion.waiting
#[test]
fn a_key_whose_deletion_was_called_off_is_disabled() {
    let mut world = World::new();
    let (whole, shell) = (world.loaded(), world.create());
    for (key, state) in [(whole, "Disabled"), (shell, "PendingImport")] {
        world.call("ScheduleKeyDeletion", json!({ "KeyId": key })).unwrap();
        world.call("CancelKeyDeletion", json!({ "KeyId": key })).unwrap();
        assert_eq!(world.state(&key), state);
    }
}

// contract: aws.quota.requests
#[test]
fn every_operation_is_throttled_at_its_published_quota() {
    // Those above all share one quota, which has its own test.
    for operation in Operation::ALL.iter().filter(|operation| operation.published_quota() <= 2_000) {
        let mut world = World::new();
        world.aws.quotas().turn(true);
        let quota = operation.published_quota();
        // Empty requests are invalid, and count all the same.
        for _ in 0..quota {
            assert_ne!(world.call(operation.name(), json!({})), Err("ThrottlingException".into()), "{operation:?}");
        }
        let throttled = Err("ThrottlingException".into());
        assert_eq!(world.call(operation.name(), json!({ "KeyId": "x" })), throttled, "{operation:?}");
        world.pass(1);
        assert_ne!(world.call(operation.name(), json!({})), throttled, "{operation:?}");
    }
}

#[test]
fn encrypting_and_decrypting_share_one_quota() {
    let mut world = World::new();
    world.aws.quotas().turn(true);
    world.aws.quotas().limit("Cryptographic", 1);
    world.call("Encrypt", json!({})).unwrap_err();
    assert_eq!(world.call("Decrypt", json!({})), Err("ThrottlingException".into()));
}

// contract: aws.quota.resources
#[test]
fn a_region_holds_so_many_keys_and_no_more() {
    assert_eq!(Config::default().most_keys, 100_000);
    let mut world = World::with(Config { most_keys: 2, ..Config::default() });
    let made: Vec<_> = (0..3).map(|_| world.call("CreateKey", json!({})).err()).collect();
    assert_eq!(made, [None, None, Some("LimitExceededException".into())]);
}

#[test]
fn a_throttled_request_takes_no_effect() {
    let mut world = World::new();
    world.aws.quotas().turn(true);
    let made = (0..20).filter(|_| world.call("CreateKey", json!({})).is_ok()).count();
    assert_eq!((made, world.count()), (5, 5));
}

mod readings {
    use super::*;

    #[test]
    fn a_token_may_serve_only_once() {
        for (reading, second) in
            [(ImportTokenUse::Repeatable, None), (ImportTokenUse::Once, Some("InvalidImportTokenException".to_owned()))]
        {
            let mut world = World::reading(|readings| readings.import_token_use = reading);
            let key = world.create();
            let given = world.parameters(&key).unwrap();
            // What fails does not use the token up.
            let missing = json!({ "ImportType": "EXISTING_KEY_MATERIAL" });
            assert!(world.import_with(&given, &key, 1, missing).is_err());
            world.import_with(&given, &key, 1, json!({})).unwrap();
            assert_eq!(world.import_with(&given, &key, 1, json!({})).err(), second);
        }
    }

    #[test]
    fn pending_material_again_is_refused_one_way_or_the_other() {
        for (reading, code) in [
            (RepeatedPendingImport::IncorrectKeyMaterial, "IncorrectKeyMaterialException"),
            (RepeatedPendingImport::InvalidState, "KMSInvalidStateException"),
        ] {
            let mut world = World::reading(|readings| readings.repeated_pending_import = reading);
            let key = world.loaded();
            world.import(&key, 2, new_material()).unwrap();
            assert_eq!(world.import(&key, 2, new_material()), Err(code.into()));
        }
    }

    #[test]
    fn a_disabled_key_that_lost_its_material_comes_back_one_way_or_the_other() {
        for (reading, state) in [(RestoredDisabledKey::Enabled, "Enabled"), (RestoredDisabledKey::Disabled, "Disabled")] {
            let mut world = World::reading(|readings| readings.restored_disabled_key = reading);
            let key = world.loaded();
            world.call("DisableKey", json!({ "KeyId": key })).unwrap();
            world.call("DeleteImportedKeyMaterial", json!({ "KeyId": key })).unwrap();
            assert_eq!(world.state(&key), "PendingImport");
            world.import(&key, 1, json!({})).unwrap();
            assert_eq!(world.state(&key), state);
        }
    }

    #[test]
    fn rotations_are_listed_in_either_order() {
        let mut world = World::new();
        let key = world.loaded();
        world.import(&key, 2, new_material()).unwrap();
        let mut list = |order| {
            world.aws.readings().rotations_order = order;
            let body = json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" });
            world.call("ListKeyRotations", body).unwrap()["Rotations"].as_array().unwrap().clone()
        };
        let oldest_first = list(RotationsOrder::OldestFirst);
        let mut newest_first = list(RotationsOrder::NewestFirst);
        assert_ne!(oldest_first, newest_first);
        newest_first.reverse();
        assert_eq!(oldest_first, newest_first);
    }

    #[test]
    fn a_policy_may_come_back_with_other_white_space() {
        let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}}"#;
        let mut world = World::new();
        let made = world.call("CreateKey", json!({ "Policy": policy })).unwrap();
        let mut get = |text| {
            world.aws.readings().policy_text = text;
            let body = json!({ "KeyId": made["KeyMetadata"]["KeyId"] });
            world.call("GetKeyPolicy", body).unwrap()["Policy"].as_str().unwrap().to_owned()
        };
        assert_eq!(get(PolicyText::AsWritten), policy);
        let other = get(PolicyText::Reformatted);
        assert_ne!(other, policy);
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(parse(&other), parse(policy));
    }

    #[test]
    fn a_mutation_may_miss_what_was_just_made() {
        for (reading, can_miss) in [(MutationsSee::Present, false), (MutationsSee::RecentPast, true)] {
            let mut world = World::with(Config { consistency: Duration::from_secs(5), ..Config::default() });
            world.aws.readings().mutations_see = reading;
            let missed = (0..40).any(|n| {
                let key = world.create();
                let alias = json!({ "AliasName": format!("alias/{n}"), "TargetKeyId": key });
                match world.call("CreateAlias", alias) {
                    Ok(_) => false,
                    Err(code) => code == "NotFoundException",
                }
            });
            assert_eq!(missed, can_miss);
        }
    }
}

mod faults {
    use super::*;

    fn on_create(world: &mut World, effect: Effect) {
        world.aws.faults().add(Rule::on_operation("CreateKey", effect));
    }

    #[test]
    fn a_late_effect_lands_by_count_or_by_time() {
        let mut world = World::new();
        on_create(&mut world, Effect::Late { after_seconds: Some(10), after_requests: Some(2), close: true });
        assert_eq!(world.send("CreateKey", &json!({})), Answer::Close);
        assert_eq!([world.count(), world.count(), world.count()], [0, 0, 1]);

        on_create(&mut world, Effect::Late { after_seconds: Some(10), after_requests: None, close: false });
        assert_eq!(world.send("CreateKey", &json!({})), Answer::Hang);
        assert_eq!(world.count(), 1);
        world.pass(10);
        assert_eq!(world.dump()["keys"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_late_effect_that_is_no_longer_possible_does_not_happen() {
        let mut world = World::new();
        let key = world.create();
        let alias = json!({ "AliasName": "alias/a", "TargetKeyId": key });
        world.aws.faults().add(Rule::on_mutation(2, Effect::Late { after_seconds: None, after_requests: Some(1), close: true }));
        assert_eq!(world.send("CreateAlias", &alias), Answer::Close);
        world.call("CreateAlias", alias).unwrap();
        let outcomes: Vec<_> = world.aws.journal().entries().map(|entry| entry.outcome.clone().unwrap()).collect();
        assert_eq!(outcomes, ["ok", "AlreadyExistsException", "ok"]);
    }

    #[test]
    fn a_halt_keeps_late_effects_out_until_it_is_over() {
        for (after_seconds, after_requests) in [(Some(1), None), (None, Some(1))] {
            let mut world = World::new();
            let late = Effect::Late { after_seconds, after_requests, close: true };
            on_create(&mut world, late);
            world.send("CreateKey", &json!({}));
            let halt = Effect::Halt { when: HaltPoint::BeforeEffect };
            on_create(&mut world, halt);
            assert_eq!(world.send("CreateKey", &json!({})), Answer::Hang);
            world.pass(60);
            assert_eq!(world.dump()["keys"], json!([]));
            world.aws.resume(world.now, &mut world.rng, true);
            world.call("DescribeKey", json!({})).unwrap_err();
            assert_eq!(world.count(), 2);
        }
    }

    #[test]
    fn a_resumed_request_takes_effect_only_if_asked_to() {
        for (when, apply, keys) in [
            (HaltPoint::BeforeEffect, false, 0),
            (HaltPoint::BeforeEffect, true, 1),
            (HaltPoint::AfterEffect, true, 1),
            (HaltPoint::AfterReply, true, 1),
        ] {
            let mut world = World::new();
            on_create(&mut world, Effect::Halt { when });
            world.send("CreateKey", &json!({}));
            assert_eq!(world.send("ListKeys", &json!({})), Answer::Hang);
            world.aws.resume(world.now, &mut world.rng, apply);
            assert_eq!(world.count(), keys, "{when:?} {apply}");
        }
    }

    #[test]
    fn a_dry_run_numbers_mutations_as_the_faults_do() {
        let run = |fault: Option<Rule>| {
            let mut world = World::new();
            world.aws.faults().add(fault.unwrap_or(Rule::on_operation("Nothing", Effect::Throttle)));
            let key = world.create();
            let _ = world.import(&key, 1, json!({}));
            let _ = world.call("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": key }));
            let entries = world.aws.journal().entries();
            entries.map(|e| (e.mutation, e.operation.clone(), e.outcome.clone())).collect::<Vec<_>>()
        };
        let dry = run(None);
        let (number, operation, _) = dry.iter().find(|(_, operation, _)| operation == "ImportKeyMaterial").unwrap();
        let hit = run(Some(Rule::on_mutation(number.unwrap(), Effect::Deny)));
        let refused: Vec<_> = hit.iter().filter(|entry| entry.2.as_deref() != Some("ok")).collect();
        assert_eq!(refused, [&(*number, operation.clone(), Some("AccessDeniedException".into()))]);
    }
}

/// A step of a random story about three keys.
#[derive(Clone, Debug)]
enum Step {
    Call(&'static str, usize),
    Import { key: usize, material: u8, kind: Option<bool>, expires: bool },
    DeleteMaterial { key: usize, material: usize },
    Encrypt(usize),
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    const NAMES: &[&str] = &[
        "EnableKey",
        "DisableKey",
        "ScheduleKeyDeletion",
        "CancelKeyDeletion",
        "RotateKeyOnDemand",
        "RotateKeyOnDemand",
        "DeleteImportedKeyMaterial",
        "CancelKeyDeletion",
        "EnableKey",
    ];
    prop_oneof![
        3 => (proptest::sample::select(NAMES), 0..3usize).prop_map(|(name, key)| Step::Call(name, key)),
        4 => (0..3usize, 0..5u8, any::<Option<bool>>(), any::<bool>())
            .prop_map(|(key, material, kind, expires)| Step::Import { key, material, kind, expires }),
        1 => (0..3usize, 0..5usize).prop_map(|(key, material)| Step::DeleteMaterial { key, material }),
        4 => (0..3usize).prop_map(Step::Encrypt),
        1 => prop_oneof![1..4000u32, Just(31 * 86_400)].prop_map(Step::Pass),
    ]
}

/// What must hold of every key, whatever happened.
fn check_key(key: &Value) {
    let materials = key["materials"].as_array().unwrap();
    let with = |role: &str| materials.iter().filter(|material| material["role"] == role).count();
    assert_eq!(with("CURRENT"), usize::from(!materials.is_empty()), "{key}");
    assert!(with("PENDING_ROTATION") <= 1, "{key}");
    assert!(materials.iter().rev().skip(1).all(|material| material["role"] != "PENDING_ROTATION"), "{key}");
    let whole =
        !materials.is_empty() && materials.iter().all(|material| material["imported"] == true || material["role"] == "PENDING_ROTATION");
    let state = match (key["deletion"].is_null(), whole, key["disabled"].as_bool().unwrap()) {
        (false, _, _) => "PendingDeletion",
        (true, false, _) => "PendingImport",
        (true, true, true) => "Disabled",
        (true, true, false) => "Enabled",
    };
    assert_eq!(key["state"], state, "{key}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_happens_nothing_that_was_encrypted_is_lost_or_changed(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let keys = [world.create(), world.create(), world.create()];
        let mut blobs: Vec<(usize, Value, String)> = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            world.pass(1);
            let before = world.dump();
            let done = match step {
                Step::Call(name, key) => world.call(name, json!({ "KeyId": keys[key] })),
                Step::Import { key, material, kind, expires } => {
                    let mut more = json!({});
                    if let Some(new) = kind {
                        more["ImportType"] = if new { "NEW_KEY_MATERIAL" } else { "EXISTING_KEY_MATERIAL" }.into();
                    }
                    if expires {
                        more["ExpirationModel"] = "KEY_MATERIAL_EXPIRES".into();
                        more["ValidTo"] = ((world.now + Duration::from_secs(1000)).seconds()).into();
                    }
                    world.import(&keys[key], material, more)
                }
                Step::DeleteMaterial { key, material } => {
                    let dump = world.dump();
                    let dumped = dump["keys"].as_array().unwrap().iter().find(|k| k["id"] == keys[key]).cloned();
                    let id = dumped.map_or(Value::Null, |key| key["materials"][material]["id"].clone());
                    world.call("DeleteImportedKeyMaterial", json!({ "KeyId": keys[key], "KeyMaterialId": id }))
                }
                Step::Encrypt(key) => {
                    let plaintext = STANDARD.encode(n.to_be_bytes());
                    let sealed = world.call("Encrypt", json!({ "KeyId": keys[key], "Plaintext": plaintext }));
                    if let Ok(sealed) = &sealed {
                        blobs.push((key, sealed["CiphertextBlob"].clone(), plaintext));
                    }
                    sealed
                }
                Step::Pass(seconds) => {
                    world.pass(seconds.into());
                    Ok(Value::Null)
                }
            };
            let mut after = world.dump();
            if done.is_err() {
                after["now"] = before["now"].clone();
                prop_assert_eq!(&before, &after, "a refused request changed something");
            }
            let dumped = after["keys"].as_array().unwrap();
            dumped.iter().for_each(check_key);
            let states: BTreeMap<&str, &str> =
                dumped.iter().map(|key| (key["id"].as_str().unwrap(), key["state"].as_str().unwrap())).collect();
            for (key, blob, plaintext) in &blobs {
                let opened = world.call("Decrypt", json!({ "CiphertextBlob": blob }));
                match states.get(keys[*key].as_str()).copied() {
                    Some("Enabled") => prop_assert_eq!(&opened.unwrap()["Plaintext"], plaintext),
                    Some("Disabled") => prop_assert_eq!(opened, Err("DisabledException".into())),
                    Some(_) => prop_assert_eq!(opened, Err("KMSInvalidStateException".into())),
                    None => prop_assert_eq!(opened, Err("AccessDeniedException".into())),
                }
            }
        }
    }

    #[test]
    fn no_request_is_so_odd_that_it_gets_no_proper_answer(
        operation in proptest::sample::select(Operation::ALL),
        members in prop::collection::btree_map(
            proptest::sample::select(&[
                "KeyId", "TargetKeyId", "AliasName", "Limit", "Marker", "Tags", "TagKeys", "Policy", "Plaintext", "Origin",
                "CiphertextBlob", "EncryptionContext", "ImportToken", "EncryptedKeyMaterial", "ValidTo", "KeyMaterialId",
                "NumberOfBytes", "WrappingAlgorithm", "WrappingKeySpec", "PendingWindowInDays", "DestinationKeyId",
            ][..]),
            prop_oneof![
                any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from), any::<String>().prop_map(Value::from),
                Just(json!(null)), Just(json!([{}, 3, "x"])), Just(json!({ "a": 1 })), Just(json!("alias/known")),
                Just(json!("arn:aws:kms:us-east-1:111122223333:alias/known")), Just(json!("AAAA")), Just(json!("arn:aws:kms")),
            ],
            0..8,
        ),
    ) {
        let mut world = World::new();
        let key = world.loaded();
        world.call("CreateAlias", json!({ "AliasName": "alias/known", "TargetKeyId": key })).unwrap();
        let Answer::Reply(reply) = world.send(operation.name(), &json!(members)) else { panic!("no reply") };
        prop_assert!(matches!(reply.status, 200 | 400), "{}", String::from_utf8_lossy(&reply.body));
    }
}
