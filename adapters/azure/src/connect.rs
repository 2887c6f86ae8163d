//! The client: Azure's SDK, set up so that a call sends one request, to the place that was approved.

use std::fmt;
use std::sync::{Arc, Once};

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{AccessToken, Secret as SdkSecret, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientMethodOptions, ClientOptions, Url};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};
use keyplane_destination::{Roots, SecretSource, Sent, Settings, SettingsError, chain};
use keyplane_model::{Destination, InstallationId};
use keyplane_port::CloudError;
use rustls::RootCertStore;

use crate::config::{AzureConfig, Checked, ConfigError, Credentials};
use crate::error::failed;
use crate::operation::{Operation, drawn_by};
use crate::transport::{Place, Wire};
use crate::vault::VaultKind;

/// One key vault or Managed HSM.
pub struct AzureVault {
    pub(crate) client: KeyClient,
    pub(crate) destination: Destination,
    /// The vault's own host name.
    pub(crate) vault: String,
    pub(crate) kind: VaultKind,
    pub(crate) installation: InstallationId,
    /// `None`: attestations are not checked.
    pub(crate) attestation_roots: Option<Roots>,
    /// Used up once the log says that the vault keeps deleted keys for another number of days than configured.
    pub(crate) retention_noted: Once,
    pub(crate) sent: Sent,
}

impl AzureVault {
    /// Checks the configuration and makes the client. Sends nothing. The first call fetches a token. A file with a federated token is read
    /// here.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn connect(config: AzureConfig) -> Result<Self, ConfigError> {
        let Checked { destination, resource, authority, roots, attestation_roots } = config.check()?;
        let AzureConfig { settings: Settings { installation, .. }, vault, kind, address, credentials, .. } = config;
        let credential = credential(credentials, authority, &roots)?;
        let place = Place::Vault { host: vault.clone(), address: address.and_then(|address| address.parse().ok()), resource };
        let options = KeyClientOptions {
            client_options: wire(place, roots)?.options(),
            verify_challenge_resource: Some(true),
            ..KeyClientOptions::default()
        };
        let client = KeyClient::new(&format!("https://{vault}"), credential, Some(options)).map_err(not_taken)?;
        Ok(Self { client, destination, vault, kind, installation, attestation_roots, retention_noted: Once::new(), sent: Sent::default() })
    }

    /// Sends every request: counts it, writes one log line without material, and turns a failure into the port's error. `key` is for the log
    /// line; empty if the request names no key.
    pub(crate) async fn request<T>(
        &self,
        operation: Operation,
        key: &str,
        sent: impl Future<Output = azure_core::Result<T>> + Send,
    ) -> Result<T, CloudError> {
        tracing::debug!(operation = operation.name(), destination = %self.destination.name, key, "request");
        let (quota, times) = drawn_by(operation, self.kind);
        self.sent.count(quota, times);
        sent.await.map_err(|error| failed(operation, &error))
    }
}

impl fmt::Debug for AzureVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AzureVault({} at {})", self.destination.name, self.destination.home)
    }
}

fn wire(place: Place, roots: RootCertStore) -> Result<Wire, ConfigError> {
    Wire::new(place, roots).ok_or(SettingsError::Ca("the TLS library does not take it").into())
}

/// The SDK's credential. The only thing that it takes from the environment is the address of the platform's metadata service.
fn credential(credentials: Credentials, authority: String, roots: &RootCertStore) -> Result<Arc<dyn TokenCredential>, ConfigError> {
    let roots = roots.clone();
    match credentials {
        Credentials::ClientSecret { tenant, client, secret } => Renewed::checked(move || {
            let options = ClientSecretCredentialOptions { client_options: login(&authority, &roots)? };
            let secret = SdkSecret::new(secret.read().map_err(unread)?.expose_secret().to_owned());
            let made = ClientSecretCredential::new(&tenant, client.clone(), secret, Some(options))?;
            Ok(made)
        }),
        Credentials::WorkloadIdentity { tenant, client, token, .. } => Renewed::checked(move || {
            let options = ClientAssertionCredentialOptions { client_options: login(&authority, &roots)? };
            let made = ClientAssertionCredential::new(tenant.clone(), client.clone(), FederatedToken(token.clone()), Some(options))?;
            Ok(made)
        }),
        Credentials::ManagedIdentity { client, address } => {
            let place = Place::Metadata { address: address.and_then(|address| address.parse().ok()) };
            let options = ManagedIdentityCredentialOptions {
                user_assigned_id: client.map(UserAssignedId::ClientId),
                client_options: wire(place, roots)?.options(),
            };
            let made = ManagedIdentityCredential::new(Some(options)).map_err(not_taken)?;
            Ok(made)
        }
    }
}

/// The options of a client for the login service.
fn login(authority: &str, roots: &RootCertStore) -> azure_core::Result<ClientOptions> {
    let url = Url::parse(authority).map_err(unread)?;
    let mut options = wire(Place::Login { authority: url.authority().to_owned() }, roots.clone()).map_err(unread)?.options();
    let mut cloud = CustomConfiguration::default();
    // Set here, so that no environment variable can set it.
    cloud.authority_host = authority.to_owned();
    options.cloud = Some(Arc::new(CloudConfiguration::Custom(cloud)));
    Ok(options)
}

type Make = dyn Fn() -> azure_core::Result<Arc<dyn TokenCredential>> + Send + Sync;

/// Makes the SDK's credential anew for each token. The SDK's own would keep the secret, and its connection what was sent over it. The vault's
/// client keeps the token.
struct Renewed(Box<Make>);

impl Renewed {
    /// Makes one credential, and drops it, so that what cannot be used is refused before anything is sent.
    fn checked(
        make: impl Fn() -> azure_core::Result<Arc<dyn TokenCredential>> + Send + Sync + 'static,
    ) -> Result<Arc<dyn TokenCredential>, ConfigError> {
        drop(make().map_err(not_taken)?);
        Ok(Arc::new(Self(Box::new(make))))
    }
}

impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewed")
    }
}

#[async_trait]
impl TokenCredential for Renewed {
    async fn get_token(&self, scopes: &[&str], options: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let credential = (self.0)()?;
        credential.get_token(scopes, options).await
    }
}

/// The token in a file. Not the SDK's `WorkloadIdentityCredential`: that reads a file of any kind, without a limit.
#[derive(Debug)]
struct FederatedToken(SecretSource);

#[async_trait]
impl ClientAssertion for FederatedToken {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Ok(self.0.read().map_err(unread)?.expose_secret().to_owned())
    }
}

fn unread(error: impl std::error::Error + Send + Sync + 'static) -> azure_core::Error {
    azure_core::Error::new(ErrorKind::Credential, error)
}

fn not_taken(error: azure_core::Error) -> ConfigError {
    ConfigError::Client(chain(&error))
}
