//! The meaning of answers: every error code of Google, and answers that KMS would not give.

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use keyplane_conformance::Subject as _;
use keyplane_gcp::GoogleKms;
use keyplane_model::{Class, MaterialState, ObjectId, Span, Version, WrapScheme};
use keyplane_port::{Cause, Cloud as _, CloudError, Mutation, Prepared, WrapFor};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::emulated::{PROJECT, begin, config, key, machine, ring, serve, token};
use crate::placement::{marks, target};

const KEY: &str = "payments_DB-1";
const JOB: &str = "kp-33333333333383338333333333333333-v3-1";

fn object() -> ObjectId {
    ObjectId(KEY.to_owned())
}

fn creation() -> Mutation {
    Mutation::Create { target: target(), marks: marks() }
}

/// The errors of a mutation and of a read.
async fn both(cloud: &GoogleKms) -> (CloudError, CloudError) {
    let acted = cloud.act(&creation()).await.map(|_| ()).unwrap_err();
    let read = cloud.wrapping_key(&WrapFor::Prepared(ObjectId(JOB.into())), WrapScheme::RsaOaepSha256).await.map(|_| ()).unwrap_err();
    assert_eq!((acted.operation, read.operation), ("CreateCryptoKey", "GetImportJob"));
    (acted, read)
}

// contract: gcp.errors
#[tokio::test]
async fn every_error_code_has_its_class() {
    use Cause::{Credentials as Creds, Plain};
    use Class::{AlreadyExists, Ambiguous, Broken, Denied, Invalid, NotFound, Stale, Throttled, Transient, Unsupported};
    let emulated = begin().await;
    // Code, status, class of a mutation, class of a read, cause.
    for (code, status, acted, read, cause) in [
        ("RESOURCE_EXHAUSTED", 429, Throttled, Throttled, Plain),
        ("PERMISSION_DENIED", 403, Denied, Denied, Plain),
        ("UNAUTHENTICATED", 401, Denied, Denied, Creds),
        ("NOT_FOUND", 404, NotFound, NotFound, Plain),
        ("ALREADY_EXISTS", 409, AlreadyExists, AlreadyExists, Plain),
        ("ABORTED", 409, Stale, Stale, Plain),
        ("FAILED_PRECONDITION", 400, Stale, Stale, Plain),
        ("INVALID_ARGUMENT", 400, Invalid, Invalid, Plain),
        ("OUT_OF_RANGE", 400, Invalid, Invalid, Plain),
        ("UNIMPLEMENTED", 501, Unsupported, Unsupported, Plain),
        ("CANCELLED", 499, Ambiguous, Transient, Plain),
        ("UNKNOWN", 500, Ambiguous, Transient, Plain),
        ("INTERNAL", 500, Ambiguous, Transient, Plain),
        ("DATA_LOSS", 500, Ambiguous, Transient, Plain),
        ("UNAVAILABLE", 503, Ambiguous, Transient, Plain),
        ("DEADLINE_EXCEEDED", 504, Ambiguous, Transient, Plain),
        ("SOMETHING_NEW", 400, Ambiguous, Broken, Plain),
        ("SOMETHING_NEW", 500, Ambiguous, Transient, Plain),
    ] {
        let fault = json!({ "kind": "error", "code": code, "status": status });
        emulated.control.next("CreateCryptoKey", fault.clone()).await;
        emulated.control.next("GetImportJob", fault).await;
        let (mutation, reading) = if code == "NOT_FOUND" {
            // The adapter's own answer for a job that is not there.
            let (acted, _) = both(&emulated.cloud).await;
            (acted.clone(), acted)
        } else {
            both(&emulated.cloud).await
        };
        assert_eq!((mutation.class, mutation.cause), (acted, cause), "{code} of a mutation");
        assert_eq!((reading.class, reading.cause), (read, cause), "{code} of a read");
        assert!(mutation.message.starts_with(code), "{mutation}");
    }
}

/// Serves the same answer to every request.
async fn always(server: &mut JoinSet<()>, status: u16, headers: &'static [(&'static str, &'static str)], body: String) -> GoogleKms {
    let answer = move || {
        let mut response = (StatusCode::from_u16(status).unwrap(), body.clone()).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        async move { response }
    };
    let endpoint = serve(server, Router::new().fallback(answer)).await;
    GoogleKms::connect(config(&endpoint, token("any"))).await.unwrap()
}

