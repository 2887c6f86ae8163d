//! The same conversation over HTTP and with the core itself: the answers have to be equal, byte for byte. The wire adds only signatures,
//! challenges and headers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use axum::{Router, body::Body};
use http::{Method, Request};
use keyplane_emulator_core::{
    Timestamp, aws, azure,
    crypto::{RealCrypto, RsaPairs},
    frame::Answer,
    gcp,
};
use keyplane_emulator_wire::{self as wire, Clock};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const SEED: u64 = 7;
const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// A request: method, path with query (at AWS the operation), body. `$1` stands for the first name in an earlier answer.
type Step = (&'static str, &'static str, Value);

fn clock() -> Clock {
    Arc::new(|| NOW)
}

/// Inserts names of earlier answers, and keeps those of this one.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn fill(&self, text: &str) -> String {
        self.0.iter().enumerate().rev().fold(text.to_owned(), |text, (at, name)| text.replace(&format!("${}", at + 1), name))
    }

    fn keep(&mut self, answer: &[u8]) {
        let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
        let named = [&answer["KeyMetadata"]["KeyId"], &answer["key"]["kid"]];
        self.0.extend(named.into_iter().filter_map(Value::as_str).map(|name| name.rsplit('/').next().unwrap().to_owned()));
    }
}

/// Status and body of the router's answer.
async fn over_http(router: &Router, request: Request<Body>) -> (u16, Vec<u8>) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec())
}

fn body(value: &Value, names: &Names) -> Vec<u8> {
    if value.is_null() { Vec::new() } else { names.fill(&value.to_string()).into_bytes() }
}

fn same(step: &Step, (status, body): (u16, &Value), wire: (u16, &[u8])) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    assert_eq!(format!("{status} {body}"), format!("{} {}", wire.0, String::from_utf8_lossy(wire.1)), "{step:?}");
}

#[tokio::test]
async fn aws_answers_alike() {
    let config = || aws::Config { region: "us-east-1".into(), ..aws::Config::default() };
    let router = wire::aws::router(wire::aws::Options {
        config: config(),
        credential: None,
        quotas: true,
        pairs: RsaPairs::default(),
        seed: SEED,
        clock: clock(),
    });
    let mut rng = ChaCha20Rng::seed_from_u64(SEED);
    let mut core = aws::Aws::new(config(), Box::new(RealCrypto), &mut rng);
    let conversation: Vec<Step> = vec![
        ("POST", "CreateKey", json!({ "Origin": "EXTERNAL", "Tags": [{ "TagKey": "a", "TagValue": "b" }] })),
        ("POST", "CreateKey", json!({ "Origin": "NOWHERE" })),
        ("POST", "CreateAlias", json!({ "AliasName": "alias/one", "TargetKeyId": "$1" })),
        ("POST", "CreateAlias", json!({ "AliasName": "alias/one", "TargetKeyId": "$1" })),
        ("POST", "DescribeKey", json!({ "KeyId": "alias/one" })),
        ("POST", "DescribeKey", json!({ "KeyId": "alias/two" })),
        ("POST", "ListResourceTags", json!({ "KeyId": "$1" })),
        ("POST", "GetKeyPolicy", json!({ "KeyId": "$1" })),
        ("POST", "ListKeyRotations", json!({ "KeyId": "$1", "IncludeKeyMaterial": "ALL_KEY_MATERIAL" })),
        ("POST", "ListKeys", json!({ "Limit": 1 })),
        ("POST", "Encrypt", json!({ "KeyId": "$1", "Plaintext": "YQ==" })),
        ("POST", "DisableKey", json!({ "KeyId": "$1" })),
        ("POST", "EnableKey", json!({ "KeyId": "$1" })),
        ("POST", "ScheduleKeyDeletion", json!({ "KeyId": "$1", "PendingWindowInDays": 3 })),
        ("POST", "ScheduleKeyDeletion", json!({ "KeyId": "$1", "PendingWindowInDays": 7 })),
        ("POST", "NoSuchOperation", json!({})),
    ];
    let mut names = Names::default();
    for step in &conversation {
        let sent = body(&step.2, &names);
        let request = Request::builder()
            .method(Method::POST)
            .uri("/")
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("TrentService.{}", step.1))
            .header("x-amz-date", "20270115T080000Z")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKID/20270115/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=00",
            )
            .body(Body::from(sent.clone()))
            .unwrap();
        let (status, said) = over_http(&router, request).await;
        let call = aws::Request { region: Some("us-east-1".into()), operation: step.1.into(), body: sent };
        let Answer::Reply(reply) = core.handle(NOW, &mut rng, &call) else { unreachable!("no fault was asked for") };
        same(step, (reply.status, &reply.body), (status, &said));
        names.keep(&said);
    }
    assert_eq!(names.0.len(), 2, "a key was made, and shown by its alias");
}

