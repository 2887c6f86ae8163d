//! How a change set ends: the custodian is told first, so that its approvals are good for nothing more, and then the ledger.
//!
//! A crash between the two leaves an open change set that the custodian refuses. The next run completes it if nothing is left to wrap, and
//! drops it otherwise.

use keyplane_model::{Act, Actor, Asked, ChangeSet, ChangeSetRecord, ChangeSetState, Digest, Problem};
use keyplane_port::{LedgerError, Refusal};

use crate::Engine;

impl Engine {
    /// Proposes a change set. `open`: the one that is open for its key, which it supersedes.
    ///
    /// # Errors
    /// When the custodian or the ledger fails, or the open change set was committed.
    pub async fn propose(&self, change_set: &ChangeSet, open: Option<&ChangeSetRecord>, asked: Asked<'_>) -> Result<Digest, Problem> {
        let problem = |problem: Problem| problem.key(&change_set.key);
        let digest = change_set.digest().map_err(|error| problem(LedgerError::Broken(error.to_string()).problem()))?;
        if let Some(superseded) = open.filter(|open| open.digest != digest) {
            self.finish_proposal(&superseded.digest).await?;
        }
        self.ledger.propose(change_set, asked).await.map_err(|error| problem(error.problem()))
    }

    /// Drops a proposed change set. If it was approved, and another process commits it at the same moment, the custodian refuses it: the
    /// engine that runs it drops it, and it is planned and approved again.
    ///
    /// # Errors
    /// When the custodian or the ledger fails.
    pub async fn withdraw(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), Problem> {
        self.finish_proposal(digest).await?;
        match self.ledger.withdraw(digest, reason, asked).await {
            Ok(()) | Err(LedgerError::Refused(Refusal::State(_))) => Ok(()),
            Err(error) => Err(error.problem()),
        }
    }

    /// Tells the custodian, unless nobody approved the proposal: then it is worth nothing anyhow, and whoever proposes a lot does not fill
    /// the token.
    async fn finish_proposal(&self, digest: &Digest) -> Result<(), Problem> {
        let record = self.record(digest).await?;
        if record.state == ChangeSetState::Proposed && !record.approvals.is_empty() { self.finish(&record).await } else { Ok(()) }
    }

    /// Ends a committed change set that does not fit the world any more.
    pub(crate) async fn abandon(&self, record: &ChangeSetRecord, reason: &str, by: &Actor) -> Result<(), Problem> {
        self.finish(record).await?;
        let done = self.ledger.abandon(&record.digest, reason, self.asked(by)).await;
        done.map_err(|error| error.problem().key(&record.change_set.key))
    }

    /// Ends a committed change set, all steps of which are done.
    pub(crate) async fn complete(&self, record: &ChangeSetRecord, by: &Actor) -> Result<(), Problem> {
        self.finish(record).await?;
        let done = self.ledger.complete(&record.digest, self.asked(by)).await;
        done.map_err(|error| error.problem().key(&record.change_set.key))
    }

    /// If the custodian cannot be reached, the change set stays open, and the next run tries again. Otherwise its approvals would stay good
    /// for as long as they last.
    async fn finish(&self, record: &ChangeSetRecord) -> Result<(), Problem> {
        if !record.change_set.steps.iter().any(|step| needs_custodian(&step.act)) {
            return Ok(());
        }
        self.custodian.finish(&record.change_set).await.map_err(|error| {
            let mut problem = error.problem().key(&record.change_set.key);
            problem.detail =
                format!("change set {} stays open: the custodian cannot be told that it ended: {}", record.digest, problem.detail);
            problem
        })
    }
}

fn needs_custodian(act: &Act) -> bool {
    match act {
        Act::Mint { .. } | Act::Import { .. } => true,
        Act::Share { .. }
        | Act::Create
        | Act::Claim
        | Act::Prepare { .. }
        | Act::Publish
        | Act::RemoveSurplus { .. }
        | Act::DisableSurplus { .. }
        | Act::FollowSecond { .. } => false,
    }
}
