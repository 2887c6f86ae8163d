//! An emulated project in this process, the adapter connected to one of its key rings, and what others do in the project.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request as HttpRequest;
use keyplane_conformance::{Control, Request, Subject, Tampering, wrap};
use keyplane_emulator_core::crypto::RsaPairs;
use keyplane_emulator_core::gcp::{Attestation, Readings, ServiceAccount};
use keyplane_emulator_wire::gcp::{Options, router};
use keyplane_gcp::{Credentials, GcpConfig, GoogleKms, Secret, SecretSource, Settings};
use keyplane_model::{Digest, EvidenceStrength, InstallationId, ObjectId, Protection, Span, Target, WrapScheme};
use keyplane_port::{Cloud, WrappingKey};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

pub(crate) const PROJECT: &str = "acme-prod";
pub(crate) const LOCATION: &str = "europe-west3";
pub(crate) const RING: &str = "payments";

/// Longer than the emulator works on a job or an import under any reading.
const WORK: Span = Span::seconds(31);

/// An emulated project. It ends when this is dropped.
pub(crate) struct Emulated {
    pub(crate) endpoint: String,
    pub(crate) cloud: Arc<GoogleKms>,
    protection: Protection,
    attestation: Attestation,
    dead: Arc<GoogleKms>,
    /// Holds the dead address without listening, so that nobody else gets it.
    _nobody: TcpSocket,
    stranger: Arc<GoogleKms>,
    pub(crate) control: Control,
    router: Router,
    token: String,
    _server: JoinSet<()>,
}

/// The configuration of most tests, for an endpoint.
pub(crate) fn config(endpoint: &str, credentials: Credentials) -> GcpConfig {
    GcpConfig {
        settings: Settings {
            name: "emulated".parse().unwrap(),
            installation: "11111111-1111-8111-8111-111111111111".parse().unwrap(),
            ca: None,
            call_timeout: Span::seconds(10),
            consistency: Span::seconds(10),
            equal_reads: 2,
            deletion_days: 30,
            quotas: BTreeMap::new(),
        },
        project: PROJECT.into(),
        location: LOCATION.into(),
        key_ring: RING.into(),
        protection: Protection::Software,
        import_key_size: 4_096,
        endpoint: Some(endpoint.into()),
        credentials,
        attestation_roots: None,
    }
}

pub(crate) fn token(text: &str) -> Credentials {
    Credentials::Token(Secret::new(text.into()))
}

pub(crate) fn fixed(text: String) -> SecretSource {
    SecretSource::new(move || Ok(Secret::new(text.as_str().into())))
}

/// The credentials of a machine whose metadata server is the emulator.
pub(crate) fn machine(endpoint: &str) -> Credentials {
    Credentials::Metadata { endpoint: Some(endpoint.into()) }
}

/// A new project with an empty key ring for software keys, without quotas.
pub(crate) async fn begin() -> Emulated {
    begin_with(Protection::Software, Readings::default()).await
}

/// A new project for keys in HSMs. Attestations are checked if the adapter can read their format.
pub(crate) async fn begin_hsm() -> Emulated {
    begin_with(Protection::Hsm, Readings::default()).await
}

/// A new project under other readings of what Google's documents leave open.
pub(crate) async fn begin_with(protection: Protection, readings: Readings) -> Emulated {
    let attestation = readings.attestation;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let pairs = RsaPairs::fixed();
    let (account, _) = ServiceAccount::make(&pairs, &mut rng, PROJECT, &endpoint).unwrap();
    let router = router(Options {
        config: keyplane_emulator_core::gcp::Config { project: PROJECT.into(), readings, ..Default::default() },
        account: Some(account),
        subject_token: Some(b"a token of the workload".to_vec()),
        quotas: false,
        key_rings: Vec::new(),
        pairs,
        seed: 1,
        clock: keyplane_emulator_wire::system_clock(),
    });
    let mut server = JoinSet::new();
    let served = router.clone();
    server.spawn(async move { axum::serve(listener, served).await.unwrap() });
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();

    let control = Control::over(router.clone());
    let asked = HttpRequest::get("/computeMetadata/v1/instance/service-accounts/default/token").header("metadata-flavor", "Google");
    let (_, given) = control.ask(asked.body(String::new()).unwrap()).await;
    let given: Value = serde_json::from_slice(&given).unwrap();
    let own_token = given["access_token"].as_str().unwrap().to_owned();
    let roots = match protection {
        Protection::Hsm if attestation == Attestation::CaviumV2 => Some(roots(&control).await),
        // Software keys have no attestations, and those of the other format cannot be read.
        Protection::Hsm | Protection::Software => None,
    };
    let connect = async |endpoint: &str, credentials: Credentials| {
        let mut config = config(endpoint, credentials);
        config.protection = protection;
        config.attestation_roots.clone_from(&roots);
        Arc::new(GoogleKms::connect(config).await.unwrap())
    };
    let emulated = Emulated {
        cloud: connect(&endpoint, machine(&endpoint)).await,
        stranger: connect(&endpoint, token("ya29.nobody")).await,
        dead: connect(&format!("http://{}", nobody.local_addr().unwrap()), machine(&endpoint)).await,
        _nobody: nobody,
        endpoint,
        protection,
        attestation,
        control,
        router,
        token: own_token,
        _server: server,
    };
    let ring = format!("projects/{PROJECT}/locations/{LOCATION}/keyRings?keyRingId={RING}");
    emulated.kms("POST", &ring, json!({})).await.unwrap();
    emulated.control.call("DELETE", "requests", None).await;
    emulated
}

