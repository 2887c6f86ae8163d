//! The traits between the engine and the world: [`Cloud`], [`Custodian`], [`Ledger`], [`Clock`], [`Entropy`].
//!
//! Owns what an adapter has to promise. Knows the model alone; must not know of any vendor, database or token. What
//! crosses [`Custodian`] is data, so that it can cross a process.
//!
//! Whoever holds one of these traits holds it as `Arc<dyn …>`: they are object safe and their futures are `Send`.

mod cloud;
mod custodian;
mod ledger;
mod memory;
mod problem;

pub use cloud::{Acted, Cause, Cloud, CloudError, Cursor, Mutation, Page, Prepared, Swept, WrapFor, WrappingKey};
pub use custodian::{
    Custodian, CustodianError, CustodianStatus, EnrolmentCheck, EnrolmentReport, Expected, MintRequest, Minted, Route, Warrant,
    WrapRequest, Wrapped,
};
pub use ledger::{Commitment, IntentRevision, Ledger, LedgerError, Refusal};
pub use memory::MemoryLedger;

use keyplane_model::Timestamp;

/// What tells the time. The only source of "now" for everything behind it.
#[async_trait::async_trait]
pub trait Clock: Send + Sync {
    /// Wall-clock time.
    fn now(&self) -> Timestamp;
    /// Time since the machine started, sleep included. Nobody can set it: leases, quotas and repeats are judged by it alone.
    fn uptime(&self) -> keyplane_model::Span;
    /// Waits at least so long.
    async fn sleep(&self, span: keyplane_model::Span);
}

/// What gives randomness for anything that is no key: key bytes come from the HSM alone.
pub trait Entropy: Send + Sync {
    /// 32 bytes that nobody can foresee.
    ///
    /// # Errors
    /// When the operating system's generator fails: nothing may go on.
    fn draw(&self) -> Result<[u8; 32], EntropyError>;
}

/// The operating system's random generator failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system's random generator failed")]
pub struct EntropyError;
