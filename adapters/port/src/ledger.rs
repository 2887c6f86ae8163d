//! The ledger: what Keyplane remembers. Each transaction is all or nothing, and durable when it returns.

use std::collections::BTreeMap;

use async_trait::async_trait;
use keyplane_model::{
    Actor, Approval, ApproverName, Attempt, AttemptId, ChangeSet, ChangeSetRecord, CharterChange, CharterId, CharterProposal, Class,
    DestinationName, Digest, Fence, Generation, InstallationId, Intent, Inventory, KeyName, Lease, LedgerSnapshot, Receipt, Revision,
    SealedCharter, SettleError, Timestamp,
};

/// Intents, keys, change sets, leases, inventories and charters of one installation.
///
/// # Guarantees
/// - Each method is one transaction: a crash leaves it done or not begun, and it is durable once the method returned `Ok`.
/// - Each method can be repeated with the same arguments after a crash; the second call changes nothing.
/// - Commits and receipts change a key as [`keyplane_model::KeyRecord`] says, in the same way in every ledger.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The installation that the ledger was made for; it never changes.
    async fn installation(&self) -> Result<InstallationId, LedgerError>;

    /// Adds an intent as the newest revision, unless the newest revision has the same digest. `source` says where it came from
    /// ([`IntentRevision::source`]).
    async fn put_intent(&self, intent: &Intent, author: &Actor, source: &str, at: Timestamp) -> Result<IntentRevision, LedgerError>;

    /// The newest intent; `None`: there is none yet.
    async fn intent(&self) -> Result<Option<(IntentRevision, Intent)>, LedgerError>;

    /// All keys and all open change sets, as they were at one moment. Open is: proposed or committed.
    async fn snapshot(&self) -> Result<LedgerSnapshot, LedgerError>;

    /// Opens a change set, in the state *proposed*. A key has at most one open change set: proposing the same one again changes
    /// nothing, another one that is only proposed is dropped, and another one that is committed makes this call fail.
    async fn propose(&self, change_set: &ChangeSet, at: Timestamp) -> Result<Digest, LedgerError>;

    /// The change set with a digest, in whatever state; `None`: there is none.
    async fn change_set(&self, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError>;

    /// Adds an approval to a proposed change set; a second approval by the same approver replaces the first. The caller has verified
    /// the signature.
    async fn approve(&self, digest: &Digest, approval: &Approval) -> Result<(), LedgerError>;

    /// Commits a proposed change set: compares the key's generation with the one that the change set was planned at, and increments
    /// it. Committing a committed change set changes nothing.
    async fn commit(&self, digest: &Digest, at: Timestamp) -> Result<Commitment, LedgerError>;

    /// Records that a step is about to act. `fence` names the lease of the lane that the step acts at, and has to be current;
    /// `None`: the step acts at no lane.
    async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>) -> Result<(), LedgerError>;

    /// Records that an attempt is certain to have had no effect.
    async fn refused(&self, digest: &Digest, attempt: AttemptId, class: Class) -> Result<(), LedgerError>;

    /// Records what a step did, and changes the key's record accordingly in the same transaction. The same receipt again changes
    /// nothing; another receipt for the same step is refused. `fence` as for [`Ledger::attempt`].
    async fn receive(&self, digest: &Digest, receipt: &Receipt, fence: Option<&Fence>) -> Result<(), LedgerError>;

    /// Ends a committed change set, every step of which has its receipt, in the state *done*.
    async fn complete(&self, digest: &Digest, at: Timestamp) -> Result<(), LedgerError>;

    /// Drops a proposed change set that does not fit the world any more. One that was committed meanwhile is refused: the engine that
    /// runs it finds out whether it still fits.
    async fn withdraw(&self, digest: &Digest, reason: &str, at: Timestamp) -> Result<(), LedgerError>;

    /// Drops a proposed or committed change set that does not fit the world any more. The effects of its receipts stay recorded.
    async fn abandon(&self, digest: &Digest, reason: &str, at: Timestamp) -> Result<(), LedgerError>;

    /// The lease on a lane. If the ledger is certain that the holder is dead, [`Lease::holder`] is `None`.
    async fn lease(&self, lane: &str) -> Result<Lease, LedgerError>;

    /// Replaces the lease `seen` by `next`. `false`: the lane has another lease by now, which stays.
    async fn put_lease(&self, lane: &str, seen: &Lease, next: &Lease) -> Result<bool, LedgerError>;

    /// Keeps the inventory of a destination, in place of the one before.
    async fn put_inventory(&self, destination: &DestinationName, inventory: &Inventory) -> Result<(), LedgerError>;

    /// The last inventory of every destination that was ever surveyed.
    async fn inventories(&self) -> Result<BTreeMap<DestinationName, Inventory>, LedgerError>;

    /// Keeps a proposed change of the charter under its digest. Proposing the same one again changes nothing.
    async fn propose_charter(&self, change: &CharterChange, at: Timestamp) -> Result<Digest, LedgerError>;

    /// The proposed changes of one charter, sorted by the time of the proposal and the digest.
    async fn charter_proposals(&self, before: &CharterId) -> Result<Vec<CharterProposal>, LedgerError>;

    /// The proposed change with a digest; `None`: there is none.
    async fn charter_proposal(&self, digest: &Digest) -> Result<Option<CharterProposal>, LedgerError>;

    /// Adds an approval to a proposed change of the charter, as [`Ledger::approve`] does to a change set.
    async fn approve_charter(&self, digest: &Digest, approval: &Approval) -> Result<(), LedgerError>;

    /// Keeps a sealed charter; one with a serial that is there already must be equal.
    async fn put_charter(&self, charter: &SealedCharter) -> Result<(), LedgerError>;

    /// The sealed charter with the highest serial; `None`: there is none.
    async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError>;
}

