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
mod gcp;

use std::error::Error as StdError;
use std::time::Duration;

pub use aws::{Encrypted, KeyUser};
pub(crate) use azure::AzureAccess;
pub use azure::AzureUser;
pub use gcp::GoogleUser;
use keyplane_model::{Algorithm, Purpose};
use tokio::runtime::Runtime;

use crate::LabError;

/// How long an application waits for an answer: longer than the slowest emulator on a busy machine takes, and short enough for
/// nobody to believe that the tour has ended.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// What an application keeps of a message that it protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    /// The key that did it, and which version of it where the cloud says that, by the cloud's own id.
    pub key: String,
    /// What it gave.
    pub bytes: Vec<u8>,
    /// What that is: `ciphertext`, `signature` or `MAC`.
    pub word: &'static str,
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

/// Why an application does not ask, or does not believe what it is told.
#[derive(Debug, thiserror::Error)]
enum Doubt {
    /// Nothing here does that.
    #[error("no application of the lab uses a key of `{algorithm}` there to {purpose}")]
    Unfit { algorithm: Algorithm, purpose: Purpose },
    /// The key is not what its owners said.
    #[error("the key is `{said}`, and should be `{expected}`")]
    OtherKind { said: String, expected: &'static str },
    /// Nothing can be protected with the key.
    #[error("the key has no enabled version")]
    NoVersion,
    /// What was kept belongs to something else.
    #[error("`{0}` is not of this key")]
    OtherKey(String),
    /// The cloud left something out.
    #[error("the answer has no {0}, or not one of the right size")]
    Lacks(&'static str),
    /// No public key is in what the cloud gave as one, or it takes no message of this size.
    #[error("the public key does not do that")]
    PublicKey,
    /// The signature or MAC is not of this message, or decrypting gave another one.
    #[error("this is not what the key made of the message")]
    OtherMessage,
    /// No PEM, or no certificate in it.
    #[error("the authority's certificate cannot be used")]
    Authority,
    /// No operation on keys sends more than a few bytes.
    #[error("a request that does not know its own length")]
    Streamed,
    /// Nobody waits for ever.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Patience,
}

/// Who calls whom: a destination, and a runtime of its own to wait in.
struct Caller {
    destination: String,
    runtime: Runtime,
}

impl Caller {
    fn new(destination: &str) -> Result<Self, LabError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| LabError::Run { program: "tokio".to_owned(), source })?;
        Ok(Self { destination: destination.to_owned(), runtime })
    }

    /// Waits for a call, but not for ever.
    fn call<T, E>(&self, operation: &'static str, sent: impl Future<Output = Result<T, E>>) -> Result<T, LabError>
    where
        E: StdError + Send + Sync + 'static,
    {
        match self.runtime.block_on(async { tokio::time::timeout(PATIENCE, sent).await }) {
            Ok(answer) => answer.map_err(|error| self.failed(operation, error)),
            Err(_) => Err(self.failed(operation, Doubt::Patience)),
        }
    }

    /// Fails unless decrypting gave the message, or verifying said yes.
    fn expect(&self, operation: &'static str, same: bool) -> Result<(), LabError> {
        if same { Ok(()) } else { Err(self.failed(operation, Doubt::OtherMessage)) }
    }

    fn failed(&self, operation: &'static str, source: impl StdError + Send + Sync + 'static) -> LabError {
        LabError::Use { operation, destination: self.destination.clone(), source: Box::new(source) }
    }
}
