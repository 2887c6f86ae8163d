//! The requests that are sent: exactly those of the contract, and no more than declared.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyplane_conformance::{Subject as _, wrap};
use keyplane_model::{
    Algorithm, Class, CopyRecord, EvidenceStrength, MaterialState, ObjectId, PublicKey, Purpose, Span, Target, Timestamp, Version,
    WrapScheme,
};
use keyplane_port::{Acted, Cause, Cloud as _, CloudError, Mutation, WrapFor, WrappingKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::emulated::{Emulated, begin, config, key, machine, ring};
use crate::placement::{copy, import, marks, target};

const SCHEME: WrapScheme = WrapScheme::RsaOaepSha256;

const JOB: &str = "kp-33333333333383338333333333333333-v3-1";

fn object() -> ObjectId {
    ObjectId(target().name)
}

/// The query parameters of an operation's requests, as text.
async fn queries(emulated: &Emulated, operation: &str) -> Vec<Value> {
    let requests = emulated.control.call("GET", "requests", None).await;
    requests
        .as_array()
        .unwrap()
        .iter()
        .filter(|request| request["operation"] == operation)
        .map(|request| request["key_id"].clone())
        .collect()
}

#[tokio::test]
async fn the_requests_are_those_of_the_contract() {
    let emulated = begin().await;
    let cloud = &emulated.cloud;
    assert_eq!(cloud.act(&Mutation::Create { target: target(), marks: marks() }).await, Ok(Acted::Created(object())));
    let preparation = Mutation::Prepare { target: target(), version: Version(3), scheme: SCHEME };
    assert_eq!(cloud.act(&preparation).await, Ok(Acted::Created(ObjectId(JOB.into()))));
    emulated.advance(Span::seconds(1)).await;
    let wrapping_key = cloud.wrapping_key(&WrapFor::Prepared(ObjectId(JOB.into())), SCHEME).await.unwrap();
    let wrapped = wrap(&wrapping_key, &[7; 32]);
    cloud.act(&import(&object(), wrapping_key, wrapped)).await.unwrap();
    emulated.advance(Span::seconds(1)).await;
    let first = Some("1".to_owned());
    cloud.act(&Mutation::Publish { target: target(), object: object(), material: first.clone() }).await.unwrap();
    cloud.act(&Mutation::Disable { object: object(), material: first.clone() }).await.unwrap();
    cloud.act(&Mutation::Enable { object: object(), material: first }).await.unwrap();

    assert_eq!(
        emulated.control.bodies("CreateCryptoKey").await,
        [json!({
            "purpose": "ENCRYPT_DECRYPT",
            "importOnly": true,
            "versionTemplate": { "protectionLevel": "SOFTWARE", "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION" },
            "destroyScheduledDuration": "2592000s",
            "labels": {
                "keyplane-installation": "11111111-1111-8111-8111-111111111111",
                "keyplane-placement": "33333333-3333-8333-8333-333333333333",
                "keyplane-incarnation": "2",
                "keyplane-attempt": "44444444-4444-8444-8444-444444444444",
            },
        })]
    );
    assert_eq!(queries(&emulated, "CreateCryptoKey").await, [key(&target().name)]);
    let dump = emulated.control.call("GET", "dump", None).await;
    assert_eq!(dump["keys"][0]["materials"].as_array().unwrap().len(), 1, "a version was generated");

    let job = json!({ "importMethod": "RSA_OAEP_4096_SHA256", "protectionLevel": "SOFTWARE" });
    assert_eq!(emulated.control.bodies("CreateImportJob").await, [job]);
    assert_eq!(queries(&emulated, "CreateImportJob").await, [format!("{}/importJobs/{JOB}", ring())]);
    let mut import = emulated.control.bodies("ImportCryptoKeyVersion").await.remove(0);
    assert_eq!(import["wrappedKey"].take().as_str().unwrap().len(), 684, "512 bytes in base64");
    assert_eq!(
        import,
        json!({
            "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION",
            "importJob": format!("{}/importJobs/{JOB}", ring()),
            "wrappedKey": null,
        })
    );
    assert_eq!(emulated.control.bodies("UpdateCryptoKeyPrimaryVersion").await, [json!({ "cryptoKeyVersionId": "1" })]);
    assert_eq!(emulated.control.bodies("UpdateCryptoKeyVersion").await, [json!({ "state": "DISABLED" }), json!({ "state": "ENABLED" })]);
}

#[tokio::test]
async fn no_call_sends_more_of_what_is_scarce_than_it_declares() {
    let emulated = begin().await;
    let cloud = &emulated.cloud;
    for placement in 0..25 {
        let mut marks = marks();
        marks.placement = format!("33333333-3333-8333-8333-{placement:012}").parse().unwrap();
        let target = Target { placement: marks.placement, name: format!("key-{placement}"), ..target() };
        cloud.act(&Mutation::Create { target, marks }).await.unwrap();
    }
    emulated.crowd(120).await;
    let placed = Target { placement: "33333333-3333-8333-8333-000000000007".parse().unwrap(), name: "key-7".into(), ..target() };
    let key = ObjectId(placed.name.clone());
    let job = ObjectId("kp-33333333333383338333000000000007-v3-1".into());
    let first = Some("1".to_owned());
    let pair = Target { algorithm: Algorithm::EcP256, purpose: Purpose::Sign, ..placed.clone() };

    let sent = async |word: &str| {
        emulated.control.call("DELETE", "requests", None).await;
        match word {
            "create" => drop(cloud.act(&Mutation::Create { target: target(), marks: marks() }).await.unwrap()),
            "prepared" => drop(cloud.prepared(&placed, Version(3), None).await.unwrap()),
            "prepare" => {
                let preparation = Mutation::Prepare { target: placed.clone(), version: Version(3), scheme: SCHEME };
                cloud.act(&preparation).await.unwrap();
                emulated.advance(Span::seconds(1)).await;
            }
            "wrapping-key" => drop(cloud.wrapping_key(&WrapFor::Prepared(job.clone()), SCHEME).await.unwrap()),
            "import" => {
                let wrapping_key = cloud.wrapping_key(&WrapFor::Prepared(job.clone()), SCHEME).await.unwrap();
                emulated.control.call("DELETE", "requests", None).await;
                let wrapped = wrap(&wrapping_key, &[7; 32]);
                let mut import = import(&key, wrapping_key, wrapped);
                let Mutation::Import { target, .. } = &mut import else { unreachable!("an import is an import") };
                *target = placed.clone();
                cloud.act(&import).await.unwrap();
                emulated.advance(Span::seconds(1)).await;
            }
            "publish" => {
                let publication = Mutation::Publish { target: placed.clone(), object: key.clone(), material: first.clone() };
                drop(cloud.act(&publication).await.unwrap());
            }
            "look" => drop(cloud.look(&placed).await.unwrap()),
            "inspect" => drop(cloud.inspect(&key).await.unwrap()),
            "disable" => drop(cloud.act(&Mutation::Disable { object: key.clone(), material: first.clone() }).await.unwrap()),
            "enable" => drop(cloud.act(&Mutation::Enable { object: key.clone(), material: first.clone() }).await.unwrap()),
            "sweep" => drop(cloud.sweep(None).await.unwrap()),
            "schedule-deletion" => {
                let days = cloud.destination().capabilities.deletion_days;
                let deletion = Mutation::ScheduleDeletion { object: key.clone(), material: first.clone(), days };
                drop(cloud.act(&deletion).await.unwrap());
            }
            "restore" => drop(cloud.act(&Mutation::Restore { object: key.clone(), material: first.clone() }).await.unwrap()),
            // Refused without a request.
            "purge" => drop(cloud.act(&Mutation::Purge { object: key.clone() }).await.unwrap_err()),
            "publish a pair" => {
                let publication = Mutation::Publish { target: pair.clone(), object: key.clone(), material: first.clone() };
                assert_eq!(cloud.act(&publication).await.unwrap_err().class, Class::Unsupported);
            }
            other => unreachable!("{other}"),
        }
        let mut counts = BTreeMap::<&str, usize>::new();
        for operation in emulated.control.operations().await {
            let reads = operation.starts_with("Get") || operation.starts_with("List");
            *counts.entry(if reads { "Read" } else { "Write" }).or_default() += 1;
        }
        counts
    };
    let capabilities = &cloud.destination().capabilities;
    let words = [
        "create",
        "prepared",
        "prepare",
        "wrapping-key",
        "import",
        "publish",
        "look",
        "inspect",
        "disable",
        "enable",
        "schedule-deletion",
        "restore",
        "sweep",
    ];
    for word in words {
        let counts = sent(word).await;
        assert!(!counts.is_empty());
        for (name, calls) in counts {
            let declared = capabilities.draws[word].iter().filter(|drawn| *drawn == name).count();
            assert!(calls <= declared, "{word} sends {calls} of `{name}` and declares {declared}");
        }
    }
    for word in ["purge", "publish a pair"] {
        assert_eq!(sent(word).await, BTreeMap::new());
    }
}

/// The numbers of versions that the tests try.
const COUNTS: [u32; 5] = [1, 2, 5, 30, 150];

/// A key ring into which we imported.
struct Filled {
    emulated: Emulated,
    pair: Vec<u8>,
    public: PublicKey,
    /// By version: the job, and a pair and a secret wrapped under it.
    jobs: BTreeMap<u32, (String, String, String)>,
}

impl Filled {
    /// Makes jobs for versions 1 to `versions`.
    async fn begin(versions: u32) -> Self {
        let emulated = begin().await;
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let public = PublicKey(public.as_ref().to_vec());
        let mut filled = Self { emulated, pair: pair.to_pkcs8v1().unwrap().as_ref().to_vec(), public, jobs: BTreeMap::new() };
        for version in 1..=versions {
            let name = format!("{}/importJobs/{}", ring(), JOB.replace("v3", &format!("v{version}")));
            let making = json!({ "importMethod": "RSA_OAEP_3072_SHA256_AES_256", "protectionLevel": "SOFTWARE" });
            let path = format!("{}/importJobs?importJobId={}", ring(), name.rsplit('/').next().unwrap());
            filled.emulated.kms("POST", &path, making).await.unwrap();
            filled.jobs.insert(version, (name, String::new(), String::new()));
        }
        filled.emulated.advance(Span::seconds(1)).await;
        for (name, pair, secret) in filled.jobs.values_mut() {
            let job = filled.emulated.kms("GET", name, Value::Null).await.unwrap();
            let spki = SubjectPublicKeyInfoDer::from_pem_slice(job["publicKey"]["pem"].as_str().unwrap().as_bytes()).unwrap().to_vec();
            let wrapping_key = WrappingKey { spki, scheme: WrapScheme::RsaAesKeyWrapSha256, token: Vec::new(), valid_until: None };
            *pair = STANDARD.encode(wrap(&wrapping_key, &filled.pair));
            *secret = STANDARD.encode(wrap(&wrapping_key, &[7; 32]));
        }
        filled
    }

    /// Makes a key of ours with these versions, each imported as the product does.
    async fn make(&self, target: &Target, versions: RangeInclusive<u32>) {
        self.emulated.cloud.act(&Mutation::Create { target: target.clone(), marks: marks() }).await.unwrap();
        self.add(target, versions).await;
    }

    async fn add(&self, target: &Target, versions: RangeInclusive<u32>) {
        let symmetric = target.algorithm.is_symmetric();
        let algorithm = if symmetric { "GOOGLE_SYMMETRIC_ENCRYPTION" } else { "EC_SIGN_P256_SHA256" };
        for version in versions {
            let (job, pair, secret) = &self.jobs[&version];
            let wrapped = if symmetric { secret } else { pair };
            let importing = json!({ "algorithm": algorithm, "importJob": job, "wrappedKey": wrapped });
            self.emulated.kms("POST", &format!("{}/cryptoKeyVersions:import", key(&target.name)), importing).await.unwrap();
        }
        self.emulated.advance(Span::seconds(1)).await;
        self.emulated.control.call("DELETE", "requests", None).await;
    }

    /// The record to ask for the evidence of the pair's import with.
    fn copy(&self, version: u32) -> CopyRecord {
        let mut copy = copy(None);
        copy.coordinates.version = Version(version);
        copy.coordinates.algorithm = Algorithm::EcP256;
        CopyRecord { public_key: Some(self.public.clone()), material: Some(version.to_string()), ..copy }
    }

    /// The number of reads that a call sent, which has to be at least 1 and at most what it declares. Empties the journal.
    async fn declared(&self, word: &str, about: &str) -> usize {
        let operations = self.emulated.control.operations().await;
        assert!(operations.iter().all(|operation| operation.starts_with("Get") || operation.starts_with("List")), "{operations:?}");
        let allowed = self.emulated.cloud.destination().capabilities.draws[word].iter().filter(|drawn| *drawn == "Read").count();
        assert!((1..=allowed).contains(&operations.len()), "{word} at {about} declares {allowed} and sends {operations:?}");
        self.emulated.control.call("DELETE", "requests", None).await;
        operations.len()
    }

    /// The number of keys that a whole sweep finds. It has to find each of them once.
    async fn sweep(&self, about: &str) -> usize {
        let (mut names, mut cursor) = (BTreeSet::new(), None);
        loop {
            let page = self.emulated.cloud.sweep(cursor.as_ref()).await.unwrap();
            self.declared("sweep", about).await;
            assert_eq!(page.broken, 0);
            assert!(page.objects.iter().all(|object| names.insert(object.object.clone())), "a key was found twice");
            cursor = page.next;
            if cursor.is_none() {
                return names.len();
            }
        }
    }

    /// Sets the largest page, whatever is asked for.
    async fn pages_of(&self, largest: usize) {
        self.emulated.control.call("POST", "readings", Some(json!({ "largest_page": largest }))).await;
        self.emulated.control.call("DELETE", "requests", None).await;
    }
}

fn pair_of(count: u32) -> Target {
    Target { name: format!("pair-{count}"), algorithm: Algorithm::EcP256, purpose: Purpose::Sign, ..target() }
}

fn secret_of(count: u32) -> Target {
    Target { name: format!("secret-{count}"), ..target() }
}

#[tokio::test]
async fn no_read_draws_more_than_it_declares_however_many_versions_there_are() {
    let filled = Filled::begin(150).await;
    let cloud = &filled.emulated.cloud;
    for count in COUNTS {
        filled.make(&pair_of(count), 1..=count).await;
        filled.make(&secret_of(count), 1..=count).await;
    }
    // The largest page, and the number of pages that 150 versions take then.
    for (largest, most_pages) in [(1_000, 1), (100, 2)] {
        filled.pages_of(largest).await;
        for count in COUNTS {
            let about = format!("{count} versions in pages of {largest}");
            let pages = if count == 150 { most_pages } else { 1 };
            let target = pair_of(count);
            let seen = cloud.look(&target).await.unwrap().claimed.unwrap();
            filled.declared("look", &about).await;
            assert_eq!(seen.materials.len(), count as usize, "{about}");
            assert!(seen.materials.iter().all(|material| material.version.is_some() && material.is_present()), "{about}");
            // The public key of the version in use is always shown; the requests that are left read the newest ones'.
            let shown: Vec<_> = seen.materials.iter().filter(|material| material.public_key.is_some()).collect();
            let newest = count.to_string();
            let expected = if count == 1 || pages == 2 { vec!["1"] } else { vec!["1", &newest] };
            assert_eq!(shown.iter().map(|material| material.id.as_deref().unwrap()).collect::<Vec<_>>(), expected, "{about}");
            assert!(shown.iter().all(|material| material.public_key == Some(filled.public.digest())), "{about}");
            assert_eq!(shown[0].state, MaterialState::Current, "{about}");
            assert_eq!(cloud.inspect(&ObjectId(target.name.clone())).await, Ok(Some(seen)));
            filled.declared("inspect", &about).await;
            // The evidence for any version reads only that version's public key.
            for version in [1, count.div_ceil(2), count] {
                let evidence = cloud.evidence(&target, &filled.copy(version), Timestamp(0)).await.unwrap();
                assert_eq!((evidence.strength, evidence.fits), (EvidenceStrength::Equality, true), "version {version} of {about}");
                assert_eq!(filled.declared("evidence", &about).await, 1 + pages + 1);
            }

            let target = secret_of(count);
            let seen = cloud.look(&target).await.unwrap().claimed.unwrap();
            assert_eq!(seen.materials.len(), count as usize, "{about}");
            assert_eq!(filled.declared("look", &about).await, 1 + pages, "of what has no public key none is asked for");
        }
        let found = filled.sweep(&format!("pages of {largest}")).await;
        assert_eq!(found, 2 * COUNTS.len(), "pages of {largest}");
    }
}

#[tokio::test]
async fn a_page_of_a_sweep_draws_no_more_than_it_declares_however_many_pages_its_keys_take() {
    let filled = Filled::begin(13).await;
    for number in 0..7 {
        filled.make(&secret_of(number), 1..=13).await;
    }
    filled.pages_of(12).await;
    assert_eq!(filled.sweep("keys of two pages each").await, 7);
}

#[tokio::test]
async fn a_second_import_of_the_newest_version_does_not_hide_the_first_ones_public_key() {
    let filled = Filled::begin(3).await;
    let target = pair_of(3);
    filled.make(&target, 1..=3).await;
    filled.add(&target, 3..=3).await;
    let seen = filled.emulated.cloud.look(&target).await.unwrap().claimed.unwrap();
    let shown: Vec<_> = seen.materials.iter().map(|material| (material.version, material.public_key.is_some())).collect();
    let version = |version| Some(Version(version));
    assert_eq!(shown, [(version(1), true), (version(2), false), (version(3), true), (version(3), false)]);
}

#[tokio::test]
async fn a_disabled_version_is_asked_for_no_public_key() {
    let filled = Filled::begin(2).await;
    let (cloud, target) = (&filled.emulated.cloud, pair_of(2));
    filled.make(&target, 1..=2).await;
    cloud.act(&Mutation::Disable { object: ObjectId(target.name.clone()), material: Some("2".into()) }).await.unwrap();
    filled.emulated.control.call("DELETE", "requests", None).await;
    let seen = cloud.look(&target).await.unwrap().claimed.unwrap();
    assert_eq!(filled.declared("look", "one of two is disabled").await, 3);
    assert_eq!(seen.materials.iter().map(|material| material.public_key.is_some()).collect::<Vec<_>>(), [true, false]);
    let evidence = cloud.evidence(&target, &filled.copy(2), Timestamp(0)).await.unwrap();
    assert_eq!((evidence.strength, evidence.fits), (EvidenceStrength::None, true), "unusable is not gone");
    assert_eq!(filled.declared("evidence", "of a disabled version").await, 2);
}

#[tokio::test]
async fn a_key_with_more_versions_than_one_look_lists_is_an_error_and_never_a_part_of_it() {
    let filled = Filled::begin(30).await;
    let (cloud, target) = (&filled.emulated.cloud, pair_of(30));
    filled.make(&target, 1..=30).await;
    filled.make(&secret_of(1), 1..=1).await;
    filled.pages_of(15).await;
    assert_eq!(cloud.look(&target).await.unwrap().claimed.unwrap().materials.len(), 30);
    filled.pages_of(14).await;

    let short = |error: CloudError| (error.class, error.cause, error.operation);
    let too_many = (Class::Unsupported, Cause::Plain, "ListCryptoKeyVersions");
    assert_eq!(cloud.look(&target).await.map_err(short), Err(too_many));
    filled.declared("look", "too many versions").await;
    assert_eq!(cloud.inspect(&ObjectId(target.name.clone())).await.map_err(short), Err(too_many));
    filled.declared("inspect", "too many versions").await;
    assert_eq!(cloud.evidence(&target, &filled.copy(1), Timestamp(0)).await.map_err(short), Err(too_many));
    filled.declared("evidence", "too many versions").await;
    let page = cloud.sweep(None).await.unwrap();
    let names: Vec<_> = page.objects.iter().map(|object| object.object.0.as_str()).collect();
    assert_eq!((names, page.broken, page.next), (vec!["secret-1"], 1, None), "the sweep goes on, and is not complete");
    filled.declared("sweep", "too many versions").await;
}

#[tokio::test]
async fn a_key_with_a_rotation_schedule_is_not_ours() {
    let emulated = begin().await;
    // An import-only key cannot generate its own material, so somebody made one under our name and with our marks.
    let labels = json!({
        "keyplane-installation": marks().installation,
        "keyplane-placement": marks().placement,
        "keyplane-incarnation": "2",
        "keyplane-attempt": marks().attempt,
    });
    let making = json!({
        "purpose": "ENCRYPT_DECRYPT",
        "versionTemplate": { "protectionLevel": "SOFTWARE", "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION" },
        "labels": labels,
    });
    let path = format!("{}/cryptoKeys?cryptoKeyId={}&skipInitialVersionCreation=true", ring(), target().name);
    emulated.kms("POST", &path, making).await.unwrap();
    let seen = emulated.cloud.inspect(&object()).await.unwrap().unwrap();
    assert_eq!(seen.marks, Some(marks()));
    assert!(!seen.external && !seen.fits(&target()), "{seen:?}");
}

#[tokio::test]
async fn the_protection_level_is_the_destinations() {
    let emulated = begin().await;
    emulated.cloud.act(&Mutation::Create { target: target(), marks: marks() }).await.unwrap();
    assert!(emulated.cloud.inspect(&object()).await.unwrap().unwrap().fits(&target()));
    let mut config = config(&emulated.endpoint, machine(&emulated.endpoint));
    config.protection = keyplane_model::Protection::Hsm;
    let hsm = keyplane_gcp::GoogleKms::connect(config).await.unwrap();
    let seen = hsm.inspect(&object()).await.unwrap().unwrap();
    assert_eq!((seen.algorithm, seen.fits(&target())), (None, false), "a software key where HSM keys were approved");

    let preparation = Mutation::Prepare { target: target(), version: Version(3), scheme: SCHEME };
    emulated.cloud.act(&preparation).await.unwrap();
    emulated.advance(Span::seconds(1)).await;
    assert_eq!(hsm.prepared(&target(), Version(3), None).await, Ok(None), "a job of another protection level is passed over");
    let error = hsm.wrapping_key(&WrapFor::Prepared(ObjectId(JOB.into())), SCHEME).await.unwrap_err();
    assert_eq!(error.class, Class::Stale, "{error}");
}

#[tokio::test]
async fn a_job_is_asked_for_by_its_own_scheme() {
    let emulated = begin().await;
    let preparation = Mutation::Prepare { target: target(), version: Version(3), scheme: SCHEME };
    emulated.cloud.act(&preparation).await.unwrap();
    emulated.advance(Span::seconds(1)).await;
    let from = WrapFor::Prepared(ObjectId(JOB.into()));
    for scheme in [WrapScheme::RsaAesKeyWrapSha256, WrapScheme::RsaOaepSha1, WrapScheme::RsaAesKeyWrapSha1] {
        let error = emulated.cloud.wrapping_key(&from, scheme).await.unwrap_err();
        assert_eq!((error.class, error.cause), (Class::Stale, Cause::Plain), "{scheme}");
    }
    let sha1 = Mutation::Prepare { target: target(), version: Version(3), scheme: WrapScheme::RsaAesKeyWrapSha1 };
    assert_eq!(emulated.cloud.act(&sha1).await.unwrap_err().class, Class::Unsupported);
    // A pair cannot be wrapped by this job's method.
    let pair = Target { algorithm: Algorithm::Rsa2048, purpose: Purpose::Sign, ..target() };
    assert_eq!(emulated.cloud.prepared(&pair, Version(3), None).await, Ok(None));
}

#[tokio::test]
async fn what_google_cloud_does_not_do_is_refused_without_a_request() {
    let emulated = begin().await;
    let cloud = &emulated.cloud;
    let wrapping_key = |token: &str| WrappingKey { spki: vec![1], scheme: SCHEME, token: token.into(), valid_until: None };
    let job = format!("{}/importJobs/{JOB}", ring());
    let mut without = import(&object(), wrapping_key(&job), vec![1]);
    let Mutation::Import { object: none, .. } = &mut without else { unreachable!("an import is an import") };
    *none = None;
    let first = Some("1".to_owned());
    let publication = |object: ObjectId, material| Mutation::Publish { target: target(), object, material };
    let mac = Target { algorithm: Algorithm::HmacSha256, purpose: Purpose::Sign, ..target() };
    for (mutation, class) in [
        (Mutation::Claim { target: target(), object: object() }, Class::Unsupported),
        (without, Class::Unsupported),
        (Mutation::Disable { object: object(), material: None }, Class::Unsupported),
        (Mutation::Enable { object: object(), material: None }, Class::Unsupported),
        (Mutation::ScheduleDeletion { object: object(), material: None, days: 30 }, Class::Unsupported),
        (Mutation::Create { target: mac, marks: marks() }, Class::Unsupported),
        (Mutation::Disable { object: object(), material: Some("1/../2".into()) }, Class::Invalid),
        (Mutation::Disable { object: ObjectId("a/b".into()), material: first.clone() }, Class::Invalid),
        (publication(object(), None), Class::Invalid),
        (publication(object(), Some("latest".into())), Class::Invalid),
        (publication(ObjectId("another".into()), first), Class::Invalid),
        (import(&ObjectId("..".into()), wrapping_key(&job), vec![1]), Class::Invalid),
        (import(&object(), wrapping_key(""), vec![1]), Class::Invalid),
        (import(&object(), wrapping_key(&job.replace("acme", "other")), vec![1]), Class::Invalid),
    ] {
        let error = cloud.act(&mutation).await.unwrap_err();
        assert_eq!(error.class, class, "{mutation:?}: {error}");
    }
    let error = cloud.wrapping_key(&WrapFor::Object(object()), SCHEME).await.unwrap_err();
    assert_eq!(error.class, Class::Unsupported, "{error}");
    assert_eq!(emulated.control.operations().await, Vec::<String>::new());
}
