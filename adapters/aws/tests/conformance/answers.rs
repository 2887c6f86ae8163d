//! The meaning of answers: every error code of AWS, and answers that KMS would not give.

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use keyplane_aws::{AwsKms, Credentials};
use keyplane_conformance::Subject as _;
use keyplane_model::{Class, ObjectId, WrapScheme};
use keyplane_port::{Cause, Cloud as _, CloudError, Mutation, WrapFor};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::emulated::{ACCOUNT, KEY_ID, SECRET, access_key, begin, config, serve};

const KEY: &str = "22222222-2222-4222-8222-222222222222";

fn object() -> ObjectId {
    ObjectId(KEY.to_owned())
}

/// The errors of a mutation and of a read.
async fn both(cloud: &AwsKms) -> (CloudError, CloudError) {
    let acted = cloud.act(&Mutation::Enable { object: object(), material: None }).await.map(|_| ()).unwrap_err();
    let read = cloud.wrapping_key(&WrapFor::Object(object()), WrapScheme::RsaOaepSha256).await.map(|_| ()).unwrap_err();
    assert_eq!((acted.operation, read.operation), ("EnableKey", "GetParametersForImport"));
    (acted, read)
}

#[tokio::test]
async fn every_error_code_has_its_class() {
    use Cause::{Credentials as Creds, ImportTokenExpired, OtherMaterial, Plain};
    use Class::{Ambiguous, Denied, Invalid, NotFound, Stale, Throttled, Transient, Unsupported};
    let emulated = begin().await;
    // Code, status, class of a mutation, class of a read, cause.
    for (code, status, acted, read, cause) in [
        ("ThrottlingException", 400, Throttled, Throttled, Plain),
        ("TooManyRequestsException", 429, Throttled, Throttled, Plain),
        ("LimitExceededException", 400, Denied, Denied, Plain),
        ("AccessDeniedException", 400, Denied, Denied, Plain),
        ("UnrecognizedClientException", 400, Denied, Denied, Creds),
        ("InvalidSignatureException", 400, Denied, Denied, Creds),
        ("ExpiredTokenException", 400, Denied, Denied, Creds),
        ("InvalidClientTokenId", 403, Denied, Denied, Creds),
        ("MissingAuthenticationTokenException", 400, Denied, Denied, Creds),
        ("SignatureDoesNotMatch", 403, Denied, Denied, Creds),
        ("IncompleteSignature", 400, Denied, Denied, Creds),
        ("NotFoundException", 400, NotFound, NotFound, Plain),
        ("KMSInvalidStateException", 400, Stale, Stale, Plain),
        ("InvalidArnException", 400, Invalid, Invalid, Plain),
        ("ValidationException", 400, Invalid, Invalid, Plain),
        ("SomethingNewException", 400, Invalid, Invalid, Plain),
        ("UnsupportedOperationException", 400, Unsupported, Unsupported, Plain),
        ("UnknownOperationException", 404, Unsupported, Unsupported, Plain),
        ("KMSInternalException", 500, Ambiguous, Transient, Plain),
        ("DependencyTimeoutException", 503, Ambiguous, Transient, Plain),
        ("ServiceUnavailableException", 503, Ambiguous, Transient, Plain),
        ("SomethingNewException", 500, Ambiguous, Transient, Plain),
    ] {
        let fault = json!({ "kind": "error", "code": code, "status": status });
        emulated.control.next("EnableKey", fault.clone()).await;
        emulated.control.next("GetParametersForImport", fault).await;
        let (mutation, reading) = both(&emulated.cloud).await;
        assert_eq!((mutation.class, mutation.cause), (acted, cause), "{code} of a mutation");
        assert_eq!((reading.class, reading.cause), (read, cause), "{code} of a read");
        assert!(mutation.message.starts_with(code), "{mutation}");
    }
    for (code, class, cause) in [
        ("ExpiredImportTokenException", Stale, ImportTokenExpired),
        ("IncorrectKeyMaterialException", Invalid, OtherMaterial),
        ("InvalidImportTokenException", Invalid, Plain),
        ("InvalidCiphertextException", Invalid, Plain),
    ] {
        emulated.control.next("ImportKeyMaterial", json!({ "kind": "error", "code": code })).await;
        let wrapping_key =
            keyplane_port::WrappingKey { spki: vec![1], scheme: WrapScheme::RsaOaepSha256, token: vec![1], valid_until: None };
        let import = crate::requests::import(&object(), keyplane_model::Version(1), wrapping_key, vec![1]);
        let error = emulated.cloud.act(&import).await.map(|_| ()).unwrap_err();
        assert_eq!((error.class, error.cause), (class, cause), "{code}");
    }
}

