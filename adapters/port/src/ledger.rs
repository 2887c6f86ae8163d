//! The ledger: some fifteen transactions, each all or nothing, each durable when it returns.

use std::collections::BTreeMap;

use async_trait::async_trait;
use keyplane_model::{
    Actor, Approval, ApproverName, Attempt, AttemptId, ChangeSet, ChangeSetRecord, Class, DestinationName, Digest, Fence, Generation,
    InstallationId, Intent, Inventory, KeyName, Lease, LedgerSnapshot, Receipt, Revision, SealedCharter, SettleError, Timestamp,
};

/// What Keyplane knows.
///
/// # Guarantees
/// - Each method is one transaction: a crash leaves it done or not begun, and what returned is durable.
/// - Each method can be repeated with the same arguments after a crash, and then changes nothing more.
/// - How commits and receipts change a key is [`keyplane_model::KeyRecord`]'s, the same in every ledger.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Whose ledger it is.
    async fn installation(&self) -> Result<InstallationId, LedgerError>;

    /// Takes in an intent: a new revision, unless it is the newest one's digest.
    async fn put_intent(&self, intent: &Intent, author: &Actor, source: &str, at: Timestamp) -> Result<IntentRevision, LedgerError>;

    /// The newest intent; `None`: there was none yet.
    async fn intent(&self) -> Result<Option<(IntentRevision, Intent)>, LedgerError>;

    /// Keys and open change sets, at one moment.
    async fn snapshot(&self) -> Result<LedgerSnapshot, LedgerError>;

    /// Opens a change set. A key has one open change set: the same one again changes nothing; another one that is only
    /// proposed is dropped in its favour; a committed one refuses it.
    async fn propose(&self, change_set: &ChangeSet, at: Timestamp) -> Result<Digest, LedgerError>;

    /// A change set, whatever its state.
    async fn change_set(&self, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError>;

    /// Adds an approval to a proposed change set; a second one by the same approver replaces the first. The caller has
    /// verified it.
    async fn approve(&self, digest: &Digest, approval: &Approval) -> Result<(), LedgerError>;

    /// Compares the key's generation with the one that the change set was planned at, and swaps. Committing what is
    /// committed changes nothing.
    async fn commit(&self, digest: &Digest, at: Timestamp) -> Result<Commitment, LedgerError>;

    /// Records that a step is about to act, by the right of the lane's holder; `None`: no lane has anything to do with it.
    async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>) -> Result<(), LedgerError>;

    /// Records that an attempt is certain to have had no effect.
    async fn refused(&self, digest: &Digest, attempt: AttemptId, class: Class) -> Result<(), LedgerError>;

    /// Records what a step did, and changes the key accordingly, at once. The same receipt again changes nothing;
    /// another one for the same step is refused. By the right of the lane's holder, as an attempt.
    async fn receive(&self, digest: &Digest, receipt: &Receipt, fence: Option<&Fence>) -> Result<(), LedgerError>;

    /// Ends a committed change set of which every step has its receipt.
    async fn complete(&self, digest: &Digest, at: Timestamp) -> Result<(), LedgerError>;

    /// Ends a change set that is only proposed and does not fit any more. One that was committed meanwhile is refused: whoever runs it
    /// finds out whether it fits.
    async fn withdraw(&self, digest: &Digest, reason: &str, at: Timestamp) -> Result<(), LedgerError>;

    /// Ends a change set that does not fit any more; what its receipts say stays.
    async fn abandon(&self, digest: &Digest, reason: &str, at: Timestamp) -> Result<(), LedgerError>;

    /// Who holds a lane. A ledger that is certain that the holder is gone says that nobody does.
    async fn lease(&self, lane: &str) -> Result<Lease, LedgerError>;

    /// Puts a lease in the place of the one that was seen. `false`: another one is there by now, and stays.
    async fn put_lease(&self, lane: &str, seen: &Lease, next: &Lease) -> Result<bool, LedgerError>;

    /// Keeps what a look at a destination showed, in place of the one before.
    async fn put_inventory(&self, destination: &DestinationName, inventory: &Inventory) -> Result<(), LedgerError>;

    /// What the last looks showed.
    async fn inventories(&self) -> Result<BTreeMap<DestinationName, Inventory>, LedgerError>;

    /// Keeps a sealed charter; one with a serial that is there already must be equal.
    async fn put_charter(&self, charter: &SealedCharter) -> Result<(), LedgerError>;

    /// The sealed charter with the highest serial.
    async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError>;
}

/// A revision of the intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentRevision {
    /// Its number.
    pub revision: Revision,
    /// The digest of its intent.
    pub digest: Digest,
    /// Who brought it.
    pub author: Actor,
    /// From where (`files`, `terraform`, `api`).
    pub source: String,
    /// When.
    pub at: Timestamp,
}

/// What committing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commitment {
    /// It is committed now; the key has this generation.
    Committed(Generation),
    /// It was committed already.
    Already,
}

/// Why the ledger refused something; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such change set.
    #[error("the ledger knows no change set {0}")]
    NoChangeSet(Digest),
    /// The change set is not in the state that this asks for.
    #[error("the change set is {0}")]
    State(&'static str),
    /// Another change set of the key is committed and not done.
    #[error("change set {open} of key `{key}` is committed and not done")]
    KeyBusy {
        /// Whose.
        key: KeyName,
        /// Which.
        open: Digest,
    },
    /// The same approver approved with the same signature already: nothing to do.
    #[error("`{0}` approved it already")]
    AlreadyApproved(ApproverName),
    /// Somebody else holds the lane by now.
    #[error("the lease on lane `{0}` is another server's by now")]
    LeaseLost(String),
    /// A receipt or attempt that contradicts one that is there.
    #[error("the ledger holds something else there already")]
    Contradiction,
    /// A commit or receipt that does not fit the key.
    #[error("{0}")]
    Settle(#[from] SettleError),
}

/// The ledger cannot or will not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// It refuses; nothing was changed.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// There is no database, or it was never initialised.
    #[error("there is no database at `{0}`")]
    Missing(String),
    /// The schema is newer than this program.
    #[error("the database has schema {found}, this program knows up to {known}")]
    Newer {
        /// What it has.
        found: i64,
        /// What we know.
        known: i64,
    },
    /// The schema is older than this program.
    #[error("the database has schema {found}, this program needs {known}")]
    Older {
        /// What it has.
        found: i64,
        /// What we need.
        known: i64,
    },
    /// It does not answer, or is busy; may work when tried again.
    #[error("the database failed: {0}")]
    Failed(String),
    /// It holds something that cannot be.
    #[error("the database holds something that cannot be: {0}")]
    Broken(String),
}
