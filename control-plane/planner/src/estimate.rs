//! The least time that change sets take, by the clouds' quotas.

use std::collections::BTreeMap;

use keyplane_model::{Act, ChangeSet, Destination, DestinationName, Span, Step};

/// The calls of all steps, by lane (the `home` of its destinations) and by the cloud's name of the quota.
#[derive(Debug, Default)]
pub(crate) struct Estimate(BTreeMap<String, BTreeMap<String, Draws>>);

#[derive(Debug, Default)]
struct Draws {
    calls: u64,
    /// The time that one call takes from the quota at the slowest destination that shares it, in microseconds times [`FINE`].
    each: u64,
}

/// Fractions of a microsecond for each call, so that rounding errors do not add up. Enough for quotas of up to a million calls a second.
const FINE: u64 = 1_000;

impl Estimate {
    pub(crate) fn add(&mut self, change_set: &ChangeSet, destinations: &BTreeMap<DestinationName, Destination>) {
        self.add_steps(change_set, change_set.steps.iter(), destinations);
    }

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

    /// For each lane, the least time of its slowest quota.
    pub(crate) fn lanes(&self) -> BTreeMap<String, Span> {
        self.0
            .iter()
            .map(|(lane, quotas)| (lane.clone(), quotas.values().map(Draws::span).max().unwrap_or_default()))
            .filter(|(_, span)| *span > Span::ZERO)
            .collect()
    }

    /// Lanes run concurrently, so the slowest lane decides.
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

/// The calls of the port that a step makes at least, by their words: the one that acts, and the looks around it. An absence takes
/// `equal_reads` looks to confirm, and one look before.
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
