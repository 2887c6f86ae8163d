//! Google Cloud KMS as a state machine: what holds in every order of requests. The official clients test the rest.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use keyplane_emulator_core::{
    Timestamp,
    crypto::RsaPairs,
    fault::{Effect, HaltPoint, Rule},
    frame::Answer,
    gcp::{BadMaterial, Config, Gcp, Method, Request},
};
use proptest::prelude::*;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use serde_json::{Value, json};

const RINGS: &str = "/v1/projects/emulated-project/locations/europe-west3/keyRings";
const KEY: &str = "/v1/projects/emulated-project/locations/europe-west3/keyRings/r/cryptoKeys/k";
const JOB: &str = "/v1/projects/emulated-project/locations/europe-west3/keyRings/r/importJobs/j";
const DAY: u64 = 24 * 60 * 60;

struct World {
    gcp: Gcp,
    rng: ChaCha20Rng,
    now: Timestamp,
}

impl World {
    /// A project with a key ring.
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let mut gcp = Gcp::new(config, Box::new(RsaPairs::fixed()));
        gcp.quotas().turn(false);
        let mut world = Self { gcp, rng: ChaCha20Rng::seed_from_u64(7), now: Timestamp::from_micros(1_800_000_000_000_000) };
        world.call(&format!("POST {RINGS}?keyRingId=r"), json!({})).unwrap();
        world
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    fn send(&mut self, request: &str, body: &Value) -> Answer<(u16, Value)> {
        let (method, path) = request.split_once(' ').unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let methods = [("GET", Method::Get), ("POST", Method::Post), ("PATCH", Method::Patch), ("DELETE", Method::Delete)];
        let method = BTreeMap::from(methods)[method];
        let query = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.to_owned(), json!(value)));
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request { method, path: path.to_owned(), query: query.collect(), body };
        match self.gcp.handle(self.now, &mut self.rng, &request) {
            Answer::Reply(reply) => Answer::Reply((reply.status, reply.body)),
            Answer::Hang => Answer::Hang,
            Answer::Close => Answer::Close,
        }
    }

    /// The output, or the error's code.
    fn call(&mut self, request: &str, body: Value) -> Result<Value, String> {
        match self.send(request, &body) {
            Answer::Reply((200, output)) => Ok(output),
            Answer::Reply((_, refusal)) => Err(refusal["error"]["status"].as_str().unwrap().to_owned()),
            silent => panic!("no reply: {silent:?}"),
        }
    }

    fn get(&mut self, path: &str) -> Result<Value, String> {
        self.call(&format!("GET {path}"), Value::Null)
    }

    /// The error's code, or "OK".
    fn code(&mut self, request: &str, body: Value) -> String {
        self.call(request, body).map_or_else(|code| code, |_| "OK".to_owned())
    }

    /// Makes an import-only AES key.
    fn create(&mut self) {
        let making = json!({ "purpose": "ENCRYPT_DECRYPT", "importOnly": true, "labels": { "of": "ours" } });
        self.call(&format!("POST {}?cryptoKeyId=k&skipInitialVersionCreation=true", collection(KEY)), making).unwrap();
    }

    /// Makes an import job of this id.
    fn create_job(&mut self, id: &str, level: &str) -> String {
        let making = json!({ "importMethod": "RSA_OAEP_3072_SHA256", "protectionLevel": level });
        self.code(&format!("POST {}?importJobId={id}", collection(JOB)), making)
    }

    /// Makes an import job and waits until it is active; returns its public key in DER.
    fn job(&mut self, id: &str, level: &str) -> Vec<u8> {
        assert_eq!(self.create_job(id, level), "OK");
        self.pass(1);
        from_pem(&self.get(&format!("{}/{id}", collection(JOB))).unwrap()["publicKey"]["pem"])
    }

    /// Imports through a job, and waits until it is done. `into`: the version to import into; `None`: a new one. Returns the version's
    /// number and state, or the error's code.
    fn import(&mut self, job: &str, wrapped: &[u8], into: Option<u32>) -> String {
        let into = into.map(|number| version(number)[4..].to_owned());
        let job = format!("{}/{job}", &collection(JOB)[4..]);
        let wrapped = STANDARD.encode(wrapped);
        let body = json!({ "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "importJob": job, "wrappedKey": wrapped, "cryptoKeyVersion": into });
        match self.call(&format!("POST {KEY}/cryptoKeyVersions:import"), body) {
            Ok(made) => {
                self.pass(1);
                let number = last(&made["name"]).parse().unwrap();
                format!("{number} {}", self.get(&version(number)).unwrap()["state"].as_str().unwrap())
            }
            Err(code) => code,
        }
    }

    fn publish(&mut self, number: u32) -> String {
        self.code(&format!("POST {KEY}:updatePrimaryVersion"), json!({ "cryptoKeyVersionId": number.to_string() }))
    }

    /// The number of the version that encrypts, or the error's code.
    fn encrypt(&mut self) -> String {
        let done = self.call(&format!("POST {KEY}:encrypt"), json!({ "plaintext": "AAAA" }));
        done.map_or_else(|code| code, |done| last(&done["name"]).to_owned())
    }

    fn dump(&mut self) -> Value {
        self.gcp.dump(self.now, &mut self.rng)
    }

    fn versions(&mut self) -> Vec<Value> {
        let (mut versions, mut token) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{KEY}/cryptoKeyVersions?pageSize=2{token}")).unwrap();
            versions.extend(page["cryptoKeyVersions"].as_array().cloned().unwrap_or_default());
            match page["nextPageToken"].as_str() {
                Some(next) => token = format!("&pageToken={next}"),
                None => return versions,
            }
        }
    }
}

