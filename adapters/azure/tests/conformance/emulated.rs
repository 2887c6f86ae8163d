//! An emulated vault in this process, the adapter connected to it, and plain requests beside the adapter.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, Request as HttpRequest, StatusCode};
use keyplane_azure::{AzureConfig, AzureVault, Credentials, Secret, SecretSource, Settings, VaultKind};
use keyplane_conformance::{Control, Request, Subject, Tampering, rsa_pair};
use keyplane_emulator_core::azure::{Config, Kind};
use keyplane_emulator_core::crypto::RsaPairs;
use keyplane_emulator_wire::azure::{Application, Directory, Emulator, Federation, Options, emulator};
use keyplane_emulator_wire::system_clock;
use keyplane_model::{Digest, EvidenceStrength, InstallationId, ObjectId, Span, Target};
use keyplane_port::Cloud;
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempPath};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

pub(crate) const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub(crate) const CLIENT: &str = "66666666-2222-3333-4444-555555555555";
pub(crate) const SECRET: &str = "a secret of the tests";
/// Not Azure's default, so that a test sees which is used.
pub(crate) const DAYS: u32 = 30;

const ISSUER: &str = "https://issuer.example";
const SUBJECT: &str = "system:serviceaccount:keyplane:server";

pub(crate) fn host(kind: VaultKind) -> &'static str {
    match kind {
        VaultKind::KeyVault => "corp-vault.vault.azure.net",
        VaultKind::ManagedHsm => "corp-hsm.managedhsm.azure.net",
    }
}

/// The address of an emulated vault, and its certificate authority.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) kind: VaultKind,
    pub(crate) address: SocketAddr,
    pub(crate) metadata: SocketAddr,
    pub(crate) ca: Vec<u8>,
}

pub(crate) fn client_secret(secret: &'static str) -> Credentials {
    let secret = SecretSource::new(move || Ok(Secret::new(secret.into())));
    Credentials::ClientSecret { tenant: TENANT.into(), client: CLIENT.into(), secret }
}

/// The configuration of most tests, for a place.
pub(crate) fn config(place: &Place) -> AzureConfig {
    AzureConfig {
        settings: Settings {
            name: "emulated".parse().unwrap(),
            installation: "11111111-1111-8111-8111-111111111111".parse().unwrap(),
            ca: Some(place.ca.clone()),
            call_timeout: Span::seconds(10),
            consistency: Span::seconds(10),
            equal_reads: 3,
            deletion_days: DAYS,
            quotas: BTreeMap::new(),
        },
        vault: host(place.kind).into(),
        kind: place.kind,
        address: Some(place.address.to_string()),
        authority: Some(format!("https://localhost:{}", place.address.port())),
        credentials: client_secret(SECRET),
        attestation_roots: None,
    }
}

/// An emulated vault. It ends when this is dropped.
pub(crate) struct Emulated {
    pub(crate) place: Place,
    pub(crate) cloud: Arc<AzureVault>,
    pub(crate) dead: Arc<AzureVault>,
    /// Holds the dead address without listening, so that nobody else gets it.
    _nobody: TcpSocket,
    pub(crate) stranger: Arc<AzureVault>,
    pub(crate) control: Control,
    _server: JoinSet<()>,
}

/// A new vault without quotas.
pub(crate) async fn begin(kind: VaultKind) -> Emulated {
    begin_with(kind, |_| ()).await
}

/// A new vault with a changed configuration: other readings of what Azure's documents leave open, or smaller limits.
pub(crate) async fn begin_with(kind: VaultKind, change: impl FnOnce(&mut Config)) -> Emulated {
    let mut emulated = Config::new(
        match kind {
            VaultKind::KeyVault => Kind::Premium,
            VaultKind::ManagedHsm => Kind::ManagedHsm,
        },
        host(kind),
    );
    emulated.retention_days = DAYS;
    change(&mut emulated);
    let busy = Span::seconds(emulated.readings.transition_seconds);
    let Emulator { vault, metadata, identity, .. } = emulator(Options {
        config: emulated,
        directory: Directory {
            tenant: TENANT.into(),
            application: Some(Application { id: CLIENT.into(), secret: Some(SECRET.into()) }),
            federation: Some(Federation { issuer: ISSUER.into(), subject: SUBJECT.into(), key: federation().1 }),
            identity_header: None,
            token_seconds: keyplane_emulator_wire::azure::USUAL_TOKEN_SECONDS,
        },
        quotas: false,
        pairs: RsaPairs::fixed(),
        seed: 1,
        clock: system_clock(),
    })
    .unwrap();
    let mut server = JoinSet::new();
    let (listener, plain) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let place = Place {
        kind,
        address: listener.local_addr().unwrap(),
        metadata: plain.local_addr().unwrap(),
        ca: identity.authority.clone().into_bytes(),
    };
    let (listener, router) = (identity.listen(listener), vault.clone());
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    server.spawn(async move { axum::serve(plain, metadata).await.unwrap() });
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut dead = config(&place);
    dead.address = Some(nobody.local_addr().unwrap().to_string());
    let mut wrong = config(&place);
    wrong.credentials = client_secret("another secret");
    Emulated {
        cloud: Arc::new(AzureVault::connect(config(&place)).unwrap()),
        stranger: Arc::new(AzureVault::connect(wrong).unwrap()),
        dead: Arc::new(AzureVault::connect(dead).unwrap()),
        _nobody: nobody,
        place,
        control: Control::over(vault).busy_for(busy),
        _server: server,
    }
}

