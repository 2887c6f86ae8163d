//! Compares the custodian's records of use with the ledger: bytes that left the HSM under a wrapping key that no server of this ledger asked
//! for.

use keyplane_model::{Act, ChangeSetRecord, Problem, ProblemCode, Wrap};
use keyplane_port::{CustodianError, Usage};

use crate::Service;

impl Service {
    /// What the custodian has on record and the ledger has not.
    pub(crate) async fn unknown_wraps(&self) -> Vec<Problem> {
        // INVARIANT: read before the ledger. The engine records a wrap in the ledger before it asks the custodian, so whatever is on record
        // here is in the ledger by now.
        let usages = match self.engine.custodian.usages().await {
            Ok(usages) => usages,
            Err(error) => {
                let problem = error.problem();
                let detail = format!("what left the HSM cannot be compared with the ledger: {}", problem.detail);
                return vec![Problem { detail, ..problem }];
            }
        };
        let mut problems: Vec<Problem> = usages.broken.into_iter().map(|what| CustodianError::UsageBroken(what).problem()).collect();
        if usages.more {
            let detail = "the token holds more records of use than are read at once: the rest is not compared with the ledger";
            let next = "wait until those are over, 31 days at most, then `keyplane evidence`; they are labelled `keyplane/usage/…`";
            problems.push(Problem::new(ProblemCode::TokenFailed, detail, next));
        }
        for usage in usages.usages.iter().filter(|usage| !usage.wraps.is_empty()) {
            match self.engine.ledger.change_set(&usage.change_set).await {
                Ok(record) => problems.extend(unknown(usage, record.as_ref())),
                Err(error) => problems.push(error.problem()),
            }
        }
        problems
    }
}

/// The wraps of a change set that the ledger does not know.
fn unknown(usage: &Usage, record: Option<&ChangeSetRecord>) -> Vec<Problem> {
    let is_known = |wrap: &Wrap| record.is_some_and(|record| record.wraps.iter().any(|there| there.is_same(wrap)));
    usage.wraps.iter().filter(|wrap| !is_known(wrap)).map(|wrap| exposed(usage, record, wrap)).collect()
}

fn exposed(usage: &Usage, record: Option<&ChangeSetRecord>, wrap: &Wrap) -> Problem {
    let next = "unless the database was restored from a backup or migrated since then: treat this version as exposed, replace it, and find \
                out who could use the custodian and the approvals at that time";
    let Wrap { step, wrapped_under, at } = wrap;
    let told = |what: &str| format!("{what} left the HSM at {at} under a wrapping key that the ledger does not know: {wrapped_under}");
    let Some(record) = record else {
        let what = format!("bytes of step {step} of change set {}, which the ledger does not have,", usage.change_set);
        return Problem::new(ProblemCode::WrappingKeyUnknown, told(&what), next);
    };
    let key = &record.change_set.key;
    let step = record.change_set.step(*step);
    let version = step.and_then(|step| if let Act::Import { version, .. } = &step.act { Some(version) } else { None });
    let what = version.map_or_else(|| format!("bytes of `{key}`"), |version| format!("bytes of `{key}`, version {version},"));
    let problem = Problem::new(ProblemCode::WrappingKeyUnknown, told(&what), next).key(key);
    match step.and_then(|step| record.change_set.placements.get(&step.placement)) {
        Some(plan) => problem.destination(&plan.destination),
        None => problem,
    }
}
