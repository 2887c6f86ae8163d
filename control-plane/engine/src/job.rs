//! One change set's run: what its steps share, how a receipt is written, and what becomes of a refusal.

use keyplane_model::{Actor, Asked, ChangeSetRecord, DestinationName, Fence, KeyRecord, Problem, ProblemCode, Receipt, Step, StepNo};
use keyplane_port::{Clock, Custodian, CustodianError, Ledger, LedgerError, Refusal, Warrant};

use crate::progress::{Event, Progress};
use crate::stop::Stop;
use crate::unfit;
use crate::wanted::{Known, Wanted};

/// The ports that a step uses, apart from its lane.
#[derive(Clone, Copy)]
pub(crate) struct Ports<'a> {
    pub(crate) ledger: &'a dyn Ledger,
    pub(crate) custodian: &'a dyn Custodian,
    pub(crate) clock: &'a dyn Clock,
}

/// A change set that runs.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) ports: Ports<'a>,
    /// Who asked for the run.
    pub(crate) by: &'a Actor,
    /// As read from the ledger when the run, or this placement's part of it, began.
    pub(crate) record: &'a ChangeSetRecord,
    /// The ledger's record of the key, read with `record`.
    pub(crate) known: Option<&'a KeyRecord>,
    pub(crate) wanted: &'a Wanted<'a>,
    pub(crate) warrant: &'a Warrant,
    pub(crate) progress: &'a dyn Progress,
}

impl Job<'_> {
    /// The tracing span of a step.
    pub(crate) fn span(number: StepNo, step: &Step, destination: &DestinationName) -> tracing::Span {
        tracing::info_span!("step", number = number.0, act = step.act.word(), lane = %destination)
    }

    /// Judges what is left of the change set by what is wanted now. Called before a step acts for the first time in this run; one that has
    /// acted is finished, so that it leaves nothing half done.
    pub(crate) async fn still_wanted(&self) -> Result<(), Stop> {
        let known = Known { charter: &self.warrant.charter.charter, now: self.ports.clock.now(), record: self.known };
        self.wanted.judge(self.record, known).await.map_err(|stop| match stop {
            Stop::Conflict(problem) => Stop::Conflict(unfit::not_carried(problem)),
            Stop::Held(problem) => Stop::Held(problem),
        })
    }

    /// Writes a step's receipt. Returns the one in the ledger: another server that works on the same change set may have written it first.
    pub(crate) async fn receive(&self, receipt: Receipt, fence: Option<&Fence>) -> Result<Receipt, Stop> {
        let receipt = match self.ports.ledger.receive(&self.record.digest, &receipt, fence, self.asked()).await {
            Ok(()) => receipt,
            Err(LedgerError::Refused(Refusal::Contradiction)) => self.theirs(receipt, fence).await?,
            Err(error) => return Err(self.ledger(&error)),
        };
        tracing::info!(key = %self.record.change_set.key, found = receipt.attempt.is_none(), "confirmed");
        Ok(receipt)
    }

    /// The other server's receipt, if there is one. If there is none, the other server recorded that our attempt had no effect. Then the
    /// effect that we saw counts as found, whoever made it.
    async fn theirs(&self, ours: Receipt, fence: Option<&Fence>) -> Result<Receipt, Stop> {
        let record = self.ports.ledger.change_set(&self.record.digest).await.map_err(|error| self.ledger(&error))?;
        if let Some(theirs) = record.and_then(|record| record.receipts.get(&ours.step).cloned()) {
            return Ok(theirs);
        }
        let found = Receipt { attempt: None, ..ours };
        self.ports.ledger.receive(&self.record.digest, &found, fence, self.asked()).await.map_err(|error| self.ledger(&error))?;
        Ok(found)
    }

    /// For a write to the ledger, now.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked { by: self.by, at: self.ports.clock.now() }
    }

    /// Reports that a step has its receipt.
    pub(crate) fn received(&self, step: &Step, destination: &DestinationName, found: bool) {
        self.progress.event(&Event::Received { key: &self.record.change_set.key, destination, act: step.act.word(), found });
    }

    /// A problem with the change set's key.
    pub(crate) fn problem(&self, code: ProblemCode, detail: impl Into<String>, next: &str) -> Problem {
        Problem::new(code, detail, next).key(&self.record.change_set.key)
    }

    pub(crate) fn held(&self, problem: Problem) -> Stop {
        Stop::Held(problem.key(&self.record.change_set.key))
    }

    pub(crate) fn ledger(&self, error: &LedgerError) -> Stop {
        self.held(error.problem())
    }

    /// A change set for which the custodian wraps nothing more is dropped: a committed one cannot be withdrawn, and would block its key.
    pub(crate) fn custodian(&self, error: &CustodianError, destination: &DestinationName) -> Stop {
        let mut problem = error.problem().destination(destination).key(&self.record.change_set.key);
        if matches!(error, CustodianError::Refused(_) | CustodianError::CharterChanged) {
            // Something changed since the run began. The next run judges anew, and drops what is not carried any more.
            "keyplane apply".clone_into(&mut problem.next);
        }
        match error {
            CustodianError::Spent(_) | CustodianError::UsageBroken(_) => Stop::Conflict(problem),
            CustodianError::ModuleMissing { .. }
            | CustodianError::TokenMissing { .. }
            | CustodianError::PinMissing(_)
            | CustodianError::PinWrong
            | CustodianError::PinLocked
            | CustodianError::NotEnrolled(_)
            | CustodianError::Unsupported(_)
            | CustodianError::Refused(_)
            | CustodianError::ApprovalsMissing { .. }
            | CustodianError::CharterChanged
            | CustodianError::Full(_)
            | CustodianError::Broken(_)
            | CustodianError::Failed(_)
            | CustodianError::Exhausted(_) => Stop::Held(problem),
        }
    }
}
