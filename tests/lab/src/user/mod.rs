//! Applications that use keys, as any would: through the cloud's own SDK, by the name that its owners gave the key.
//!
//! Owns what an application does with a key of each kind at each cloud, and what it keeps of that. Must not know of Keyplane,
//! its adapters or its policy: that keys work for somebody who has never heard of them is what is shown.
//!
//! | key | AWS | Google Cloud | Azure |
//! |---|---|---|---|
//! | `aes-256`, encrypt | `Encrypt` | `encrypt`, under the primary version | `A256GCM` (Managed HSM) |
//! | `rsa-*`, encrypt | | OAEP with SHA-256 by the public key, decrypted by the cloud | `RSA-OAEP-256` |
//! | `rsa-*`, sign | | PKCS #1 v1.5 with SHA-256, verified by the public key | `RS256` |
//! | `ec-*`, sign | | ECDSA, verified by the public key | `ES256`, `ES384` |
//! | `hmac-sha256`, mac | | `macSign`, `macVerify` | |
//!
//! Where nothing stands, the application refuses by itself.

mod aws;
mod azure;
mod caller;
mod gcp;

pub use aws::{Encrypted, KeyUser};
pub(crate) use azure::AzureAccess;
pub use azure::AzureUser;
pub use caller::Protected;
pub use gcp::GoogleUser;
use keyplane_model::{Algorithm, Purpose};

use crate::LabError;

/// An application that uses keys of any kind at one destination.
///
/// Its methods wait: they must not be called where a runtime runs.
pub enum Application {
    /// At AWS.
    Aws(KeyUser),
    /// At Google Cloud.
    Gcp(Box<GoogleUser>),
    /// At Azure.
    Azure(Box<AzureUser>),
}

impl Application {
    /// At an AWS region.
    ///
    /// # Errors
    /// When the operating system gives no threads.
    pub(crate) fn aws(destination: &str, endpoint: &str, region: &str, access_key_id: &str, secret: &str) -> Result<Self, LabError> {
        KeyUser::new(destination, endpoint, region, access_key_id, secret).map(Self::Aws)
    }

    /// At a Google Cloud key ring; `key_ring` is its whole name, `service_account` the JSON of a key file. `endpoint` speaks
    /// plain HTTP.
    ///
    /// # Errors
    /// When the key file cannot be used, or the operating system gives no threads.
    pub(crate) fn gcp(destination: &str, endpoint: &str, key_ring: &str, service_account: &str) -> Result<Self, LabError> {
        GoogleUser::new(destination, endpoint, key_ring, service_account).map(|user| Self::Gcp(Box::new(user)))
    }

    /// At an Azure vault or Managed HSM.
    ///
    /// # Errors
    /// When what it is given cannot be used, or the operating system gives no threads.
    pub(crate) fn azure(destination: &str, access: &AzureAccess<'_>) -> Result<Self, LabError> {
        AzureUser::new(destination, access).map(|user| Self::Azure(Box::new(user)))
    }

    /// Protects a message with the newest version of a key: encrypts it, signs it or makes a MAC, by the key's purpose. `name`
    /// is the users' (at AWS an alias, without `alias/`).
    ///
    /// # Errors
    /// When the destination refuses, there is no such key, it is of another kind, or nothing here uses keys of this kind there.
    pub fn protect(&self, name: &str, algorithm: Algorithm, purpose: Purpose, message: &[u8]) -> Result<Protected, LabError> {
        match self {
            Self::Aws(user) => user.protect(name, algorithm, purpose, message),
            Self::Gcp(user) => user.protect(name, algorithm, purpose, message),
            Self::Azure(user) => user.protect(name, algorithm, purpose, message),
        }
    }

    /// Undoes or checks it, by the version that did it: decrypts, verifies the signature, or verifies the MAC.
    ///
    /// # Errors
    /// When this is not what the key made of this message, and as [`Application::protect`].
    pub fn check(&self, name: &str, algorithm: Algorithm, purpose: Purpose, message: &[u8], kept: &Protected) -> Result<(), LabError> {
        match self {
            Self::Aws(user) => user.check(algorithm, purpose, message, kept),
            Self::Gcp(user) => user.check(name, algorithm, purpose, message, kept),
            Self::Azure(user) => user.check(name, algorithm, purpose, message, kept),
        }
    }
}
