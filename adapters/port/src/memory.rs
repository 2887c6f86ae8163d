//! A ledger in memory, for the simulation and for tests. It is also the reference implementation: every other ledger passes the same suite
//! ([ADR 4](../../../control-plane/docs/adr/0004-the-memory-ledger-lives-beside-its-trait.md)).
//!
//! [`Subject`] and [`Opening`] decide what a transition of a change set demands and changes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use keyplane_model::{
    Approval, Asked, Attempt, AttemptId, ChangeSet, ChangeSetRecord, CharterChange, CharterId, CharterProposal, Class, Context,
    DestinationName, Digest, EventKind, Fence, InstallationId, Intent, Inventory, KeyId, KeyRecord, Lease, LedgerEvent, Opened, Opening,
    Receipt, Refusal, Revision, SealedCharter, Subject, Subjects, Transition, Wrap,
};

use crate::{Commitment, IntentRevision, KeyState, Ledger, LedgerError, OpenChangeSet};

/// Durable as long as this value lives: a simulated crash drops the engine and keeps the ledger.
///
/// # Caveats
/// When a change set was committed, and when and why it was dropped, is only in its events: nothing else reads these.
#[derive(Debug)]
pub struct MemoryLedger {
    installation: InstallationId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first; a revision's number is its place here, counted from 1.
    intents: Vec<(IntentRevision, Intent)>,
    keys: BTreeMap<KeyId, KeyRecord>,
    change_sets: BTreeMap<Digest, ChangeSetRecord>,
    // INVARIANT: names exactly the open change sets.
    open: BTreeMap<KeyId, Digest>,
    leases: BTreeMap<String, Lease>,
    inventories: BTreeMap<DestinationName, Inventory>,
    charters: BTreeMap<u32, SealedCharter>,
    charter_proposals: BTreeMap<Digest, CharterProposal>,
    /// In order of their sequence.
    events: Vec<LedgerEvent>,
}

impl MemoryLedger {
    #[must_use]
    pub fn new(installation: InstallationId) -> Self {
        Self { installation, state: Mutex::default() }
    }