fn collection(path: &str) -> &str {
    path.rsplit_once('/').unwrap().0
}

/// The id at the end of a name.
fn last(name: &Value) -> &str {
    name.as_str().unwrap().rsplit('/').next().unwrap()
}

fn version(number: u32) -> String {
    format!("{KEY}/cryptoKeyVersions/{number}")
}

fn from_pem(pem: &Value) -> Vec<u8> {
    let base64: String = pem.as_str().unwrap().lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(base64).unwrap()
}

/// RSA-OAEP with SHA-256.
fn oaep(spki: &[u8], material: &[u8]) -> Vec<u8> {
    let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(spki).unwrap()).unwrap();
    let mut wrapped = vec![0; public.ciphertext_size()];
    public.encrypt(&OAEP_SHA256_MGF1SHA256, material, &mut wrapped, None).unwrap().to_vec()
}

/// CRC-32C, bit by bit.
fn crc32c(data: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ ((crc & 1) * 0x82f6_3b78);
    !data.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    // contract: gcp.version.states, gcp.primary, gcp.lists, gcp.key.create
    #[test]
    fn versions_come_and_go_as_the_documents_say(steps in prop::collection::vec((
        prop::sample::select(vec!["create", "pass", "destroy", "restore", "publish", "ENABLED", "DISABLED"]),
        1..5_u32,
        0..3 * DAY,
    ), 1..40)) {
        let mut world = World::new();
        let making = json!({ "purpose": "ENCRYPT_DECRYPT", "destroyScheduledDuration": "172800s" });
        world.call(&format!("POST {}?cryptoKeyId=k", collection(KEY)), making).unwrap();
        // The expected state of each version, by the documents, and when it changes.
        let mut known = BTreeMap::from([(1, ("ENABLED", 0))]);
        let (mut primary, mut clock) = (1, 0);
        for (asked, number, seconds) in steps {
            match asked {
                "create" => {
                    let made = world.call(&format!("POST {KEY}/cryptoKeyVersions"), json!({})).unwrap();
                    let number = known.len() + 1;
                    prop_assert_eq!(last(&made["name"]), number.to_string(), "a number is used twice");
                    known.insert(number as u32, ("ENABLED", 0));
                }
                "pass" => {
                    clock += seconds;
                    world.pass(seconds);
                    known.values_mut().filter(|(state, due)| *state == "DESTROY_SCHEDULED" && *due <= clock).for_each(|known| known.0 = "DESTROYED");
                }
                _ => {
                    let (path, state) = (version(number), known.get(&number).map_or("", |known| known.0));
                    let usable = matches!(state, "ENABLED" | "DISABLED");
                    let (request, body, may, to) = match asked {
                        "destroy" => (format!("POST {path}:destroy"), json!({}), usable, "DESTROY_SCHEDULED"),
                        "restore" => (format!("POST {path}:restore"), json!({}), state == "DESTROY_SCHEDULED", "DISABLED"),
                        "publish" => (format!("POST {KEY}:updatePrimaryVersion"), json!({ "cryptoKeyVersionId": number.to_string() }), state == "ENABLED", state),
                        to => (format!("PATCH {path}?updateMask=state"), json!({ "state": to }), usable, to),
                    };
                    let expected = if may { "OK" } else if state.is_empty() { "NOT_FOUND" } else { "FAILED_PRECONDITION" };
                    prop_assert_eq!(world.code(&request, body), expected, "{} while {}", request, state);
                    if may {
                        known.insert(number, (to, clock + 2 * DAY));
                        primary = if asked == "publish" { number } else { primary };
                    }
                }
            }
            let seen: Vec<_> = world.versions().iter().map(|seen| json!([last(&seen["name"]), seen["state"]])).collect();
            prop_assert_eq!(seen, known.iter().map(|(number, (state, _))| json!([number.to_string(), state])).collect::<Vec<_>>());
            prop_assert_eq!(&world.get(KEY).unwrap()["primary"]["name"], &version(primary)[4..]);
            let encrypts = if known[&primary].0 == "ENABLED" { primary.to_string() } else { "FAILED_PRECONDITION".into() };
            prop_assert_eq!(world.encrypt(), encrypts);
        }
    }

    #[test]
    fn whatever_is_sent_is_answered_and_a_refusal_changes_nothing(
        id in "[a-zA-Z0-9_.-]{0,6}",
        verb in prop::sample::select(vec!["", ":encrypt", ":import", ":destroy", ":restore", ":updatePrimaryVersion", ":rawDecrypt"]),
        body in prop::sample::select(vec![
            Value::Null,
            json!({ "purpose": "ENCRYPT_DECRYPT", "labels": { "Big": "x" } }),
            json!({ "state": "DESTROYED" }),
            json!({ "algorithm": "HMAC_SHA256", "importJob": "x", "wrappedKey": "!" }),
            json!({ "ciphertext": "AAAA", "ciphertextCrc32c": "x" }),
        ]),
    ) {
        let mut world = World::new();
        world.create();
        for place in [RINGS, KEY, collection(KEY), JOB, collection(JOB), collection(&version(1)), &version(1)] {
            for path in [format!("{place}{verb}"), format!("{place}/{id}{verb}"), format!("{place}?cryptoKeyId={id}&importJobId={id}&updateMask=state")] {
                for method in ["GET", "POST", "PATCH", "DELETE"] {
                    let before = world.dump();
                    let Answer::Reply((status, answer)) = world.send(&format!("{method} {path}"), &body) else { panic!("no reply") };
                    prop_assert!(status != 500, "{} {}: {}", method, path, answer);
                    if status >= 400 {
                        prop_assert!(answer["error"]["status"].is_string() && answer["error"]["message"].is_string());
                        prop_assert_eq!(&world.dump(), &before, "{} {}", method, path);
                    }
                }
            }
        }
    }
}