#[tokio::test]
async fn a_key_id_that_aws_does_not_know_is_a_matter_of_credentials() {
    let emulated = begin().await;
    let mut unknown = config(&emulated.endpoint);
    unknown.credentials = access_key("AKIDNOBODY", "none");
    let (acted, read) = both(&AwsKms::connect(unknown).await.unwrap()).await;
    for error in [acted, read] {
        assert_eq!((error.class, error.cause), (Class::Denied, Cause::Credentials), "{error}");
    }
    assert_eq!(emulated.mutations().await, 0);
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let emulated = begin().await;
    let mut missing = config(&emulated.endpoint);
    missing.credentials = Credentials::Profile("a-profile-that-nobody-has".into());
    let (acted, read) = both(&AwsKms::connect(missing).await.unwrap()).await;
    for error in [acted, read] {
        assert_eq!((error.class, error.cause), (Class::Denied, Cause::Credentials), "{error}");
    }
    assert_eq!(emulated.control.operations().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_environment_gives_credentials_and_nothing_that_was_approved() {
    const NAME: &str = "answers::the_environment_gives_credentials_and_nothing_that_was_approved";
    const ENDPOINT: &str = "TEST_ENDPOINT";
    // The test runs itself in a second process, because the environment belongs to a process. This is the second one.
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        let mut config = config(&endpoint);
        config.credentials = Credentials::Default;
        AwsKms::connect(config).await.unwrap().sweep(None).await.unwrap();
        return;
    }
    let emulated = begin().await;
    let inner = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME])
        .env_clear()
        .envs([(ENDPOINT, emulated.endpoint.as_str()), ("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET)])
        .envs([("AWS_REGION", "eu-west-1"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")])
        .output()
        .await
        .unwrap();
    assert!(inner.status.success(), "{}", String::from_utf8_lossy(&inner.stderr));
    assert_eq!(emulated.control.operations().await, ["ListKeys"]);
}

/// Serves the same answer to every request.
async fn always(server: &mut JoinSet<()>, status: u16, content_type: &'static str, body: String) -> AwsKms {
    let answer = move || {
        let body = body.clone();
        async move { (StatusCode::from_u16(status).unwrap(), [("content-type", content_type)], body).into_response() }
    };
    let endpoint = serve(server, Router::new().fallback(answer)).await;
    AwsKms::connect(config(&endpoint)).await.unwrap()
}

#[tokio::test]
async fn what_is_not_an_answer_of_kms_proves_nothing() {
    const JSON: &str = "application/x-amz-json-1.1";
    let mut server = JoinSet::new();
    for (status, kind, body, read_class) in [
        (502, "text/html", "<html>bad gateway</html>", Class::Transient),
        (503, "text/html", "", Class::Transient),
        (403, "text/html", "<html>a proxy says no</html>", Class::Broken),
        (400, JSON, "{}", Class::Broken),
        (400, JSON, "nonsense", Class::Broken),
        (200, JSON, "nonsense", Class::Broken),
        (200, JSON, "{}", Class::Broken),
    ] {
        let cloud = always(&mut server, status, kind, body.to_owned()).await;
        let create = Mutation::Create { target: crate::requests::target(), marks: crate::requests::marks() };
        let acted = cloud.act(&create).await.map(|_| ()).unwrap_err();
        assert_eq!(acted.class, Class::Ambiguous, "{status} {body:?}: {acted}");
        let read = cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
        assert_eq!(read.class, read_class, "{status} {body:?}: {read}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    for sent in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"KeyMeta"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cloud = AwsKms::connect(config(&format!("http://{}", listener.local_addr().unwrap()))).await.unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 65_536];
                let _ = stream.read(&mut buffer).await.unwrap();
                stream.write_all(sent.as_bytes()).await.unwrap();
            }
        });
        let create = Mutation::Create { target: crate::requests::target(), marks: crate::requests::marks() };
        let acted = cloud.act(&create).await.map(|_| ()).unwrap_err();
        assert_eq!((acted.class, acted.cause), (Class::Ambiguous, Cause::Plain), "{sent:?}: {acted}");
        let read = cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
        assert_eq!((read.class, read.cause), (Class::Transient, Cause::Plain), "{sent:?}: {read}");
    }
}

#[tokio::test]
async fn another_account_is_not_the_one_that_was_approved() {
    let emulated = begin().await;
    let mut elsewhere = config(&emulated.endpoint);
    elsewhere.account = "999999999999".into();
    let cloud = AwsKms::connect(elsewhere).await.unwrap();
    let create = Mutation::Create { target: crate::requests::target(), marks: crate::requests::marks() };
    let acted = cloud.act(&create).await.map(|_| ()).unwrap_err();
    assert_eq!((acted.class, acted.cause), (Class::Ambiguous, Cause::WrongHome), "the key is made all the same");

    let foreign = emulated.crowd(1).await.remove(0);
    let wrong = Err((Class::Stale, Cause::WrongHome));
    let told = |error: CloudError| (error.class, error.cause);
    assert_eq!(cloud.inspect(&foreign).await.map_err(told).map(|_| ()), wrong);
    assert_eq!(cloud.sweep(None).await.map_err(told).map(|_| ()), wrong);
    assert_eq!(cloud.wrapping_key(&WrapFor::Object(foreign.clone()), WrapScheme::RsaOaepSha256).await.map_err(told).map(|_| ()), wrong);
}

/// A KMS that gives the test's answers.
async fn told(server: &mut JoinSet<()>, answers: fn(&str) -> Value) -> AwsKms {
    let answer = move |headers: HeaderMap| async move {
        let operation = headers["x-amz-target"].to_str().unwrap().trim_start_matches("TrentService.").to_owned();
        ([("content-type", "application/x-amz-json-1.1")], answers(&operation).to_string()).into_response()
    };
    let endpoint = serve(server, Router::new().fallback(async move |headers: HeaderMap| -> Response { answer(headers).await })).await;
    AwsKms::connect(config(&endpoint)).await.unwrap()
}

fn arn(key: &str) -> String {
    format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{key}")
}

#[tokio::test]
async fn an_answer_about_another_key_is_refused() {
    let mut server = JoinSet::new();
    let cloud = told(&mut server, |operation| match operation {
        "GetParametersForImport" => json!({ "KeyId": arn("another"), "ImportToken": "AAAA", "PublicKey": "AAAA", "ParametersValidTo": 1 }),
        _ => json!({ "KeyMetadata": { "KeyId": "another", "Arn": arn("another") } }),
    })
    .await;
    let error = cloud.wrapping_key(&WrapFor::Object(object()), WrapScheme::RsaOaepSha256).await.map(|_| ()).unwrap_err();
    assert_eq!(error.class, Class::Broken, "{error}");
    let error = cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
    assert_eq!(error.class, Class::Broken, "{error}");
}

/// KMS's answer with a wrapping key of so many bits.
fn parameters(bits: usize) -> Value {
    let spki = STANDARD.encode(keyplane_conformance::rsa_public_key(bits));
    json!({ "KeyId": arn(KEY), "ImportToken": "AAAA", "PublicKey": spki, "ParametersValidTo": 1 })
}

#[tokio::test]
async fn a_key_to_wrap_under_is_of_the_size_that_was_asked_for() {
    let mut server = JoinSet::new();
    let from = WrapFor::Object(object());
    assert!(told(&mut server, |_| parameters(4_096)).await.wrapping_key(&from, WrapScheme::RsaOaepSha256).await.is_ok());
    let shorter: [fn(&str) -> Value; 2] = [|_| parameters(2_048), |_| parameters(3_072)];
    for answer in shorter {
        let error = told(&mut server, answer).await.wrapping_key(&from, WrapScheme::RsaOaepSha256).await.unwrap_err();
        assert_eq!(error.class, Class::Broken, "{error}");
        assert!(error.message.contains("bits, and 4096 were asked for"), "{error}");
    }
    let garbage = told(&mut server, |_| json!({ "KeyId": arn(KEY), "ImportToken": "AAAA", "PublicKey": "AAAA", "ParametersValidTo": 1 }));
    let error = garbage.await.wrapping_key(&from, WrapScheme::RsaOaepSha256).await.unwrap_err();
    assert!(error.class == Class::Broken && error.message.contains("no DER"), "{error}");
}

#[tokio::test]
async fn a_list_without_an_end_is_given_up() {
    let mut server = JoinSet::new();
    let cloud = told(&mut server, |operation| match operation {
        "ListResourceTags" => json!({ "Tags": [], "Truncated": true, "NextMarker": "again" }),
        _ => json!({ "KeyMetadata": { "KeyId": KEY, "Arn": arn(KEY) } }),
    })
    .await;
    let error = cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
    assert_eq!((error.class, error.operation), (Class::Broken, "ListResourceTags"), "{error}");
}

#[tokio::test]
async fn a_sweep_that_goes_in_circles_is_given_up() {
    let mut server = JoinSet::new();
    let cloud = told(&mut server, |_| json!({ "Keys": [], "Truncated": true, "NextMarker": "again" })).await;
    let first = cloud.sweep(None).await.unwrap();
    let error = cloud.sweep(first.next.as_ref()).await.map(|_| ()).unwrap_err();
    assert_eq!((error.class, error.operation), (Class::Broken, "ListKeys"), "{error}");
}

#[tokio::test]
async fn an_answer_without_an_end_is_given_up() {
    let mut server = JoinSet::new();
    let answer = async || {
        let endless = futures::stream::repeat_with(|| Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b' '; 65_536])));
        ([("content-type", "application/x-amz-json-1.1")], Body::from_stream(endless)).into_response()
    };
    let endpoint = serve(&mut server, Router::new().fallback(answer)).await;
    let cloud = AwsKms::connect(config(&endpoint)).await.unwrap();
    let error = cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
    assert_eq!(error.class, Class::Broken, "{error}");
    let create = Mutation::Create { target: crate::requests::target(), marks: crate::requests::marks() };
    assert_eq!(cloud.act(&create).await.map(|_| ()).unwrap_err().class, Class::Ambiguous);
}

#[tokio::test]
async fn what_an_endpoint_says_is_cut_and_harmless() {
    let mut server = JoinSet::new();
    let message = format!("\u{1b}[31mred\r\nsecond line\u{202e}{}", "x".repeat(10_000));
    let body = json!({ "__type": "KMSInternalException", "message": message }).to_string();
    let cloud = always(&mut server, 500, "application/x-amz-json-1.1", body).await;
    let (acted, _) = both(&cloud).await;
    assert_eq!(acted.message.chars().count(), 500);
    assert!(!acted.message.chars().any(|c| c.is_control() || c == '\u{202e}'), "{acted:?}");
}
