//! The life of a change set: which transitions there are, what each demands, and what it changes. Every ledger applies these functions and
//! stores the result, so none has rules of its own.
//!
//! Each function looks in this order: whether the transition was made before (then nothing changes), whether the change set's state allows
//! it, and whether it fits the rest of the record.

use crate::approval::add_approval;
use crate::{
    Approval, ApproverName, Attempt, AttemptId, ChangeSet, ChangeSetRecord, ChangeSetState, Class, Digest, Fence, Generation,
    InstallationId, KeyName, KeyRecord, Lease, Receipt, SettleError, Timestamp, Wrap,
};

/// What happens to a change set that was proposed. [`Opening::propose`] proposes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition<'a> {
    /// Adds an approval, in place of an earlier one by the same approver.
    Approve(&'a Approval),
    /// From then on, its steps may run.
    Commit,
    /// Records under which key a step's bytes are about to be wrapped.
    Wrap(&'a Wrap),
    /// Records that a step is about to act.
    Attempt(&'a Attempt),
    /// Records that an attempt certainly had no effect.
    Refuse { attempt: AttemptId, class: Class },
    /// Records what a step did.
    Receive(&'a Receipt),
    /// Ends a change set, every step of which has its receipt.
    Complete { at: Timestamp },
    /// Begins to withdraw a proposal: it takes no more approvals, and is not committed.
    End,
    /// Drops a proposal. One that was approved has to be ending.
    Withdraw,
    /// Drops a committed change set, or a proposal as [`Self::Withdraw`] does.
    Abandon,
}

/// Why a transition is not made. Nothing changes then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the ledger knows no change set {0}")]
    NoChangeSet(Digest),
    #[error("the ledger knows no proposed charter {0}")]
    NoCharterProposal(Digest),
    /// The change set is not in the state that the transition asks for.
    #[error("the change set is {0}")]
    State(&'static str),
    /// Another change set of the key is committed and not done.
    #[error("change set {open} of key `{key}` is committed and not done")]
    KeyBusy { key: KeyName, open: Digest },
    /// The proposal was approved, so the custodian has to be told before it is dropped.
    #[error("change set {open} of key `{key}` was approved, and has to be withdrawn first")]
    Approved { key: KeyName, open: Digest },
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

/// A change set and its key, as a transition finds them or leaves them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub change_set: ChangeSetRecord,
    /// `None`: no change set for the key was committed yet.
    pub key: Option<KeyRecord>,
}

/// What else a transition depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context<'a> {
    /// Whether another key has the name of the change set's key.
    pub is_name_taken: bool,
    /// The lease that the writer says it holds, and the lane's lease as it is. `None`: what is written belongs to no lane.
    pub fence: Option<(&'a Fence, Lease)>,
}

impl Subject {
    /// Change set and key after a transition. `None`: it was made before.
    ///
    /// # Errors
    /// When the transition demands something that is not so.
    pub fn after(&self, transition: &Transition<'_>, context: &Context<'_>) -> Result<Option<Self>, Refusal> {
        let mut after = self.clone();
        let changed = match transition {
            Transition::Approve(approval) => after.approve(approval),
            Transition::Commit => after.commit(context),
            Transition::Wrap(wrap) => after.wrap(wrap, context),
            Transition::Attempt(attempt) => after.attempt(attempt, context),
            Transition::Refuse { attempt, class } => after.refuse(*attempt, *class),
            Transition::Receive(receipt) => after.receive(receipt, context),
            Transition::Complete { at } => after.complete(*at),
            Transition::End => after.end(),
            Transition::Withdraw => after.withdraw(),
            Transition::Abandon => after.abandon(),
        };
        Ok(changed?.then_some(after))
    }

    fn approve(&mut self, approval: &Approval) -> Result<bool, Refusal> {
        self.must_be(ChangeSetState::Proposed)?;
        if add_approval(&mut self.change_set.approvals, approval) {
            Ok(true)
        } else {
            Err(Refusal::AlreadyApproved(approval.approver.clone()))
        }
    }

    fn commit(&mut self, context: &Context<'_>) -> Result<bool, Refusal> {
        match self.change_set.state {
            ChangeSetState::Committed | ChangeSetState::Done => return Ok(false),
            ChangeSetState::Proposed | ChangeSetState::Ending | ChangeSetState::Dropped => self.must_be(ChangeSetState::Proposed)?,
        }
        context.check_name()?;
        self.key = Some(KeyRecord::committed(self.key.as_ref(), &self.change_set.change_set)?);
        self.change_set.state = ChangeSetState::Committed;
        Ok(true)
    }

    fn wrap(&mut self, wrap: &Wrap, context: &Context<'_>) -> Result<bool, Refusal> {
        let record = &mut self.change_set;
        if record.wraps.iter().any(|there| there.is_same(wrap)) {
            return Ok(false);
        }
        must_be(record, ChangeSetState::Committed)?;
        context.check_fence()?;
        if record.change_set.step(wrap.step).is_none() {
            return Err(SettleError::NoStep(wrap.step).into());
        }
        // Nothing is left to wrap for a step that is done.
        if record.receipts.contains_key(&wrap.step) {
            return Err(Refusal::Contradiction);
        }
        record.wraps.push(*wrap);
        Ok(true)
    }

    fn attempt(&mut self, attempt: &Attempt, context: &Context<'_>) -> Result<bool, Refusal> {
        let record = &mut self.change_set;
        if let Some(there) = record.attempts.iter().find(|there| there.id == attempt.id) {
            // A refusal that was recorded since does not count as a difference.
            let same = Attempt { refused: attempt.refused, ..there.clone() } == *attempt;
            return if same { Ok(false) } else { Err(Refusal::Contradiction) };
        }
        must_be(record, ChangeSetState::Committed)?;
        context.check_fence()?;
        if record.change_set.step(attempt.step).is_none() {
            return Err(SettleError::NoStep(attempt.step).into());
        }
        // INVARIANT: the attempts of a step are numbered from 1 without gaps, have the id that follows from that, and end with its receipt.
        let next = 1 + record.attempts_of(attempt.step).map(|there| there.ordinal).max().unwrap_or(0);
        let fits = attempt.ordinal == next
            && attempt.id == AttemptId::of(&record.digest, attempt.step.0, attempt.ordinal)
            && !record.receipts.contains_key(&attempt.step);
        if !fits {
            return Err(Refusal::Contradiction);
        }
        record.attempts.push(attempt.clone());
        Ok(true)
    }

    fn refuse(&mut self, attempt: AttemptId, class: Class) -> Result<bool, Refusal> {
        let record = &mut self.change_set;
        let found = record.attempts.iter().position(|there| there.id == attempt);
        if found.is_some_and(|place| record.attempts[place].refused == Some(class)) {
            return Ok(false);
        }
        must_be(record, ChangeSetState::Committed)?;
        let Some(place) = found else { return Err(Refusal::Contradiction) };
        // An attempt that a receipt names had an effect, so it cannot be recorded as one without.
        let acted = record.receipts.values().any(|receipt| receipt.attempt == Some(attempt));
        if acted || record.attempts[place].refused.is_some() {
            return Err(Refusal::Contradiction);
        }
        record.attempts[place].refused = Some(class);
        Ok(true)
    }

    fn receive(&mut self, receipt: &Receipt, context: &Context<'_>) -> Result<bool, Refusal> {
        let record = &mut self.change_set;
        if let Some(there) = record.receipts.get(&receipt.step) {
            return if there == receipt { Ok(false) } else { Err(Refusal::Contradiction) };
        }
        must_be(record, ChangeSetState::Committed)?;
        context.check_fence()?;
        // The commit made the key's record.
        let key = self.key.as_mut().ok_or(Refusal::Contradiction)?;
        key.settle(&record.change_set, receipt)?;
        // A receipt either names no attempt, or one of its own step that may have had an effect.
        if let Some(by) = receipt.attempt
            && !record.attempts_of(receipt.step).any(|attempt| attempt.id == by && attempt.refused.is_none())
        {
            return Err(Refusal::Contradiction);
        }
        record.receipts.insert(receipt.step, receipt.clone());
        Ok(true)
    }

    fn complete(&mut self, at: Timestamp) -> Result<bool, Refusal> {
        if self.change_set.state == ChangeSetState::Done {
            return Ok(false);
        }
        self.must_be(ChangeSetState::Committed)?;
        if !self.change_set.is_finished() {
            return Err(Refusal::State("not finished: a step has no receipt"));
        }
        self.key.as_mut().ok_or(Refusal::Contradiction)?.complete(at);
        self.change_set.state = ChangeSetState::Done;
        Ok(true)
    }

    fn end(&mut self) -> Result<bool, Refusal> {
        match self.change_set.state {
            ChangeSetState::Proposed => {
                self.change_set.state = ChangeSetState::Ending;
                Ok(true)
            }
            ChangeSetState::Ending | ChangeSetState::Dropped => Ok(false),
            state @ (ChangeSetState::Committed | ChangeSetState::Done) => Err(Refusal::State(state.word())),
        }
    }

    fn withdraw(&mut self) -> Result<bool, Refusal> {
        match self.change_set.state {
            ChangeSetState::Proposed => check_unapproved(&self.change_set)?,
            ChangeSetState::Ending => {}
            ChangeSetState::Dropped => return Ok(false),
            state @ (ChangeSetState::Committed | ChangeSetState::Done) => return Err(Refusal::State(state.word())),
        }
        self.change_set.state = ChangeSetState::Dropped;
        Ok(true)
    }

    fn abandon(&mut self) -> Result<bool, Refusal> {
        match self.change_set.state {
            ChangeSetState::Committed => {
                self.change_set.state = ChangeSetState::Dropped;
                Ok(true)
            }
            ChangeSetState::Proposed | ChangeSetState::Ending | ChangeSetState::Dropped | ChangeSetState::Done => self.withdraw(),
        }
    }

    fn must_be(&self, state: ChangeSetState) -> Result<(), Refusal> {
        must_be(&self.change_set, state)
    }
}

impl Context<'_> {
    // INVARIANT: a name belongs to one key.
    fn check_name(&self) -> Result<(), Refusal> {
        if self.is_name_taken { Err(Refusal::Contradiction) } else { Ok(()) }
    }

    // INVARIANT: only the current holder of a lane writes what belongs to it. A writer that lost the lane meanwhile is refused.
    fn check_fence(&self) -> Result<(), Refusal> {
        match &self.fence {
            Some((fence, lease)) if !lease.is_held_under(fence) => Err(Refusal::LeaseLost(fence.lane.clone())),
            Some(_) | None => Ok(()),
        }
    }
}

/// What the ledger holds when a change set is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The ledger's own.
    pub installation: InstallationId,
    /// `None`: no change set for the key was committed yet.
    pub key: Option<KeyRecord>,
    /// Whether another key has the name.
    pub is_name_taken: bool,
    /// The key's open change set.
    pub open: Option<ChangeSetRecord>,
    /// The state of the change set with the same digest. `None`: it is new.
    pub earlier: Option<ChangeSetState>,
}

/// The result of [`Opening::propose`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub change_set: ChangeSetRecord,
    /// The proposal that was open before. It is dropped now.
    pub superseded: Option<ChangeSetRecord>,
}