// contract: gcp.import.job
#[test]
fn a_job_has_a_public_key_from_its_activation_until_its_third_day_ends() {
    let mut world = World::new();
    world.create();
    for (id, code) in [("a.b", "INVALID_ARGUMENT"), ("j", "OK"), ("j", "ALREADY_EXISTS")] {
        assert_eq!(world.create_job(id, "SOFTWARE"), code, "{id}");
    }
    for (seconds, state, shown) in
        [(0, "PENDING_GENERATION", false), (1, "ACTIVE", true), (3 * DAY - 2, "ACTIVE", true), (1, "EXPIRED", false)]
    {
        world.pass(seconds);
        let job = world.get(JOB).unwrap();
        assert_eq!((job["state"].as_str(), job["publicKey"].is_object()), (Some(state), shown));
    }
    assert_eq!(world.import("j", &[1], None), "FAILED_PRECONDITION", "it has expired");
    world.job("other", "HSM");
    assert_eq!(world.import("other", &[1], None), "FAILED_PRECONDITION", "it is of another protection level");
}

// contract: gcp.import.version, gcp.import.again, gcp.import.repeat, gcp.import.payload, gcp.import.lengths, gcp.primary
#[test]
fn a_version_takes_an_import_again_only_where_it_has_no_bytes_and_then_only_its_own() {
    let mut world = World::new();
    world.create();
    let spki = world.job("j", "SOFTWARE");
    let good = oaep(&spki, &[7; 32]);
    let under_another = oaep(&world.job("another", "SOFTWARE"), &[7; 32]);
    assert_eq!(world.import("j", &under_another, None), "1 IMPORT_FAILED", "wrapped under another job's key");
    let failed = world.get(&version(1)).unwrap();
    assert!(failed["importFailureReason"].is_string() && failed["reimportEligible"] == true, "{failed}");
    assert_eq!(world.import("j", &oaep(&spki, &[7; 16]), Some(1)), "1 IMPORT_FAILED", "too short for its algorithm");
    assert_eq!(world.import("j", &good, Some(1)), "1 ENABLED");
    assert!(world.get(KEY).unwrap()["primary"].is_null(), "an import is no publication");
    assert_eq!(world.import("j", &good, Some(1)), "FAILED_PRECONDITION", "it has its bytes");
    assert_eq!(world.import("j", &good, None), "2 ENABLED", "without a version, a repeated import is a second one");
    world.gcp.readings().bad_material = BadMaterial::AtOnce;
    assert_eq!(world.import("j", &[1], None), "INVALID_ARGUMENT");
    assert_eq!(world.versions().len(), 2, "what is refused at once makes no version");
    world.gcp.readings().bad_material = BadMaterial::default();

    assert_eq!(world.code(&format!("POST {}:destroy", version(1)), json!({})), "OK");
    assert_eq!(world.import("j", &good, Some(1)), "FAILED_PRECONDITION", "until it is destroyed, it can be restored");
    world.pass(30 * DAY);
    let spki = world.job("again", "SOFTWARE");
    assert_eq!(world.import("again", &oaep(&spki, &[8; 32]), Some(1)), "1 IMPORT_FAILED", "other bytes than it had");
    assert_eq!(world.import("again", &oaep(&spki, &[7; 32]), Some(1)), "1 ENABLED");
}

