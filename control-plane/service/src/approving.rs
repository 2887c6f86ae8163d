//! Approvals of change sets and of proposed charters.

use std::collections::BTreeSet;

use keyplane_api::{ApprovalRequest, Approved, Proposal, Subject};
use keyplane_model::{
    Actor, Approval, ApprovalRule, Asked, ChangeSetRecord, ChangeSetState, Charter, CharterProposal, Digest, KeyRecord, Problem,
    ProblemCode, SealedCharter, Statement, Timestamp,
};
use keyplane_port::{LedgerError, Refusal};
use keyplane_verifier as verifier;

use crate::{Service, uncanonical};

impl Service {
    /// A change set or a proposed charter, with what an approval of it has to sign and the rules that approvals have to satisfy.
    ///
    /// # Errors
    /// When there is none with that digest, or the charter in force is not the one that a proposed charter follows.
    pub async fn proposal(&self, digest: &Digest) -> Result<Proposal, Problem> {
        let sealed = self.charter().await?;
        if let Some(proposal) = self.proposed_charter(digest).await? {
            follows(&proposal, &sealed)?;
            let CharterProposal { change, approvals, .. } = proposal;
            let rules = owned(verifier::required_for_charter(&sealed.charter, &change.next));
            return Ok(Proposal {
                subject: Subject::Charter { change: Box::new(change), current: Box::new(sealed.charter) },
                approvals,
                rules,
            });
        }
        let record = self.engine.ledger.change_set(digest).await.map_err(|error| error.problem())?.ok_or_else(|| {
            let detail = format!("there is no change set and no proposed charter {digest}");
            Problem::new(ProblemCode::ApprovalUnknownDigest, detail, "keyplane status")
        })?;
        let known = self.known(&record).await?;
        let rules = owned(verifier::required_in_all(&record.change_set, &sealed.charter, known.as_ref()));
        let charter = sealed.id().map_err(|error| uncanonical(&error))?;
        let ChangeSetRecord { change_set, state, approvals, .. } = record;
        Ok(Proposal { subject: Subject::ChangeSet { change_set: Box::new(change_set), state, charter }, approvals, rules })
    }

    /// Records an approval of a proposed change set or charter, if it counts.
    ///
    /// # Errors
    /// When nothing with that digest waits for approval, or the approval would not count. Nothing is recorded then.
    pub async fn approve(&self, request: &ApprovalRequest, by: &Actor) -> Result<Approved, Problem> {
        match self.proposed_charter(&request.digest).await? {
            Some(proposal) => self.approve_charter(request, &proposal, by).await,
            None => self.approve_change_set(request, by).await,
        }
    }

    async fn approve_change_set(&self, request: &ApprovalRequest, by: &Actor) -> Result<Approved, Problem> {
        let ledger = &self.engine.ledger;
        let record = ledger.change_set(&request.digest).await.map_err(|error| error.problem())?;
        let record = record.filter(|record| record.state == ChangeSetState::Proposed).ok_or_else(|| {
            let detail = format!("no change set and no proposed charter {} waits for approval", request.digest);
            Problem::new(ProblemCode::ApprovalUnknownDigest, detail, "keyplane status")
        })?;
        let change_set = &record.change_set;
        let now = self.engine.clock.now();
        let sealed = self.charter().await?;
        verifier::in_time(change_set.until, now, verifier::valid_for(change_set, &sealed.charter)).map_err(|violation| {
            let detail = format!("change set {} cannot be approved: {violation}", request.digest);
            Problem::new(ProblemCode::ChangeSetStale, detail, "keyplane plan").key(&change_set.key)
        })?;
        let known = self.known(&record).await?;
        let ballot = Ballot {
            statement: statement(&record, &sealed)?,
            proposer: &change_set.proposer,
            rules: verifier::required_in_all(change_set, &sealed.charter, known.as_ref()),
            charter: &sealed.charter,
        };
        let approval = ballot.counts(request, now).map_err(|problem| problem.key(&change_set.key))?;
        recorded(ledger.approve(&request.digest, &approval, Asked { by, at: now }).await)
            .map_err(|error| error.problem().key(&change_set.key))?;
        let given = ledger.change_set(&request.digest).await.map_err(|error| error.problem())?.unwrap_or_else(|| record.clone());
        let (have, need) = ballot.tally(&given.approvals);
        Ok(Approved { digest: request.digest, key: Some(change_set.key.clone()), have, need })
    }

