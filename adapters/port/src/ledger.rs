//! The ledger: what Keyplane remembers. Each transaction is all or nothing, and durable when it returns.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use keyplane_model::{
    Actor, Approval, Asked, Attempt, AttemptId, ChangeSet, ChangeSetRecord, ChangeSetState, CharterChange, CharterId, CharterProposal,
    Class, DestinationName, Digest, EventKind, Fence, Generation, InstallationId, Intent, Inventory, Key, KeyId, KeyName, KeyRecord, Lease,
    LedgerEvent, LedgerSnapshot, Receipt, Refusal, Revision, SealedCharter, Subject, Timestamp, Wrap,
};

/// How many keys or change sets [`Ledger::snapshot`] and [`Ledger::open`] read in one transaction. A page of records is a few hundred
/// kilobytes, so that no transaction keeps a connection for long.
const PAGE: u32 = 100;

/// Intents, keys, change sets, leases, inventories and charters of one installation.
///
/// # Guarantees
/// - Each method is one transaction: a crash leaves it done or not begun, and it is durable once the method returned `Ok`.
/// - Each method can be repeated with the same arguments after a crash; the second call changes nothing.
/// - [`Subject`] and [`keyplane_model::Opening`] say what each transition of a change set demands and changes, in the same way in every
///   ledger.
/// - Each method that changes something adds an event in the same transaction ([`LedgerEvent`]). The only exception is the renewal of a
///   lease, which comes every few seconds and says nothing about keys.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The installation that the ledger was made for; it never changes.
    async fn installation(&self) -> Result<InstallationId, LedgerError>;

    /// Adds an intent as the newest revision, unless the newest revision has the same digest. `source` says where it came from
    /// ([`IntentRevision::source`]).
    async fn put_intent(&self, intent: &Intent, source: &str, asked: Asked<'_>) -> Result<IntentRevision, LedgerError>;

    /// The newest intent; `None`: there is none yet.
    async fn intent(&self) -> Result<Option<(IntentRevision, Intent)>, LedgerError>;

    /// The newest revision of the intent; `None`: there is none yet. Reads nothing of what is wanted, so it costs the same for any number of
    /// keys: a run asks before each step whether the intent is still the one that it knows.
    async fn intent_revision(&self) -> Result<Option<IntentRevision>, LedgerError>;

    /// What the newest intent says of these keys. A key that it does not want is missing. `None`: there is no intent yet.
    ///
    /// For whatever is about some keys. A ledger outside of this process does not read the whole intent for that, which takes time with the
    /// number of keys; so it cannot compare the intent with its digest either.
    async fn wanted(&self, keys: &BTreeSet<KeyName>) -> Result<Option<(IntentRevision, BTreeMap<KeyName, Key>)>, LedgerError> {
        let Some((revision, mut intent)) = self.intent().await? else { return Ok(None) };
        intent.keys.retain(|name, _| keys.contains(name));
        Ok(Some((revision, intent.keys)))
    }

    /// The record of a key; `None`: no change set for it was committed yet.
    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, LedgerError>;

    /// The keys that have a record or an open change set, sorted by id: the first `limit` after `after`, as they were at one moment.
    /// Fewer than `limit`: there are no more.
    async fn page_of_keys(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<KeyState>, LedgerError>;

    /// The same for the open change sets, sorted by the id of the key ([`ChangeSetState::is_open`]).
    async fn page_of_open(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<OpenChangeSet>, LedgerError>;

    /// All keys and all open change sets, read in pages. Each key is as it was at one moment; two keys may be from different moments.
    ///
    /// # Caveats
    /// Takes time with the number of keys: for plans and reports. Whatever is about one key uses [`Ledger::key`].
    async fn snapshot(&self) -> Result<LedgerSnapshot, LedgerError> {
        let mut all = LedgerSnapshot { installation: self.installation().await?, keys: BTreeMap::new(), open: BTreeMap::new() };
        let mut after = None;
        loop {
            let page = self.page_of_keys(after, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            for KeyState { id, record, open } in page {
                after = Some(id);
                all.keys.extend(record.map(|record| (record.name.clone(), record)));
                all.open.extend(open.map(|open| (id, open)));
            }
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Which change sets are open, without their steps, approvals, attempts and receipts; read in pages, sorted by the id of the key.
    async fn open(&self) -> Result<Vec<OpenChangeSet>, LedgerError> {
        let mut all: Vec<OpenChangeSet> = Vec::new();
        loop {
            let page = self.page_of_open(all.last().map(|open| open.key), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Opens a change set, in the state *proposed*. A key has at most one open change set: proposing the same one again changes
    /// nothing, another one that is only proposed is dropped, and another one that was approved or is committed makes this call fail. So
    /// does a change set that ended before.
    async fn propose(&self, change_set: &ChangeSet, asked: Asked<'_>) -> Result<Digest, LedgerError>;

    /// The change set with a digest, in whatever state; `None`: there is none.
    async fn change_set(&self, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError>;

    /// Adds an approval to a proposed change set; a second approval by the same approver replaces the first. The caller has verified
    /// the signature.
    async fn approve(&self, digest: &Digest, approval: &Approval, asked: Asked<'_>) -> Result<(), LedgerError>;

    /// Commits a proposed change set: compares the key's generation with the one that the change set was planned at, and increments
    /// it. Committing a committed change set changes nothing.
    async fn commit(&self, digest: &Digest, asked: Asked<'_>) -> Result<Commitment, LedgerError>;

    /// Records under which key a step's bytes are about to be wrapped, before the custodian is asked. A second record of the same step and
    /// key changes nothing. `fence` as for [`Ledger::attempt`].
    async fn wrap(&self, digest: &Digest, wrap: &Wrap, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError>;

    /// Records that a step is about to act. `fence` names the lease of the lane that the step acts at, and has to be current;
    /// `None`: the step acts at no lane.
    async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError>;

    /// Records that an attempt is certain to have had no effect.
    async fn refused(&self, digest: &Digest, attempt: AttemptId, class: Class, asked: Asked<'_>) -> Result<(), LedgerError>;

    /// Records what a step did, and changes the key's record accordingly in the same transaction. The same receipt again changes
    /// nothing; another receipt for the same step is refused. `fence` as for [`Ledger::attempt`].
    async fn receive(&self, digest: &Digest, receipt: &Receipt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError>;

    /// Ends a committed change set, every step of which has its receipt, in the state *done*.
    async fn complete(&self, digest: &Digest, asked: Asked<'_>) -> Result<(), LedgerError>;

    /// Begins to withdraw a proposed change set: from then on nobody approves or commits it. One that was committed meanwhile is refused:
    /// the engine that runs it finds out whether it still fits.
    async fn end(&self, digest: &Digest, asked: Asked<'_>) -> Result<(), LedgerError>;

    /// Drops a proposed change set that does not fit the world any more. One that was approved has to be ending, and the caller has told
    /// the custodian since then.
    async fn withdraw(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), LedgerError>;

    /// Drops a committed change set that does not fit the world any more, or a proposed one as [`Ledger::withdraw`] does. The effects of
    /// its receipts stay recorded.
    async fn abandon(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), LedgerError>;

    /// The lease on a lane. If the ledger is certain that the holder is dead, [`Lease::holder`] is `None`.
    async fn lease(&self, lane: &str) -> Result<Lease, LedgerError>;

    /// Replaces the lease `seen` by `next`. `false`: the lane has another lease by now, which stays.
    async fn put_lease(&self, lane: &str, seen: &Lease, next: &Lease, asked: Asked<'_>) -> Result<bool, LedgerError>;

    /// Keeps the inventory of a destination, in place of the one before.
    async fn put_inventory(&self, destination: &DestinationName, inventory: &Inventory, asked: Asked<'_>) -> Result<(), LedgerError>;

    /// The last inventory of every destination that was ever surveyed.
    async fn inventories(&self) -> Result<BTreeMap<DestinationName, Inventory>, LedgerError>;

    /// Keeps a proposed change of the charter under its digest. Proposing the same one again changes nothing.
    async fn propose_charter(&self, change: &CharterChange, asked: Asked<'_>) -> Result<Digest, LedgerError>;

    /// The proposed changes of one charter, sorted by the time of the proposal and the digest.
    async fn charter_proposals(&self, before: &CharterId) -> Result<Vec<CharterProposal>, LedgerError>;

    /// The proposed change with a digest; `None`: there is none.
    async fn charter_proposal(&self, digest: &Digest) -> Result<Option<CharterProposal>, LedgerError>;

    /// Adds an approval to a proposed change of the charter, as [`Ledger::approve`] does to a change set.
    async fn approve_charter(&self, digest: &Digest, approval: &Approval, asked: Asked<'_>) -> Result<(), LedgerError>;

    /// Keeps a sealed charter; one with a serial that is there already must be equal. `approvals`: those under which it was adopted, none
    /// for the first.
    async fn put_charter(&self, charter: &SealedCharter, approvals: &[Approval], asked: Asked<'_>) -> Result<(), LedgerError>;

    /// The sealed charter with the highest serial; `None`: there is none.
    async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError>;

    /// The first `limit` events with a sequence above `after`, in order. Fewer than `limit`: there are no more yet.
    async fn page_of_events(&self, after: u64, limit: u32) -> Result<Vec<LedgerEvent>, LedgerError>;
}

/// What the ledger knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState {
    pub id: KeyId,
    /// `None`: no change set for the key was committed yet.
    pub record: Option<KeyRecord>,
    /// The key's open change set. `None`: none is open.
    pub open: Option<ChangeSetRecord>,
}

/// That a change set is open. [`Ledger::change_set`] reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenChangeSet {
    pub key: KeyId,
    pub digest: Digest,
    pub state: ChangeSetState,
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

impl IntentRevision {
    /// The event of this revision.
    #[must_use]
    pub fn taken(&self) -> EventKind {
        EventKind::IntentTaken { revision: self.revision, digest: self.digest, source: self.source.clone() }
    }
}

/// The result of [`Ledger::commit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commitment {
    /// This call committed it, and gave the key this generation.
    Committed(Generation),
    /// An earlier call committed it; nothing was changed.
    Already,
}

impl Commitment {
    /// By what a commit left. `None`: it was made before.
    #[must_use]
    pub fn of(after: Option<Subject>) -> Self {
        after.and_then(|after| after.key).map_or(Self::Already, |key| Self::Committed(key.generation))
    }
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
    /// This process is short of memory or threads; nothing is wrong with the database.
    #[error("the operating system gives no memory or thread to reach the database: {0}")]
    Exhausted(String),
    /// The database is damaged: it holds something that this program would not have written.
    #[error("the database holds something that cannot be: {0}")]
    Broken(String),
}
