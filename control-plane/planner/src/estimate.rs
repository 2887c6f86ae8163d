//! How long change sets take at least, by the quotas of the clouds.

use std::collections::BTreeMap;

use keyplane_model::{Act, ChangeSet, Destination, DestinationName, Span, Step};

/// Calls counted by lane (the `home` of a destination: destinations with the same one share quotas) and by the cloud's name of
/// the quota, with the time that they take at least.
#[derive(Debug, Default)]
pub(crate) struct Estimate(BTreeMap<String, BTreeMap<String, Draws>>);

/// Calls that draw from one quota.
#[derive(Debug, Default)]
struct Draws {
    calls: u64,
    /// Microseconds that one call takes of the quota, at the slowest destination that shares it, times [`FINE`].
    each: u64,
}

/// Quotas of more than a million calls a second are none: finer than a microsecond a call, so that rounding adds up to nothing.
const FINE: u64 = 1_000;

impl Estimate {
    /// Adds the steps of a change set.
    pub(crate) fn add(&mut self, change_set: &ChangeSet, destinations: &BTreeMap<DestinationName, Destination>) {
        self.add_steps(change_set, change_set.steps.iter(), destinations);
    }

    /// Adds some of the steps of a change set.
    pub(crate) fn add_steps<'a>(
        &mut self,
        change_set: &ChangeSet,
        steps: impl Iterator<Item = &'a Step>,
        destinations: &BTreeMap<DestinationName, Destination>,
    ) {
        for step in steps {
            let Some(plan) = change_set.placements.get(&step.placement) else { continue };
            let Some(destination) = destinations.get(&plan.destination) else { continue };
            let capabilities = &destination.capabilities;
            let words = calls(&step.act, capabilities.equal_reads);
            for (word, calls) in words {
                for name in capabilities.draws.get(word).into_iter().flatten() {
                    let Some(quota) = capabilities.quotas.get(name) else { continue };
                    let draws = self.0.entry(destination.home.clone()).or_default().entry(name.clone()).or_default();
                    let per = u64::try_from(quota.per.micros()).unwrap_or(0);
                    draws.calls += u64::from(calls);
                    draws.each = draws.each.max(per.saturating_mul(FINE) / u64::from(quota.calls.max(1)));
                }
            }
        }
    }

    /// The time that each lane takes at least: that of its scarcest quota.
    pub(crate) fn lanes(&self) -> BTreeMap<String, Span> {
        self.0
            .iter()
            .map(|(lane, quotas)| (lane.clone(), quotas.values().map(Draws::span).max().unwrap_or_default()))
            .filter(|(_, span)| *span > Span::ZERO)
            .collect()
    }

    /// The time that it takes at least altogether: lanes run side by side.
    pub(crate) fn total(&self) -> Span {
        self.lanes().into_values().max().unwrap_or_default()
    }
}

impl Draws {
    fn span(&self) -> Span {
        let millis = self.calls.saturating_mul(self.each) / (FINE * 1_000);
        match u32::try_from(millis) {
            Ok(millis) => Span::millis(millis),
            Err(_) => Span::seconds(u32::try_from(millis / 1_000).unwrap_or(u32::MAX)),
        }
    }
}

/// The port's calls that a step makes at least, by their words: it acts once, and looks whether it is done. That something is no
/// longer there takes more looks to be sure, and one before.
fn calls(act: &Act, equal_reads: u32) -> Vec<(&'static str, u32)> {
    let gone = 1 + equal_reads;
    match act {
        Act::Mint { .. } | Act::Share { .. } => Vec::new(),
        Act::Create => vec![("look", 2), ("create", 1)],
        Act::Claim => vec![("look", 1), ("claim", 1)],
        Act::Prepare { .. } => vec![("prepared", 2), ("prepare", 1)],
        Act::Import { .. } => vec![("look", 1), ("wrapping-key", 1), ("import", 1)],
        Act::Publish => vec![("look", 1), ("publish", 1)],
        Act::RemoveSurplus { .. } => vec![("inspect", gone), ("schedule-deletion", 1)],
        Act::DisableSurplus { .. } => vec![("look", gone), ("disable", 1)],
        Act::FollowSecond { .. } => vec![("look", equal_reads)],
    }
}
