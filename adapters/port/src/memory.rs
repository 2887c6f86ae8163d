//! A ledger in memory, for the simulation and for tests. It is also the reference implementation: every other ledger passes the same suite
//! ([ADR 4](../../../control-plane/docs/adr/0004-the-memory-ledger-lives-beside-its-trait.md)).
//!
//! Each method checks in this order: whether it was done already (then nothing changes), whether the change set's state allows it, and
//! whether it fits the key.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use keyplane_model::{
    Actor, Approval, Attempt, AttemptId, ChangeSet, ChangeSetRecord, ChangeSetState, CharterChange, CharterId, CharterProposal, Class,
    DestinationName, Digest, Fence, Generation, InstallationId, Intent, Inventory, KeyId, KeyRecord, Lease, LedgerSnapshot, Receipt,
    Revision, SealedCharter, SettleError, Timestamp,
};

use crate::{Commitment, IntentRevision, Ledger, LedgerError, Refusal};

/// Durable as long as this value lives: a simulated crash drops the engine and keeps the ledger.
///
/// # Caveats
/// It does not keep when a change set was committed, nor when and why it was dropped: no method of [`Ledger`] reads these.
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
    // INVARIANT: names exactly the change sets that are proposed or committed.
    open: BTreeMap<KeyId, Digest>,
    leases: BTreeMap<String, Lease>,
    inventories: BTreeMap<DestinationName, Inventory>,
    charters: BTreeMap<u32, SealedCharter>,
    charter_proposals: BTreeMap<Digest, CharterProposal>,
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
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn installation(&self) -> Result<InstallationId, LedgerError> {
        Ok(self.installation)
    }

    async fn put_intent(&self, intent: &Intent, author: &Actor, source: &str, at: Timestamp) -> Result<IntentRevision, LedgerError> {
        let mut state = self.state();
        let newest = state.intents.last();
        if let Some((newest, _)) = newest.filter(|(_, wanted)| wanted == intent) {
            return Ok(newest.clone());
        }
        let digest = intent.digest().map_err(no_json)?;
        let revision = newest.map_or(Revision(0), |(newest, _)| newest.revision).next();
        let revision = IntentRevision { revision, digest, author: author.clone(), source: source.to_owned(), at };
        state.intents.push((revision.clone(), intent.clone()));
        Ok(revision)
    }

    async fn intent(&self) -> Result<Option<(IntentRevision, Intent)>, LedgerError> {
        Ok(self.state().intents.last().cloned())
    }

    async fn snapshot(&self) -> Result<LedgerSnapshot, LedgerError> {
        let state = self.state();
        Ok(LedgerSnapshot {
            installation: self.installation,
            keys: state.keys.values().map(|key| (key.name.clone(), key.clone())).collect(),
            open: state.open.iter().filter_map(|(key, digest)| Some((*key, state.change_sets.get(digest)?.clone()))).collect(),
        })
    }

    async fn propose(&self, change_set: &ChangeSet, at: Timestamp) -> Result<Digest, LedgerError> {
        let digest = change_set.digest().map_err(no_json)?;
        let mut state = self.state();
        let key = change_set.key_id;
        let open = state.open.get(&key).copied();
        if open == Some(digest) {
            return Ok(digest);
        }
        if change_set.installation != self.installation {
            return Err(Refusal::State("for another installation").into());
        }
        if let Some(record) = open.and_then(|open| state.change_sets.get(&open))
            && record.state == ChangeSetState::Committed
        {
            return Err(Refusal::KeyBusy { key: record.change_set.key.clone(), open: record.digest }.into());
        }
        state.check_name(change_set)?;
        let found = state.keys.get(&key).map_or(Generation(0), |record| record.generation);
        if found != change_set.generation {
            return Err(Refusal::Settle(SettleError::Generation { planned: change_set.generation, found }).into());
        }
        if let Some(superseded) = open.and_then(|open| state.change_sets.get_mut(&open)) {
            superseded.state = ChangeSetState::Dropped;
        }
        // A change set that was dropped as a proposal opens again when it is planned again byte for byte. Its approvals are for the same
        // digest and stay valid.
        let record = state.change_sets.entry(digest).or_insert_with(|| ChangeSetRecord {
            digest,
            change_set: change_set.clone(),
            state: ChangeSetState::Proposed,
            proposed: at,
            approvals: Vec::new(),
            attempts: Vec::new(),
            receipts: BTreeMap::new(),
        });
        record.state = ChangeSetState::Proposed;
        record.proposed = at;
        state.open.insert(key, digest);
        Ok(digest)
    }

    async fn change_set(&self, digest: &Digest) -> Result<Option<ChangeSetRecord>, LedgerError> {
        Ok(self.state().change_sets.get(digest).cloned())
    }

    async fn approve(&self, digest: &Digest, approval: &Approval) -> Result<(), LedgerError> {
        let mut state = self.state();
        let record = state.record(digest)?;
        must_be(record, ChangeSetState::Proposed)?;
        add(&mut record.approvals, approval).map_err(LedgerError::from)
    }

    async fn commit(&self, digest: &Digest, _at: Timestamp) -> Result<Commitment, LedgerError> {
        let mut state = self.state();
        let record = state.record(digest)?.clone();
        if matches!(record.state, ChangeSetState::Committed | ChangeSetState::Done) {
            return Ok(Commitment::Already);
        }
        must_be(&record, ChangeSetState::Proposed)?;
        state.check_name(&record.change_set)?;
        let key = KeyRecord::committed(state.keys.get(&record.change_set.key_id), &record.change_set).map_err(Refusal::Settle)?;
        let generation = key.generation;
        state.keys.insert(record.change_set.key_id, key);
        state.record(digest)?.state = ChangeSetState::Committed;
        Ok(Commitment::Committed(generation))
    }

    async fn attempt(&self, digest: &Digest, attempt: &Attempt, fence: Option<&Fence>) -> Result<(), LedgerError> {
        let mut state = self.state();
        let held = state.check_fence(fence);
        let record = state.record(digest)?;
        if let Some(there) = record.attempts.iter().find(|there| there.id == attempt.id) {
            // A refusal that was recorded since does not count as a difference.
            let same = Attempt { refused: attempt.refused, ..there.clone() } == *attempt;
            return if same { Ok(()) } else { Err(Refusal::Contradiction.into()) };
        }
        must_be(record, ChangeSetState::Committed)?;
        held?;
        if record.change_set.step(attempt.step).is_none() {
            return Err(Refusal::Settle(SettleError::NoStep(attempt.step)).into());
        }
        // INVARIANT: the attempts of a step are numbered from 1 without gaps, have the id that follows from that, and end
        // with its receipt.
        let next = 1 + record.attempts_of(attempt.step).map(|there| there.ordinal).max().unwrap_or(0);
        let fits = attempt.ordinal == next
            && attempt.id == AttemptId::of(digest, attempt.step.0, attempt.ordinal)
            && !record.receipts.contains_key(&attempt.step);
        if !fits {
            return Err(Refusal::Contradiction.into());
        }
        record.attempts.push(attempt.clone());
        Ok(())
    }

    async fn refused(&self, digest: &Digest, attempt: AttemptId, class: Class) -> Result<(), LedgerError> {
        let mut state = self.state();
        let record = state.record(digest)?;
        let found = record.attempts.iter().position(|there| there.id == attempt);
        if found.is_some_and(|place| record.attempts[place].refused == Some(class)) {
            return Ok(());
        }
        must_be(record, ChangeSetState::Committed)?;
        let Some(place) = found else { return Err(Refusal::Contradiction.into()) };
        // An attempt that a receipt names had an effect, so it cannot be recorded as one without.
        let acted = record.receipts.values().any(|receipt| receipt.attempt == Some(attempt));
        if acted || record.attempts[place].refused.is_some() {
            return Err(Refusal::Contradiction.into());
        }
        record.attempts[place].refused = Some(class);
        Ok(())
    }

    async fn receive(&self, digest: &Digest, receipt: &Receipt, fence: Option<&Fence>) -> Result<(), LedgerError> {
        let mut state = self.state();
        let record = state.record(digest)?.clone();
        if let Some(there) = record.receipts.get(&receipt.step) {
            return if there == receipt { Ok(()) } else { Err(Refusal::Contradiction.into()) };
        }
        must_be(&record, ChangeSetState::Committed)?;
        state.check_fence(fence)?;
        let mut key = state.committed_key(&record)?;
        key.settle(&record.change_set, receipt).map_err(Refusal::Settle)?;
        // A receipt either names no attempt, or one of its own step that may have had an effect.
        if let Some(by) = receipt.attempt
            && !record.attempts_of(receipt.step).any(|attempt| attempt.id == by && attempt.refused.is_none())
        {
            return Err(Refusal::Contradiction.into());
        }
        state.keys.insert(key.id, key);
        state.record(digest)?.receipts.insert(receipt.step, receipt.clone());
        Ok(())
    }

    async fn complete(&self, digest: &Digest, at: Timestamp) -> Result<(), LedgerError> {
        let mut state = self.state();
        let record = state.record(digest)?.clone();
        if record.state == ChangeSetState::Done {
            return Ok(());
        }
        must_be(&record, ChangeSetState::Committed)?;
        if !record.is_finished() {
            return Err(Refusal::State("not finished: a step has no receipt").into());
        }
        let mut key = state.committed_key(&record)?;
        key.complete(at);
        state.keys.insert(key.id, key);
        state.close(digest, ChangeSetState::Done)
    }

    async fn withdraw(&self, digest: &Digest, _reason: &str, _at: Timestamp) -> Result<(), LedgerError> {
        let mut state = self.state();
        let record = state.record(digest)?;
        if record.state == ChangeSetState::Dropped {
            return Ok(());
        }
        must_be(record, ChangeSetState::Proposed)?;
        state.close(digest, ChangeSetState::Dropped)
    }

    async fn abandon(&self, digest: &Digest, _reason: &str, _at: Timestamp) -> Result<(), LedgerError> {
        let mut state = self.state();
        match state.record(digest)?.state {
            ChangeSetState::Dropped => Ok(()),
            ChangeSetState::Done => Err(Refusal::State(word(ChangeSetState::Done)).into()),
            ChangeSetState::Proposed | ChangeSetState::Committed => state.close(digest, ChangeSetState::Dropped),
        }
    }

    async fn lease(&self, lane: &str) -> Result<Lease, LedgerError> {
        Ok(self.state().leases.get(lane).copied().unwrap_or_default())
    }

    async fn put_lease(&self, lane: &str, seen: &Lease, next: &Lease) -> Result<bool, LedgerError> {
        let mut state = self.state();
        let there = state.leases.get(lane).copied().unwrap_or_default();
        if (there.fence, there.beat) != (seen.fence, seen.beat) {
            return Ok(false);
        }
        if !next.follows(seen) {
            return Err(Refusal::Contradiction.into());
        }
        state.leases.insert(lane.to_owned(), *next);
        Ok(true)
    }

    async fn put_inventory(&self, destination: &DestinationName, inventory: &Inventory) -> Result<(), LedgerError> {
        self.state().inventories.insert(destination.clone(), inventory.clone());
        Ok(())
    }

    async fn inventories(&self) -> Result<BTreeMap<DestinationName, Inventory>, LedgerError> {
        Ok(self.state().inventories.clone())
    }

    async fn propose_charter(&self, change: &CharterChange, at: Timestamp) -> Result<Digest, LedgerError> {
        let digest = change.digest().map_err(no_json)?;
        let proposal = || CharterProposal { digest, change: change.clone(), proposed: at, approvals: Vec::new() };
        self.state().charter_proposals.entry(digest).or_insert_with(proposal);
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

    async fn approve_charter(&self, digest: &Digest, approval: &Approval) -> Result<(), LedgerError> {
        let mut state = self.state();
        let proposal = state.charter_proposals.get_mut(digest).ok_or(Refusal::NoCharterProposal(*digest))?;
        add(&mut proposal.approvals, approval).map_err(LedgerError::from)
    }

    async fn put_charter(&self, charter: &SealedCharter) -> Result<(), LedgerError> {
        let mut state = self.state();
        let there = state.charters.entry(charter.serial).or_insert_with(|| charter.clone());
        if there == charter { Ok(()) } else { Err(Refusal::Contradiction.into()) }
    }

    async fn charter(&self) -> Result<Option<SealedCharter>, LedgerError> {
        Ok(self.state().charters.values().next_back().cloned())
    }
}

