//! The sources of access tokens, and how calls fail without one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::PrivateDecryptingKey;
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use axum::Router;
use axum::extract::Form;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use http::{HeaderMap, StatusCode};
use keyplane_emulator_core::crypto::RsaPairs;
use keyplane_emulator_core::gcp::ServiceAccount;
use keyplane_gcp::{ConfigError, Credentials, GoogleKms, Secret, SecretSource};
use keyplane_model::Class;
use keyplane_port::{Cause, Cloud as _, CloudError};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::emulated::{PROJECT, begin, config, fixed, machine, serve};
use crate::placement::{marks, target};

async fn connect(endpoint: &str, credentials: Credentials) -> Result<GoogleKms, ConfigError> {
    GoogleKms::connect(config(endpoint, credentials)).await
}

fn secret(value: &Value) -> SecretSource {
    fixed(value.to_string())
}

/// The errors of a mutation and of a read.
async fn both(cloud: &GoogleKms) -> [CloudError; 2] {
    let create = keyplane_port::Mutation::Create { target: target(), marks: marks() };
    [cloud.act(&create).await.map(|_| ()).unwrap_err(), cloud.sweep(None).await.map(|_| ()).unwrap_err()]
}

async fn assert_fails(cloud: &GoogleKms, class: Class, cause: Cause) {
    for error in both(cloud).await {
        assert_eq!((error.class, error.cause), (class, cause), "{error}");
        assert!(!error.message.contains("ya29"), "{error}");
    }
}

#[tokio::test]
async fn the_machines_own_account_may_call() {
    let emulated = begin().await;
    assert!(connect(&emulated.endpoint, machine(&emulated.endpoint)).await.unwrap().sweep(None).await.is_ok());
}

fn external_account(token_url: &str, source: Value) -> Credentials {
    Credentials::ExternalAccount(secret(&json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": token_url,
        "credential_source": source,
    })))
}

// contract: gcp.credentials.federation
#[tokio::test]
async fn a_workload_outside_exchanges_its_own_token() {
    let emulated = begin().await;
    let mut server = JoinSet::new();
    let given = |text: &'static str| get(async move || text);
    let router = Router::new().route("/good", given("a token of the workload")).route("/bad", given("another token"));
    let workload = serve(&mut server, router).await;
    let exchange = format!("{}/v1/token", emulated.endpoint);
    let of = |path: &str| external_account(&exchange, json!({ "url": format!("{workload}/{path}"), "format": { "type": "text" } }));
    assert!(connect(&emulated.endpoint, of("good")).await.unwrap().sweep(None).await.is_ok());
    assert_fails(&connect(&emulated.endpoint, of("bad")).await.unwrap(), Class::Denied, Cause::Credentials).await;
    let missing = external_account(&exchange, json!({ "file": "/a/file/that/nobody/has" }));
    assert_fails(&connect(&emulated.endpoint, missing).await.unwrap(), Class::Denied, Cause::Credentials).await;
}

/// A token endpoint like Google's: checks the assertion of an account (RFC 7523), padded or not, and gives this token.
fn token_endpoint(key_file: &str, token: &'static str) -> Router {
    let file: Value = serde_json::from_str(key_file).unwrap();
    let private = PrivatePkcs8KeyDer::from_pem_slice(file["private_key"].as_str().unwrap().as_bytes()).unwrap();
    let public = PrivateDecryptingKey::from_pkcs8(private.secret_pkcs8_der()).unwrap().public_key();
    let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> = public.as_der().unwrap();
    let public = public.as_ref().to_vec();
    let grant = async move |Form(form): Form<std::collections::BTreeMap<String, String>>| {
        let (signed, signature) = form["assertion"].rsplit_once('.').unwrap();
        let signature = URL_SAFE.decode(signature).unwrap();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).verify(signed.as_bytes(), &signature).unwrap();
        let claims: Value = serde_json::from_slice(&URL_SAFE.decode(signed.split_once('.').unwrap().1).unwrap()).unwrap();
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        assert_eq!((&claims["iss"], &claims["aud"]), (&file["client_email"], &file["token_uri"]));
        assert_eq!(claims["scope"], "https://www.googleapis.com/auth/cloudkms");
        json!({ "access_token": token, "expires_in": 3600, "token_type": "Bearer" }).to_string()
    };
    Router::new().route("/token", post(grant))
}

/// A KMS that knows one token and has no keys.
fn empty_kms(token: &'static str) -> Router {
    Router::new().fallback(async move |headers: HeaderMap| {
        if headers.get("authorization").is_some_and(|value| *value == format!("Bearer {token}")) {
            (StatusCode::OK, "{}".to_owned()).into_response()
        } else {
            let error = json!({ "error": { "code": 401, "status": "UNAUTHENTICATED", "message": "who are you" } });
            (StatusCode::UNAUTHORIZED, error.to_string()).into_response()
        }
    })
}

/// A service account whose key file names this router as its token endpoint.
async fn account(server: &mut JoinSet<()>, router: impl FnOnce(&str) -> Router) -> Credentials {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let (_, key_file) = ServiceAccount::make(&RsaPairs::fixed(), &mut rng, PROJECT, &endpoint).unwrap();
    let router = router(&key_file);
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    Credentials::ServiceAccount(fixed(key_file))
}

