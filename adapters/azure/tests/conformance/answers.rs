//! The meaning of answers: every error of Azure, and answers that it would not give.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use keyplane_azure::{AzureVault, VaultKind};
use keyplane_emulator_wire::azure::Identity;
use keyplane_model::{Algorithm, Class, ObjectId, Purpose, Span, Target, Version, WrapScheme};
use keyplane_port::{Acted, Cause, Cloud as _, CloudError, Mutation, WrapFor};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::emulated::{DAYS, Place, begin, config, host};
use crate::requests::target;

const VERSION: &str = "0123456789abcdef0123456789abcdef";
const NAME: &str = "keyplane-kek-33333333333383338333333333333333-1";

fn object() -> ObjectId {
    ObjectId("payments-db".into())
}

fn enable() -> Mutation {
    Mutation::Enable { object: object(), material: Some(VERSION.into()) }
}

fn prepare() -> Mutation {
    Mutation::Prepare { target: rsa(), version: Version(1), scheme: WrapScheme::RsaAesKeyWrapSha1 }
}

fn rsa() -> Target {
    target(Algorithm::Rsa2048, Purpose::Encrypt)
}

/// The errors of a mutation and of a read.
async fn both(cloud: &AzureVault) -> (CloudError, CloudError) {
    let acted = cloud.act(&enable()).await.map(|_| ()).unwrap_err();
    let read = cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
    assert_eq!((acted.operation, read.operation), ("UpdateKey", "GetKey"));
    (acted, read)
}

/// A TLS server that gives the test's answers, and the adapter connected to it.
struct Told {
    cloud: AzureVault,
    _server: JoinSet<()>,
}

/// Challenges each request without a token, and gives a token to everybody.
async fn told(answer: impl Fn(&str) -> Response + Clone + Send + Sync + 'static) -> Told {
    let challenge = r#"Bearer authorization="https://login.example/tenant", resource="https://vault.azure.net""#;
    served(challenge, move |request: Request| {
        let path = request.uri().path().to_owned();
        answer(&path)
    })
    .await
}

async fn served(challenge: &'static str, answer: impl Fn(Request) -> Response + Clone + Send + Sync + 'static) -> Told {
    let identity = Identity::new(&[host(VaultKind::KeyVault), "localhost"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let place = Place { kind: VaultKind::KeyVault, address, metadata: address, ca: identity.authority.clone().into_bytes() };
    let router = Router::new().fallback(async move |headers: HeaderMap, request: Request| {
        if request.uri().path().ends_with("/oauth2/v2.0/token") {
            return axum::Json(json!({ "token_type": "Bearer", "expires_in": 3_600, "access_token": "a token" })).into_response();
        }
        match headers.contains_key("authorization") {
            true => answer(request),
            false => (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)], "{}").into_response(),
        }
    });
    let mut server = JoinSet::new();
    let listener = identity.listen(listener);
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    Told { cloud: AzureVault::connect(config(&place)).unwrap(), _server: server }
}

