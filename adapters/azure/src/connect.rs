//! The client, as the rules ask for it, and the port over it.

use std::fmt;
use std::sync::{Arc, Once};

use async_trait::async_trait;
use azure_core::cloud::{CloudConfiguration, CustomConfiguration};
use azure_core::credentials::{Secret as SdkSecret, TokenCredential};
use azure_core::http::{ClientOptions, Url};
use azure_identity::{
    ClientAssertionCredentialOptions, ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};
use keyplane_destination::{Roots, Settings, SettingsError, chain};
use keyplane_model::{
    CopyRecord, Destination, Evidence, InstallationId, ObjectId, ObjectSeen, PlacementSeen, Target, Timestamp, Version, WrapScheme,
};
use keyplane_port::{Acted, Cloud, CloudError, Cursor, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey};
use rustls::RootCertStore;

use crate::config::{AzureConfig, Checked, ConfigError, Credentials, VaultKind};
use crate::error::failed;
use crate::operation::Operation;
use crate::transport::{Place, Wire};

/// One key vault or Managed HSM.
pub struct AzureVault {
    pub(crate) client: KeyClient,
    pub(crate) destination: Destination,
    /// The vault's own name.
    pub(crate) vault: String,
    pub(crate) kind: VaultKind,
    pub(crate) installation: InstallationId,
    /// Who has to vouch for what a Managed HSM says of a key.
    pub(crate) attestation_roots: Option<Roots>,
    /// Whether it was said that the vault keeps deleted keys for another time than was configured.
    pub(crate) retention_noted: Once,
}

impl AzureVault {
    /// Checks the configuration and makes the client. Sends nothing; tokens are fetched with the first call. A file with a
    /// federated token is read.
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

    /// Every request of ours goes through here: one line for each (`key` is empty where it names none), never material, and
    /// its failure in the port's words.
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

#[async_trait]
impl Cloud for AzureVault {
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
        Ok(crate::read::find_placement(target, swept))
    }

    async fn prepared(&self, _: &Target, _: Version, made: Option<&ObjectId>) -> Result<Option<Prepared>, CloudError> {
        self.read_prepared(made).await
    }

    async fn wrapping_key(&self, from: &WrapFor, scheme: WrapScheme) -> Result<WrappingKey, CloudError> {
        self.read_wrapping_key(from, scheme).await
    }

    async fn act(&self, mutation: &Mutation) -> Result<Acted, CloudError> {
        self.mutate(mutation).await
    }

    async fn evidence(&self, target: &Target, copy: &CopyRecord, now: Timestamp) -> Result<Evidence, CloudError> {
        self.read_evidence(target, copy, now).await
    }
}

fn wire(place: Place, roots: RootCertStore) -> Result<Wire, ConfigError> {
    Wire::new(place, roots).ok_or(SettingsError::Ca("the TLS library does not take it").into())
}

/// Who we are. Nothing of it comes from the environment but where a platform's own metadata service is.
fn credential(credentials: Credentials, authority: String, roots: &RootCertStore) -> Result<Arc<dyn TokenCredential>, ConfigError> {
    let login = |authority: String| -> Result<ClientOptions, ConfigError> {
        let url = Url::parse(&authority).map_err(|error| ConfigError::Client(error.to_string()))?;
        let mut options = wire(Place::Login { authority: url.authority().to_owned() }, roots.clone())?.options();
        let mut cloud = CustomConfiguration::default();
        // Said, so that no variable says it.
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
        Credentials::WorkloadIdentity { tenant, client, token_file } => {
            let options = WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options: login(authority)? },
                client_id: Some(client),
                tenant_id: Some(tenant),
                token_file_path: Some(token_file),
            };
            let made = WorkloadIdentityCredential::new(Some(options)).map_err(not_taken)?;
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

fn not_taken(error: azure_core::Error) -> ConfigError {
    ConfigError::Client(chain(&error))
}