/// A token endpoint that gives these answers in turn, and repeats the last.
fn answers(answers: &[(u16, &'static str)], asked: &Arc<AtomicUsize>) -> Router {
    let (answers, asked) = (answers.to_vec(), Arc::clone(asked));
    let give = move || {
        let (status, body) = answers[asked.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)];
        async move { (StatusCode::from_u16(status).unwrap(), body) }
    };
    Router::new().route("/token", post(give))
}

const OLD: (u16, &str) = (200, r#"{"access_token":"ya29.old","expires_in":3600,"token_type":"Bearer"}"#);
const GOOD: (u16, &str) = (200, r#"{"access_token":"ya29.good","expires_in":3600,"token_type":"Bearer"}"#);

// contract: gcp.credentials.service_account
#[tokio::test]
async fn a_service_account_proves_itself_with_its_key() {
    let mut server = JoinSet::new();
    let kms = serve(&mut server, empty_kms("ya29.good")).await;
    let credentials = account(&mut server, |key_file| token_endpoint(key_file, "ya29.good")).await;
    connect(&kms, credentials).await.unwrap().sweep(None).await.unwrap();
}

#[tokio::test]
async fn a_key_that_cannot_be_read_is_refused_before_anything_is_sent() {
    let file =
        json!({ "type": "service_account", "client_email": "a@b", "private_key": "hunter2", "token_uri": "https://tokens.example/" });
    let error = connect("https://kms.example", Credentials::ServiceAccount(secret(&file))).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, ConfigError::Credentials(_)) && !format!("{error:?} {error}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn a_token_is_kept_until_kms_refuses_it() {
    let mut server = JoinSet::new();
    let kms = serve(&mut server, empty_kms("ya29.good")).await;
    let asked = Arc::default();
    let credentials = account(&mut server, |_| answers(&[OLD, GOOD], &asked)).await;
    let cloud = connect(&kms, credentials).await.unwrap();
    let error = cloud.sweep(None).await.map(|_| ()).unwrap_err();
    assert_eq!((error.class, error.cause), (Class::Denied, Cause::Credentials), "{error}");
    for _ in 0..3 {
        cloud.sweep(None).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// The key is not kept, so its file decides each time; another account's would be a source that nobody approved.
#[tokio::test]
async fn the_key_file_is_read_for_each_token_and_has_to_name_the_same_account() {
    let mut server = JoinSet::new();
    let kms = serve(&mut server, empty_kms("ya29.good")).await;
    let asked = Arc::default();
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("account.json");
    let Credentials::ServiceAccount(key_file) = account(&mut server, |_| answers(&[GOOD], &asked)).await else { unreachable!() };
    let key_file = key_file.read().unwrap().expose_secret().to_owned();
    std::fs::write(&path, &key_file).unwrap();
    let file = path.clone();
    let source = SecretSource::new(move || Ok(Secret::new(std::fs::read_to_string(&file)?.into())));
    let cloud = connect(&kms, Credentials::ServiceAccount(source)).await.unwrap();

    std::fs::remove_file(&path).unwrap();
    assert_fails(&cloud, Class::Denied, Cause::Credentials).await;
    let mut other: Value = serde_json::from_str(&key_file).unwrap();
    other["client_email"] = "somebody@else.example".into();
    std::fs::write(&path, other.to_string()).unwrap();
    assert_fails(&cloud, Class::Denied, Cause::Credentials).await;
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    std::fs::write(&path, key_file).unwrap();
    cloud.sweep(None).await.unwrap();
    // From now on the token does.
    std::fs::remove_file(&path).unwrap();
    cloud.sweep(None).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_source_of_tokens_that_fails_is_told_from_one_that_says_no() {
    let mut server = JoinSet::new();
    let kms = serve(&mut server, empty_kms("ya29.good")).await;
    for (answer, class) in [
        ((503, "<html>bad gateway</html>"), Class::Transient),
        ((503, r#"{"error":{"code":503,"status":"UNAVAILABLE","message":"ya29.secret"}}"#), Class::Transient),
        ((500, r#"{"error":"server_error"}"#), Class::Transient),
        ((200, r#"{"access_token":["ya29.secret"]}"#), Class::Transient),
        ((200, "{}"), Class::Transient),
        ((400, r#"{"error":"invalid_grant","error_description":"no such account"}"#), Class::Denied),
        ((401, r#"{"error":"invalid_client"}"#), Class::Denied),
    ] {
        let asked = Arc::default();
        let credentials = account(&mut server, |_| answers(&[answer, answer, GOOD], &asked)).await;
        let cloud = connect(&kms, credentials).await.unwrap();
        assert_fails(&cloud, class, Cause::Credentials).await;
        assert!(cloud.sweep(None).await.is_ok(), "{answer:?} was kept");
    }
}

#[tokio::test]
async fn nobody_who_gives_tokens_is_a_matter_of_credentials() {
    let mut server = JoinSet::new();
    let kms = serve(&mut server, empty_kms("ya29.good")).await;
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let cloud = connect(&kms, machine(&format!("http://{}", nobody.local_addr().unwrap()))).await.unwrap();
    assert_fails(&cloud, Class::Transient, Cause::Credentials).await;
}

#[tokio::test]
async fn the_environment_is_no_source_of_tokens() {
    const NAME: &str = "tokens::the_environment_is_no_source_of_tokens";
    const INNER: &str = "TEST_INNER";
    // The test runs itself in a second process, because the environment belongs to a process. This is the second one.
    if std::env::var_os(INNER).is_some() {
        let error = connect("https://kms.example", Credentials::Metadata { endpoint: None }).await.map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
        return;
    }
    let inner = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME])
        .envs([(INNER, "1"), ("GOOGLE_APPLICATION_CREDENTIALS", "/another/key/file")])
        .output()
        .await
        .unwrap();
    assert!(inner.status.success(), "{}", String::from_utf8_lossy(&inner.stderr));
}