#[tokio::test]
async fn google_cloud_answers_alike() {
    const RING: &str = "projects/p/locations/europe-west3/keyRings/ring";
    let config = || gcp::Config { project: "p".into(), ..gcp::Config::default() };
    let router = wire::gcp::router(wire::gcp::Options {
        config: config(),
        account: None,
        subject_token: None,
        quotas: true,
        key_rings: Vec::new(),
        pairs: RsaPairs::default(),
        seed: SEED,
        clock: clock(),
    });
    let mut rng = ChaCha20Rng::seed_from_u64(SEED);
    let mut core = gcp::Gcp::new(config(), Box::new(RealCrypto));
    let key = json!({ "purpose": "ENCRYPT_DECRYPT", "importOnly": true, "labels": { "a": "b" } });
    let conversation: Vec<Step> = vec![
        ("POST", "/v1/projects/p/locations/europe-west3/keyRings?keyRingId=ring", json!({})),
        ("POST", "/v1/projects/p/locations/europe-west3/keyRings?keyRingId=ring", json!({})),
        ("POST", "/v1/projects/p/locations/europe-west3/keyRings/ring/cryptoKeys?cryptoKeyId=one&skipInitialVersionCreation=true", key),
        ("GET", "/v1/projects/p/locations/europe-west3/keyRings/ring/cryptoKeys/one", Value::Null),
        ("GET", "/v1/projects/p/locations/europe-west3/keyRings/ring/cryptoKeys/two", Value::Null),
        ("GET", "/v1/projects/p/locations/europe-west3/keyRings/ring/cryptoKeys?pageSize=1", Value::Null),
        ("GET", "/v1/projects/p/locations/europe-west3/keyRings/ring/cryptoKeys/one/cryptoKeyVersions", Value::Null),
        ("PATCH", "/v1/projects/p/locations/europe-west3/keyRings/ring/cryptoKeys/one?updateMask=labels", json!({ "labels": {} })),
        ("POST", "/v1/projects/p/locations/europe-west3/keyRings/ring/cryptoKeys/one:encrypt", json!({ "plaintext": "YQ==" })),
        ("GET", "/v1/nothing", Value::Null),
    ];
    assert!(conversation.iter().filter(|step| step.1.contains(RING)).count() > 5);
    for step in &conversation {
        let sent = body(&step.2, &Names::default());
        let request = Request::builder().method(step.0).uri(step.1).header("content-type", "application/json");
        let (status, said) = over_http(&router, request.body(Body::from(sent.clone())).unwrap()).await;
        let (path, query) = step.1.split_once('?').unwrap_or((step.1, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let method = match step.0 {
            "GET" => gcp::Method::Get,
            "PATCH" => gcp::Method::Patch,
            _ => gcp::Method::Post,
        };
        let query = pairs.map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
        let call = gcp::Request { method, path: path.to_owned(), query, body: sent };
        let Answer::Reply(reply) = core.handle(NOW, &mut rng, &call) else { unreachable!("no fault was asked for") };
        same(step, (reply.status, &reply.body), (status, &said));
    }
}

#[tokio::test]
async fn azure_answers_alike() {
    let config = || azure::Config::new(azure::Kind::Standard, "emulator.vault.azure.net");
    let directory =
        wire::azure::Directory { tenant: "t".into(), application: None, federation: None, identity_header: None, token_seconds: 3_600 };
    let options =
        wire::azure::Options { config: config(), directory, quotas: true, pairs: RsaPairs::default(), seed: SEED, clock: clock() };
    let router = wire::azure::emulator(options).unwrap().vault;
    let mut rng = ChaCha20Rng::seed_from_u64(SEED);
    // The wire draws the secret that it signs tokens with.
    rng.fill_bytes(&mut [0; 32]);
    let mut core = azure::Azure::vault(config(), Box::new(RealCrypto));
    // RFC 7515, A.3.
    let pair = json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
    });
    let conversation: Vec<Step> = vec![
        ("GET", "/keys/one?api-version=7.6", Value::Null),
        ("GET", "/deletedkeys/one?api-version=7.6", Value::Null),
        ("PUT", "/keys/one?api-version=7.6", json!({ "key": { "kty": "oct-HSM" } })),
        ("POST", "/keys/one/create?api-version=7.6", json!({ "kty": "nothing" })),
        ("PUT", "/keys/one?api-version=7.6", json!({ "key": pair, "tags": { "a": "b" } })),
        ("GET", "/keys/one?api-version=7.6", Value::Null),
        ("GET", "/keys?api-version=7.6", Value::Null),
        ("GET", "/keys?api-version=1", Value::Null),
        ("GET", "/keys/one/versions?api-version=7.6", Value::Null),
        ("PATCH", "/keys/one?api-version=7.6", json!({ "attributes": { "enabled": false } })),
        ("DELETE", "/keys/one?api-version=7.6", Value::Null),
        ("GET", "/deletedkeys/one?api-version=7.6", Value::Null),
        ("GET", "/keys/one?api-version=7.6", Value::Null),
        ("GET", "/elsewhere?api-version=7.6", Value::Null),
    ];
    for step in &conversation {
        let sent = body(&step.2, &Names::default());
        let request = Request::builder()
            .method(step.0)
            .uri(step.1)
            .header("host", "emulator.vault.azure.net")
            .header("authorization", "Bearer anything")
            .header("content-type", "application/json");
        let (status, said) = over_http(&router, request.body(Body::from(sent.clone())).unwrap()).await;
        let (path, query) = step.1.split_once('?').unwrap_or((step.1, ""));
        let call = azure::Request::new(step.0, Some("emulator.vault.azure.net"), path, query, sent);
        let Answer::Reply(reply) = core.handle(NOW, &mut rng, &call) else { unreachable!("no fault was asked for") };
        same(step, (reply.status, &reply.body), (status, &said));
    }
}
