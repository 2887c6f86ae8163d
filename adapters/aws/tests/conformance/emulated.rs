//! An emulated account in this process, the adapter connected to it, and AWS's own client beside the adapter.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_credential_types::Credentials as SdkCredentials;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Region};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{AlgorithmSpec, ExpirationModelType, ImportType, OriginType, Tag, WrappingKeySpec};
use axum::Router;
use keyplane_aws::{AwsConfig, AwsKms, Credentials, Secret, SecretSource, Settings};
use keyplane_conformance::{Control, Request, Subject, Tampering, wrap};
use keyplane_emulator_core::aws::Readings;
use keyplane_emulator_core::crypto::RsaPairs;
use keyplane_emulator_wire::aws::{AccessKey, Options, router};
use keyplane_model::{Digest, EvidenceStrength, InstallationId, ObjectId, Span, Target, WrapScheme};
use keyplane_port::{Cloud, WrappingKey};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

pub(crate) const REGION: &str = "us-east-1";
pub(crate) const ACCOUNT: &str = "111122223333";
pub(crate) const KEY_ID: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &str = "a secret of the tests";

/// An emulated account. It ends when this is dropped.
pub(crate) struct Emulated {
    pub(crate) endpoint: String,
    pub(crate) cloud: Arc<AwsKms>,
    /// AWS's own client, for what others do in the account.
    pub(crate) client: Client,
    dead: Arc<AwsKms>,
    /// Holds the dead address without listening, so that nobody else gets it.
    _nobody: TcpSocket,
    stranger: Arc<AwsKms>,
    pub(crate) control: Control,
    router: Router,
    _server: JoinSet<()>,
}

pub(crate) fn access_key(id: &str, secret: &'static str) -> Credentials {
    Credentials::Static { access_key_id: id.to_owned(), secret: SecretSource::new(move || Ok(Secret::new(secret.into()))) }
}

/// The configuration of most tests, for an endpoint.
pub(crate) fn config(endpoint: &str) -> AwsConfig {
    AwsConfig {
        settings: Settings {
            name: "emulated".parse().unwrap(),
            installation: "11111111-1111-8111-8111-111111111111".parse().unwrap(),
            ca: None,
            call_timeout: Span::seconds(10),
            consistency: Span::seconds(5),
            equal_reads: 3,
            deletion_days: 30,
            quotas: BTreeMap::new(),
        },
        region: REGION.into(),
        account: ACCOUNT.into(),
        endpoint: Some(endpoint.into()),
        credentials: access_key(KEY_ID, SECRET),
        key_policy: None,
    }
}

/// A new account without quotas.
pub(crate) async fn begin() -> Emulated {
    begin_with(Readings::default()).await
}

/// A new account under other readings of what AWS's documents leave open.
pub(crate) async fn begin_with(readings: Readings) -> Emulated {
    let router = router(Options {
        config: keyplane_emulator_core::aws::Config { region: REGION.into(), account: ACCOUNT.into(), readings, ..Default::default() },
        credential: Some(AccessKey { id: KEY_ID.into(), secret: SECRET.into() }),
        quotas: false,
        pairs: RsaPairs::fixed(),
        seed: 1,
        clock: keyplane_emulator_wire::system_clock(),
    });
    let mut server = JoinSet::new();
    let endpoint = serve(&mut server, router.clone()).await;
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut wrong = config(&endpoint);
    wrong.credentials = access_key(KEY_ID, "another secret");
    Emulated {
        cloud: Arc::new(AwsKms::connect(config(&endpoint)).await.unwrap()),
        stranger: Arc::new(AwsKms::connect(wrong).await.unwrap()),
        dead: Arc::new(AwsKms::connect(config(&format!("http://{}", nobody.local_addr().unwrap()))).await.unwrap()),
        _nobody: nobody,
        client: client(&endpoint),
        endpoint,
        control: Control::over(router.clone()),
        router,
        _server: server,
    }
}

/// Serves a router on a free port of this machine until the set is dropped.
pub(crate) async fn serve(server: &mut JoinSet<()>, router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    endpoint
}

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(SdkCredentials::new(KEY_ID, SECRET, None, None, "tests"))
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

impl Emulated {
    /// Others import other bytes, which then wait for a rotation.
    pub(crate) async fn import_other(&self, object: &ObjectId) {
        let asked = self.client.get_parameters_for_import().key_id(&object.0);
        let asked = asked.wrapping_algorithm(AlgorithmSpec::RsaesOaepSha256).wrapping_key_spec(WrappingKeySpec::Rsa4096);
        let given = asked.send().await.unwrap();
        let wrapping_key = WrappingKey {
            spki: given.public_key.unwrap().into_inner(),
            scheme: WrapScheme::RsaOaepSha256,
            token: given.import_token.unwrap().into_inner(),
            valid_until: None,
        };
        self.client
            .import_key_material()
            .key_id(&object.0)
            .import_type(ImportType::NewKeyMaterial)
            .expiration_model(ExpirationModelType::KeyMaterialDoesNotExpire)
            .encrypted_key_material(Blob::new(wrap(&wrapping_key, &[5; 32])))
            .import_token(Blob::new(wrapping_key.token))
            .send()
            .await
            .unwrap();
    }

