//! Intent, ledger and inventory to change sets, with a typed reason for everything that is not done.
//!
//! Owns the decision what has to change. Pure: the same [`PlanInput`] gives the same bytes, whatever order its lists are in; time
//! and ids are arguments; nothing in a change set is left to execution to choose. Must not know the verifier (which judges what
//! is planned here and shares no code with it), nor any vendor: what differs between clouds is in
//! [`keyplane_model::Capabilities`].
//!
//! One module a pass: `open` (what is open already), `placements` (first imports, and what a dropped change set left
//! unfinished), `drift` (what was recorded and what is seen differ), `surplus` (objects of ours that nothing needs), `estimate`
//! (how long it takes, by quotas), `report` (what is told).

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

/// Everything that planning looks at: one moment of the world.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// What is wanted.
    pub intent: &'a Intent,
    /// The destinations that are configured.
    pub destinations: &'a BTreeMap<DestinationName, Destination>,
    /// What the ledger knew before anything was looked at. Of a key that somebody worked at since, a look may show what was before.
    pub before: &'a LedgerSnapshot,
    /// What the ledger knows, read after the looks: all that they can show of anybody's work is recorded in it, or is of a change set
    /// that is open. What was known earlier would call it drift.
    pub ledger: &'a LedgerSnapshot,
    /// What was seen; a destination that was not looked at is not in it.
    pub inventories: &'a BTreeMap<DestinationName, Inventory>,
    /// What the HSM can do.
    pub custody: &'a Custody,
    /// On whose behalf this is planned: who proposes, and therefore cannot approve.
    pub proposer: &'a Actor,
    /// The time of planning.
    pub now: Timestamp,
    /// Where new ids come from: seeded by the installation, so that planning the same world again gives the same ids.
    pub ids: IdTree,
}

/// What the HSM can do, as enrolment proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custody {
    /// The root epoch that new copies are made under.
    pub epoch: EpochId,
    /// Whether symmetric copies can be derived.
    pub derives: bool,
    /// The wrapping schemes that the token has a route for, with the algorithms of copies that it can wrap so.
    pub schemes: BTreeMap<WrapScheme, BTreeSet<Algorithm>>,
}

/// What one look at the world gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// New change sets to propose, by key name; at most one a key. One for a key with an open proposed change set replaces that.
    pub change_sets: Vec<ChangeSet>,
    /// Open proposed change sets that still fit: their approvals stay good.
    pub kept: BTreeSet<Digest>,
    /// Open proposed change sets that no longer fit and that nothing replaces: to be abandoned.
    pub outdated: BTreeSet<Digest>,
    /// Why, and why not.
    pub report: PlanReport,
}

/// Plans.
///
/// Flow: for every key that is wanted or known or has open work: leave a committed change set alone; else plan its placements;
/// else, if no placement needs anything, clean up its surplus objects; then compare with the proposed change set that is open.
///
/// Guarantees: same input, same bytes; at most one change set a key; nothing is destroyed but empty surplus objects; planning again
/// after the change sets were applied gives none. Every key in intent or ledger is in the report, with a typed reason.
///
/// Assumes that the inventories were taken from the [`targets()`] of the same intent and of the ledger before. What was not looked at is an
/// [`Obstacle`], never taken for absent.
#[must_use]
pub fn plan(input: &PlanInput<'_>) -> Plan {
    keys::plan(input)
}
