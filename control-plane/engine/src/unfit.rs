//! Why a change set is not committed or not run any more, as a problem: what has changed since it was planned, and what to do now.

use keyplane_model::{CLOCKS, ChangeSet, ChangeSetRecord, ChangeSetState, DestinationName, Problem, ProblemCode, Timestamp};
use keyplane_verifier::Violation;

use crate::stop::Stop;

/// What must have changed since a change set was planned, if it breaks a rule now and broke none then.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changed<'a> {
    /// Nothing: it was never right.
    Nothing,
    Charter,
    /// Its approvals have ended.
    Time,
    /// The key's record in the ledger, which has another generation then.
    Record,
    /// What is wanted of the key.
    Wanted,
    /// The configuration of this destination.
    Destination(&'a DestinationName),
}

/// What becomes of a change set that the judge refuses.
pub(crate) fn refused(change_set: &ChangeSet, violations: &[Violation]) -> Stop {
    let is_outdated = |violation: &Violation| match changed(violation) {
        Changed::Nothing => false,
        Changed::Charter | Changed::Time | Changed::Destination(_) => true,
        // INVARIANT: a change set that breaks these rules against the very record or intent that it was planned from is broken, not old.
        Changed::Record => violations.iter().any(|violation| matches!(violation, Violation::Generation { .. })),
        Changed::Wanted => violations.contains(&Violation::Wanted),
    };
    let code = if violations.iter().all(is_outdated) { code(violations) } else { ProblemCode::ChangeSetRefused };
    let problem = problem(code, said(violations), change_set, violations);
    // A destination may be configured again, and what is broken is for people to look at.
    if matches!(code, ProblemCode::NameUnknown | ProblemCode::ChangeSetRefused) { Stop::Held(problem) } else { Stop::Conflict(problem) }
}

/// The problem of a change set that does something that is not wanted any more. `by`: who says what is wanted.
pub(crate) fn unwanted(change_set: &ChangeSet, violations: &[Violation], by: &str) -> Problem {
    let code = code(violations);
    let said = said(violations);
    let detail = if code == ProblemCode::ChangeSetStale { format!("{by}: {said}") } else { said };
    problem(code, detail, change_set, violations)
}

/// Whether a violation may come from this server's clock alone, because the clocks of servers, custodian and proposers differ. Then nothing
/// is dropped for it, and nothing is done.
///
/// Ended approvals: this clock may be ahead by [`CLOCKS`]. The custodian judges by its own clock, so until then it may still wrap for another
/// server that runs the same change set.
///
/// Approvals that count for too long: they were asked for from the moment of the proposal on. If that moment is still to come here, this
/// clock is behind. Otherwise the rules have come to allow less.
pub(crate) fn is_untimely(record: &ChangeSetRecord, violation: &Violation, now: Timestamp) -> bool {
    match violation {
        // A proposal that nobody approved yet has nothing to lose, and the next plan replaces it.
        Violation::Ended(_) if record.state == ChangeSetState::Proposed && record.approvals.is_empty() => false,
        Violation::Ended(until) => now < *until + CLOCKS,
        Violation::EndsTooLate { .. } => now < record.proposed,
        _ => false,
    }
}

/// The problem of a change set that is neither run nor dropped for now, by [`is_untimely`].
pub(crate) fn untimely(record: &ChangeSetRecord, violation: &Violation, now: Timestamp) -> Problem {
    let (detail, next) = if let Violation::Ended(until) = violation {
        let after = *until + CLOCKS;
        let detail = format!("{violation}; it is given up after {after}, since clocks may differ by {CLOCKS}");
        // A committed one is given up by the run that judges it, and a proposal by the plan that replaces it.
        let command = if record.state == ChangeSetState::Proposed { "plan" } else { "apply" };
        (detail, format!("`keyplane {command}` after {after}"))
    } else {
        let detail = format!("it was proposed at {}, and this server's clock shows {now}: it is behind", record.proposed);
        (detail, "set the clock of this server, then `keyplane apply`".to_owned())
    };
    Problem::new(ProblemCode::ApprovalsMissing, detail, next).key(&record.change_set.key)
}