// contract: gcp.crc32c, gcp.evidence.public, gcp.attestation
#[test]
fn what_is_shown_of_a_pair_has_a_checksum_and_its_statement_tells_it_by_the_bare_modulus_or_point() {
    let mut world = World::new();
    let template = json!({ "protectionLevel": "HSM", "algorithm": "EC_SIGN_P256_SHA256" });
    let making = json!({ "purpose": "ASYMMETRIC_SIGN", "versionTemplate": template });
    world.call(&format!("POST {}?cryptoKeyId=k", collection(KEY)), making).unwrap();
    world.pass(1);
    assert_eq!(world.publish(1), "FAILED_PRECONDITION", "no pair has a primary version");
    let shown = world.get(&format!("{}/publicKey", version(1))).unwrap();
    let sum = crc32c(shown["pem"].as_str().unwrap().as_bytes()).to_string();
    assert_eq!(shown["pemCrc32c"], sum);
    let sign = |checksum: u32| json!({ "data": STANDARD.encode("data"), "dataCrc32c": checksum.to_string() });
    let path = format!("POST {}:asymmetricSign", version(1));
    assert_eq!(world.call(&path, sign(crc32c(b"data"))).unwrap()["verifiedDataCrc32c"], true);
    assert_eq!(world.code(&path, sign(crc32c(b"date"))), "INVALID_ARGUMENT", "what was damaged on the way is not signed");
    world.gcp.readings().spoiled.checksum = true;
    assert_ne!(world.get(&format!("{}/publicKey", version(1))).unwrap()["pemCrc32c"], sum);

    // The values of 0x0120, each after its type and length. They are not compressed in this archive.
    let told = |shown: Value| -> Vec<Vec<u8>> {
        let statement = STANDARD.decode(shown["attestation"]["content"].as_str().unwrap()).unwrap();
        let at = (0..statement.len() - 8).filter(|at| statement[*at..].starts_with(&[0, 0, 1, 0x20, 0, 0]));
        at.map(|at| statement[at + 8..][..usize::from(u16::from_be_bytes([statement[at + 6], statement[at + 7]]))].to_vec()).collect()
    };
    let spki = world.job("j", "HSM");
    let of_job = told(world.get(JOB).unwrap());
    assert_eq!(of_job.iter().map(Vec::len).collect::<Vec<_>>(), [384, 384], "of each half");
    assert!(of_job.iter().all(|modulus| spki.windows(384).any(|window| window == modulus)), "it is not the key's modulus");
    let point = from_pem(&shown["pem"]).last_chunk::<65>().unwrap().to_vec();
    assert_eq!(told(world.get(&version(1)).unwrap()), [point.clone(), point]);
}

