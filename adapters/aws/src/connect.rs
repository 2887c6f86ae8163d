//! The client, as the rules ask for it, and the port over it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{BehaviorVersion, Region, StalledStreamProtectionConfig};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use keyplane_destination::{Settings, SettingsError};
use keyplane_model::{
    Class, CopyRecord, Destination, Evidence, InstallationId, ObjectId, ObjectSeen, PlacementSeen, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{Acted, Cause, Cloud, CloudError, Cursor, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey};
use serde_json::Value;

use crate::config::{AwsConfig, Checked, ConfigError, Credentials};
use crate::error::{self, failed};
use crate::limit::Limit;
use crate::operation::Operation;

/// How long the SDK waits for a connection. Not a time-out of a call (those are the engine's): it tells "nobody is
/// there", which certainly had no effect, from "no answer", which may have had one. As long as the SDK's own default.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);

/// AWS KMS in one account and region.
pub struct AwsKms {
    pub(crate) client: Client,
    pub(crate) destination: Destination,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) installation: InstallationId,
    pub(crate) policy_text: String,
    pub(crate) policy: Value,
}

impl AwsKms {
    /// Checks the configuration and makes the client. Sends nothing to KMS; credentials are fetched with the first call.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub async fn connect(config: AwsConfig) -> Result<Self, ConfigError> {
        let Checked { destination, policy_text, policy, tls } = config.check()?;
        let AwsConfig { settings, region, account, endpoint, credentials, .. } = config;
        let installation = settings.installation;
        // Not from the shared configuration: endpoint and region are approved, and no variable or file may replace them.
        let mut builder = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .credentials_provider(provider(credentials, &region).await)
            .http_client(http_client(settings, tls)?)
            .interceptor(Limit)
            // INVARIANT: a call of ours is one request (rule 3).
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .disable_read_timeout()
                    .disable_operation_timeout()
                    .disable_operation_attempt_timeout()
                    .build(),
            )
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Ok(Self { client: Client::from_conf(builder.build()), destination, region, account, installation, policy_text, policy })
    }

    /// Every request of ours goes through here: one line for each (`key_id` is empty where it names none), never material,
    /// and its failure in the port's words.
    pub(crate) async fn request<T, E>(
        &self,
        operation: Operation,
        key_id: &str,
        sent: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    ) -> Result<T, CloudError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        tracing::debug!(operation = operation.name(), destination = %self.destination.name, key_id, "request");
        sent.await.map_err(|error| failed(operation, error))
    }
}

impl fmt::Debug for AwsKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsKms({} at {})", self.destination.name, self.destination.home)
    }
}

#[async_trait]
impl Cloud for AwsKms {
    fn destination(&self) -> &Destination {
        &self.destination
    }

    async fn look(&self, target: &Target) -> Result<PlacementSeen, CloudError> {
        self.read_placement(target).await
    }

    async fn inspect(&self, object: &ObjectId) -> Result<Option<ObjectSeen>, CloudError> {
        self.read_object(&object.0).await
    }

    async fn sweep(&self, cursor: Option<&Cursor>) -> Result<Page, CloudError> {
        self.read_page(cursor).await
    }

    async fn find(&self, target: &Target, swept: &Swept) -> Result<Option<PlacementSeen>, CloudError> {
        self.find_placement(target, swept).await
    }

    /// KMS gives a key at each asking: none is ever made for a copy.
    async fn prepared(&self, _: &Target, _: Version, _: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        Ok(None)
    }

    async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        match from {
            WrapFor::Object(object) => self.read_wrapping_key(object, scheme).await,
            WrapFor::Prepared(_) => {
                let message = "KMS gives a key to wrap under at each asking";
                Err(error::found(Operation::GetParametersForImport, Class::Unsupported, Cause::Plain, message))
            }
        }
    }

    async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        self.mutate(mutation).await
    }

    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        self.read_evidence(target, copy, now).await
    }
}

async fn provider(credentials: Credentials, region: &str) -> SharedCredentialsProvider {
    match credentials {
        Credentials::Static { access_key_id, secret } => SharedCredentialsProvider::new(aws_credential_types::Credentials::new(
            access_key_id,
            secret.expose_secret(),
            None,
            None,
            "keyplane",
        )),
        Credentials::Profile(name) => SharedCredentialsProvider::new(ProfileFileCredentialsProvider::builder().profile_name(name).build()),
        Credentials::Default => {
            SharedCredentialsProvider::new(DefaultCredentialsChain::builder().region(Region::new(region.to_owned())).build().await)
        }
    }
}

/// rustls over aws-lc-rs, no proxy. With a private CA, that one alone is trusted; where TLS has nothing to do, nothing is.
fn http_client(settings: Settings, tls: bool) -> Result<SharedHttpClient, ConfigError> {
    // The SDK takes certificates without looking and panics on the first bad one: so they were looked at.
    settings.trusted(tls)?;
    let trust = match settings.ca {
        Some(pem) => TrustStore::empty().with_pem_certificate(pem),
        None if tls => TrustStore::default(),
        None => TrustStore::empty(),
    };
    let context =
        TlsContext::builder().with_trust_store(trust).build().map_err(|_| SettingsError::Ca("the TLS library does not take it"))?;
    Ok(aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build_https())
}