/// The problem of a committed change set that what is in force today does not carry.
pub(crate) fn not_carried(mut problem: Problem) -> Problem {
    if problem.code == ProblemCode::ApprovalsMissing {
        problem.code = ProblemCode::CharterChanged;
        problem.class = problem.code.class();
    }
    problem.detail = format!("what is in force today does not carry it: {}", problem.detail);
    "keyplane plan".clone_into(&mut problem.next);
    problem
}

fn said(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn problem(code: ProblemCode, detail: String, change_set: &ChangeSet, violations: &[Violation]) -> Problem {
    let next = if code == ProblemCode::NameUnknown { "keyplane config check" } else { "keyplane plan" };
    let problem = Problem::new(code, detail, next).key(&change_set.key);
    let destination = violations.iter().find_map(|violation| match changed(violation) {
        Changed::Destination(name) => Some(name),
        Changed::Nothing | Changed::Charter | Changed::Time | Changed::Record | Changed::Wanted => None,
    });
    match destination {
        Some(name) => problem.destination(name),
        None => problem,
    }
}

/// The code for a change set that is out of date.
fn code(violations: &[Violation]) -> ProblemCode {
    let any = |is: fn(Changed<'_>) -> bool| violations.iter().any(|violation| is(changed(violation)));
    if any(|changed| changed == Changed::Charter) {
        ProblemCode::CharterChanged
    } else if any(|changed| changed == Changed::Time) {
        ProblemCode::ApprovalsMissing
    } else if any(|changed| matches!(changed, Changed::Record | Changed::Wanted)) {
        ProblemCode::ChangeSetStale
    } else if violations.iter().all(|violation| matches!(violation, Violation::UnknownDestination(_))) {
        ProblemCode::NameUnknown
    } else {
        ProblemCode::DestinationChanged
    }
}

fn changed(violation: &Violation) -> Changed<'_> {
    match violation {
        Violation::Format(_)
        | Violation::Installation(_)
        | Violation::CharterInstallation(_)
        | Violation::NoProposer
        | Violation::Empty
        | Violation::TooLong(_)
        | Violation::UnknownPlacement(_)
        | Violation::IdlePlacement(_)
        | Violation::SameAddress(_)
        | Violation::Incarnation(_)
        | Violation::WrongAct { .. }
        | Violation::Order(_)
        | Violation::Repeated(_)
        | Violation::Expectation { .. }
        | Violation::Zero(_)
        | Violation::TwoVersions { .. }
        | Violation::DerivedKeyPair(_)
        | Violation::SchemeUnfit { .. }
        | Violation::SchemeWeak { .. }
        | Violation::NothingWanted
        | Violation::SharesWithItself(_)
        | Violation::PreparedOtherwise(_)
        | Violation::Unprepared(_)
        | Violation::PreparesInVain(_) => Changed::Nothing,
        Violation::UnknownProfile(_) | Violation::ApprovalsLooser | Violation::ApprovalsUnknown | Violation::EndsTooLate { .. } => {
            Changed::Charter
        }
        Violation::Ended(_) => Changed::Time,
        Violation::Generation { .. }
        | Violation::OtherKey
        | Violation::OtherPlacement(_)
        | Violation::TakenAddress(_)
        | Violation::CopyExists { .. }
        | Violation::VersionGap { .. }
        | Violation::NoCopy { .. }
        | Violation::NoObject(_)
        | Violation::NotImported(_)
        | Violation::SharesOtherAlgorithm(_)
        | Violation::OtherBytes(_)
        | Violation::OtherMaking(_)
        | Violation::RemovesInUse { .. }
        | Violation::DisablesInUse { .. }
        | Violation::FollowsUnknown { .. }
        | Violation::Unclaimed(_) => Changed::Record,
        Violation::Wanted
        | Violation::KeyDropped
        | Violation::ApprovalsDiffer
        | Violation::OtherProfile(_)
        | Violation::NotWanted { .. }
        | Violation::Algorithm { .. }
        | Violation::Purpose { .. }
        | Violation::Location { .. }
        | Violation::Source(_)
        | Violation::TwoOrigins { .. }
        | Violation::Shares(_) => Changed::Wanted,
        Violation::UnknownDestination(name)
        | Violation::OtherDestination(name)
        | Violation::Protection(name)
        | Violation::SchemeRefused { destination: name, .. } => Changed::Destination(name),
    }
}