// contract: gcp.quota.requests
#[test]
fn at_the_published_pace_nothing_is_throttled_and_faster_soon() {
    for (pause, throttled) in [(1_000, false), (400, true)] {
        let mut world = World::new();
        world.gcp.quotas().turn(true);
        let refused = (0..150).any(|n| {
            world.now = world.now + Duration::from_millis(pause);
            let path = format!("POST {}?cryptoKeyId=k{n}", collection(KEY));
            let code = world.code(&path, json!({ "purpose": "ENCRYPT_DECRYPT" }));
            assert!(["OK", "RESOURCE_EXHAUSTED"].contains(&code.as_str()), "{code}");
            code != "OK"
        });
        assert_eq!(refused, throttled, "one write in {pause} ms");
        assert!(world.get(KEY).is_err_and(|code| code == "NOT_FOUND"), "reads are counted by themselves");
        let elsewhere = RINGS.replace("europe-west3", "global");
        assert_eq!(world.code(&format!("POST {elsewhere}?keyRingId=r"), json!({})), "OK", "each location has its own");
    }
}

// contract: gcp.consistency
#[test]
fn within_the_window_a_disabled_version_and_the_primary_of_before_may_still_work_and_never_behind_it() {
    let mut world = World::new();
    world.call(&format!("POST {}?cryptoKeyId=k", collection(KEY)), json!({ "purpose": "ENCRYPT_DECRYPT" })).unwrap();
    world.call(&format!("POST {KEY}/cryptoKeyVersions"), json!({})).unwrap();
    world.gcp.set_consistency(Duration::from_secs(60));
    let tries = |world: &mut World| (0..64).map(|_| world.encrypt()).collect::<BTreeSet<_>>();
    let only = |answers: &[&str]| answers.iter().map(|answer| (*answer).to_owned()).collect::<BTreeSet<_>>();
    let switch = |world: &mut World, state| world.code(&format!("PATCH {}?updateMask=state", version(2)), json!({ "state": state }));
    assert_eq!(world.publish(2), "OK");
    assert_eq!(world.get(KEY).unwrap()["primary"]["name"], version(2)[4..], "what is read is as it is");
    assert_eq!(tries(&mut world), only(&["1", "2"]));
    world.pass(60);
    assert_eq!(tries(&mut world), only(&["2"]));
    assert_eq!(switch(&mut world, "DISABLED"), "OK");
    assert_eq!(tries(&mut world), only(&["2", "FAILED_PRECONDITION"]));
    world.pass(60);
    assert_eq!(tries(&mut world), only(&["FAILED_PRECONDITION"]));
    assert_eq!(switch(&mut world, "ENABLED"), "OK");
    assert_eq!(tries(&mut world), only(&["2"]), "enabling counts at once");
}

