//! Which charters can be adopted; proposed ones that can still be approved, and what each lacks.

use keyplane_model::{ApprovalRule, Charter, CharterProposal, Problem, ProblemCode, SealedCharter, Statement};
use keyplane_verifier::{self as verifier, Shortfall};

use crate::{Service, uncanonical};

/// A proposal that follows the charter in force, and whose approvals have not ended.
pub(crate) struct OpenCharter {
    pub(crate) proposal: CharterProposal,
    /// Which approvals it lacks under the charter in force, and why others do not count. `None`: it has enough.
    pub(crate) missing: Option<String>,
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
            if verifier::in_time(change.until, now, valid).is_ok() {
                open.push(OpenCharter { missing: missing(&proposal, &sealed.charter)?, proposal });
            }
        }
        Ok(open)
    }
}

fn missing(proposal: &CharterProposal, charter: &Charter) -> Result<Option<String>, Problem> {
    let change = &proposal.change;
    let statement = Statement::of_charter(change).map_err(|error| uncanonical(&error))?;
    let rules = verifier::required_for_charter(charter, &change.next);
    let lacks = |rules: &[&ApprovalRule]| {
        verifier::approved(&statement, &change.proposer, rules.iter().copied(), charter, &proposal.approvals).err()
    };
    let Some(Shortfall { not_counted, .. }) = lacks(&rules.iter().copied().collect::<Vec<_>>()) else { return Ok(None) };
    // A shortfall names the first rule that is not met, and people want to know about all.
    let unmet: Vec<Shortfall> = rules.iter().filter_map(|rule| lacks(&[*rule])).collect();
    let is_implied = |rule: &ApprovalRule| {
        unmet.iter().any(|other| other.rule != *rule && other.rule.need >= rule.need && other.rule.from.is_subset(&rule.from))
    };
    let asked = unmet.iter().filter(|shortfall| !is_implied(&shortfall.rule));
    let mut words: Vec<String> = asked.map(|shortfall| Shortfall { not_counted: Vec::new(), ..shortfall.clone() }.to_string()).collect();
    words.extend(not_counted.iter().map(|ignored| format!("not counted: {ignored}")));
    Ok(Some(words.join("; ")))
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