    /// Locks the contents for one transaction. A poisoned lock is harmless: no method changes anything before its last check, so a panic
    /// leaves no transaction half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a transition, and keeps what it leaves. `None`: it was made before.
    fn change(
        &self,
        digest: &Digest,
        transition: &Transition<'_>,
        fence: Option<&Fence>,
        asked: Asked<'_>,
        reason: Option<&str>,
    ) -> Result<Option<Subject>, LedgerError> {
        let mut state = self.state();
        let change_set = state.change_sets.get(digest).cloned().ok_or(Refusal::NoChangeSet(*digest))?;
        let context = Context {
            is_name_taken: state.is_name_taken(&change_set.change_set),
            fence: fence.map(|fence| (fence, state.leases.get(&fence.lane).copied().unwrap_or_default())),
        };
        let before = Subject { key: state.keys.get(&change_set.change_set.key_id).cloned(), change_set };
        let after = before.after(transition, &context)?;
        if let Some(after) = &after {
            let (what, about) = after.event(transition);
            state.tell(asked, what, about, reason);
            state.keep(after.change_set.clone());
            if let Some(key) = &after.key {
                state.keys.insert(key.id, key.clone());
            }
        }
        Ok(after)
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn installation(&self) -> Result<InstallationId, LedgerError> {
        Ok(self.installation)
    }

    async fn put_intent(&self, intent: &Intent, source: &str, asked: Asked<'_>) -> Result<IntentRevision, LedgerError> {
        let mut state = self.state();
        let newest = state.intents.last();
        if let Some((newest, _)) = newest.filter(|(_, wanted)| wanted == intent) {
            return Ok(newest.clone());
        }
        let digest = intent.digest().map_err(no_json)?;
        let revision = newest.map_or(Revision(0), |(newest, _)| newest.revision).next();
        let revision = IntentRevision { revision, digest, author: asked.by.clone(), source: source.to_owned(), at: asked.at };
        state.intents.push((revision.clone(), intent.clone()));
        state.tell(asked, revision.taken(), Subjects::default(), None);
        Ok(revision)
    }

    async fn intent(&self) -> Result<Option<(IntentRevision, Intent)>, LedgerError> {
        Ok(self.state().intents.last().cloned())
    }

    async fn intent_revision(&self) -> Result<Option<IntentRevision>, LedgerError> {
        Ok(self.state().intents.last().map(|(revision, _)| revision.clone()))
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, LedgerError> {
        Ok(self.state().keys.get(&id).cloned())
    }

    async fn page_of_keys(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<KeyState>, LedgerError> {
        let state = self.state();
        let ids: BTreeSet<KeyId> = state.keys.range(beyond(after)).map(|(id, _)| *id).chain(state.open_after(after)).collect();
        let states = ids.into_iter().take(limit as usize).map(|id| KeyState {
            id,
            record: state.keys.get(&id).cloned(),
            open: state.open.get(&id).and_then(|digest| state.change_sets.get(digest)).cloned(),
        });
        Ok(states.collect())
    }

    async fn page_of_open(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<OpenChangeSet>, LedgerError> {
        let state = self.state();
        let open = state.open_after(after).filter_map(|key| {
            let record = state.change_sets.get(state.open.get(&key)?)?;
            Some(OpenChangeSet { key, digest: record.digest, state: record.state })
        });
        Ok(open.take(limit as usize).collect())
    }

    async fn propose(&self, change_set: &ChangeSet, asked: Asked<'_>) -> Result<Digest, LedgerError> {
        let digest = change_set.digest().map_err(no_json)?;
        let mut state = self.state();
        let opening = Opening {
            installation: self.installation,
            key: state.keys.get(&change_set.key_id).cloned(),
            is_name_taken: state.is_name_taken(change_set),
            open: state.open.get(&change_set.key_id).and_then(|open| state.change_sets.get(open)).cloned(),
            earlier: state.change_sets.get(&digest).map(|record| record.state),
        };
        let Some(opened) = opening.propose(change_set, digest, asked.at)? else { return Ok(digest) };
        for (what, about) in opened.events() {
            state.tell(asked, what, about, None);
        }
        let Opened { change_set, superseded } = opened;
        superseded.into_iter().chain([change_set]).for_each(|record| state.keep(record));
        Ok(digest)
    }

    async fn change_set(&self, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError> {
        Ok(self.state().change_sets.get(digest).cloned())
    }

    async fn approve(&self, digest: &Digest, approval: &Approval, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Approve(approval), None, asked, None).map(drop)
    }

    async fn commit(&self, digest: &Digest, asked: Asked<'_>) -> Result<Commitment, LedgerError> {
        self.change(digest, &Transition::Commit, None, asked, None).map(Commitment::of)
    }

    async fn wrap(&self, digest: &Digest, wrap: &Wrap, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Wrap(wrap), fence, asked, None).map(drop)
    }

    async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Attempt(attempt), fence, asked, None).map(drop)
    }

    async fn refused(&self, digest: &Digest, attempt: AttemptId, class: Class, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Refuse { attempt, class }, None, asked, None).map(drop)
    }

