//! Approvals.

use keyplane_api::{ApprovalRequest, Approved, Proposal};
use keyplane_model::{
    Actor, Approval, ApprovalRule, Asked, ChangeSetRecord, ChangeSetState, Digest, KeyRecord, Problem, ProblemCode, SealedCharter,
    Statement,
};
use keyplane_port::{LedgerError, Refusal};
use keyplane_verifier as verifier;

use crate::{Service, uncanonical};

impl Service {
    /// A change set, with what an approval of it has to sign and the rules that approvals have to satisfy.
    ///
    /// # Errors
    /// When there is no change set with that digest.
    pub async fn proposal(&self, digest: &Digest) -> Result<Proposal, Problem> {
        let record = self.engine.ledger.change_set(digest).await.map_err(|error| error.problem())?.ok_or_else(|| {
            Problem::new(ProblemCode::ApprovalUnknownDigest, format!("there is no change set {digest}"), "keyplane status")
        })?;
        let sealed = self.charter().await?;
        let known = self.known(&record).await?;
        let rules = verifier::required_in_all(&record.change_set, &sealed.charter, known.as_ref()).into_iter().cloned().collect();
        let charter = sealed.id().map_err(|error| uncanonical(&error))?;
        Ok(Proposal { change_set: record.change_set, state: record.state, approvals: record.approvals, charter, rules })
    }

    /// Records an approval of a proposed change set, if it counts.
    ///
    /// # Errors
    /// When no change set with that digest waits for approval, or the approval would not count. Nothing is recorded then.
    pub async fn approve(&self, request: &ApprovalRequest, by: &Actor) -> Result<Approved, Problem> {
        let ledger = &self.engine.ledger;
        let record = ledger.change_set(&request.digest).await.map_err(|error| error.problem())?;
        let record = record.filter(|record| record.state == ChangeSetState::Proposed).ok_or_else(|| {
            let detail = format!("no change set {} waits for approval", request.digest);
            Problem::new(ProblemCode::ApprovalUnknownDigest, detail, "keyplane status")
        })?;
        let change_set = &record.change_set;
        let now = self.engine.clock.now();
        verifier::in_time(change_set.until, now).map_err(|violation| {
            let detail = format!("change set {} cannot be approved: {violation}", request.digest);
            Problem::new(ProblemCode::ChangeSetStale, detail, "keyplane plan").key(&change_set.key)
        })?;
        let sealed = self.charter().await?;
        let charter = &sealed.charter;
        let known = self.known(&record).await?;
        let rules = verifier::required_in_all(change_set, charter, known.as_ref());
        let statement = statement(&record, &sealed)?;
        // What cannot be normalised does not count, which is said below.
        let signature = verifier::normalised(&request.signature).unwrap_or_else(|_| request.signature.clone());
        let approval = Approval { approver: request.approver.clone(), signature, at: now };
        // Checked alone, under a rule that one approval of any group satisfies. A signature that does not count under that rule counts
        // under none.
        let alone = ApprovalRule { need: 1, from: rules.iter().flat_map(|rule| rule.from.clone()).collect() };
        verifier::approved(&statement, &change_set.proposer, [&alone], charter, std::slice::from_ref(&approval)).map_err(|shortfall| {
            let fault = shortfall.not_counted.first().map(|ignored| &ignored.fault);
            let detail = format!("the approval of {} by `{}` does not count: {shortfall}", request.digest, request.approver);
            let code = fault.map_or(ProblemCode::ApprovalInvalid, verifier::ApprovalFault::code);
            Problem::new(code, detail, format!("keyplane show {} --message", request.digest)).key(&change_set.key)
        })?;
        match ledger.approve(&request.digest, &approval, Asked { by, at: now }).await {
            // The same signature was recorded before, and counts.
            Ok(()) | Err(LedgerError::Refused(Refusal::AlreadyApproved(_))) => {}
            Err(error) => return Err(error.problem().key(&change_set.key)),
        }

        let record = ledger.change_set(&request.digest).await.map_err(|error| error.problem())?.unwrap_or_else(|| record.clone());
        let counted = verifier::approved(&statement, &record.change_set.proposer, rules.iter().copied(), charter, &record.approvals);
        let (have, need) = match &counted {
            // The need of the rule that asks for the most.
            Ok(approved) => (approved.by.len(), rules.iter().map(|rule| rule.need).max().unwrap_or(0)),
            Err(shortfall) => (shortfall.by.len(), shortfall.rule.need),
        };
        Ok(Approved { change_set: self.show(&record), have: u32::try_from(have).unwrap_or(u32::MAX), need })
    }

    /// The ledger's record of the change set's key.
    async fn known(&self, record: &ChangeSetRecord) -> Result<Option<KeyRecord>, Problem> {
        self.engine.ledger.key(record.change_set.key_id).await.map_err(|error| error.problem().key(&record.change_set.key))
    }
}

fn statement(record: &ChangeSetRecord, sealed: &SealedCharter) -> Result<Statement, Problem> {
    let charter = sealed.id().map_err(|error| uncanonical(&error))?;
    Ok(Statement::of_change_set(&record.change_set, &record.digest, &charter))
}