#[tokio::test]
async fn what_is_not_an_answer_of_kms_proves_nothing() {
    let mut server = JoinSet::new();
    for (status, body, read_class) in [
        (502, "<html>bad gateway</html>", Class::Transient),
        (503, "", Class::Transient),
        (503, "{\"message\":\"no healthy upstream\"}", Class::Transient),
        (403, "<html>a proxy says no</html>", Class::Broken),
        (404, "<html>not found</html>", Class::Broken),
        (404, "{\"error\":{\"code\":404,\"message\":\"Requested entity was not found.\"}}", Class::Broken),
        (302, "", Class::Broken),
        (400, "{}", Class::Broken),
        (400, "nonsense", Class::Broken),
        (200, "nonsense", Class::Broken),
        (200, "{}", Class::Broken),
        (200, "[]", Class::Broken),
        // Looks like an answer that broke off.
        (200, "", Class::Transient),
    ] {
        let cloud = always(&mut server, status, &[], body.to_owned()).await;
        let acted = cloud.act(&creation()).await.map(|_| ()).unwrap_err();
        assert_eq!(acted.class, Class::Ambiguous, "{status} {body:?}: {acted}");
        let read = cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
        assert_eq!(read.class, read_class, "{status} {body:?}: {read}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"name\": \"";
    let refusal = "HTTP/1.1 404 Not Found\r\ncontent-length: 100\r\n\r\n{\"error\":{\"code\":404,\"status\":\"NOT_FOUND\"}}";
    for (sent, read_class) in
        [("", Class::Transient), ("HTTP/1.1 200", Class::Transient), (head, Class::Transient), (refusal, Class::Broken)]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let cloud = GoogleKms::connect(config(&endpoint, token("any"))).await.unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 65_536];
                let _ = stream.read(&mut buffer).await.unwrap();
                stream.write_all(sent.as_bytes()).await.unwrap();
            }
        });
        let acted = cloud.act(&creation()).await.map(|_| ()).unwrap_err();
        assert_eq!((acted.class, acted.cause), (Class::Ambiguous, Cause::Plain), "{sent:?}: {acted}");
        let read = cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
        assert_eq!((read.class, read.cause), (read_class, Cause::Plain), "{sent:?}: {read}");
    }
}

#[tokio::test]
async fn how_long_to_wait_is_told_by_the_answer() {
    let mut server = JoinSet::new();
    let info = |delay: &str| {
        let details = json!([{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay }]);
        json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m", "details": details } }).to_string()
    };
    let bare = || json!({ "error": { "code": 429, "status": "RESOURCE_EXHAUSTED" } }).to_string();
    let seconds = |seconds| Some(Span::seconds(seconds));
    for (headers, body, expected) in [
        (&[][..], bare(), None),
        (&[][..], info("7s"), seconds(7)),
        (&[][..], info("0.2s"), seconds(1)),
        (&[][..], info("soon"), None),
        (&[("retry-after", "30")][..], bare(), seconds(30)),
        (&[("retry-after", "99999999")][..], bare(), seconds(3_600)),
    ] {
        let cloud = always(&mut server, 429, headers, body.clone()).await;
        let (acted, read) = both(&cloud).await;
        assert_eq!((acted.class, acted.retry_after), (Class::Throttled, expected), "{body}");
        assert_eq!((read.class, read.retry_after), (Class::Throttled, expected), "{body}");
    }
}