#[test]
fn every_mutating_operation_and_no_other_has_a_number() {
    let mut world = World::new();
    world.create();
    world.create_job("j", "SOFTWARE");
    world.get(KEY).unwrap();
    world.encrypt();
    world.code("POST /v1/nonsense", json!({}));
    world.publish(1);
    let number = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
    let seen: Vec<_> = world.gcp.journal().entries().map(|entry| format!("{}{}", entry.operation, number(entry.mutation))).collect();
    let expected = ["CreateKeyRing1", "CreateCryptoKey2", "CreateImportJob3", "GetCryptoKey", "Encrypt", "/v1/nonsense"];
    assert_eq!(seen, [&expected[..], &["UpdateCryptoKeyPrimaryVersion4"]].concat());
}

#[test]
fn a_fault_lets_the_effect_happen_or_not_as_asked_and_when_asked() {
    let making = json!({ "purpose": "ENCRYPT_DECRYPT" });
    let create = format!("POST {}?cryptoKeyId=k", collection(KEY));
    let late = Effect::Late { after_seconds: Some(5), after_requests: None, close: false };
    for (effect, answer, now, later) in [
        (Effect::LostReply, Answer::Close, true, true),
        (Effect::Hang { applied: false }, Answer::Hang, false, false),
        (late, Answer::Hang, false, true),
    ] {
        let mut world = World::new();
        world.gcp.faults().add(Rule::on_operation("CreateCryptoKey", effect.clone()));
        assert_eq!(world.send(&create, &making), answer, "{effect:?}");
        assert_eq!(world.get(KEY).is_ok(), now, "{effect:?}");
        world.pass(5);
        assert_eq!(world.get(KEY).is_ok(), later, "{effect:?}");
        assert_eq!(world.code(&create, making.clone()), if later { "ALREADY_EXISTS" } else { "OK" }, "{effect:?}");
    }
    for apply in [true, false] {
        let mut world = World::new();
        world.gcp.faults().add(Rule::on_mutation(2, Effect::Halt { when: HaltPoint::BeforeEffect }));
        assert_eq!(world.send(&create, &making), Answer::Hang);
        assert_eq!(world.send(&format!("GET {KEY}"), &Value::Null), Answer::Hang, "a halted cloud answers nobody");
        world.gcp.resume(world.now, &mut world.rng, apply);
        assert_eq!(world.get(KEY).is_ok(), apply);
    }
}

#[test]
fn what_is_altered_is_made_without_its_labels() {
    let mut world = World::new();
    world.gcp.faults().add(Rule::on_operation("CreateCryptoKey", Effect::Altered));
    world.create();
    let key = world.dump()["keys"][0].clone();
    assert_eq!((&key["id"], &key["tags"]), (&json!("k"), &json!({})));
}

#[test]
fn the_dump_tells_versions_apart_and_shows_material_only_when_told_to() {
    for reveal_material in [false, true] {
        let mut world = World::with(Config { reveal_material, ..Config::default() });
        world.create();
        let spki = world.job("j", "SOFTWARE");
        world.import("j", &oaep(&spki, &[7; 32]), None);
        world.import("j", &[1], None);
        let dump = world.dump();
        let (key, job) = (&dump["keys"][0], &dump["import_jobs"][0]);
        assert_eq!((&key["id"], &key["tags"], &key["import_only"]), (&json!("k"), &json!({ "of": "ours" }), &json!(true)));
        assert_eq!((&job["name"], &job["state"]), (&json!(&JOB[4..]), &json!("ACTIVE")));
        let held = key["materials"].as_array().unwrap();
        let states: Vec<&str> = held.iter().map(|held| held["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["ENABLED", "IMPORT_FAILED"]);
        assert_eq!((held[0]["sha256"].as_str().unwrap().len(), &held[1]["sha256"]), (64, &Value::Null));
        assert_eq!(held[0]["bytes"].as_str(), reveal_material.then(|| "07".repeat(32)).as_deref());
    }
}
