//! Intent, ledger and inventory to change sets, with a typed reason for everything that is not done.
//!
//! Owns the decision what has to change. Pure: the same [`PlanInput`] gives the same bytes, whatever the order of its lists. Time
//! and ids are arguments, and a change set leaves execution no choices. Must not know the verifier, which judges the plans and
//! shares no code with the planner, nor any vendor: [`keyplane_model::Capabilities`] says how clouds differ.
//!
//! One module for each pass: `open` (change sets that are already open), `placements` (first imports, and what a dropped change set
//! left unfinished), `drift` (differences between record and cloud), `surplus` (objects of ours that nothing needs), `estimate`
//! (least time by quotas), `report` (what is told).

mod drift;
mod estimate;
mod keys;
mod open;
mod placements;
mod report;
mod surplus;
mod targets;

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{
    Actor, Algorithm, ChangeSet, Destination, DestinationName, Digest, EpochId, IdTree, Intent, Inventory, LedgerSnapshot, Timestamp,
    WrapScheme,
};

pub use drift::Drift;
pub use report::{Finding, KeyReport, NothingReason, Obstacle, Outcome, PlanReport, Warning};
pub use targets::targets;

/// Everything that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// The keys, profiles and approvers that are wanted.
    pub intent: &'a Intent,
    /// The configured destinations, by name.
    pub destinations: &'a BTreeMap<DestinationName, Destination>,
    /// The ledger before the looks. If a key has changed in `ledger` since then, a look may show its earlier state.
    pub before: &'a LedgerSnapshot,
    /// The ledger after the looks. Anything a look shows is already recorded here or belongs to an open change set, so it is not
    /// mistaken for drift.
    pub ledger: &'a LedgerSnapshot,
    /// What was seen, by destination. A destination that is missing was not looked at.
    pub inventories: &'a BTreeMap<DestinationName, Inventory>,
    /// The HSM's proven abilities; nothing else is planned.
    pub custody: &'a Custody,
    /// Whoever asks for the plan: the proposer of new change sets, who cannot approve them.
    pub proposer: &'a Actor,
    /// The time of planning, by the server's wall clock.
    pub now: Timestamp,
    /// The source of new ids, seeded by the installation: planning the same world again gives the same ids.
    pub ids: IdTree,
}

/// What the HSM can do, as its self-tests proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custody {
    /// The root epoch under which new copies are made.
    pub epoch: EpochId,
    /// Whether the token can derive symmetric copies.
    pub derives: bool,
    /// The wrapping schemes that the token has a proven route for, each with the algorithms that it can wrap.
    pub schemes: BTreeMap<WrapScheme, BTreeSet<Algorithm>>,
}

/// The result of planning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// New change sets to propose, sorted by key name, at most one for each key. It replaces an open proposed change set of the
    /// same key.
    pub change_sets: Vec<ChangeSet>,
    /// Open proposed change sets that still fit: their approvals stay good.
    pub kept: BTreeSet<Digest>,
    /// Open proposed change sets that no longer fit and that nothing replaces. The caller drops them.
    pub outdated: BTreeSet<Digest>,
    /// What is told about each key, and why.
    pub report: PlanReport,
}

/// Plans.
///
/// Flow, for each key that is wanted, is known or has an open change set: a committed change set is left alone. Otherwise the key's
/// placements are planned. If none needs anything, its surplus objects are cleaned up. The result is compared with the open
/// proposed change set.
///
/// Guarantees: the same input gives the same bytes. At most one change set for each key. Nothing is destroyed but empty surplus
/// objects. Once the change sets are applied, planning again gives none. Every key of intent and ledger is in the report, with a
/// typed reason.
///
/// Assumes that the inventories were taken from the [`targets()`] of the same intent and of `before`. What was not looked at is an
/// [`Obstacle`], never taken for absent.
#[must_use]
pub fn plan(input: &PlanInput<'_>) -> Plan {
    keys::plan(input)
}