impl State {
    fn record(&mut self, digest: &Digest) -> Result<&mut ChangeSetRecord, LedgerError> {
        Ok(self.change_sets.get_mut(digest).ok_or(Refusal::NoChangeSet(*digest))?)
    }

    /// A copy of the key's record, to be changed. The change set has to be committed.
    fn committed_key(&self, record: &ChangeSetRecord) -> Result<KeyRecord, LedgerError> {
        let key = self.keys.get(&record.change_set.key_id).cloned();
        key.ok_or_else(|| LedgerError::Broken(format!("change set {} is committed and its key is not there", record.digest)))
    }

    // INVARIANT: only the current holder of a lane writes what belongs to it. A writer that lost the lane meanwhile is refused.
    fn check_fence(&self, fence: Option<&Fence>) -> Result<(), Refusal> {
        let Some(fence) = fence else { return Ok(()) };
        let held = self.leases.get(&fence.lane).is_some_and(|lease| lease.is_held_under(fence));
        if held { Ok(()) } else { Err(Refusal::LeaseLost(fence.lane.clone())) }
    }

    // INVARIANT: a name belongs to one key.
    fn check_name(&self, change_set: &ChangeSet) -> Result<(), Refusal> {
        let taken = self.keys.values().any(|key| key.name == change_set.key && key.id != change_set.key_id);
        if taken { Err(Refusal::Contradiction) } else { Ok(()) }
    }

