//! The client: AWS's SDK, set up so that a call sends one request, to the place that was approved.

use std::fmt;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{BehaviorVersion, IdentityCache, Region, StalledStreamProtectionConfig};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use keyplane_destination::{SecretSource, Sent, Settings, SettingsError};
use keyplane_model::{Destination, InstallationId};
use keyplane_port::CloudError;
use serde_json::Value;

use crate::config::{AwsConfig, Checked, ConfigError, Credentials};
use crate::error::failed;
use crate::limit::Limit;
use crate::operation::Operation;

/// How long the SDK waits for a connection; this is its default. The engine sets the time-out of a whole call. This one tells "no
/// connection", which certainly had no effect, from "no answer", which may have had one.
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
    pub(crate) sent: Sent,
}

impl AwsKms {
    /// Checks the configuration and makes the client. Sends nothing to KMS. The first call fetches credentials.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub async fn connect(config: AwsConfig) -> Result<Self, ConfigError> {
        let Checked { destination, policy_text, policy, tls } = config.check()?;
        let AwsConfig { settings, region, account, endpoint, credentials, .. } = config;
        let installation = settings.installation;
        let is_read_each_time = matches!(credentials, Credentials::Static { .. });
        // AWS's shared configuration is not read: region and endpoint were approved, so no variable or file may replace them.
        let mut builder = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .credentials_provider(provider(credentials, &region).await)
            .http_client(http_client(settings, tls)?)
            .interceptor(Limit)
            // INVARIANT: a call sends one request (rule 3).
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
        if is_read_each_time {
            builder = builder.identity_cache(IdentityCache::no_cache());
        }
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        let client = Client::from_conf(builder.build());
        Ok(Self { client, destination, region, account, installation, policy_text, policy, sent: Sent::default() })
    }

    /// Sends every request: counts it, writes one log line without material, and turns a failure into the port's error. `key_id` is for the
    /// log line; empty if the request names no key.
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
        self.sent.count(operation.name(), 1);
        sent.await.map_err(|error| failed(operation, error))
    }
}

impl fmt::Debug for AwsKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsKms({} at {})", self.destination.name, self.destination.home)
    }
}

async fn provider(credentials: Credentials, region: &str) -> SharedCredentialsProvider {
    match credentials {
        Credentials::Static { access_key_id, secret } => SharedCredentialsProvider::new(AccessKey { id: access_key_id, secret }),
        Credentials::Profile(name) => SharedCredentialsProvider::new(ProfileFileCredentialsProvider::builder().profile_name(name).build()),
        Credentials::Default => {
            SharedCredentialsProvider::new(DefaultCredentialsChain::builder().region(Region::new(region.to_owned())).build().await)
        }
    }
}

/// An access key whose secret is read for each request. The SDK holds the secret while that request runs, and wipes it afterwards.
#[derive(Debug)]
struct AccessKey {
    id: String,
    secret: SecretSource,
}

impl ProvideCredentials for AccessKey {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let secret = self.secret.read().map_err(CredentialsError::not_loaded);
        future::ProvideCredentials::ready(
            secret.map(|secret| aws_credential_types::Credentials::new(&*self.id, secret.expose_secret(), None, None, "keyplane")),
        )
    }
}

/// The HTTP client: rustls over aws-lc-rs, without a proxy. If there is a private CA, only that is trusted; without TLS, nothing is.
fn http_client(settings: Settings, tls: bool) -> Result<SharedHttpClient, ConfigError> {
    // The SDK does not check certificates and panics at the first bad one, so they are checked here.
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