    async fn approve_charter(&self, request: &ApprovalRequest, proposal: &CharterProposal, by: &Actor) -> Result<Approved, Problem> {
        let CharterProposal { digest, change, .. } = proposal;
        let ledger = &self.engine.ledger;
        let sealed = self.charter().await?;
        follows(proposal, &sealed)?;
        let now = self.engine.clock.now();
        verifier::in_time(change.until, now, verifier::valid_for_charter(&sealed.charter, &change.next)).map_err(|violation| {
            let detail = format!("the proposed charter {digest} cannot be approved: {violation}");
            Problem::new(ProblemCode::CharterChanged, detail, "keyplane hsm charter")
        })?;
        let ballot = Ballot {
            statement: Statement::of_charter(change).map_err(|error| uncanonical(&error))?,
            proposer: &change.proposer,
            rules: verifier::required_for_charter(&sealed.charter, &change.next),
            charter: &sealed.charter,
        };
        let approval = ballot.counts(request, now).map_err(|problem| {
            if problem.code != ProblemCode::ApprovalBySelf {
                return problem;
            }
            // Under another proposer, the same charter is another proposal, for which this approval counts.
            Problem { next: "if this approval is needed, have somebody else run `keyplane hsm charter --own`".to_owned(), ..problem }
        })?;
        recorded(ledger.approve_charter(digest, &approval, Asked { by, at: now }).await).map_err(|error| error.problem())?;
        let given = self.proposed_charter(digest).await?.unwrap_or_else(|| proposal.clone());
        let (have, need) = ballot.tally(&given.approvals);
        Ok(Approved { digest: *digest, key: None, have, need })
    }

    async fn proposed_charter(&self, digest: &Digest) -> Result<Option<CharterProposal>, Problem> {
        self.engine.ledger.charter_proposal(digest).await.map_err(|error| error.problem())
    }

    /// The ledger's record of the change set's key.
    async fn known(&self, record: &ChangeSetRecord) -> Result<Option<KeyRecord>, Problem> {
        self.engine.ledger.key(record.change_set.key_id).await.map_err(|error| error.problem().key(&record.change_set.key))
    }
}

/// What approvals are judged by.
struct Ballot<'a> {
    statement: Statement,
    proposer: &'a Actor,
    /// Never empty.
    rules: BTreeSet<&'a ApprovalRule>,
    charter: &'a Charter,
}

impl Ballot<'_> {
    /// The approval of a request, if it counts.
    fn counts(&self, request: &ApprovalRequest, now: Timestamp) -> Result<Approval, Problem> {
        // What cannot be normalised does not count, which is said below.
        let signature = verifier::normalised(&request.signature).unwrap_or_else(|_| request.signature.clone());
        let approval = Approval { approver: request.approver.clone(), signature, at: now };
        // Checked alone, under a rule that one approval of any group satisfies. A signature that does not count under that rule counts
        // under none.
        let alone = ApprovalRule { need: 1, from: self.rules.iter().flat_map(|rule| rule.from.clone()).collect() };
        match verifier::approved(&self.statement, self.proposer, [&alone], self.charter, std::slice::from_ref(&approval)) {
            Ok(_) => Ok(approval),
            Err(shortfall) => {
                let fault = shortfall.not_counted.first().map(|ignored| &ignored.fault);
                let detail = format!("the approval of {} by `{}` does not count: {shortfall}", request.digest, request.approver);
                let code = fault.map_or(ProblemCode::ApprovalInvalid, verifier::ApprovalFault::code);
                Err(Problem::new(code, detail, format!("keyplane show {} --message", request.digest)))
            }
        }
    }

    /// How many of these approvals count, and how many are needed.
    fn tally(&self, approvals: &[Approval]) -> (u32, u32) {
        let (have, need) = match verifier::approved(&self.statement, self.proposer, self.rules.iter().copied(), self.charter, approvals) {
            // The need of the rule that asks for the most.
            Ok(approved) => (approved.by.len(), self.rules.iter().map(|rule| rule.need).max().unwrap_or(0)),
            Err(shortfall) => (shortfall.by.len(), shortfall.rule.need),
        };
        (u32::try_from(have).unwrap_or(u32::MAX), need)
    }
}

/// The same signature may have been recorded before: it counts.
fn recorded(result: Result<(), LedgerError>) -> Result<(), LedgerError> {
    match result {
        Ok(()) | Err(LedgerError::Refused(Refusal::AlreadyApproved(_))) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a proposed charter follows the one in force. Otherwise nobody can approve it any more.
fn follows(proposal: &CharterProposal, sealed: &SealedCharter) -> Result<(), Problem> {
    let id = sealed.id().map_err(|error| uncanonical(&error))?;
    let CharterProposal { digest, change, .. } = proposal;
    if change.before == id {
        return Ok(());
    }
    let detail = if id.serial == change.before.serial.saturating_add(1) && sealed.charter == change.next {
        format!("the proposed charter {digest} was adopted: it is in force as charter {}", id.serial)
    } else {
        format!("the proposed charter {digest} follows charter {}, and charter {} is in force", change.before.serial, id.serial)
    };
    Err(Problem::new(ProblemCode::CharterChanged, detail, "keyplane hsm charter"))
}

fn owned(rules: BTreeSet<&ApprovalRule>) -> Vec<ApprovalRule> {
    rules.into_iter().cloned().collect()
}

fn statement(record: &ChangeSetRecord, sealed: &SealedCharter) -> Result<Statement, Problem> {
    let charter = sealed.id().map_err(|error| uncanonical(&error))?;
    Ok(Statement::of_change_set(&record.change_set, &record.digest, &charter))
}