/// The key pair of another issuer of tokens, and its public key.
fn federation() -> (&'static RsaKeyPair, Vec<u8>) {
    static PAIR: OnceLock<RsaKeyPair> = OnceLock::new();
    let pair = PAIR.get_or_init(|| RsaKeyPair::from_pkcs8(&rsa_pair(KeySize::Rsa2048)).unwrap());
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    (pair, public.as_ref().to_vec())
}

/// A file with a token of that issuer.
pub(crate) fn federated_token() -> TempPath {
    let now = system_clock()().micros() / 1_000_000;
    let claims = json!({ "iss": ISSUER, "sub": SUBJECT, "aud": "api://AzureADTokenExchange", "nbf": now - 60, "exp": now + 600 });
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(json!({ "alg": "RS256", "typ": "JWT" })), part(claims));
    let (pair, _) = federation();
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))).unwrap();
    file.into_temp_path()
}

#[async_trait]
impl Subject for Emulated {
    fn cloud(&self) -> Arc<dyn Cloud> {
        self.cloud.clone()
    }

    fn cloud_at_a_dead_address(&self) -> Arc<dyn Cloud> {
        self.dead.clone()
    }

    fn cloud_with_wrong_credentials(&self) -> Arc<dyn Cloud> {
        self.stranger.clone()
    }

    fn installation(&self) -> InstallationId {
        config(&self.place).settings.installation
    }

    fn control(&self) -> &Control {
        &self.control
    }