fn status(status: u16, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn kid(name: &str, version: &str) -> String {
    format!("https://{}/keys/{name}/{version}", host(VaultKind::KeyVault))
}

fn key(kid: &str) -> Value {
    json!({
        "key": { "kid": kid, "kty": "RSA-HSM", "key_ops": ["import"], "n": "4".repeat(680), "e": "AQAB" },
        "attributes": { "enabled": true, "created": 1, "updated": 1 },
    })
}

#[tokio::test]
async fn every_error_has_its_class() {
    use Cause::{Credentials, Plain};
    use Class::{AlreadyExists, Ambiguous, Denied, Invalid, NotFound, Stale, Throttled, Transient, Unsupported};
    // Status, code, code inside, class of a mutation, class of a read, cause.
    for (code, given, inner, acted, read, cause) in [
        (400, "BadParameter", None, Invalid, Invalid, Plain),
        (400, "SomethingNew", None, Invalid, Invalid, Plain),
        (400, "NotSupported", None, Unsupported, Unsupported, Plain),
        (401, "Unauthorized", None, Denied, Denied, Credentials),
        (403, "Forbidden", None, Denied, Denied, Plain),
        (403, "Forbidden", Some("ForbiddenByRbac"), Denied, Denied, Plain),
        (403, "Forbidden", Some("ForbiddenByFirewall"), Denied, Denied, Plain),
        (403, "Forbidden", Some("KeyDisabled"), Stale, Stale, Plain),
        (404, "KeyNotFound", None, NotFound, NotFound, Plain),
        (404, "SomethingNew", None, Invalid, Invalid, Plain),
        (405, "MethodNotAllowed", None, Unsupported, Unsupported, Plain),
        (408, "RequestTimeout", None, Ambiguous, Transient, Plain),
        (409, "Conflict", None, Stale, Stale, Plain),
        (409, "Conflict", Some("ObjectIsDeletedButRecoverable"), AlreadyExists, AlreadyExists, Plain),
        (409, "Conflict", Some("ObjectIsBeingDeleted"), Transient, Transient, Plain),
        (409, "Conflict", Some("ObjectIsBeingRecovered"), Transient, Transient, Plain),
        (429, "Throttled", None, Throttled, Throttled, Plain),
        (500, "InternalServerError", None, Ambiguous, Transient, Plain),
        (503, "ServiceUnavailable", None, Ambiguous, Transient, Plain),
        (599, "SomethingNew", None, Ambiguous, Transient, Plain),
    ] {
        let mut error = json!({ "code": given, "message": "so it is" });
        if let Some(inner) = inner {
            error["innererror"] = json!({ "code": "Outer", "innererror": { "code": inner } });
        }
        let body = json!({ "error": error }).to_string();
        let told = told(move |path| match path.starts_with("/deletedkeys/") {
            // After a read that found nothing, the read of deleted keys decides. It fails in the same way.
            true => status(code, body.clone().replace("KeyNotFound", "BadParameter")),
            false => status(code, body.clone()),
        })
        .await;
        let mutation = told.cloud.act(&enable()).await.map(|_| ()).unwrap_err();
        let reading = told.cloud.wrapping_key(&WrapFor::Prepared(ObjectId(kid(NAME, VERSION))), WrapScheme::RsaAesKeyWrapSha1).await;
        let reading = reading.map(|_| ()).unwrap_err();
        assert_eq!((mutation.class, mutation.cause), (acted, cause), "{code} {given} {inner:?} of a mutation: {mutation}");
        assert_eq!((reading.class, reading.cause), (read, cause), "{code} {given} {inner:?} of a read: {reading}");
        assert!(mutation.message.starts_with(given) && mutation.message.contains(inner.unwrap_or_default()), "{mutation}");
    }
}

#[tokio::test]
async fn how_long_to_wait_is_told_within_reason() {
    for (header, wait) in [
        (Some("7"), Some(Span::seconds(7))),
        (Some("99999999"), Some(Span::seconds(3_600))),
        (Some("soon"), None),
        (Some("-1"), None),
        (None, None),
    ] {
        let told = told(move |_| {
            let mut answer = status(429, r#"{"error":{"code":"Throttled"}}"#);
            if let Some(header) = header {
                answer.headers_mut().insert("retry-after", header.parse().unwrap());
            }
            answer
        })
        .await;
        let (acted, read) = both(&told.cloud).await;
        assert_eq!((acted.retry_after, read.retry_after), (wait, wait), "{header:?}");
    }
}

#[tokio::test]
async fn refused_credentials_are_told_from_a_login_that_does_not_answer() {
    let emulated = begin(VaultKind::ManagedHsm).await;
    let (acted, read) = both(&emulated.stranger).await;
    for error in [acted, read] {
        assert_eq!((error.class, error.cause), (Class::Denied, Cause::Credentials), "{error}");
        assert!(!error.message.contains("another secret"), "{error}");
    }
    let mut nowhere = config(&emulated.place);
    nowhere.authority = Some("https://localhost:1".into());
    let (acted, read) = both(&AzureVault::connect(nowhere).unwrap()).await;
    for error in [acted, read] {
        assert_eq!((error.class, error.cause), (Class::Transient, Cause::Credentials), "{error}");
    }
    assert_eq!(emulated.control.operations().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_metadata_service_is_asked_once() {
    for (code, class) in [(400, Class::Denied), (404, Class::Transient), (429, Class::Transient), (500, Class::Transient)] {
        let emulated = begin(VaultKind::ManagedHsm).await;
        let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        let metadata = Router::new().fallback(async move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            status(code, "{}")
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut asks = config(&emulated.place);
        let address = Some(listener.local_addr().unwrap().to_string());
        asks.credentials = keyplane_azure::Credentials::ManagedIdentity { client: None, address };
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, metadata).await.unwrap() });
        let error = AzureVault::connect(asks).unwrap().act(&enable()).await.map(|_| ()).unwrap_err();
        assert_eq!((error.class, error.cause), (class, Cause::Credentials), "{code}: {error}");
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1, "{code}");
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_told_apart() {
    let emulated = begin(VaultKind::ManagedHsm).await;
    let (acted, read) = both(&emulated.dead).await;
    for error in [acted, read] {
        assert_eq!((error.class, error.cause), (Class::Transient, Cause::Unreachable), "{error}");
    }
}

#[tokio::test]
async fn who_cannot_prove_the_name_gets_nothing() {
    let emulated = begin(VaultKind::ManagedHsm).await;
    // An authority that did not sign the server's certificate; the right one for another name; no TLS at all.
    let mut distrusts = config(&emulated.place);
    distrusts.settings.ca = Some(Identity::new(&["localhost"]).unwrap().authority.into_bytes());
    distrusts.authority = Some("https://localhost:1".into());
    let mut named = config(&emulated.place);
    named.vault = "other-hsm.managedhsm.azure.net".into();
    let mut plain = config(&emulated.place);
    plain.address = Some(emulated.place.metadata.to_string());
    for config in [distrusts, named, plain] {
        let (acted, read) = both(&AzureVault::connect(config).unwrap()).await;
        for error in [acted, read] {
            assert_eq!((error.class, error.cause), (Class::Transient, Cause::Unreachable), "{error}");
        }
    }
    assert_eq!(emulated.control.operations().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_vault_that_asks_for_a_token_for_something_else_gets_none() {
    for challenge in [
        r#"Bearer authorization="https://login.example/tenant", resource="https://management.azure.com""#,
        r#"Bearer authorization="https://login.example/tenant", scope="https://azure.net/.default""#,
        r#"Bearer authorization="https://login.example/tenant""#,
        "nonsense",
    ] {
        let told = served(challenge, |_| unreachable!("it was given a token")).await;
        let (acted, read) = both(&told.cloud).await;
        for error in [acted, read] {
            assert_eq!((error.class, error.cause), (Class::Stale, Cause::WrongHome), "{challenge}: {error}");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_no_longer_taken_is_renewed_once() {
    let requests = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&requests);
    let challenge = r#"Bearer authorization="https://login.example/tenant", resource="https://vault.azure.net""#;
    let told = served(challenge, move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut refusal = status(401, r#"{"error":{"code":"Unauthorized"}}"#);
        refusal.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
        refusal
    })
    .await;
    for expected in [1, 3] {
        let error = told.cloud.act(&enable()).await.map(|_| ()).unwrap_err();
        assert_eq!((error.class, error.cause), (Class::Denied, Cause::Credentials), "{error}");
        assert_eq!(requests.load(std::sync::atomic::Ordering::SeqCst), expected, "a request was sent once too often");
    }
}

#[tokio::test]
async fn what_is_not_an_answer_of_key_vault_proves_nothing() {
    for (code, body, read_class) in [
        (502, "<html>bad gateway</html>", Class::Transient),
        (503, "", Class::Transient),
        (403, "<html>a proxy says no</html>", Class::Broken),
        (404, "<html>no such page</html>", Class::Broken),
        (400, "{}", Class::Broken),
        (409, "nonsense", Class::Broken),
        (302, "", Class::Broken),
        (204, "", Class::Broken),
        (200, "nonsense", Class::Broken),
        (200, "{}", Class::Broken),
        (200, "[]", Class::Broken),
        (200, r#"{"key":{}}"#, Class::Broken),
        (200, r#"{"key":{"kid":"nonsense"}}"#, Class::Broken),
    ] {
        let told = told(move |_| status(code, body)).await;
        let acted = told.cloud.act(&prepare()).await.map(|_| ()).unwrap_err();
        assert_eq!(acted.class, Class::Ambiguous, "{code} {body:?}: {acted}");
        let read = told.cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
        let uncertain = if (code, body) == (200, r#"{"key":{"kid":"nonsense"}}"#) { Class::Broken } else { read_class };
        assert_eq!(read.class, uncertain, "{code} {body:?}: {read}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    // TLS works, but the body is shorter than announced.
    for announced in ["100000"] {
        let told = told(move |_| {
            let stream = futures::stream::iter([Ok(Bytes::from_static(b"{\"key\":")), Err(std::io::Error::other("gone"))]);
            let mut answer = Response::new(Body::from_stream(stream));
            answer.headers_mut().insert("content-length", announced.parse().unwrap());
            answer
        })
        .await;
        let acted = told.cloud.act(&prepare()).await.map(|_| ()).unwrap_err();
        assert_eq!((acted.class, acted.cause), (Class::Ambiguous, Cause::Plain), "{acted}");
        let read = told.cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
        assert_eq!((read.class, read.cause), (Class::Transient, Cause::Plain), "{read}");
    }
    // The connection ends before TLS: nothing was sent.
    let emulated = begin(VaultKind::ManagedHsm).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut broken = config(&emulated.place);
    broken.address = Some(listener.local_addr().unwrap().to_string());
    let mut server = JoinSet::new();
    server.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1_024];
            let _ = stream.read(&mut buffer).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        }
    });
    let (acted, _) = both(&AzureVault::connect(broken).unwrap()).await;
    assert_eq!((acted.class, acted.cause), (Class::Transient, Cause::Unreachable), "{acted}");
}

#[tokio::test]
async fn an_answer_without_an_end_is_given_up() {
    let told = told(|_| {
        let endless = futures::stream::repeat_with(|| Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b' '; 65_536])));
        Response::new(Body::from_stream(endless))
    })
    .await;
    let read = told.cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
    assert_eq!(read.class, Class::Broken, "{read}");
    assert_eq!(told.cloud.act(&prepare()).await.map(|_| ()).unwrap_err().class, Class::Ambiguous);
}

#[tokio::test]
async fn what_belongs_to_another_vault_or_is_another_key_is_refused() {
    let elsewhere = |path: &str| {
        let kid = "https://evil.vault.azure.net/keys/keyplane-kek-33333333333383338333333333333333-1/0f";
        match path {
            "/keys" => json!({ "value": [{ "kid": kid }] }),
            path if path.ends_with("/versions") => json!({ "value": [{ "kid": kid }] }),
            _ => key(kid),
        }
    };
    let there = told(move |path| status(200, elsewhere(path).to_string())).await;
    let acted = there.cloud.act(&prepare()).await.map(|_| ()).unwrap_err();
    assert_eq!((acted.class, acted.cause), (Class::Ambiguous, Cause::WrongHome), "the key is made all the same: {acted}");
    let wrong = Err((Class::Stale, Cause::WrongHome));
    let short = |error: CloudError| (error.class, error.cause);
    let made = WrapFor::Prepared(ObjectId(kid(NAME, VERSION)));
    assert_eq!(there.cloud.inspect(&object()).await.map(|_| ()).map_err(short), wrong);
    assert_eq!(there.cloud.sweep(None).await.map(|_| ()).map_err(short), wrong);
    assert_eq!(there.cloud.wrapping_key(&made, WrapScheme::RsaAesKeyWrapSha1).await.map(|_| ()).map_err(short), wrong);

    let other = told(|_| status(200, key(&kid("another", VERSION)).to_string())).await;
    assert_eq!(other.cloud.act(&prepare()).await.map(|_| ()).unwrap_err().class, Class::Ambiguous);
    assert_eq!(other.cloud.inspect(&object()).await.map(|_| ()).unwrap_err().class, Class::Broken);
    let older = told(|_| status(200, key(&kid(NAME, "0f")).to_string())).await;
    assert_eq!(older.cloud.wrapping_key(&made, WrapScheme::RsaAesKeyWrapSha1).await.map(|_| ()).unwrap_err().class, Class::Broken);
}

/// The emulator makes only well-formed keys, so these are made here.
#[tokio::test]
async fn a_key_to_wrap_under_is_the_rsa_key_that_was_asked_for() {
    let made = WrapFor::Prepared(ObjectId(kid(NAME, VERSION)));
    // 512 bytes with all bits set.
    let modulus = format!("{}8", "_".repeat(682));
    for (n, e, reason) in [
        (modulus.as_str(), "AQAB", None),
        (&modulus[..680], "AQAB", Some("4080 bits, and 4096 were asked for")),
        (modulus.as_str(), "Aw", Some("another exponent than 65537")),
    ] {
        let mut answer = key(&kid(NAME, VERSION));
        (answer["key"]["n"], answer["key"]["e"]) = (n.into(), e.into());
        let there = told(move |_| status(200, answer.to_string())).await;
        let given = there.cloud.wrapping_key(&made, WrapScheme::RsaAesKeyWrapSha1).await;
        match (given, reason) {
            (Ok(_), None) => {}
            (Err(error), Some(reason)) => {
                assert_eq!((error.class, error.cause), (Class::Stale, Cause::ImportTokenExpired), "{error}");
                assert!(error.message.contains(reason), "{error}");
            }
            (given, _) => unreachable!("{n}, {e}: {given:?}"),
        }
    }
}

#[tokio::test]
async fn a_list_that_leads_elsewhere_or_has_no_end_is_given_up() {
    for link in [
        "https://evil.vault.azure.net/keys?$skiptoken=1",
        "http://corp-vault.vault.azure.net/keys?$skiptoken=1",
        "https://corp-vault.vault.azure.net:8443/keys?$skiptoken=1",
        "https://corp-vault.vault.azure.net/secrets?$skiptoken=1",
        "//evil.vault.azure.net/keys?$skiptoken=1",
        "https://[",
    ] {
        let told = told(move |_| status(200, json!({ "value": [], "nextLink": link }).to_string())).await;
        let error = told.cloud.sweep(None).await.map(|_| ()).unwrap_err();
        assert_eq!((error.class, error.operation), (Class::Broken, "GetKeys"), "{link}: {error}");
    }
    let link = "https://corp-vault.vault.azure.net/keys?api-version=2025-07-01&$skiptoken=1";
    let told = told(move |_| status(200, json!({ "value": [], "nextLink": link }).to_string())).await;
    let first = told.cloud.sweep(None).await.unwrap();
    let error = told.cloud.sweep(first.next.as_ref()).await.map(|_| ()).unwrap_err();
    assert_eq!((error.class, error.operation), (Class::Broken, "GetKeys"), "{error}");
}

#[tokio::test]
async fn versions_without_an_end_are_more_than_can_be_listed() {
    let pages = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = Arc::clone(&pages);
    let told = told(move |path| match path.ends_with("/versions") {
        true => {
            let page = counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let link = format!("https://{}/keys/payments-db/versions?$skiptoken={page}", host(VaultKind::KeyVault));
            status(200, json!({ "value": [], "nextLink": link }).to_string())
        }
        false => {
            let mut key = key(&kid("payments-db", VERSION));
            key["tags"] = json!({
                "keyplane-installation": "11111111-1111-8111-8111-111111111111",
                "keyplane-placement": "33333333-3333-8333-8333-333333333333",
                "keyplane-incarnation": "2",
                "keyplane-attempt": "44444444-4444-8444-8444-444444444444",
            });
            status(200, key.to_string())
        }
    })
    .await;
    let error = told.cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
    assert_eq!((error.class, error.operation), (Class::Unsupported, "GetKeyVersions"), "{error}");
    assert_eq!(pages.load(std::sync::atomic::Ordering::SeqCst), 6);
}

#[tokio::test]
async fn nothing_is_deleted_that_cannot_be_recovered_for_as_long_as_was_said() {
    for (asked, level, days, deleted) in [
        (DAYS, json!("CustomizedRecoverable+Purgeable"), json!(DAYS), true),
        (DAYS, json!("SomethingNew"), json!(DAYS), true),
        (DAYS, json!("Recoverable+Purgeable"), json!(90), false),
        (DAYS, json!("CustomizedRecoverable"), json!(DAYS - 1), false),
        (DAYS, json!("Purgeable"), json!(DAYS), false),
        (0, json!("Purgeable"), json!(0), false),
        (0, json!("Recoverable"), json!(0), false),
        (0, json!(null), json!(null), false),
        (DAYS, json!(null), json!(-1), false),
    ] {
        let mut given = key(&kid("payments-db", VERSION));
        given["attributes"]["recoveryLevel"] = level.clone();
        given["attributes"]["recoverableDays"] = days.clone();
        let deletions = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = Arc::clone(&deletions);
        let challenge = r#"Bearer authorization="https://login.example/tenant", resource="https://vault.azure.net""#;
        let told = served(challenge, move |request: Request| {
            if request.method() == http::Method::DELETE {
                counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
            status(200, given.to_string())
        })
        .await;
        let acted = told.cloud.act(&Mutation::ScheduleDeletion { object: object(), material: None, days: asked }).await;
        let expected = if deleted { Ok(Acted::Done) } else { Err(Class::Invalid) };
        assert_eq!(acted.map_err(|error| error.class), expected, "{level} {days}");
        assert_eq!(deletions.load(std::sync::atomic::Ordering::SeqCst), u32::from(deleted), "{level} {days}");
    }
}

#[tokio::test]
async fn a_key_in_a_list_that_cannot_be_read_is_counted_and_spoils_nothing() {
    let told = told(|_| {
        let value = json!([{ "kid": kid("a", "0f") }, {}, { "kid": "nonsense" }, { "kid": kid("b", "0f"), "tags": { "x": "y" } }]);
        status(200, json!({ "value": value, "nextLink": null }).to_string())
    })
    .await;
    let page = told.cloud.sweep(None).await.unwrap();
    assert_eq!((page.objects, page.broken, page.next), (vec![], 2, None));
}

#[tokio::test]
async fn what_a_vault_says_is_cut_and_harmless() {
    let message = format!("\u{1b}[31mred\r\nsecond line\u{202e}{}", "x".repeat(10_000));
    let body = json!({ "error": { "code": "InternalServerError", "message": message } }).to_string();
    let told = told(move |_| status(500, body.clone())).await;
    let (acted, _) = both(&told.cloud).await;
    assert_eq!(acted.message.chars().count(), 500);
    assert!(!acted.message.chars().any(|c| c.is_control() || c == '\u{202e}'), "{acted:?}");
}
