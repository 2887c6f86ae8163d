//! The pass for open change sets: a committed one is left alone, as is one that is being withdrawn; a proposed one is kept, replaced or
//! dropped.

use keyplane_model::{ChangeSet, ChangeSetRecord, ChangeSetState, Digest};

use crate::report::{Finding, NothingReason};

/// The open change set of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Open<'a> {
    None,
    /// May be kept or replaced.
    Proposed(&'a ChangeSetRecord),
    /// Is being withdrawn.
    Ending(&'a ChangeSetRecord),
    /// Runs, or will be resumed.
    Committed(&'a ChangeSetRecord),
}

impl<'a> Open<'a> {
    pub(crate) fn of(record: Option<&'a ChangeSetRecord>) -> Self {
        match record.map(|record| (record, record.state)) {
            Some((record, ChangeSetState::Proposed)) => Self::Proposed(record),
            Some((record, ChangeSetState::Ending)) => Self::Ending(record),
            Some((record, ChangeSetState::Committed)) => Self::Committed(record),
            // No longer open, even if the ledger lists it as open.
            Some((_, ChangeSetState::Done | ChangeSetState::Dropped)) | None => Self::None,
        }
    }
}

/// The reason for a key whose committed change set runs.
pub(crate) fn running(open: &ChangeSetRecord) -> NothingReason {
    NothingReason::Running { digest: open.digest, done: open.receipts.len(), steps: open.change_set.steps.len() }
}

/// The reason for a key whose proposed change set still fits.
pub(crate) fn awaiting(open: &ChangeSetRecord) -> NothingReason {
    NothingReason::AwaitingApproval { digest: open.digest, given: open.approvals.len(), need: open.change_set.approvals.need }
}

/// Whether a proposed change set still fits. `again` is what would be planned now for the same proposer. `frame` is the part of it that
/// does not depend on looks: `again` without placements and steps.
///
/// It fits if planning gives the same again. It also fits if planning gives less only because a placement could not be looked at: a
/// destination that cannot be reached for a while costs no approvals.
pub(crate) fn still_fits(open: &ChangeSetRecord, again: Option<(&ChangeSet, Digest)>, frame: &ChangeSet, findings: &[Finding]) -> bool {
    if again.is_some_and(|(_, digest)| digest == open.digest) {
        return true;
    }
    let mut rest = open.change_set.clone();
    rest.placements.clear();
    rest.steps.clear();
    rest.reasons.clear();
    let is_unknown = |placement| findings.iter().any(|finding| finding.placement == placement && finding.obstacle.is_unknown());
    let comes_again = |placement| {
        again.is_some_and(|(again, _)| {
            again.placements.get(&placement) == open.change_set.placements.get(&placement)
                && again.steps_of(placement).map(|(_, step)| step).eq(open.change_set.steps_of(placement).map(|(_, step)| step))
        })
    };
    let mut placements = open.change_set.placements.keys().copied();
    rest == *frame
        && open.change_set.placements.keys().copied().any(is_unknown)
        && placements.all(|placement| is_unknown(placement) || comes_again(placement))
}