    fn operation(&self, request: Request) -> &'static str {
        match request {
            Request::Prepare => "CreateKey",
            Request::Import => "ImportKey",
            Request::Disable | Request::Enable => "UpdateKey",
            Request::ScheduleDeletion => "DeleteKey",
            Request::Restore => "RecoverDeletedKey",
            Request::Purge => "PurgeDeletedKey",
            Request::WrappingKey | Request::Inspect => "GetKey",
            Request::List => "GetKeys",
            Request::ListedObject => "GetKeyVersions",
            Request::Create | Request::Claim | Request::Publish => unreachable!("an import does all of it"),
        }
    }

    async fn holds(&self, object: &ObjectId, material: &[u8]) -> bool {
        let dump = self.control.dump().await;
        let key = dump["keys"].as_array().unwrap().iter().find(|key| key["id"] == object.0);
        let current = key.and_then(|key| key["materials"].as_array().unwrap().iter().find(|material| material["state"] == "current"));
        current.is_some_and(|found| format!("sha256:{}", found["sha256"].as_str().unwrap()) == Digest::of(material).to_string())
    }

    async fn encrypt(&self, name: &str, plaintext: &[u8]) -> Option<Vec<u8>> {
        self.control.settle().await;
        let asked = json!({ "alg": self.algorithm(), "value": URL_SAFE_NO_PAD.encode(plaintext) });
        let (status, answer) = self.asked(Method::POST, &format!("keys/{name}//encrypt"), Some(asked)).await;
        status.is_success().then(|| answer.to_string().into_bytes())
    }

    async fn decrypt(&self, name: &str, ciphertext: &[u8]) -> Option<Vec<u8>> {
        self.control.settle().await;
        let mut asked: Value = serde_json::from_slice(ciphertext).unwrap();
        let version = asked["kid"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned();
        asked["alg"] = self.algorithm().into();
        let (status, answer) = self.asked(Method::POST, &format!("keys/{name}/{version}/decrypt"), Some(asked)).await;
        status.is_success().then(|| URL_SAFE_NO_PAD.decode(answer["value"].as_str().unwrap()).unwrap())
    }

    async fn crowd(&self, count: usize) -> Vec<ObjectId> {
        let first = self.requests().await;
        let mut objects = Vec::new();
        for number in 0..count {
            let id = format!("theirs-{first}-{number}");
            let tags = json!({ "keyplane-placement": "not one of ours" });
            let making = json!({ "kty": "EC-HSM", "crv": "P-256", "tags": tags });
            self.does(Method::POST, &format!("keys/{id}/create"), Some(making)).await;
            objects.push(ObjectId(id));
        }
        objects
    }

    fn unknown_object(&self) -> ObjectId {
        ObjectId("nobody-has-this-name".into())
    }

    fn unknown_material(&self) -> Option<String> {
        Some("0".repeat(32))
    }

    fn unknown_wrapping_key(&self) -> ObjectId {
        ObjectId(format!("https://{}/keys/keyplane-kek-{}-1/{}", host(self.place.kind), "0".repeat(32), "0".repeat(32)))
    }

    async fn squat(&self, _: &Target, _: &ObjectId) {
        unreachable!("a key has its name alone")
    }

    async fn occupy(&self, name: &str) -> ObjectId {
        self.does(Method::POST, &format!("keys/{name}/create"), Some(json!({ "kty": "EC-HSM", "crv": "P-256" }))).await;
        ObjectId(name.into())
    }

    fn symmetric_evidence(&self) -> EvidenceStrength {
        match self.place.kind {
            VaultKind::KeyVault => EvidenceStrength::Equality,
            VaultKind::ManagedHsm => EvidenceStrength::None,
        }
    }

    /// A version cannot lose its material.
    fn tamperings(&self) -> Vec<Tampering> {
        vec![Tampering::Marks, Tampering::Policy, Tampering::OtherMaterial]
    }

    async fn tamper(&self, object: &ObjectId, tampering: Tampering) {
        self.control.settle().await;
        let path = format!("keys/{object}");
        match tampering {
            Tampering::Marks => {
                let mut tags = self.does(Method::GET, &path, None).await["tags"].take();
                tags.as_object_mut().unwrap().remove("keyplane-attempt").unwrap();
                self.does(Method::PATCH, &format!("{path}/"), Some(json!({ "tags": tags }))).await;
            }
            Tampering::Policy => {
                self.does(Method::PATCH, &format!("{path}/"), Some(json!({ "key_ops": ["decrypt"] }))).await;
            }
            Tampering::OtherMaterial => {
                let kty = if self.place.kind == VaultKind::KeyVault { "RSA-HSM" } else { "oct-HSM" };
                self.does(Method::POST, &format!("{path}/create"), Some(json!({ "kty": kty }))).await;
            }
            Tampering::NoMaterial => unreachable!("it is not among those that are possible"),
        }
    }
}

impl Emulated {
    /// The algorithm that the usual key of this vault encrypts with.
    fn algorithm(&self) -> &'static str {
        match self.place.kind {
            VaultKind::KeyVault => "RSA-OAEP-256",
            VaultKind::ManagedHsm => "A256GCM",
        }
    }

    /// The root certificate of the emulated HSM's manufacturer.
    pub(crate) async fn attestation_root(&self) -> String {
        String::from_utf8(self.control.raw("GET", "attestation-root", None).await.to_vec()).unwrap()
    }

    /// Sends a request to the vault or its directory.
    async fn exchange(&self, request: HttpRequest<String>) -> (StatusCode, Value) {
        let (status, answer) = self.control.ask(request).await;
        (status, serde_json::from_slice(&answer).unwrap_or(Value::Null))
    }

    /// A new one each time: a token lives for an hour, and tests advance the clock.
    async fn token(&self) -> String {
        let resource = host(self.place.kind).split_once('.').unwrap().1;
        let form = format!("grant_type=client_credentials&client_id={CLIENT}&client_secret={SECRET}&scope=https://{resource}/.default");
        let request = HttpRequest::post(format!("/{TENANT}/oauth2/v2.0/token"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.replace(' ', "+"))
            .unwrap();
        let (status, token) = self.exchange(request).await;
        assert_eq!(status, StatusCode::OK, "{token}");
        token["access_token"].as_str().unwrap().to_owned()
    }

    /// A request of others to the vault.
    pub(crate) async fn asked(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let separator = if path.contains('?') { '&' } else { '?' };
        let request = HttpRequest::builder()
            .method(method)
            .uri(format!("/{path}{separator}api-version=7.6"))
            .header("authorization", format!("Bearer {}", self.token().await))
            .header("host", host(self.place.kind))
            .body(body)
            .unwrap();
        self.exchange(request).await
    }

    /// A request of others that has to succeed.
    pub(crate) async fn does(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.asked(method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }
}
