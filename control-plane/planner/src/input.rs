//! The input of a plan.

use std::collections::{BTreeMap, BTreeSet};

use keyplane_model::{
    Actor, Algorithm, Destination, DestinationName, EpochId, IdTree, Intent, Inventory, LedgerSnapshot, Timestamp, WrapScheme,
};

#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    pub intent: &'a Intent,
    pub destinations: &'a BTreeMap<DestinationName, Destination>,
    /// The ledger before the looks. If `ledger` has a newer generation of a key, a look may show the key's earlier state.
    pub before: &'a LedgerSnapshot,
    /// The ledger after the looks. Anything a look shows is already recorded here or belongs to an open change set, so it is not
    /// mistaken for drift.
    pub ledger: &'a LedgerSnapshot,
    /// What was seen, by destination. A destination without an entry was not looked at.
    pub inventories: &'a BTreeMap<DestinationName, Inventory>,
    /// The HSM's proven abilities. Nothing that needs others is planned.
    pub custody: &'a Custody,
    /// Whoever asks for the plan: the proposer of new change sets, whose own approval does not count.
    pub proposer: &'a Actor,
    /// The time of planning, by the server's wall clock.
    pub now: Timestamp,
    /// Computes new ids from the installation's, so planning the same world again gives the same ids.
    pub ids: IdTree,
}

/// What the HSM can do, as its self-tests proved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custody {
    /// The root epoch under which new copies are made.
    pub epoch: EpochId,
    pub derives: bool,
    /// The wrapping schemes that the token has a proven route for, each with the algorithms that it can wrap.
    pub schemes: BTreeMap<WrapScheme, BTreeSet<Algorithm>>,
}