#[tokio::test]
async fn another_home_is_not_the_one_that_was_approved() {
    let emulated = begin().await;
    emulated.cloud.act(&creation()).await.unwrap();
    // A proxy answers for another project than was asked for.
    let mut server = JoinSet::new();
    let foreign = |text: String| text.replace(PROJECT, "acme-evil");
    let router = emulated.router();
    let proxy = Router::new().fallback(async move |request: axum::extract::Request| -> Response {
        let response = tower::ServiceExt::oneshot(router, request).await.unwrap();
        let (mut parts, body) = response.into_parts();
        let bytes = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        parts.headers.remove("content-length");
        Response::from_parts(parts, Body::from(foreign(String::from_utf8(bytes.to_vec()).unwrap())))
    });
    let endpoint = serve(&mut server, proxy).await;
    let cloud = GoogleKms::connect(config(&endpoint, machine(&emulated.endpoint))).await.unwrap();
    let told = |error: CloudError| (error.class, error.cause);
    let wrong = Err((Class::Stale, Cause::WrongHome));
    assert_eq!(cloud.inspect(&object()).await.map_err(told).map(|_| ()), wrong);
    assert_eq!(cloud.look(&target()).await.map_err(told).map(|_| ()), wrong);
    assert_eq!(cloud.sweep(None).await.map_err(told).map(|_| ()), wrong);
    let preparation = Mutation::Prepare { target: target(), version: Version(3), scheme: WrapScheme::RsaOaepSha256 };
    assert_eq!(
        cloud.act(&preparation).await.map_err(told).map(|_| ()),
        Err((Class::Ambiguous, Cause::WrongHome)),
        "the job is made all the same"
    );
    assert_eq!(cloud.prepared(&target(), Version(3), None).await.map_err(told).map(|_| ()), wrong);
}

/// A KMS that gives the test's answers, by method and by the end of the path.
async fn told(server: &mut JoinSet<()>, answers: fn(&Method, &str) -> Value) -> GoogleKms {
    let answer = async move |method: Method, uri: Uri| -> Response {
        let answer = answers(&method, uri.path());
        let status = answer["error"]["code"].as_u64().map_or(200, |code| u16::try_from(code).unwrap());
        (StatusCode::from_u16(status).unwrap(), answer.to_string()).into_response()
    };
    let endpoint = serve(server, Router::new().fallback(answer)).await;
    GoogleKms::connect(config(&endpoint, token("any"))).await.unwrap()
}

fn not_found() -> Value {
    json!({ "error": { "code": 404, "status": "NOT_FOUND", "message": "not found" } })
}

/// A key of ours, as KMS shows it.
fn ours() -> Value {
    json!({
        "name": key(KEY),
        "purpose": "ENCRYPT_DECRYPT",
        "importOnly": true,
        "createTime": "2026-01-02T03:04:05.678901Z",
        "versionTemplate": { "protectionLevel": "SOFTWARE", "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION" },
        "labels": {
            "keyplane-installation": marks().installation,
            "keyplane-placement": marks().placement,
            "keyplane-incarnation": "2",
            "keyplane-attempt": marks().attempt,
        },
    })
}

fn version(number: u32, state: &str) -> Value {
    json!({ "name": format!("{}/cryptoKeyVersions/{number}", key(KEY)), "state": state, "importJob": format!("{}/importJobs/{JOB}", ring()) })
}

#[tokio::test]
async fn an_answer_about_something_else_is_refused() {
    let mut server = JoinSet::new();
    let cloud = told(&mut server, |_, path| match path {
        path if path.contains("importJobs") => json!({ "name": format!("{}/importJobs/another", ring()), "state": "ACTIVE" }),
        path if path.ends_with(":import") => version(2, "PENDING_IMPORT"),
        path if path.contains("cryptoKeyVersions") => version(9, "ENABLED"),
        _ => json!({ "name": key("another") }),
    })
    .await;
    let error = cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
    assert_eq!(error.class, Class::Broken, "{error}");
    let error = cloud.prepared(&target(), Version(3), None).await.unwrap_err();
    assert_eq!(error.class, Class::Broken, "{error}");
    let switch = Mutation::Disable { object: object(), material: Some("1".into()) };
    assert_eq!(cloud.act(&switch).await.unwrap_err().class, Class::Ambiguous);
    let wrapping_key = keyplane_port::WrappingKey {
        spki: vec![1],
        scheme: WrapScheme::RsaOaepSha256,
        token: format!("{}/importJobs/{JOB}", ring()).into_bytes(),
        valid_until: None,
    };
    let mut import = crate::placement::import(&object(), wrapping_key, vec![1]);
    assert!(cloud.act(&import).await.is_ok(), "a new version has any number");
    let Mutation::Import { again, .. } = &mut import else { unreachable!("an import is an import") };
    *again = Some("1".into());
    assert_eq!(cloud.act(&import).await.unwrap_err().class, Class::Ambiguous, "not the version that was asked for");
}