impl Opening {
    /// Opens a change set in the state *proposed*. `None`: it is open already.
    ///
    /// # Errors
    /// When it is for another installation or generation, its name is another key's, it ended before, or its key has an open change set
    /// that is committed or was approved.
    pub fn propose(&self, change_set: &ChangeSet, digest: Digest, at: Timestamp) -> Result<Option<Opened>, Refusal> {
        if let Some(open) = self.open.as_ref().filter(|open| open.digest == digest) {
            return match open.state {
                ChangeSetState::Proposed | ChangeSetState::Committed => Ok(None),
                state @ (ChangeSetState::Ending | ChangeSetState::Done | ChangeSetState::Dropped) => Err(Refusal::State(state.word())),
            };
        }
        if change_set.installation != self.installation {
            return Err(Refusal::State("for another installation"));
        }
        if let Some(open) = &self.open {
            if open.state == ChangeSetState::Committed {
                return Err(Refusal::KeyBusy { key: open.change_set.key.clone(), open: open.digest });
            }
            check_unapproved(open)?;
        }
        Context { is_name_taken: self.is_name_taken, fence: None }.check_name()?;
        let found = self.key.as_ref().map_or(Generation(0), |record| record.generation);
        if found != change_set.generation {
            return Err(SettleError::Generation { planned: change_set.generation, found }.into());
        }
        // INVARIANT: what ended never opens again under its digest. The custodian may know its end, and then it wraps nothing for it.
        if let Some(state) = self.earlier {
            return Err(Refusal::State(state.word()));
        }
        let record = ChangeSetRecord {
            digest,
            change_set: change_set.clone(),
            state: ChangeSetState::Proposed,
            proposed: at,
            approvals: Vec::new(),
            attempts: Vec::new(),
            wraps: Vec::new(),
            receipts: std::collections::BTreeMap::new(),
        };
        let superseded = self.open.clone().map(|open| ChangeSetRecord { state: ChangeSetState::Dropped, ..open });
        Ok(Some(Opened { change_set: record, superseded }))
    }
}

// INVARIANT: a proposal that somebody approved is dropped only by a withdrawal, which tells the custodian before. Otherwise its approvals
// would stay good.
fn check_unapproved(proposal: &ChangeSetRecord) -> Result<(), Refusal> {
    if proposal.approvals.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Approved { key: proposal.change_set.key.clone(), open: proposal.digest })
    }
}

fn must_be(record: &ChangeSetRecord, state: ChangeSetState) -> Result<(), Refusal> {
    if record.state == state { Ok(()) } else { Err(Refusal::State(record.state.word())) }
}