/// Serves a router on a free port of this machine until the set is dropped.
pub(crate) async fn serve(server: &mut JoinSet<()>, router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    endpoint
}

/// The roots of the emulated HSM's certificates.
async fn roots(control: &Control) -> Vec<u8> {
    control.raw("GET", "attestation-root", None).await.to_vec()
}

pub(crate) fn ring() -> String {
    format!("projects/{PROJECT}/locations/{LOCATION}/keyRings/{RING}")
}

pub(crate) fn key(id: &str) -> String {
    format!("{}/cryptoKeys/{id}", ring())
}

impl Emulated {
    /// A request of others in the project. `Err` unless it succeeds.
    pub(crate) async fn kms(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let request = HttpRequest::builder().method(method).uri(format!("/v1/{path}"));
        let request = request.header("authorization", format!("Bearer {}", self.token)).body(body).unwrap();
        let (status, answer) = self.control.ask(request).await;
        if status.is_success() {
            Ok(serde_json::from_slice(&answer).unwrap())
        } else {
            Err(format!("{method} {path}: {status} {}", String::from_utf8_lossy(&answer)))
        }
    }

    /// The roots of the emulated HSM's certificates.
    pub(crate) async fn roots(&self) -> Vec<u8> {
        roots(&self.control).await
    }

