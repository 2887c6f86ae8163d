//! The traits between the engine and the world: [`Cloud`], [`Custodian`], [`Ledger`], [`Clock`], [`Entropy`].
//!
//! Owns what an adapter has to promise, and how a public key to wrap under is read, which passes from one adapter to another. Knows only
//! the model; must not know of any vendor, database or token. What crosses [`Custodian`] is data, so that the custodian could run in a
//! process of its own.
//!
//! All of them are object safe, and their futures are `Send`: they are held as `Arc<dyn …>`.

mod cloud;
mod custodian;
mod ledger;
mod memory;
mod problem;
mod public_key;
mod usage;

pub use cloud::{Acted, Cause, Cloud, CloudError, Cursor, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey};
pub use custodian::{
    Custodian, CustodianError, CustodianStatus, EnrolmentCheck, EnrolmentReport, Expected, MintRequest, Minted, Route, Warrant,
    WrapRequest, Wrapped,
};
pub use ledger::{Commitment, IntentRevision, KeyState, Ledger, LedgerError, OpenChangeSet};
pub use memory::MemoryLedger;
pub use public_key::{PublicKeyError, RsaPublicKey};
pub use usage::{MOST_WRAPPING_KEYS, Spent, Usage, Usages};

use keyplane_model::Timestamp;
/// Why a ledger refused a transaction; and what a server and a custodian record of each wrap.
pub use keyplane_model::{Refusal, Wrap};

/// The clock: the only source of "now" for the engine and everything above it.
#[async_trait::async_trait]
pub trait Clock: Send + Sync {
    /// Wall-clock time in UTC, to be recorded and shown. Whoever may set the machine's clock can change it.
    fn now(&self) -> Timestamp;
    /// Time since the machine started, including its time asleep. Nobody can set it, so only this judges leases, quotas and repetitions.
    fn uptime(&self) -> keyplane_model::Span;
    /// Waits for at least this long.
    async fn sleep(&self, span: keyplane_model::Span);
}

/// A source of randomness for everything but keys. Key bytes come from the HSM alone.
pub trait Entropy: Send + Sync {
    /// 32 bytes that nobody can predict.
    ///
    /// # Errors
    /// When the operating system's generator fails. The caller must stop then.
    fn draw(&self) -> Result<[u8; 32], EntropyError>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system's random generator failed")]
pub struct EntropyError;