#[tokio::test]
async fn versions_are_ordered_by_their_numbers_and_told_by_their_jobs() {
    let mut server = JoinSet::new();
    let cloud = told(&mut server, |_, path| {
        if path.ends_with("cryptoKeyVersions") {
            let mut versions: Vec<Value> = [10, 9, 2, 1].map(|number| version(number, "ENABLED")).into();
            versions[0]["importJob"] = format!("{}/importJobs/somebody-elses", ring()).into();
            versions[1]["importJob"] = Value::Null;
            versions[2]["state"] = "DESTROY_SCHEDULED".into();
            return json!({ "cryptoKeyVersions": versions });
        }
        let mut key = ours();
        key["primary"] = version(2, "ENABLED");
        key
    })
    .await;
    let seen = cloud.inspect(&object()).await.unwrap().unwrap();
    assert!(seen.fits(&target()));
    assert_eq!(seen.created.unwrap().to_string(), "2026-01-02T03:04:05.678901Z");
    let shown: Vec<_> = seen.materials.iter().map(|m| (m.id.as_deref().unwrap(), m.version, m.state, m.is_present())).collect();
    let ours = Some(Version(3));
    assert_eq!(
        shown,
        [
            ("1", ours, MaterialState::Former, true),
            ("2", ours, MaterialState::Current, false),
            ("9", None, MaterialState::Pending, true),
            ("10", None, MaterialState::Pending, true),
        ]
    );
}

#[tokio::test]
async fn reads_that_contradict_each_other_show_nothing() {
    let mut server = JoinSet::new();
    for (versions, class) in [
        (json!({ "cryptoKeyVersions": [version(1, "ENABLED")] }), Class::Transient),
        (not_found(), Class::Transient),
        (json!({ "cryptoKeyVersions": [version(7, "SOMETHING_NEW")] }), Class::Broken),
    ] {
        let answer = versions.to_string();
        let router = Router::new().fallback(async move |uri: Uri| -> Response {
            if uri.path().ends_with("cryptoKeyVersions") {
                let status = if answer.contains("NOT_FOUND") { StatusCode::NOT_FOUND } else { StatusCode::OK };
                return (status, answer).into_response();
            }
            let mut key = ours();
            key["primary"] = version(7, "ENABLED");
            key.to_string().into_response()
        });
        let endpoint = serve(&mut server, router).await;
        let cloud = GoogleKms::connect(config(&endpoint, token("any"))).await.unwrap();
        let error = cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
        assert_eq!(error.class, class, "{error}");
    }
}

/// An import job that states its method, with a key of `bits` bits.
fn job_of(bits: usize) -> Value {
    let pem = STANDARD.encode(keyplane_conformance::rsa_public_key(bits));
    json!({
        "name": format!("{}/importJobs/{JOB}", ring()),
        "state": "ACTIVE",
        "importMethod": "RSA_OAEP_4096_SHA256",
        "protectionLevel": "SOFTWARE",
        "publicKey": { "pem": format!("-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n") },
    })
}

#[tokio::test]
async fn a_key_to_wrap_under_is_of_the_size_that_its_job_says() {
    let mut server = JoinSet::new();
    let from = WrapFor::Prepared(ObjectId(JOB.into()));
    assert!(told(&mut server, |_, _| job_of(4_096)).await.wrapping_key(&from, WrapScheme::RsaOaepSha256).await.is_ok());
    let shorter: [fn(&Method, &str) -> Value; 2] = [|_, _| job_of(2_048), |_, _| job_of(3_072)];
    for answers in shorter {
        let error = told(&mut server, answers).await.wrapping_key(&from, WrapScheme::RsaOaepSha256).await.unwrap_err();
        assert_eq!(error.class, Class::Broken, "{error}");
        assert!(error.message.contains("bits, and 4096 were asked for"), "{error}");
    }
}

// contract: gcp.crc32c
#[tokio::test]
async fn a_public_key_that_was_damaged_on_the_way_is_not_believed() {
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    let mut server = JoinSet::new();
    // The CRC-32C of the text, by another implementation than ours; with one bit changed; none.
    for (checksum, class) in [("1901040767", None), ("1901040766", Some(Class::Transient)), ("", Some(Class::Transient))] {
        let router = Router::new().fallback(async move |uri: Uri| -> Response {
            if uri.path().ends_with("publicKey") {
                let mut answer = json!({ "name": format!("{}/cryptoKeyVersions/1", key(KEY)), "pem": PEM });
                if !checksum.is_empty() {
                    answer["pemCrc32c"] = checksum.into();
                }
                return answer.to_string().into_response();
            }
            if uri.path().ends_with("cryptoKeyVersions") {
                return json!({ "cryptoKeyVersions": [version(1, "ENABLED")] }).to_string().into_response();
            }
            let mut key = ours();
            key["purpose"] = "ASYMMETRIC_SIGN".into();
            key["versionTemplate"]["algorithm"] = "EC_SIGN_P256_SHA256".into();
            key.to_string().into_response()
        });
        let endpoint = serve(&mut server, router).await;
        let cloud = GoogleKms::connect(config(&endpoint, token("any"))).await.unwrap();
        let read = cloud.inspect(&object()).await;
        assert_eq!(read.map_err(|error| error.class).err(), class, "{checksum:?}");
    }
}