    /// The project's router, to be served a second time.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    fn level(&self) -> &'static str {
        match self.protection {
            Protection::Software => "SOFTWARE",
            Protection::Hsm => "HSM",
        }
    }

    /// Others import other bytes. Returns the number of the version.
    async fn import_other(&self, id: &str) -> String {
        let method = "RSA_OAEP_3072_SHA256";
        let making = json!({ "importMethod": method, "protectionLevel": self.level() });
        self.kms("POST", &format!("{}/importJobs?importJobId=theirs-{id}", ring()), making).await.unwrap();
        self.advance(WORK).await;
        let job = self.kms("GET", &format!("{}/importJobs/theirs-{id}", ring()), Value::Null).await.unwrap();
        let pem = job["publicKey"]["pem"].as_str().unwrap();
        let wrapping_key = WrappingKey {
            spki: SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec(),
            scheme: WrapScheme::RsaOaepSha256,
            token: Vec::new(),
            valid_until: None,
        };
        let wrapped = STANDARD.encode(wrap(&wrapping_key, &[5; 32]));
        let importing = json!({ "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "importJob": job["name"], "wrappedKey": wrapped });
        let version = self.kms("POST", &format!("{}/cryptoKeyVersions:import", key(id)), importing).await.unwrap();
        self.advance(WORK).await;
        version["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }
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
        config(&self.endpoint, token("any")).settings.installation
    }

    fn control(&self) -> &Control {
        &self.control
    }

    fn operation(&self, request: Request) -> &'static str {
        match request {
            Request::Create => "CreateCryptoKey",
            Request::Prepare => "CreateImportJob",
            Request::Import => "ImportCryptoKeyVersion",
            Request::Publish => "UpdateCryptoKeyPrimaryVersion",
            Request::Disable | Request::Enable => "UpdateCryptoKeyVersion",
            Request::ScheduleDeletion => "DestroyCryptoKeyVersion",
            Request::Restore => "RestoreCryptoKeyVersion",
            Request::WrappingKey => "GetImportJob",
            Request::Inspect => "GetCryptoKey",
            Request::List => "ListCryptoKeys",
            Request::ListedObject => "ListCryptoKeyVersions",
            Request::Claim | Request::Purge => unreachable!("a key has its name alone, and keeps it"),
        }
    }

    async fn holds(&self, object: &ObjectId, material: &[u8]) -> bool {
        let dump = self.control.dump().await;
        let key = dump["keys"].as_array().unwrap().iter().find(|key| key["id"] == object.0).unwrap();
        let digest = Digest::of(material).to_string();
        key["materials"].as_array().unwrap().iter().any(|material| {
            material["state"] == "ENABLED" && material["sha256"].as_str().is_some_and(|found| format!("sha256:{found}") == digest)
        })
    }

    async fn encrypt(&self, name: &str, plaintext: &[u8]) -> Option<Vec<u8>> {
        self.control.settle().await;
        let plaintext = json!({ "plaintext": STANDARD.encode(plaintext) });
        let encrypted = self.kms("POST", &format!("{}:encrypt", key(name)), plaintext).await.ok()?;
        Some(STANDARD.decode(encrypted["ciphertext"].as_str().unwrap()).unwrap())
    }

    async fn decrypt(&self, name: &str, ciphertext: &[u8]) -> Option<Vec<u8>> {
        self.control.settle().await;
        let ciphertext = json!({ "ciphertext": STANDARD.encode(ciphertext) });
        let decrypted = self.kms("POST", &format!("{}:decrypt", key(name)), ciphertext).await.ok()?;
        Some(STANDARD.decode(decrypted["plaintext"].as_str().unwrap()).unwrap())
    }

    async fn crowd(&self, count: usize) -> Vec<ObjectId> {
        let first = self.requests().await;
        let mut objects = Vec::new();
        for number in 0..count {
            let id = format!("theirs-{first}-{number}");
            let import_only = number % 2 == 0;
            let making = json!({
                "purpose": "ENCRYPT_DECRYPT",
                "importOnly": import_only,
                "versionTemplate": { "protectionLevel": self.level(), "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION" },
                "labels": { "keyplane-placement": "not-one-of-ours" },
            });
            let path = format!("{}/cryptoKeys?cryptoKeyId={id}&skipInitialVersionCreation={import_only}", ring());
            self.kms("POST", &path, making).await.unwrap();
            objects.push(ObjectId(id));
        }
        objects
    }

    fn unknown_object(&self) -> ObjectId {
        ObjectId("nobody-has-this-name".into())
    }

    fn unknown_material(&self) -> Option<String> {
        Some("1".into())
    }

    async fn squat(&self, _: &Target, _: &ObjectId) {
        unreachable!("a key has its name alone")
    }

    async fn occupy(&self, name: &str) -> ObjectId {
        let making = json!({ "purpose": "ENCRYPT_DECRYPT" });
        self.kms("POST", &format!("{}/cryptoKeys?cryptoKeyId={name}", ring()), making).await.unwrap();
        ObjectId(name.into())
    }

    fn symmetric_evidence(&self) -> EvidenceStrength {
        match self.protection {
            Protection::Software => EvidenceStrength::None,
            // The adapter does not read the other format.
            Protection::Hsm if self.attestation == Attestation::CaviumV1 => EvidenceStrength::None,
            Protection::Hsm => EvidenceStrength::CheckValue,
        }
    }

    /// The project decides who may use a key, so a key has no policy to tamper with.
    fn tamperings(&self) -> Vec<Tampering> {
        vec![Tampering::Marks, Tampering::OtherMaterial, Tampering::NoMaterial]
    }

    async fn tamper(&self, object: &ObjectId, tampering: Tampering) {
        let name = key(&object.0);
        match tampering {
            Tampering::Marks => {
                let mut found = self.kms("GET", &name, Value::Null).await.unwrap();
                found["labels"].as_object_mut().unwrap().remove("keyplane-incarnation").unwrap();
                self.kms("PATCH", &format!("{name}?updateMask=labels"), json!({ "labels": found["labels"] })).await.unwrap();
            }
            Tampering::Policy => unreachable!("it is not among those that are possible"),
            Tampering::OtherMaterial => {
                let number = self.import_other(&object.0).await;
                self.kms("POST", &format!("{name}:updatePrimaryVersion"), json!({ "cryptoKeyVersionId": number })).await.unwrap();
            }
            Tampering::NoMaterial => {
                self.kms("POST", &format!("{name}/cryptoKeyVersions/1:destroy"), json!({})).await.unwrap();
            }
        }
    }
}
