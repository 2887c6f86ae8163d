//! Approvals.

use keyplane_api::{ApprovalRequest, Approved};
use keyplane_model::{Approval, ChangeSetState, Problem, ProblemCode};
use keyplane_port::{LedgerError, Refusal};
use keyplane_verifier as verifier;

use crate::Service;

impl Service {
    /// Records an approval of a proposed change set, if it counts.
    ///
    /// # Errors
    /// When no change set with that digest waits for approval, or the approval would not count. Nothing is recorded then.
    pub async fn approve(&self, request: &ApprovalRequest) -> Result<Approved, Problem> {
        let ledger = &self.engine.ledger;
        let record = ledger.change_set(&request.digest).await.map_err(|error| error.problem())?;
        let record = record.filter(|record| record.state == ChangeSetState::Proposed).ok_or_else(|| {
            let detail = format!("no change set {} waits for approval", request.digest);
            Problem::new(ProblemCode::ApprovalUnknownDigest, detail, "keyplane status")
        })?;
        let change_set = &record.change_set;
        let charter = self.charter().await?.charter;
        let rule = verifier::required(change_set, &charter).ok_or_else(|| {
            let detail = format!("the charter in force does not know profile `{}`", change_set.profile);
            Problem::new(ProblemCode::CharterChanged, detail, "keyplane hsm charter").key(&change_set.key)
        })?;
        let approval = Approval { approver: request.approver.clone(), signature: request.signature.clone(), at: self.engine.clock.now() };
        // Judged alone, under the rule that one approval is enough: a signature that does not count there counts nowhere.
        let alone = keyplane_model::ApprovalRule { need: 1, from: rule.from.clone() };
        verifier::approved(&request.digest, &change_set.proposer, &alone, &charter, std::slice::from_ref(&approval)).map_err(
            |shortfall| {
                let fault = shortfall.not_counted.first().map(|ignored| &ignored.fault);
                let detail = format!("the approval of {} by `{}` does not count: {shortfall}", request.digest, request.approver);
                let code = fault.map_or(ProblemCode::ApprovalInvalid, verifier::ApprovalFault::code);
                Problem::new(code, detail, "keyplane status").key(&change_set.key)
            },
        )?;
        match ledger.approve(&request.digest, &approval).await {
            // The same signature was recorded before and counts.
            Ok(()) | Err(LedgerError::Refused(Refusal::AlreadyApproved(_))) => {}
            Err(error) => return Err(error.problem().key(&change_set.key)),
        }

        let record = ledger.change_set(&request.digest).await.map_err(|error| error.problem())?.unwrap_or(record);
        let counted = verifier::approved(&request.digest, &record.change_set.proposer, &rule, &charter, &record.approvals);
        let have = match &counted {
            Ok(approved) => approved.by.len(),
            Err(shortfall) => shortfall.by.len(),
        };
        Ok(Approved { change_set: self.show(&record), have: u32::try_from(have).unwrap_or(u32::MAX), need: rule.need })
    }
}
