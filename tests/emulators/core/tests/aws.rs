//! AWS KMS as a state machine. RSA is symbolic here; the real one has its own tests, and those of the official clients.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use keyplane_emulator_core::{
    Timestamp,
    aws::{
        Answer, Aws, Config, ImportTokenUse, LeavingRotations, MultiRegionRotation, MutationsSee, Operation, PolicyText, Readings,
        RepeatedPendingImport, Request, RestoredDisabledKey, RotationsOrder,
    },
    crypto::{Crypto, OaepHash, Pair, RealCrypto, Refused, RsaSize, Secret},
    fault::{Effect, HaltPoint, Rule},
};
use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use serde_json::{Value, json};

/// Symbolic RSA: a public key is a number, and a ciphertext names key and hash.
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
    /// The region that requests are addressed to. `None`: the home region.
    region: Option<String>,
}

impl World {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let mut aws = Aws::new(config, Box::new(Symbolic::default()), &mut rng);
        aws.quotas().turn(false);
        Self { aws, rng, now: Timestamp::from_micros(1_800_000_000_000_000), region: None }
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
        let request = Request { region: self.region.clone(), operation: operation.into(), body: body.to_string().into_bytes() };
        self.aws.handle(self.now, &mut self.rng, &request)
    }

    /// The output, or the error's code.
    fn call(&mut self, operation: &str, body: Value) -> Result<Value, String> {
        match self.send(operation, &body) {
            Answer::Reply(reply) if reply.status == 200 => Ok(reply.body),
            Answer::Reply(reply) => {
                let body = reply.body;
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
    // Those above share one quota, which has its own test.
    for operation in Operation::ALL.iter().filter(|operation| operation.published_quota() <= 2_000) {
        let mut world = World::new();
        world.aws.quotas().turn(true);
        let quota = operation.published_quota();
        // Empty requests are invalid, but count.
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

mod grants {
    use super::*;

    const GRANTEE: &str = "arn:aws:iam::111122223333:role/reader";

    fn terms(key: &str) -> Value {
        json!({ "KeyId": key, "GranteePrincipal": GRANTEE, "RetiringPrincipal": GRANTEE, "Operations": ["Decrypt", "DescribeKey"] })
    }

    fn named(key: &str, name: &str) -> Value {
        let mut terms = terms(key);
        terms["Name"] = name.into();
        terms
    }

    fn grant(world: &mut World, body: Value) -> Result<String, String> {
        world.call("CreateGrant", body).map(|made| made["GrantId"].as_str().unwrap().to_owned())
    }

    fn listed(world: &mut World, key: &str) -> usize {
        world.call("ListGrants", json!({ "KeyId": key })).unwrap()["Grants"].as_array().unwrap().len()
    }

    // contract: aws.quota.resources
    #[test]
    fn a_key_has_so_many_grants_and_no_more_but_a_repeat_is_no_grant_more() {
        assert_eq!(Config::default().most_grants, 50_000);
        let mut world = World::with(Config { most_grants: 2, ..Config::default() });
        let (key, other) = (world.loaded(), world.loaded());
        let first = grant(&mut world, named(&key, "first")).unwrap();
        let second = grant(&mut world, terms(&key)).unwrap();
        assert_eq!(grant(&mut world, terms(&key)), Err("LimitExceededException".into()));
        assert_eq!(grant(&mut world, named(&key, "first")), Ok(first), "the lost reply of a client that repeats itself");
        grant(&mut world, terms(&other)).unwrap();
        world.call("RevokeGrant", json!({ "KeyId": key, "GrantId": second })).unwrap();
        grant(&mut world, terms(&key)).unwrap();
    }

    #[test]
    fn a_dry_run_tells_what_would_happen_and_does_not_let_it() {
        let mut world = World::with(Config { most_grants: 1, ..Config::default() });
        let (key, shell) = (world.loaded(), world.create());
        let dry = |mut body: Value| {
            body["DryRun"] = true.into();
            body
        };
        assert_eq!(world.call("CreateGrant", dry(terms(&key))), Err("DryRunOperationException".into()));
        assert_eq!(listed(&mut world, &key), 0);
        assert_eq!(world.call("CreateGrant", dry(terms(&shell))), Err("KMSInvalidStateException".into()));
        let id = grant(&mut world, terms(&key)).unwrap();
        assert_eq!(world.call("CreateGrant", dry(terms(&key))), Err("LimitExceededException".into()));
        for operation in ["RetireGrant", "RevokeGrant"] {
            let mut remove = |grant: &str| world.call(operation, dry(json!({ "KeyId": key, "GrantId": grant })));
            assert_eq!(remove(&id), Err("DryRunOperationException".into()), "{operation}");
            assert_eq!(remove(&"0".repeat(64)), Err("NotFoundException".into()), "{operation}");
        }
        assert_eq!(listed(&mut world, &key), 1);
    }

    #[test]
    fn grants_are_made_only_on_an_enabled_key_and_taken_away_in_every_state() {
        for (change, code) in [
            ("DisableKey", "DisabledException"),
            ("DeleteImportedKeyMaterial", "KMSInvalidStateException"),
            ("ScheduleKeyDeletion", "KMSInvalidStateException"),
        ] {
            let mut world = World::new();
            let key = world.loaded();
            let (one, two) = (grant(&mut world, terms(&key)).unwrap(), grant(&mut world, terms(&key)).unwrap());
            world.call(change, json!({ "KeyId": key })).unwrap();
            assert_eq!(grant(&mut world, terms(&key)), Err(code.into()), "{change}");
            assert_eq!(listed(&mut world, &key), 2, "{change}");
            world.call("RetireGrant", json!({ "KeyId": key, "GrantId": one })).unwrap();
            world.call("RevokeGrant", json!({ "KeyId": key, "GrantId": two })).unwrap();
            assert_eq!(listed(&mut world, &key), 0, "{change}");
        }
    }

    #[test]
    fn a_token_of_another_kind_is_no_grant_token() {
        let mut world = World::new();
        let key = world.loaded();
        let mut given = world.parameters(&key).unwrap();
        // Each in the other's alphabet, so that the encoding does not tell them apart.
        let import = STANDARD.decode(given["ImportToken"].as_str().unwrap()).unwrap();
        let retire = json!({ "GrantToken": URL_SAFE_NO_PAD.encode(import) });
        assert_eq!(world.call("RetireGrant", retire), Err("InvalidGrantTokenException".into()));
        let made = world.call("CreateGrant", terms(&key)).unwrap();
        let grant = URL_SAFE_NO_PAD.decode(made["GrantToken"].as_str().unwrap()).unwrap();
        given["ImportToken"] = STANDARD.encode(grant).into();
        assert_eq!(world.import_with(&given, &key, 1, json!({})), Err("InvalidImportTokenException".into()));
    }

    #[test]
    fn grants_go_with_their_key_and_lists_of_them_lag_as_all_reads_do() {
        let mut world = World::new();
        let key = world.loaded();
        world.aws.set_consistency(Duration::from_secs(5));
        grant(&mut world, terms(&key)).unwrap();
        let seen: Vec<usize> = (0..40).map(|_| listed(&mut world, &key)).collect();
        assert!(seen.contains(&0) && seen.contains(&1), "{seen:?}");
        world.call("ScheduleKeyDeletion", json!({ "KeyId": key })).unwrap();
        world.pass(31 * 86_400);
        let retirable = world.call("ListRetirableGrants", json!({ "RetiringPrincipal": GRANTEE })).unwrap();
        assert_eq!(retirable["Grants"], json!([]));
    }
}

mod multi_region {
    use super::*;

    const AWAY: &str = "eu-west-1";

    fn replica(world: &mut World, key: &str, region: &str) -> Result<Value, String> {
        world.call("ReplicateKey", json!({ "KeyId": key, "ReplicaRegion": region }))
    }

    /// A primary key at home with material 1, and a replica in another region without it.
    fn pair(world: &mut World) -> String {
        let made = world.call("CreateKey", json!({ "Origin": "EXTERNAL", "MultiRegion": true })).unwrap();
        let key = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        world.import(&key, 1, json!({})).unwrap();
        replica(world, &key, AWAY).unwrap();
        key
    }

    fn away<T>(world: &mut World, work: impl FnOnce(&mut World) -> T) -> T {
        world.region = Some(AWAY.into());
        let done = work(world);
        world.region = None;
        done
    }

    fn materials(world: &mut World, key: &str) -> Vec<[String; 2]> {
        let body = json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" });
        let listed = world.call("ListKeyRotations", body).unwrap()["Rotations"].as_array().unwrap().clone();
        listed.iter().map(|entry| ["KeyMaterialState", "ImportState"].map(|name| entry[name].as_str().unwrap().to_owned())).collect()
    }

    fn states(world: &mut World, key: &str) -> Vec<String> {
        materials(world, key).into_iter().map(|[state, _]| state).collect()
    }

    // contract: aws.quota.requests
    #[test]
    fn each_region_has_its_own_quotas_and_its_own_room_for_keys() {
        let mut world = World::with(Config { most_keys: 1, ..Config::default() });
        world.aws.quotas().turn(true);
        world.aws.quotas().limit("ListKeys", 1);
        world.count();
        assert_eq!(world.call("ListKeys", json!({})), Err("ThrottlingException".into()));
        assert_eq!(away(&mut world, World::count), 0);
        world.aws.quotas().limit("ListKeys", 1);
        assert_eq!(away(&mut world, World::count), 0, "a limit that is set anew begins anew in every region");
        world.aws.quotas().turn(false);
        away(&mut world, World::create);
        let made = world.call("CreateKey", json!({ "Origin": "EXTERNAL", "MultiRegion": true })).unwrap();
        let key = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        world.import(&key, 1, json!({})).unwrap();
        assert_eq!(replica(&mut world, &key, AWAY), Err("LimitExceededException".into()));
        replica(&mut world, &key, "eu-west-2").unwrap();
    }

    // contract: aws.quota.requests
    #[test]
    fn what_reaches_into_another_region_counts_there_too() {
        let mut world = World::new();
        let mut primaries = Vec::new();
        for _ in 0..4 {
            let made = world.call("CreateKey", json!({ "Origin": "EXTERNAL", "MultiRegion": true })).unwrap();
            let key = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
            world.import(&key, 1, json!({})).unwrap();
            primaries.push(key);
        }
        world.aws.quotas().turn(true);
        // A client that relies on five requests a second is throttled at the third: each counts as two keys in the other region.
        let throttled = Some("ThrottlingException".to_owned());
        let refused: Vec<_> = primaries.iter().map(|key| replica(&mut world, key, AWAY).err()).collect();
        assert_eq!(refused, [None, None, throttled.clone(), throttled.clone()]);
        replica(&mut world, &primaries[2], "eu-west-2").unwrap();
        assert_eq!(replica(&mut world, &primaries[3], "eu-west-3").err(), throttled, "it counts at home as well");
        world.aws.quotas().limit("UpdatePrimaryRegion", 1);
        let moved = json!({ "KeyId": primaries[0], "PrimaryRegion": AWAY });
        world.call("UpdatePrimaryRegion", moved.clone()).unwrap();
        assert_eq!(away(&mut world, |world| world.call("UpdatePrimaryRegion", moved)).err(), throttled);
    }

    #[test]
    fn a_replica_may_be_missed_for_as_long_as_any_change() {
        let mut world = World::new();
        let key = pair(&mut world);
        world.aws.set_consistency(Duration::from_secs(5));
        replica(&mut world, &key, "eu-west-2").unwrap();
        let found = |world: &mut World| {
            world.region = Some("eu-west-2".into());
            (0..40).map(|_| world.call("DescribeKey", json!({ "KeyId": key })).is_ok()).collect::<Vec<_>>()
        };
        let seen = found(&mut world);
        assert!(seen.contains(&true) && seen.contains(&false), "{seen:?}");
        world.pass(5);
        assert!(!found(&mut world).contains(&false));
    }

    // contract: aws.rotation.multi_region
    #[test]
    fn rotation_waits_for_whoever_lacks_the_material_now() {
        let mut world = World::new();
        let key = pair(&mut world);
        away(&mut world, |world| world.import(&key, 1, json!({}))).unwrap();
        world.import(&key, 2, new_material()).unwrap();
        let waiting = "PENDING_MULTI_REGION_IMPORT_AND_ROTATION";
        assert_eq!(materials(&mut world, &key)[1], [waiting, "IMPORTED"]);
        assert_eq!(away(&mut world, |world| materials(world, &key))[1], [waiting, "PENDING_IMPORT"]);

        // Before the rotation the material expires in one region; then a new region lacks it. Each time the rotation has to wait.
        let expiring = json!({ "ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": (world.now + Duration::from_secs(60)).seconds() });
        away(&mut world, |world| world.import(&key, 2, expiring)).unwrap();
        assert_eq!(materials(&mut world, &key)[1], ["PENDING_ROTATION", "IMPORTED"]);
        world.pass(60);
        assert_eq!(materials(&mut world, &key)[1], [waiting, "IMPORTED"]);
        assert_eq!(world.call("RotateKeyOnDemand", json!({ "KeyId": key })), Err("KMSInvalidStateException".into()));
        away(&mut world, |world| world.import(&key, 2, json!({}))).unwrap();
        replica(&mut world, &key, "eu-west-2").unwrap();
        assert_eq!(materials(&mut world, &key)[1], [waiting, "IMPORTED"]);
        world.region = Some("eu-west-2".into());
        world.import(&key, 2, json!({})).unwrap();
        world.region = None;
        let by_replica = away(&mut world, |world| world.call("RotateKeyOnDemand", json!({ "KeyId": key })));
        assert_eq!(by_replica, Err("UnsupportedOperationException".into()));
        world.call("RotateKeyOnDemand", json!({ "KeyId": key })).unwrap();
        for region in [None, Some(AWAY), Some("eu-west-2")] {
            world.region = region.map(str::to_owned);
            let states = states(&mut world, &key);
            assert_eq!(states, ["NON_CURRENT", "CURRENT"], "{region:?}");
            assert_eq!(world.state(&key), if region == Some("eu-west-2") { "PendingImport" } else { "Enabled" });
        }
    }

    #[test]
    fn a_slow_rotation_runs_in_every_region_and_ends_in_all_at_once() {
        let mut world = World::reading(|readings| readings.rotation_seconds = 60);
        let key = pair(&mut world);
        away(&mut world, |world| world.import(&key, 1, json!({}))).unwrap();
        world.import(&key, 2, new_material()).unwrap();
        away(&mut world, |world| world.import(&key, 2, json!({}))).unwrap();
        world.call("RotateKeyOnDemand", json!({ "KeyId": key })).unwrap();
        let status = away(&mut world, |world| world.call("GetKeyRotationStatus", json!({ "KeyId": key }))).unwrap();
        assert!(status["OnDemandRotationStartDate"].is_number());
        world.pass(60);
        for region in [None, Some(AWAY)] {
            world.region = region.map(str::to_owned);
            assert_eq!(states(&mut world, &key), ["NON_CURRENT", "CURRENT"]);
        }
    }

    // contract: aws.rotation.multi_region
    #[test]
    fn under_the_other_reading_material_of_a_multi_region_key_never_changes() {
        for (reading, refused) in
            [(MultiRegionRotation::Allowed, None), (MultiRegionRotation::Refused, Some("UnsupportedOperationException"))]
        {
            let mut world = World::reading(|readings| readings.multi_region_rotation = reading);
            let key = pair(&mut world);
            away(&mut world, |world| world.import(&key, 1, json!({}))).unwrap();
            let refused = refused.map(str::to_owned);
            assert_eq!(world.import(&key, 2, new_material()).err(), refused, "{reading:?}");
            let _ = away(&mut world, |world| world.import(&key, 2, json!({})));
            assert_eq!(world.call("RotateKeyOnDemand", json!({ "KeyId": key })).err(), refused, "{reading:?}");
            // Everything else works as before, and the material can be imported again.
            world.call("DeleteImportedKeyMaterial", json!({ "KeyId": key })).unwrap();
            world.import(&key, if refused.is_some() { 1 } else { 2 }, json!({})).unwrap();
            assert_eq!(world.state(&key), "Enabled");
            let single = world.loaded();
            world.import(&single, 2, new_material()).unwrap();
            world.call("RotateKeyOnDemand", json!({ "KeyId": single })).unwrap();
        }
    }

    #[test]
    fn a_primary_waits_for_its_last_replica_to_be_gone_and_then_for_its_own_days() {
        let mut world = World::new();
        let key = pair(&mut world);
        let planned = world.call("ScheduleKeyDeletion", json!({ "KeyId": key, "PendingWindowInDays": 7 })).unwrap();
        assert_eq!((&planned["KeyState"], planned.get("DeletionDate")), (&json!("PendingReplicaDeletion"), None));
        world.pass(400 * 86_400);
        assert_eq!(world.state(&key), "PendingReplicaDeletion");
        away(&mut world, |world| world.call("ScheduleKeyDeletion", json!({ "KeyId": key, "PendingWindowInDays": 10 }))).unwrap();
        // There is no request while the replica waits. The waiting period of the primary began when the replica was deleted, not now.
        let gone = world.now + Duration::from_secs(10 * 86_400);
        world.pass(12 * 86_400);
        let described = world.call("DescribeKey", json!({ "KeyId": key })).unwrap()["KeyMetadata"].clone();
        assert_eq!(described["KeyState"], "PendingDeletion");
        assert_eq!(described["DeletionDate"], json!((gone + Duration::from_secs(7 * 86_400)).seconds()));
        assert_eq!(away(&mut world, World::count), 0);
        world.pass(5 * 86_400);
        assert_eq!(world.count(), 0);
    }

    #[test]
    fn a_late_request_takes_effect_in_its_own_region() {
        let mut world = World::new();
        let late = Effect::Late { after_seconds: Some(10), after_requests: None, close: true };
        world.aws.faults().add(Rule::on_operation("CreateKey", late));
        assert_eq!(away(&mut world, |world| world.send("CreateKey", &json!({}))), Answer::Close);
        world.pass(10);
        assert_eq!((world.count(), away(&mut world, World::count)), (0, 1));
        let journal = world.aws.journal().entries().map(|entry| entry.region.clone().unwrap()).collect::<Vec<_>>();
        assert_eq!(journal, [AWAY, "us-east-1", AWAY]);
    }

    // contract: aws.import.durability
    #[test]
    fn a_region_that_fails_loses_its_imported_material_and_no_other_region_does() {
        let mut world = World::new();
        let key = pair(&mut world);
        away(&mut world, |world| world.import(&key, 1, json!({}))).unwrap();
        let own = world.call("CreateKey", json!({})).unwrap()["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        world.aws.set_consistency(Duration::from_secs(5));
        world.call("TagResource", json!({ "KeyId": key, "Tags": [{ "TagKey": "a", "TagValue": "b" }] })).unwrap();
        world.aws.lose_imported_material(world.now, &mut world.rng, "us-east-1");
        // Lag does not hide a failure.
        assert!((0..40).all(|_| world.state(&key) == "PendingImport"));
        assert_eq!((world.state(&key), world.state(&own)), ("PendingImport".into(), "Enabled".into()));
        assert_eq!(away(&mut world, |world| world.state(&key)), "Enabled");
        assert_eq!(world.import(&key, 2, json!({})), Err("IncorrectKeyMaterialException".into()));
        world.import(&key, 1, json!({})).unwrap();
        world.pass(5);
        assert_eq!(world.state(&key), "Enabled");
    }

    #[test]
    fn what_is_no_region_s_name_means_the_home_region() {
        let mut world = World::new();
        world.create();
        for (name, keys) in [("us-east-1", 1), ("nowhere", 1), ("", 1), ("eu-west-", 1), ("Eu-West-1", 1), ("us-gov-west-1", 0)] {
            world.region = Some(name.into());
            assert_eq!(world.count(), keys, "`{name}`");
        }
    }
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
            // A failed import does not use up the token.
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
    fn a_key_that_waits_for_its_deletion_shows_its_materials_or_does_not() {
        for (reading, shown) in [(LeavingRotations::Listed, Ok(1)), (LeavingRotations::Refused, Err("KMSInvalidStateException".to_owned()))]
        {
            let mut world = World::reading(|readings| readings.leaving_rotations = reading);
            let key = world.loaded();
            let list = |world: &mut World| {
                let listed = world.call("ListKeyRotations", json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" }))?;
                Ok::<_, String>(listed["Rotations"].as_array().unwrap().len())
            };
            assert_eq!(list(&mut world), Ok(1));
            world.call("ScheduleKeyDeletion", json!({ "KeyId": key })).unwrap();
            assert_eq!(list(&mut world), shown);
            world.call("CancelKeyDeletion", json!({ "KeyId": key })).unwrap();
            assert_eq!(list(&mut world), Ok(1));
        }
    }

    #[test]
    fn a_policy_may_come_back_with_its_lists_in_another_order() {
        let policy = json!({ "Statement": [
            { "Effect": "Allow", "Principal": "*", "Action": ["kms:*", "kms:Encrypt"], "Resource": "*" },
            { "Effect": "Allow", "Principal": { "AWS": ["a", "b"] }, "Action": "kms:*", "Resource": "*" },
        ] });
        let mut world = World::reading(|readings| readings.policy_text = PolicyText::Reordered);
        let made = world.call("CreateKey", json!({ "Policy": policy.to_string() })).unwrap();
        let given = world.call("GetKeyPolicy", json!({ "KeyId": made["KeyMetadata"]["KeyId"] })).unwrap();
        let given: Value = serde_json::from_str(given["Policy"].as_str().unwrap()).unwrap();
        let [second, first] = given["Statement"].as_array().unwrap().as_slice() else { unreachable!("{given}") };
        assert_eq!(first["Action"], json!(["kms:Encrypt", "kms:*"]));
        assert_eq!(second["Principal"], json!({ "AWS": ["b", "a"] }));
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
    fn what_is_undone_is_answered_and_never_seen() {
        let mut world = World::new();
        let key = world.create();
        world.aws.set_consistency(Duration::from_secs(5));
        world.aws.faults().add(Rule { times: None, ..Rule::on_operation("CreateAlias", Effect::Undone) });
        for _ in 0..2 {
            world.call("CreateAlias", json!({ "AliasName": "alias/a", "TargetKeyId": key })).unwrap();
            assert!((0..20).all(|_| world.call("DescribeKey", json!({ "KeyId": "alias/a" })).is_err()));
        }
        assert_eq!(world.dump()["aliases"], json!([]));
    }

    #[test]
    fn what_is_altered_is_made_without_its_tags_and_nothing_else_loses_any() {
        let mut world = World::new();
        let make = |world: &mut World| {
            let made = world.call("CreateKey", json!({ "Tags": [{ "TagKey": "a", "TagValue": "b" }] })).unwrap();
            made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
        };
        let before = make(&mut world);
        on_create(&mut world, Effect::Altered);
        let altered = make(&mut world);
        let tags = |world: &mut World, key: &str| world.call("ListResourceTags", json!({ "KeyId": key })).unwrap()["Tags"].clone();
        assert_eq!(tags(&mut world, &before), json!([{ "TagKey": "a", "TagValue": "b" }]));
        assert_eq!(tags(&mut world, &altered), json!([]));
    }

    #[test]
    fn a_late_effect_comes_when_it_is_called_whatever_it_waits_for() {
        for (after_seconds, after_requests) in [(Some(3600), None), (None, Some(1_000_000))] {
            let mut world = World::new();
            on_create(&mut world, Effect::Late { after_seconds, after_requests, close: true });
            assert_eq!(world.send("CreateKey", &json!({})), Answer::Close);
            assert_eq!(world.count(), 0);
            world.aws.land_late(world.now, &mut world.rng);
            assert_eq!(world.count(), 1);
        }
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
            world.aws.land_late(world.now, &mut world.rng);
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

/// A step of a random sequence with one multi-Region key.
#[derive(Clone, Debug)]
enum Regional {
    Call(&'static str),
    Replicate(usize),
    Move(usize),
    Import { material: u8, kind: Option<bool>, expires: bool },
    DeleteMaterial(usize),
    Encrypt,
    Pass(u32),
}

const REGIONS: [&str; 3] = ["us-east-1", "eu-west-1", "ap-southeast-2"];

fn regional() -> impl Strategy<Value = (usize, Regional)> {
    const NAMES: &[&str] = &["EnableKey", "ScheduleKeyDeletion", "CancelKeyDeletion", "RotateKeyOnDemand", "RotateKeyOnDemand"];
    let step = prop_oneof![
        2 => proptest::sample::select(NAMES).prop_map(Regional::Call),
        2 => (0..3usize).prop_map(Regional::Replicate),
        1 => (0..3usize).prop_map(Regional::Move),
        6 => (0..3u8, any::<Option<bool>>(), proptest::bool::weighted(0.2))
            .prop_map(|(material, kind, expires)| Regional::Import { material, kind, expires }),
        1 => (0..4usize).prop_map(Regional::DeleteMaterial),
        3 => Just(Regional::Encrypt),
        1 => prop_oneof![3 => 1..2000u32, 1 => Just(31 * 86_400)].prop_map(Regional::Pass),
    ];
    (0..3usize, step)
}

/// What must hold between the keys of one multi-Region key.
fn check_related(keys: &[Value]) {
    let Some(primary) = keys.iter().find(|key| key["related"]["primary"] == key["region"]) else {
        assert!(keys.is_empty(), "replicas without a primary: {keys:?}");
        return;
    };
    let shared = |key: &Value| {
        let materials = key["materials"].as_array().unwrap().iter();
        let materials: Vec<_> = materials.map(|m| (m["id"].clone(), m["role"].clone(), m["rotated"].clone())).collect();
        (materials, key["id"].clone(), key["related"].clone(), key["rotations"].clone(), key["rotating_until"].clone())
    };
    assert!(keys.iter().all(|key| shared(key) == shared(primary)), "{keys:?}");
    let replicas = keys.iter().map(|key| &key["region"]).filter(|region| **region != primary["region"]);
    assert!(replicas.eq(primary["related"]["replicas"].as_array().unwrap()), "{keys:?}");
    for (place, material) in primary["materials"].as_array().unwrap().iter().enumerate() {
        let mut replicas = keys.iter().filter(|key| key["region"] != primary["region"]);
        let everywhere = replicas.all(|key| key["materials"][place]["imported"] == true);
        let hashes: std::collections::BTreeSet<&str> = keys.iter().filter_map(|key| key["materials"][place]["sha256"].as_str()).collect();
        assert!(hashes.len() <= 1, "one id, two materials: {keys:?}");
        match material["role"].as_str().unwrap() {
            "PENDING_ROTATION" => assert!(everywhere, "{keys:?}"),
            "PENDING_MULTI_REGION_IMPORT_AND_ROTATION" => assert!(!everywhere, "{keys:?}"),
            _ => {}
        }
    }
    assert!(primary["state"] != "PendingDeletion" || keys.len() == 1, "the primary may be gone before its replicas: {keys:?}");
    assert!(primary["state"] != "PendingReplicaDeletion" || keys.len() > 1, "the primary waits for nobody: {keys:?}");
}

/// A step of a random sequence with three keys.
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

/// What must hold of every key.
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
    fn related_keys_agree_whatever_happens_to_each(slow in any::<bool>(), steps in prop::collection::vec(regional(), 1..60)) {
        let mut world = World::reading(|readings| readings.rotation_seconds = if slow { 100 } else { 0 });
        let made = world.call("CreateKey", json!({ "Origin": "EXTERNAL", "MultiRegion": true })).unwrap();
        let key = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        let mut blobs: Vec<(Value, String)> = Vec::new();
        for (n, (region, step)) in steps.into_iter().enumerate() {
            world.pass(1);
            world.region = Some(REGIONS[region].into());
            let before = world.dump();
            let done = match step {
                Regional::Call(name) => world.call(name, json!({ "KeyId": key })),
                Regional::Replicate(to) => world.call("ReplicateKey", json!({ "KeyId": key, "ReplicaRegion": REGIONS[to] })),
                Regional::Move(to) => world.call("UpdatePrimaryRegion", json!({ "KeyId": key, "PrimaryRegion": REGIONS[to] })),
                Regional::Import { material, kind, expires } => {
                    let mut more = json!({});
                    if let Some(new) = kind {
                        more["ImportType"] = if new { "NEW_KEY_MATERIAL" } else { "EXISTING_KEY_MATERIAL" }.into();
                    }
                    if expires {
                        more["ExpirationModel"] = "KEY_MATERIAL_EXPIRES".into();
                        more["ValidTo"] = ((world.now + Duration::from_secs(1000)).seconds()).into();
                    }
                    world.import(&key, material, more)
                }
                Regional::DeleteMaterial(place) => {
                    let id = before["keys"][0]["materials"][place]["id"].clone();
                    world.call("DeleteImportedKeyMaterial", json!({ "KeyId": key, "KeyMaterialId": id }))
                }
                Regional::Encrypt => {
                    let plaintext = STANDARD.encode(n.to_be_bytes());
                    let sealed = world.call("Encrypt", json!({ "KeyId": key, "Plaintext": plaintext }));
                    blobs.extend(sealed.as_ref().ok().map(|sealed| (sealed["CiphertextBlob"].clone(), plaintext)));
                    sealed
                }
                Regional::Pass(seconds) => {
                    world.pass(seconds.into());
                    Ok(Value::Null)
                }
            };
            let mut after = world.dump();
            if done.is_err() {
                after["now"] = before["now"].clone();
                prop_assert_eq!(&before, &after, "a refused request changed something");
            }
            let keys = after["keys"].as_array().unwrap();
            check_related(keys);
            // A ciphertext of one region decrypts wherever the key is enabled.
            for region in keys.iter().filter(|key| key["state"] == "Enabled").map(|key| &key["region"]) {
                world.region = region.as_str().map(str::to_owned);
                for (blob, plaintext) in &blobs {
                    let opened = world.call("Decrypt", json!({ "CiphertextBlob": blob })).unwrap();
                    prop_assert_eq!(&opened["Plaintext"], plaintext);
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
                "GranteePrincipal", "RetiringPrincipal", "Operations", "Constraints", "GrantTokens", "GrantToken", "GrantId",
                "ReplicaRegion", "PrimaryRegion", "MultiRegion",
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
        prop_assert!(matches!(reply.status, 200 | 400), "{}", reply.body);
    }
}
