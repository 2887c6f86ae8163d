//! What is sent: exactly what the contract says, and no more than is declared.

use std::collections::BTreeMap;

use keyplane_conformance::{Subject as _, wrap};
use keyplane_model::{Algorithm, Class, Marks, ObjectId, Purpose, Span, Target, Version, WrapScheme};
use keyplane_port::{Acted, Cause, Cloud as _, Mutation, WrapFor, WrappingKey};
use serde_json::{Value, json};

use crate::emulated::{Emulated, begin, config, key, machine, ring};

const SCHEME: WrapScheme = WrapScheme::RsaOaepSha256;

const JOB: &str = "kp-33333333333383338333333333333333-v3-1";

pub(crate) fn marks() -> Marks {
    Marks {
        installation: "11111111-1111-8111-8111-111111111111".parse().unwrap(),
        placement: "33333333-3333-8333-8333-333333333333".parse().unwrap(),
        incarnation: 2,
        attempt: "44444444-4444-8444-8444-444444444444".parse().unwrap(),
    }
}

pub(crate) fn target() -> Target {
    Target {
        installation: marks().installation,
        placement: marks().placement,
        incarnation: marks().incarnation,
        name: "payments_DB-1".into(),
        algorithm: Algorithm::Aes256,
        purpose: Purpose::Encrypt,
        key: "payments-db".parse().unwrap(),
    }
}

/// The import of wrapped bytes into a key.
pub(crate) fn import(object: &ObjectId, wrapping_key: WrappingKey, wrapped: Vec<u8>) -> Mutation {
    Mutation::Import {
        target: target(),
        object: Some(object.clone()),
        marks: marks(),
        again: None,
        version: Version(3),
        public_key: None,
        wrapping_key,
        wrapped,
    }
}

fn object() -> ObjectId {
    ObjectId(target().name)
}

/// The parameters behind the path of the requests of an operation, as text.
async fn queries(emulated: &Emulated, operation: &str) -> Vec<Value> {
    let requests = emulated.control("GET", "requests", None).await;
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
        emulated.bodies("CreateCryptoKey").await,
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
    let dump = emulated.control("GET", "dump", None).await;
    assert_eq!(dump["keys"][0]["materials"].as_array().unwrap().len(), 1, "a version was generated");

    let job = json!({ "importMethod": "RSA_OAEP_4096_SHA256", "protectionLevel": "SOFTWARE" });
    assert_eq!(emulated.bodies("CreateImportJob").await, [job]);
    assert_eq!(queries(&emulated, "CreateImportJob").await, [format!("{}/importJobs/{JOB}", ring())]);
    let mut import = emulated.bodies("ImportCryptoKeyVersion").await.remove(0);
    assert_eq!(import["wrappedKey"].take().as_str().unwrap().len(), 684, "512 bytes in base64");
    assert_eq!(
        import,
        json!({
            "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION",
            "importJob": format!("{}/importJobs/{JOB}", ring()),
            "wrappedKey": null,
        })
    );
    assert_eq!(emulated.bodies("UpdateCryptoKeyPrimaryVersion").await, [json!({ "cryptoKeyVersionId": "1" })]);
    assert_eq!(emulated.bodies("UpdateCryptoKeyVersion").await, [json!({ "state": "DISABLED" }), json!({ "state": "ENABLED" })]);
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
        emulated.control("DELETE", "requests", None).await;
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
                emulated.control("DELETE", "requests", None).await;
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
            // Refused without a request.
            "schedule-deletion" => drop(cloud.act(&Mutation::ScheduleDeletion { object: key.clone(), days: 30 }).await.unwrap_err()),
            "publish a pair" => {
                let publication = Mutation::Publish { target: pair.clone(), object: key.clone(), material: first.clone() };
                assert_eq!(cloud.act(&publication).await.unwrap_err().class, Class::Unsupported);
            }
            other => unreachable!("{other}"),
        }
        let mut counts = BTreeMap::<&str, usize>::new();
        for operation in emulated.operations().await {
            let reads = operation.starts_with("Get") || operation.starts_with("List");
            *counts.entry(if reads { "Read" } else { "Write" }).or_default() += 1;
        }
        counts
    };
    let capabilities = &cloud.destination().capabilities;
    let words = ["create", "prepared", "prepare", "wrapping-key", "import", "publish", "look", "inspect", "disable", "enable", "sweep"];
    for word in words {
        let counts = sent(word).await;
        assert!(!counts.is_empty());
        for (name, calls) in counts {
            let declared = capabilities.draws[word].iter().filter(|drawn| *drawn == name).count();
            assert!(calls <= declared, "{word} sends {calls} of `{name}` and declares {declared}");
        }
    }
    for word in ["schedule-deletion", "publish a pair"] {
        assert_eq!(sent(word).await, BTreeMap::new());
    }
}

#[tokio::test]
async fn a_key_with_a_rotation_schedule_is_not_ours() {
    let emulated = begin().await;
    // What makes its own material cannot be an import-only key: somebody made one under our name, with our marks.
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
    // A pair cannot be wrapped as this job wants it.
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
        (Mutation::ScheduleDeletion { object: object(), days: 30 }, Class::Unsupported),
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
    assert_eq!(emulated.operations().await, Vec::<String>::new());
}
