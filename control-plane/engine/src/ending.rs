//! How a change set ends: the custodian is told, so that its approvals are good for nothing more, and then it is done or dropped in the
//! ledger.
//!
//! A proposal that is withdrawn is *ending* in the ledger before the custodian is told. Otherwise it could be committed or approved
//! meanwhile, for nothing. A crash in between leaves it ending, and the next plan withdraws it ([`Engine::finish_withdrawals`]).
//!
//! A committed change set takes no approvals. A crash between the custodian's record and the ledger's leaves it open, and the custodian
//! refuses it. The next run completes it if nothing is left to wrap, and drops it otherwise.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use keyplane_model::{Act, Actor, Asked, ChangeSet, ChangeSetRecord, ChangeSetState, Digest, Problem};
use keyplane_port::LedgerError;

use crate::Engine;

impl Engine {
    /// Proposes a change set. `open`: the one that is open for its key, which it supersedes.
    ///
    /// # Errors
    /// When the custodian or the ledger fails, or the open change set was committed or approved since it was read.
    pub fn propose<'a>(
        &'a self,
        change_set: &'a ChangeSet,
        open: Option<&'a ChangeSetRecord>,
        asked: Asked<'a>,
    ) -> BoxFuture<'a, Result<Digest, Problem>> {
        self.propose_one(change_set, open, asked).boxed()
    }

    async fn propose_one(&self, change_set: &ChangeSet, open: Option<&ChangeSetRecord>, asked: Asked<'_>) -> Result<Digest, Problem> {
        let problem = |problem: Problem| problem.key(&change_set.key);
        let digest = change_set.digest().map_err(|error| problem(LedgerError::Broken(error.to_string()).problem()))?;
        // Otherwise the ledger drops it by itself.
        if let Some(approved) = open.filter(|open| open.digest != digest && !open.approvals.is_empty()) {
            self.withdraw_one(&approved.digest, &format!("superseded by {digest}"), asked).await?;
        }
        self.ledger.propose(change_set, asked).await.map_err(|error| problem(error.problem()))
    }

    /// Drops a proposed change set, and tells the custodian if somebody approved it. It can be repeated, also by another process.
    ///
    /// # Errors
    /// When it was committed, by now or before, or the custodian or the ledger fails. If the custodian fails, it stays ending.
    pub fn withdraw<'a>(&'a self, digest: &'a Digest, reason: &'a str, asked: Asked<'a>) -> BoxFuture<'a, Result<(), Problem>> {
        self.withdraw_one(digest, reason, asked).boxed()
    }

    async fn withdraw_one(&self, digest: &Digest, reason: &str, asked: Asked<'_>) -> Result<(), Problem> {
        let ended = self.ledger.end(digest, asked).await;
        // INVARIANT: read after the end, so that no approval comes later than this.
        let record = self.record(digest).await?;
        let failed = |error: LedgerError| {
            let problem = error.problem().key(&record.change_set.key);
            Problem { detail: format!("change set {digest} is not withdrawn: {}", problem.detail), ..problem }
        };
        ended.map_err(failed)?;
        match record.state {
            ChangeSetState::Ending if !record.approvals.is_empty() => self.finish(&record).await?,
            // Without approvals it is worth nothing anyhow, and whoever proposes a lot does not fill the token.
            ChangeSetState::Ending => {}
            // By another process, which told the custodian.
            ChangeSetState::Dropped => {}
            // Not after its end: the ledger judges it below.
            ChangeSetState::Proposed | ChangeSetState::Committed | ChangeSetState::Done => {}
        }
        self.ledger.withdraw(digest, reason, asked).await.map_err(failed)
    }

    /// Withdraws the proposals whose withdrawal was interrupted. Returns why some could not be withdrawn.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn finish_withdrawals<'a>(&'a self, asked: Asked<'a>) -> BoxFuture<'a, Result<Vec<Problem>, Problem>> {
        self.finish_each(asked).boxed()
    }

    async fn finish_each(&self, asked: Asked<'_>) -> Result<Vec<Problem>, Problem> {
        let open = self.ledger.open().await.map_err(|error| error.problem())?;
        let mut problems = Vec::new();
        for ending in open.into_iter().filter(|open| open.state == ChangeSetState::Ending) {
            problems.extend(self.withdraw_one(&ending.digest, "its withdrawal was interrupted", asked).await.err());
        }
        Ok(problems)
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
        let open = |problem: Problem| {
            let detail = format!("change set {} stays open: the custodian cannot be told that it ended: {}", record.digest, problem.detail);
            Problem { detail, ..problem }.key(&record.change_set.key)
        };
        let sealed = self.charter().await.map_err(open)?;
        self.custodian.finish(&sealed, &record.change_set).await.map_err(|error| open(error.problem()))
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