    fn close(&mut self, digest: &Digest, end: ChangeSetState) -> Result<(), LedgerError> {
        let record = self.record(digest)?;
        record.state = end;
        let key = record.change_set.key_id;
        self.open.remove(&key);
        Ok(())
    }
}

/// Adds an approval, in place of an earlier one by the same approver.
fn add(approvals: &mut Vec<Approval>, approval: &Approval) -> Result<(), Refusal> {
    // INVARIANT: sorted by approver, at most one each.
    match approvals.binary_search_by(|given| given.approver.cmp(&approval.approver)) {
        Ok(place) if approvals[place].signature == approval.signature => return Err(Refusal::AlreadyApproved(approval.approver.clone())),
        Ok(place) => approvals[place] = approval.clone(),
        Err(place) => approvals.insert(place, approval.clone()),
    }
    Ok(())
}

fn must_be(record: &ChangeSetRecord, state: ChangeSetState) -> Result<(), Refusal> {
    if record.state == state { Ok(()) } else { Err(Refusal::State(word(record.state))) }
}

fn word(state: ChangeSetState) -> &'static str {
    match state {
        ChangeSetState::Proposed => "proposed",
        ChangeSetState::Committed => "committed",
        ChangeSetState::Done => "done",
        ChangeSetState::Dropped => "dropped",
    }
}

fn no_json(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Broken(format!("a document without canonical bytes: {error}"))
}