    async fn receive(&self, digest: &Digest, receipt: &Receipt, fence: Option<&Fence>, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Receive(receipt), fence, asked, None).map(drop)
    }

    async fn complete(&self, digest: &Digest, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Complete { at: asked.at }, None, asked, None).map(drop)
    }

    async fn end(&self, digest: &Digest, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::End, None, asked, None).map(drop)
    }

    async fn withdraw(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Withdraw, None, asked, Some(reason)).map(drop)
    }

    async fn abandon(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), LedgerError> {
        self.change(digest, &Transition::Abandon, None, asked, Some(reason)).map(drop)
    }

    async fn lease(&self, lane: &str) -> Result<Lease, LedgerError> {
        Ok(self.state().leases.get(lane).copied().unwrap_or_default())
    }

    async fn put_lease(&self, lane: &str, seen: &Lease, next: &Lease, asked: Asked<'_>) -> Result<bool, LedgerError> {
        let mut state = self.state();
        let there = state.leases.get(lane).copied().unwrap_or_default();
        if (there.fence, there.beat) != (seen.fence, seen.beat) {
            return Ok(false);
        }
        if !next.follows(seen) {
            return Err(Refusal::Contradiction.into());
        }
        state.leases.insert(lane.to_owned(), *next);
        if let Some(what) = EventKind::of_lease(lane, &there, next) {
            state.tell(asked, what, Subjects::default(), None);
        }
        Ok(true)
    }

    async fn put_inventory(&self, destination: &DestinationName, inventory: &Inventory, asked: Asked<'_>) -> Result<(), LedgerError> {
        let mut state = self.state();
        state.inventories.insert(destination.clone(), inventory.clone());
        let what = EventKind::Surveyed { destination: destination.clone(), complete: inventory.complete };
        state.tell(asked, what, Subjects::default(), None);
        Ok(())
    }

    async fn inventories(&self) -> Result<BTreeMap<DestinationName, Inventory>, LedgerError> {
        Ok(self.state().inventories.clone())
    }

    async fn propose_charter(&self, change: &CharterChange, asked: Asked<'_>) -> Result<Digest, LedgerError> {
        let digest = change.digest().map_err(no_json)?;
        let mut state = self.state();
        if state.charter_proposals.contains_key(&digest) {
            return Ok(digest);
        }
        let proposal = CharterProposal { digest, change: change.clone(), proposed: asked.at, approvals: Vec::new() };
        state.charter_proposals.insert(digest, proposal);
        state.tell(asked, EventKind::CharterProposed { digest }, Subjects::default(), None);
        Ok(digest)
    }

    async fn charter_proposals(&self, before: &CharterId) -> Result<Vec<CharterProposal>, LedgerError> {
        let mut found: Vec<_> =
            self.state().charter_proposals.values().filter(|proposal| proposal.change.before == *before).cloned().collect();
        found.sort_by_key(|proposal| (proposal.proposed, proposal.digest));
        Ok(found)
    }

    async fn charter_proposal(&self, digest: &Digest) -> Result<Option<CharterProposal>, LedgerError> {
        Ok(self.state().charter_proposals.get(digest).cloned())
    }

    async fn approve_charter(&self, digest: &Digest, approval: &Approval, asked: Asked<'_>) -> Result<(), LedgerError> {
        let mut state = self.state();
        if !state.charter_proposals.get_mut(digest).ok_or(Refusal::NoCharterProposal(*digest))?.approve(approval) {
            return Err(Refusal::AlreadyApproved(approval.approver.clone()).into());
        }
        let Approval { approver, signature, .. } = approval.clone();
        state.tell(asked, EventKind::CharterApproved { digest: *digest, approver, signature }, Subjects::default(), None);
        Ok(())
    }

    async fn put_charter(&self, charter: &SealedCharter, approvals: &[Approval], asked: Asked<'_>) -> Result<(), LedgerError> {
        let mut state = self.state();
        if let Some(there) = state.charters.get(&charter.serial) {
            return if there == charter { Ok(()) } else { Err(Refusal::Contradiction.into()) };
        }
        let what = EventKind::of_charter(charter, approvals).map_err(no_json)?;
        state.charters.insert(charter.serial, charter.clone());
        state.tell(asked, what, Subjects::default(), None);
        Ok(())
    }

    async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError> {
        Ok(self.state().charters.values().next_back().cloned())
    }

    async fn page_of_events(&self, after: u64, limit: u32) -> Result<Vec<LedgerEvent>, LedgerError> {
        let state = self.state();
        Ok(state.events.iter().filter(|event| event.sequence > after).take(limit as usize).cloned().collect())
    }
}

impl State {
    /// The keys with an open change set that follow `after`.
    fn open_after(&self, after: Option<KeyId>) -> impl Iterator<Item = KeyId> {
        self.open.range(beyond(after)).map(|(key, _)| *key)
    }

    /// Adds an event.
    fn tell(&mut self, asked: Asked<'_>, what: EventKind, about: Subjects, reason: Option<&str>) {
        let last = self.events.last().map_or(0, |event| event.sequence);
        self.events.push(LedgerEvent::new(last, asked, what, about, reason));
    }

    /// Keeps a change set as a transition left it.
    fn keep(&mut self, record: ChangeSetRecord) {
        let key = record.change_set.key_id;
        if record.state.is_open() {
            self.open.insert(key, record.digest);
        } else if self.open.get(&key) == Some(&record.digest) {
            self.open.remove(&key);
        }
        self.change_sets.insert(record.digest, record);
    }

    fn is_name_taken(&self, change_set: &ChangeSet) -> bool {
        self.keys.values().any(|key| key.name == change_set.key && key.id != change_set.key_id)
    }
}

/// The ids that follow `after`; all for `None`.
fn beyond(after: Option<KeyId>) -> (Bound<KeyId>, Bound<KeyId>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

fn no_json(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Broken(format!("a document without canonical bytes: {error}"))
}
