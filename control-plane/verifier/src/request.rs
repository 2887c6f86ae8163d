//! Judges what a custodian is asked, as far as no token is needed.
//!
//! Owns the order of these checks. Every custodian calls the same functions, so what is tested without an HSM is what decides in front of
//! one. Two things are left to the custodian: whether its token sealed the charter and adopted it last, and what its records say of the
//! change set.

use keyplane_model::{
    Approval, ChangeSet, CharterChange, CharterId, CopyCoordinates, SealedCharter, Statement, StepNo, Timestamp, WrapScheme,
};

use crate::approvals::{Shortfall, approved, required};
use crate::charter::{CharterFault, fit, required_for_charter, valid_for_charter};
use crate::entitlement::{Denial, may_mint, may_wrap};
use crate::judge::{Facts, in_time, judge};
use crate::violation::Violation;

/// What a custodian is shown with a request to make or wrap a copy, and its clock.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    pub change_set: &'a ChangeSet,
    pub approvals: &'a [Approval],
    /// Not known to be in force: the custodian checks that in its token.
    pub charter: &'a SealedCharter,
    /// By the custodian's own clock.
    pub now: Timestamp,
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// Every rule that the change set breaks.
    #[error("{}", listed(.0))]
    ChangeSet(Vec<Violation>),
    /// The step is for something else.
    #[error(transparent)]
    Step(#[from] Denial),
    #[error(transparent)]
    Approvals(#[from] Shortfall),
    #[error("the charter is another installation's")]
    OtherInstallation,
    /// The change does not follow the charter that it was shown with.
    #[error("the charter is not the one that was adopted last")]
    CharterChanged,
    #[error("the charter cannot be in force: {}", listed(.0))]
    Unfit(Vec<CharterFault>),
    #[error("nobody proposed the charter")]
    NoProposer,
    /// The approvals of a charter have ended, or would last too long.
    #[error(transparent)]
    Time(#[from] Violation),
    #[error("it cannot be written as canonical JSON: {0}")]
    Canonical(String),
}

/// Whether a change set entitles to making this copy.
///
/// # Errors
/// The first thing that is wrong.
pub fn judge_mint(shown: &Shown<'_>, step: StepNo, copy: &CopyCoordinates) -> Result<(), RequestFault> {
    entitled(shown, None)?;
    Ok(may_mint(shown.change_set, step, copy)?)
}

/// Whether a change set entitles to wrapping this copy by this scheme.
///
/// Assumes that the coordinates are those that the bytes are bound to: the custodian's derivation takes them as input, or the MAC of its
/// blob covers them.
///
/// # Errors
/// The first thing that is wrong.
pub fn judge_wrap(shown: &Shown<'_>, step: StepNo, copy: &CopyCoordinates, scheme: WrapScheme) -> Result<(), RequestFault> {
    entitled(shown, Some(copy))?;
    Ok(may_wrap(shown.change_set, step, copy, scheme)?)
}

/// Checks that the change set is sound, and approved as the charter asks. `made`: the copy whose bytes would leave.
fn entitled(shown: &Shown<'_>, made: Option<&CopyCoordinates>) -> Result<(), RequestFault> {
    let Shown { change_set, approvals, charter: sealed, now } = *shown;
    let charter = &sealed.charter;
    let facts = Facts { charter, installation: charter.installation, now, record: None, key: None, destinations: None };
    judge(change_set, &facts).map_err(RequestFault::ChangeSet)?;
    let digest = change_set.digest().map_err(canonical)?;
    let statement = Statement::of_change_set(change_set, &digest, &sealed.id().map_err(canonical)?);
    approved(&statement, &change_set.proposer, required(change_set, charter, made), charter, approvals)?;
    Ok(())
}

/// A charter that may be adopted, if its approvals are in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adoption {
    pub next: CharterId,
    /// Whether its approvals are good now.
    pub in_time: Result<(), Violation>,
}

impl Adoption {
    /// A repeated adoption succeeds although its approvals may have ended: the first answer may have been lost.
    /// `last`: the charter that the token adopted last. `None`: it adopted none.
    ///
    /// # Errors
    /// [`RequestFault::Time`].
    pub fn in_time(&self, last: Option<CharterId>) -> Result<(), RequestFault> {
        if last == Some(self.next) { Ok(()) } else { Ok(self.in_time.clone()?) }
    }
}

/// Whether a charter may follow another one.
///
/// # Errors
/// The first thing that is wrong, except that its approvals have ended: see [`Adoption::in_time`].
pub fn judge_adoption(
    current: &SealedCharter,
    change: &CharterChange,
    approvals: &[Approval],
    now: Timestamp,
) -> Result<Adoption, RequestFault> {
    let CharterChange { before, next, proposer, until } = change;
    if next.installation != current.charter.installation {
        return Err(RequestFault::OtherInstallation);
    }
    if *before != current.id().map_err(canonical)? {
        return Err(RequestFault::CharterChanged);
    }
    fit(next).map_err(RequestFault::Unfit)?;
    if proposer.0.trim().is_empty() {
        return Err(RequestFault::NoProposer);
    }
    // The charter in force decides who has to approve the next one.
    let rules = required_for_charter(&current.charter, next);
    let statement = Statement::of_charter(change).map_err(canonical)?;
    approved(&statement, proposer, rules, &current.charter, approvals)?;
    let serial = before.serial.checked_add(1).ok_or(RequestFault::CharterChanged)?;
    let in_time = in_time(*until, now, valid_for_charter(&current.charter, next));
    Ok(Adoption { next: CharterId { serial, digest: next.digest().map_err(canonical)? }, in_time })
}

fn canonical(error: impl ToString) -> RequestFault {
    RequestFault::Canonical(error.to_string())
}

fn listed(all: &[impl ToString]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