/// A job that expires this many minutes after the server's time.
async fn job_with(server: &mut JoinSet<()>, minutes_left: i64, state: &'static str, second: bool) -> GoogleKms {
    let router = Router::new().fallback(async move |uri: Uri| -> Response {
        let number = uri.path().rsplit('-').next().unwrap().to_owned();
        if number != "1" && !(second && number == "2") {
            return (StatusCode::NOT_FOUND, not_found().to_string()).into_response();
        }
        // 20:00 by the server's clock, which alone counts.
        let end = if number == "2" { 10_000 } else { minutes_left };
        let expires = chrono::DateTime::parse_from_rfc3339("2031-05-06T20:00:00Z").unwrap() + chrono::Duration::minutes(end);
        let job = json!({
            "name": uri.path().trim_start_matches("/v1/"),
            "state": if number == "2" { "PENDING_GENERATION" } else { state },
            "importMethod": "RSA_OAEP_4096_SHA256",
            "protectionLevel": "SOFTWARE",
            "expireTime": expires.to_rfc3339(),
        });
        ([("date", "Tue, 06 May 2031 20:00:00 GMT")], job.to_string()).into_response()
    });
    let endpoint = serve(server, router).await;
    GoogleKms::connect(config(&endpoint, token("any"))).await.unwrap()
}

#[tokio::test]
async fn a_job_that_is_about_to_run_out_is_passed_over() {
    let mut server = JoinSet::new();
    let prepared = |n: u32, ready| Prepared { wrapping: ObjectId(format!("kp-33333333333383338333333333333333-v3-{n}")), ready };
    for (minutes_left, state, second, expected) in [
        (4_320, "ACTIVE", false, Some(prepared(1, true))),
        (61, "ACTIVE", false, Some(prepared(1, true))),
        (59, "ACTIVE", false, None),
        (4_320, "PENDING_GENERATION", false, Some(prepared(1, false))),
        (-1, "EXPIRED", false, None),
        (-1, "EXPIRED", true, Some(prepared(2, false))),
        (59, "ACTIVE", true, Some(prepared(2, false))),
        // The newest one that can be used.
        (4_320, "ACTIVE", true, Some(prepared(2, false))),
    ] {
        let cloud = job_with(&mut server, minutes_left, state, second).await;
        assert_eq!(cloud.prepared(&target(), Version(3), None).await, Ok(expected), "{minutes_left} {state} {second}");
    }
}

#[tokio::test]
async fn jobs_without_an_end_are_given_up() {
    let mut server = JoinSet::new();
    let cloud = told(&mut server, |method, path| {
        assert_eq!(method, Method::GET, "a job was made");
        json!({ "name": path.trim_start_matches("/v1/"), "state": "EXPIRED" })
    })
    .await;
    assert_eq!(cloud.prepared(&target(), Version(3), None).await, Ok(None));
    let preparation = Mutation::Prepare { target: target(), version: Version(3), scheme: WrapScheme::RsaOaepSha256 };
    assert_eq!(cloud.act(&preparation).await.unwrap_err().class, Class::Denied);
}

#[tokio::test]
async fn a_list_without_an_end_is_given_up() {
    let mut server = JoinSet::new();
    let cloud = told(&mut server, |_, path| match path {
        path if path.ends_with("cryptoKeyVersions") => json!({ "nextPageToken": "again" }),
        _ => ours(),
    })
    .await;
    let error = cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
    assert_eq!((error.class, error.operation), (Class::Broken, "ListCryptoKeyVersions"), "{error}");
}

