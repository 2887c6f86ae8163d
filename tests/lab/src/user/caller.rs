//! What applications at all clouds share: waiting for answers, errors, and what they keep of a message.

use std::error::Error as StdError;
use std::time::Duration;

use keyplane_model::{Algorithm, Purpose};
use tokio::runtime::Runtime;

use crate::LabError;

/// How long an application waits for an answer: longer than the slowest emulator on a busy machine takes, and short enough that nobody
/// takes the tour for ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an application keeps of a message that it protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    /// The cloud's id of the key, with the version if the cloud tells it.
    pub key: String,
    /// The ciphertext, signature or MAC.
    pub bytes: Vec<u8>,
    /// What the bytes are: `ciphertext`, `signature` or `MAC`.
    pub word: &'static str,
}

/// Why an application does not send a request, or does not accept an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Doubt {
    #[error("no application of the lab uses a key of `{algorithm}` there to {purpose}")]
    Unfit { algorithm: Algorithm, purpose: Purpose },
    /// The key is of another kind than its owners said.
    #[error("the key is `{said}`, and should be `{expected}`")]
    OtherKind { said: String, expected: &'static str },
    #[error("the key has no enabled version")]
    NoVersion,
    #[error("`{0}` is not of this key")]
    OtherKey(String),
    #[error("the answer has no {0}, or not one of the right size")]
    Lacks(&'static str),
    /// The cloud's public key cannot be parsed, or takes no message of this length.
    #[error("the public key does not do that")]
    PublicKey,
    /// The signature or MAC is not of this message, or decrypting gave another one.
    #[error("this is not what the key made of the message")]
    OtherMessage,
    /// No PEM, or no certificate in it.
    #[error("the authority's certificate cannot be used")]
    Authority,
    /// Operations on keys never stream.
    #[error("a request that does not know its own length")]
    Streamed,
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Patience,
}

/// The destination, and a runtime of its own for its calls.
#[derive(Debug)]
pub(super) struct Caller {
    destination: String,
    runtime: Runtime,
}

impl Caller {
    pub(super) fn new(destination: &str) -> Result<Self, LabError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| LabError::Run { program: "tokio".to_owned(), source })?;
        Ok(Self { destination: destination.to_owned(), runtime })
    }

    /// Waits for a call, at most [`PATIENCE`].
    pub(super) fn call<T, E>(&self, operation: &'static str, sent: impl Future<Output = Result<T, E>>) -> Result<T, LabError>
    where
        E: StdError + Send + Sync + 'static,
    {
        match self.runtime.block_on(async { tokio::time::timeout(PATIENCE, sent).await }) {
            Ok(answer) => answer.map_err(|error| self.failed(operation, error)),
            Err(_) => Err(self.failed(operation, Doubt::Patience)),
        }
    }

    /// Fails unless decrypting gave the message, or verifying succeeded.
    pub(super) fn expect(&self, operation: &'static str, same: bool) -> Result<(), LabError> {
        if same { Ok(()) } else { Err(self.failed(operation, Doubt::OtherMessage)) }
    }

    pub(super) fn failed(&self, operation: &'static str, source: impl StdError + Send + Sync + 'static) -> LabError {
        LabError::Use { operation, destination: self.destination.clone(), source: Box::new(source) }
    }
}
