//! The client: Azure's SDK, set up so that a call sends one request, to the place that was approved.

use std::fmt;
use std::sync::{Arc, Once};

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret as SdkSecret, TokenCredential};
use azure_core::error::ErrorKind;
use azure_core::http::{ClientMethodOptions, ClientOptions, Url};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};
use keyplane_destination::{Roots, SecretSource, Settings, SettingsError, chain};
use keyplane_model::{Destination, InstallationId};
use keyplane_port::CloudError;
use rustls::RootCertStore;

use crate::config::{AzureConfig, Checked, ConfigError, Credentials};
use crate::error::failed;
use crate::operation::Operation;
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
        Ok(Self { client, destination, vault, kind, installation, attestation_roots, retention_noted: Once::new() })
    }

    /// Sends every request: writes one log line without material, and turns a failure into the port's error. `key` is for the log line;
    /// empty if the request names no key.
    pub(crate) async fn request<T>(
        &self,
        operation: Operation,
        key: &str,
        sent: impl Future<Output = azure_core::Result<T>> + Send,
    ) -> Result<T, CloudError> {
        tracing::debug!(operation = operation.name(), destination = %self.destination.name, key, "request");
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
    let login = |authority: String| -> Result<ClientOptions, ConfigError> {
        let url = Url::parse(&authority).map_err(|error| ConfigError::Client(error.to_string()))?;
        let mut options = wire(Place::Login { authority: url.authority().to_owned() }, roots.clone())?.options();
        let mut cloud = CustomConfiguration::default();
        // Set here, so that no environment variable can set it.
        cloud.authority_host = authority;
        options.cloud = Some(Arc::new(CloudConfiguration::Custom(cloud)));
        Ok(options)
    };
    match credentials {
        Credentials::ClientSecret { tenant, client, secret } => {
            let options = ClientSecretCredentialOptions { client_options: login(authority)? };
            let secret = SdkSecret::new(secret.expose_secret().to_owned());
            let made = ClientSecretCredential::new(&tenant, client, secret, Some(options)).map_err(not_taken)?;
            Ok(made)
        }
        Credentials::WorkloadIdentity { tenant, client, token, .. } => {
            let options = ClientAssertionCredentialOptions { client_options: login(authority)? };
            let made = ClientAssertionCredential::new(tenant, client, FederatedToken(token), Some(options)).map_err(not_taken)?;
            Ok(made)
        }
        Credentials::ManagedIdentity { client, address } => {
            let place = Place::Metadata { address: address.and_then(|address| address.parse().ok()) };
            let options = ManagedIdentityCredentialOptions {
                user_assigned_id: client.map(UserAssignedId::ClientId),
                client_options: wire(place, roots.clone())?.options(),
            };
            let made = ManagedIdentityCredential::new(Some(options)).map_err(not_taken)?;
            Ok(made)
        }
    }
}

/// The token in a file. Not the SDK's `WorkloadIdentityCredential`: that reads a file of any kind, without a limit.
#[derive(Debug)]
struct FederatedToken(SecretSource);

#[async_trait]
impl ClientAssertion for FederatedToken {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        let token = self.0.read().map_err(|error| azure_core::Error::new(ErrorKind::Credential, error))?;
        Ok(token.expose_secret().to_owned())
    }
}

fn not_taken(error: azure_core::Error) -> ConfigError {
    ConfigError::Client(chain(&error))
}