    async fn rotates(&self, object: &ObjectId) -> bool {
        self.control.settle().await;
        let status = self.client.get_key_rotation_status().key_id(&object.0).send().await.unwrap();
        status.on_demand_rotation_start_date.is_some()
    }

    /// Points an alias at a key.
    async fn name(&self, name: &str, object: &ObjectId) {
        self.client.create_alias().alias_name(format!("alias/{name}")).target_key_id(&object.0).send().await.unwrap();
    }

    /// The account's router, to be served a second time.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
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
        config(&self.endpoint).settings.installation
    }

    fn control(&self) -> &Control {
        &self.control
    }

    fn operation(&self, request: Request) -> &'static str {
        match request {
            Request::Create => "CreateKey",
            Request::Claim | Request::Publish => "CreateAlias",
            Request::Import => "ImportKeyMaterial",
            Request::Disable => "DisableKey",
            Request::Enable => "EnableKey",
            Request::ScheduleDeletion => "ScheduleKeyDeletion",
            Request::Restore => "CancelKeyDeletion",
            Request::WrappingKey => "GetParametersForImport",
            Request::Prepare => unreachable!("KMS gives a key to wrap under at each asking"),
            Request::Purge => unreachable!("nothing keeps a name that could be freed"),
            Request::Inspect => "DescribeKey",
            Request::List => "ListKeys",
            Request::ListedObject => "ListResourceTags",
        }
    }

    async fn holds(&self, object: &ObjectId, material: &[u8]) -> bool {
        let dump = self.control.dump().await;
        let key = dump["keys"].as_array().unwrap().iter().find(|key| key["id"] == object.0).unwrap();
        let current = key["materials"].as_array().unwrap().iter().find(|material| material["role"] == "CURRENT");
        let digest = current.and_then(|found| found["sha256"].as_str());
        digest.is_some_and(|digest| format!("sha256:{digest}") == Digest::of(material).to_string())
    }

    async fn encrypt(&self, name: &str, plaintext: &[u8]) -> Option<Vec<u8>> {
        self.control.settle().await;
        let encrypted = self.client.encrypt().key_id(format!("alias/{name}")).plaintext(Blob::new(plaintext)).send().await.ok()?;
        Some(encrypted.ciphertext_blob.unwrap().into_inner())
    }

    async fn decrypt(&self, name: &str, ciphertext: &[u8]) -> Option<Vec<u8>> {
        self.control.settle().await;
        let decrypted = self.client.decrypt().key_id(format!("alias/{name}")).ciphertext_blob(Blob::new(ciphertext)).send().await.ok()?;
        Some(decrypted.plaintext.unwrap().into_inner())
    }

    async fn crowd(&self, count: usize) -> Vec<ObjectId> {
        let mut objects = Vec::new();
        for number in 0..count {
            let origin = if number % 2 == 0 { OriginType::External } else { OriginType::AwsKms };
            let tag = Tag::builder().tag_key("keyplane:placement").tag_value("not one of ours").build().unwrap();
            let created = self.client.create_key().origin(origin).tags(tag).send().await.unwrap();
            objects.push(ObjectId(created.key_metadata.unwrap().key_id));
        }
        objects
    }

    fn unknown_object(&self) -> ObjectId {
        ObjectId("00000000-0000-4000-8000-000000000000".into())
    }

    async fn squat(&self, target: &Target, object: &ObjectId) {
        self.control.settle().await;
        self.name(&format!("keyplane/{}/{}", target.placement, target.incarnation), object).await;
    }

    async fn occupy(&self, name: &str) -> ObjectId {
        let object = self.crowd(1).await.remove(0);
        self.control.settle().await;
        self.name(name, &object).await;
        object
    }

    fn symmetric_evidence(&self) -> EvidenceStrength {
        EvidenceStrength::SameObject
    }

    async fn tamper(&self, object: &ObjectId, tampering: Tampering) {
        self.control.settle().await;
        match tampering {
            Tampering::Marks => {
                self.client.untag_resource().key_id(&object.0).tag_keys("keyplane:attempt").send().await.unwrap();
            }
            Tampering::Policy => {
                let policy = json!({
                    "Version": "2012-10-17",
                    "Statement": [{ "Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*" }],
                });
                self.client.put_key_policy().key_id(&object.0).policy(policy.to_string()).send().await.unwrap();
            }
            Tampering::OtherMaterial => {
                self.import_other(object).await;
                self.control.settle().await;
                self.client.rotate_key_on_demand().key_id(&object.0).send().await.unwrap();
                while self.rotates(object).await {
                    self.advance(Span::seconds(10)).await;
                }
            }
            Tampering::NoMaterial => {
                self.client.delete_imported_key_material().key_id(&object.0).send().await.unwrap();
            }
        }
    }
}
