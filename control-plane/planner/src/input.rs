//! What a plan is made from.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{
    Actor, Algorithm, Destination, DestinationName, EpochId, IdTree, Intent, Inventory, LedgerSnapshot, Timestamp, WrapScheme,
};

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
