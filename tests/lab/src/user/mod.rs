//! Applications that use keys through the clouds' own SDKs, by the names that the keys' owners chose.
//!
//! Owns the operations of an application with each kind of key at each cloud, and what it keeps of them. Must not know Keyplane, its
//! adapters or its policy, because it has to show that keys work without them.
//!
//! | key | AWS | Google Cloud | Azure |
//! |---|---|---|---|
//! | `aes-256`, encrypt | `Encrypt` | `encrypt`, under the primary version | `A256GCM` (Managed HSM) |
//! | `rsa-*`, encrypt | | OAEP with SHA-256 by the public key, decrypted by the cloud | `RSA-OAEP-256` |
//! | `rsa-*`, sign | | PKCS #1 v1.5 with SHA-256, verified by the public key | `RS256` |
//! | `ec-*`, sign | | ECDSA, verified by the public key | `ES256`, `ES384` |
//! | `hmac-sha256`, mac | | `macSign`, `macVerify` | |
//!
//! Where a field is empty, the application itself refuses.

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
/// Its methods block, so they must not be called inside of an async runtime.
pub enum Application {
    Aws(KeyUser),
    Gcp(Box<GoogleUser>),
    Azure(Box<AzureUser>),
}

impl Application {
    /// An application at an AWS region.
    ///
    /// # Errors
    /// When the operating system cannot start threads.
    pub(crate) fn aws(destination: &str, endpoint: &str, region: &str, access_key_id: &str, secret: &str) -> Result<Self, LabError> {
        KeyUser::new(destination, endpoint, region, access_key_id, secret).map(Self::Aws)
    }

    /// An application at a Google Cloud key ring. `key_ring` is its full name, `service_account` the JSON of a key file. `endpoint` speaks
    /// plain HTTP.
    ///
    /// # Errors
    /// When the key file cannot be used, or the operating system cannot start threads.
    pub(crate) fn gcp(destination: &str, endpoint: &str, key_ring: &str, service_account: &str) -> Result<Self, LabError> {
        GoogleUser::new(destination, endpoint, key_ring, service_account).map(|user| Self::Gcp(Box::new(user)))
    }

    /// An application at an Azure vault or Managed HSM.
    ///
    /// # Errors
    /// When `access` cannot be used, or the operating system cannot start threads.
    pub(crate) fn azure(destination: &str, access: &AzureAccess<'_>) -> Result<Self, LabError> {
        AzureUser::new(destination, access).map(|user| Self::Azure(Box::new(user)))
    }

    /// Protects a message with the newest version of a key: encrypts it, signs it or makes a MAC, by the key's purpose. `name` is the
    /// users' name (at AWS an alias without `alias/`).
    ///
    /// # Errors
    /// When the destination refuses, there is no such key, it is of another kind, or the application has no operation for this kind.
    pub fn protect(&self, name: &str, algorithm: Algorithm, purpose: Purpose, message: &[u8]) -> Result<Protected, LabError> {
        match self {
            Self::Aws(user) => user.protect(name, algorithm, purpose, message),
            Self::Gcp(user) => user.protect(name, algorithm, purpose, message),
            Self::Azure(user) => user.protect(name, algorithm, purpose, message),
        }
    }

    /// Decrypts, or verifies the signature or MAC, with the version that made it.
    ///
    /// # Errors
    /// When the result does not fit this message, and as [`Application::protect`].
    pub fn check(&self, name: &str, algorithm: Algorithm, purpose: Purpose, message: &[u8], kept: &Protected) -> Result<(), LabError> {
        match self {
            Self::Aws(user) => user.check(algorithm, purpose, message, kept),
            Self::Gcp(user) => user.check(name, algorithm, purpose, message, kept),
            Self::Azure(user) => user.check(name, algorithm, purpose, message, kept),
        }
    }
}