#[tokio::test]
async fn a_sweep_that_goes_in_circles_is_given_up() {
    let mut server = JoinSet::new();
    let cloud = told(&mut server, |_, _| json!({ "cryptoKeys": [], "nextPageToken": "again" })).await;
    let first = cloud.sweep(None).await.unwrap();
    let error = cloud.sweep(first.next.as_ref()).await.map(|_| ()).unwrap_err();
    assert_eq!((error.class, error.operation), (Class::Broken, "ListCryptoKeys"), "{error}");
}

#[tokio::test]
async fn an_answer_without_an_end_is_given_up() {
    let mut server = JoinSet::new();
    let answer = async || {
        let endless = futures::stream::repeat_with(|| Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b' '; 65_536])));
        Body::from_stream(endless).into_response()
    };
    let endpoint = serve(&mut server, Router::new().fallback(answer)).await;
    let cloud = GoogleKms::connect(config(&endpoint, token("any"))).await.unwrap();
    let error = cloud.inspect(&object()).await.map(|_| ()).unwrap_err();
    assert_eq!(error.class, Class::Transient, "{error}");
    assert_eq!(cloud.act(&creation()).await.map(|_| ()).unwrap_err().class, Class::Ambiguous);
}

#[tokio::test]
async fn a_page_as_long_as_they_get_is_read() {
    let mut server = JoinSet::new();
    let cloud = told(&mut server, |_, _| {
        let labels: serde_json::Map<String, Value> = (0..64).map(|n| (format!("{n:0>63}"), "x".repeat(63).into())).collect();
        let keys: Vec<Value> = (0..100).map(|n| json!({ "name": key(&format!("k{n}")), "labels": labels })).collect();
        json!({ "cryptoKeys": keys })
    })
    .await;
    assert_eq!(cloud.sweep(None).await.map(|page| (page.objects, page.broken)), Ok((Vec::new(), 0)));
    // Versions with everything that a list shows of them, indented as in Google's answers.
    let endpoint = serve(&mut server, Router::new().fallback(versions_as_long_as_they_get)).await;
    let cloud = GoogleKms::connect(config(&endpoint, token("any"))).await.unwrap();
    assert_eq!(cloud.inspect(&object()).await.unwrap().unwrap().materials.len(), 1_000);
}

async fn versions_as_long_as_they_get(uri: Uri) -> String {
    if !uri.path().ends_with("cryptoKeyVersions") {
        return ours().to_string();
    }
    let one = |number| {
        let mut one = version(number, "IMPORT_FAILED");
        // A long reason, and room for what the longest possible names have more than these.
        one["importFailureReason"] = "x".repeat(500).into();
        for time in ["createTime", "generateTime", "importTime", "destroyTime", "destroyEventTime"] {
            one[time] = "2026-01-02T03:04:05.678901234Z".into();
        }
        one["protectionLevel"] = "EXTERNAL_VPC".into();
        one["algorithm"] = "HPKE_KEM_ML_KEM_768_HKDF_SHA256_AES_256_GCM".into();
        one["reimportEligible"] = true.into();
        one
    };
    serde_json::to_string_pretty(&json!({ "cryptoKeyVersions": (1..=1_000).map(one).collect::<Vec<_>>() })).unwrap()
}

#[tokio::test]
async fn what_an_endpoint_says_is_cut_and_harmless() {
    let mut server = JoinSet::new();
    let message = format!("\u{1b}[31mred\r\nsecond line\u{202e}{}", "x".repeat(10_000));
    let body = json!({ "error": { "code": 500, "status": "INTERNAL", "message": message } }).to_string();
    let cloud = always(&mut server, 500, &[], body).await;
    let (acted, _) = both(&cloud).await;
    assert_eq!(acted.message.chars().count(), 500);
    assert!(!acted.message.chars().any(|c| c.is_control() || c == '\u{202e}'), "{acted:?}");
}

#[tokio::test]
async fn what_is_read_while_it_is_changed_is_whole_or_an_error() {
    let emulated = begin().await;
    emulated.cloud.act(&creation()).await.unwrap();
    emulated.control.next("ListCryptoKeyVersions", json!({ "kind": "server_error" })).await;
    let error = emulated.cloud.look(&target()).await.map(|_| ()).unwrap_err();
    assert_eq!((error.class, error.operation), (Class::Transient, "ListCryptoKeyVersions"), "{error}");
    assert_eq!(emulated.requests().await, emulated.requests().await);
}
