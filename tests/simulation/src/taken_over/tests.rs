//! What these runs promise: nothing is let through that was not approved. That each planted variant is found is shown by
//! `keyplane-simulate --taken-over --plant all`, which is optimised, in `make test`.

use std::collections::{BTreeMap, BTreeSet};

use super::checker::Fault;
use super::{Planted, run};

/// `keyplane-simulate --taken-over` runs thousands, optimised.
const SEEDS: std::ops::Range<u64> = 1..41;

#[test]
fn the_custodian_lets_nothing_through_that_was_not_approved() {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for seed in SEEDS {
        let ended = run(seed, None, false);
        assert_eq!(ended.broken, [], "seed {seed}");
        ended.counts.into_iter().for_each(|(what, count)| *counts.entry(what).or_default() += count);
    }
    // A custodian that refuses everything would break no rule.
    for what in
        ["mint: let through", "wrap: let through", "adopt: let through", "wrap: approvals are missing", "wrap: the change set is spent"]
    {
        assert!(counts.get(what).is_some_and(|count| *count > 1), "{what}: {counts:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let first = run(3, None, true);
    assert_eq!(first, run(3, None, true));
    assert!(first.lines.len() > 30, "hardly anything happened");
    assert_eq!(run(3, None, false).counts, first.counts, "keeping lines changes the run");
}

/// Otherwise a part of the checker could find nothing, and nobody would know.
#[test]
fn each_fault_that_the_checker_knows_has_a_planted_variant() {
    let shown: BTreeSet<Fault> = Planted::ALL.map(Planted::shows_as).into();
    assert_eq!(shown, Fault::ALL.into());
}
