//! Which charters can be adopted; proposed ones that can still be approved, and what each lacks.

use keyplane_model::{Charter, CharterProposal, Problem, ProblemCode, SealedCharter, Statement};
use keyplane_verifier::{self as verifier, Shortfall};

use crate::{Service, uncanonical};

/// A proposal that follows the charter in force, and whose approvals have not ended.
pub(crate) struct OpenCharter {
    pub(crate) proposal: CharterProposal,
    /// `None`: its approvals suffice under the charter in force.
    pub(crate) missing: Option<Shortfall>,
}

impl Service {
    /// The oldest first. Several may ask for the same charter, each with another proposer.
    pub(crate) async fn open_charters(&self, sealed: &SealedCharter) -> Result<Vec<OpenCharter>, Problem> {
        let before = sealed.id().map_err(|error| uncanonical(&error))?;
        let proposals = self.engine.ledger.charter_proposals(&before).await.map_err(|error| error.problem())?;
        let now = self.engine.clock.now();
        let mut open = Vec::new();
        for proposal in proposals {
            let change = &proposal.change;
            let valid = verifier::valid_for_charter(&sealed.charter, &change.next);
            if verifier::in_time(change.until, now, valid).is_err() {
                continue;
            }
            let statement = Statement::of_charter(change).map_err(|error| uncanonical(&error))?;
            let rules = verifier::required_for_charter(&sealed.charter, &change.next);
            let counted = verifier::approved(&statement, &change.proposer, rules, &sealed.charter, &proposal.approvals);
            open.push(OpenCharter { missing: counted.err(), proposal });
        }
        Ok(open)
    }
}

/// Whether a custodian would adopt a policy's charter, if it were approved. Asked early, so that nobody approves in vain.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn adoptable(charter: &Charter) -> Result<(), Vec<Problem>> {
    verifier::fit(charter).map_err(|faults| {
        let problem = |fault: &verifier::CharterFault| {
            let detail = format!("no custodian adopts the approvers and approval rules of this policy: {fault}");
            Problem::new(ProblemCode::PolicyInvalid, detail, "keyplane validate")
        };
        faults.iter().map(problem).collect()
    })
}