/// A revision of the intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentRevision {
    /// 1 for the first revision, and one more for each that follows.
    pub revision: Revision,
    pub digest: Digest,
    /// The user or program that brought the intent.
    pub author: Actor,
    /// How the intent arrived: `files`, `terraform` or `api`.
    pub source: String,
    /// The wall-clock time at which the ledger recorded it.
    pub at: Timestamp,
}

/// The result of [`Ledger::commit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commitment {
    /// This call committed it, and gave the key this generation.
    Committed(Generation),
    /// An earlier call committed it; nothing was changed.
    Already,
}

/// Why the ledger refused a transaction. It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the ledger knows no change set {0}")]
    NoChangeSet(Digest),
    #[error("the ledger knows no proposed charter {0}")]
    NoCharterProposal(Digest),
    /// The change set is not in the state that the method asks for.
    #[error("the change set is {0}")]
    State(&'static str),
    /// Another change set of the key is committed and not done.
    #[error("change set {open} of key `{key}` is committed and not done")]
    KeyBusy { key: KeyName, open: Digest },
    /// The same approver already gave this signature, so nothing is left to do.
    #[error("`{0}` approved it already")]
    AlreadyApproved(ApproverName),
    /// The fencing number is not that of the lane's lease: another server holds the lane, or nobody does.
    #[error("the lease on lane `{0}` is another server's by now")]
    LeaseLost(String),
    /// The write contradicts what the ledger holds: another attempt, receipt, lease, charter, name or installation.
    #[error("the ledger holds something else there already")]
    Contradiction,
    /// The commit or receipt does not fit the key's record.
    #[error("{0}")]
    Settle(#[from] SettleError),
}

/// Why a method of the ledger failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The ledger refused the transaction, and changed nothing.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// There is no database, or it was never initialised.
    #[error("there is no database at `{0}`")]
    Missing(String),
    #[error("the database has schema {found}, this program knows up to {known}")]
    Newer { found: i64, known: i64 },
    #[error("the database has schema {found}, this program needs {known}")]
    Older { found: i64, known: i64 },
    /// The database does not answer or is busy; the same call may work when it is tried again.
    #[error("the database failed: {0}")]
    Failed(String),
    /// The database is damaged: it holds something that this program would not have written.
    #[error("the database holds something that cannot be: {0}")]
    Broken(String),
}
