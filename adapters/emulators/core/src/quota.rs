//! Request quotas: token buckets, the same for every cloud.

use std::collections::BTreeMap;

use crate::{Timestamp, time::SECOND};

/// What one request costs, in millionths of a token.
const COST: i64 = 1_000_000;

/// How far a bucket may be overdrawn: a tenth of a request. Clouds do not count to the microsecond, and a client that
/// keeps its pace exactly must not be throttled because one packet was faster than the one before. The pace over time
/// stays exact, since what was overdrawn is owed.
const SLACK: i64 = COST / 10;

/// A bucket for each name: it holds one second's worth and fills evenly.
#[derive(Debug)]
pub struct Buckets {
    on: bool,
    /// Requests per second.
    limits: BTreeMap<String, u32>,
    /// Level in millionths of a token, and when it was right.
    levels: BTreeMap<String, (i64, Timestamp)>,
}

impl Buckets {
    /// Full buckets with these limits, in requests per second. A name without a limit is free.
    pub fn new<'a>(limits: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let limits = limits.into_iter().map(|(name, limit)| (name.to_owned(), limit)).collect();
        Self { on: true, limits, levels: BTreeMap::new() }
    }

    /// Turns all limits on or off; the buckets are full afterwards.
    pub fn turn(&mut self, on: bool) {
        self.on = on;
        self.levels.clear();
    }

    /// Changes one limit, in requests per second; its bucket is full afterwards. Zero refuses everything.
    pub fn limit(&mut self, name: &str, per_second: u32) {
        self.limits.insert(name.to_owned(), per_second);
        self.levels.remove(name);
    }

    /// The limits in force; nothing when they are off.
    pub fn limits(&self) -> Option<&BTreeMap<String, u32>> {
        self.on.then_some(&self.limits)
    }

    /// Takes one request out of a bucket. False: too many, and nothing was taken.
    pub fn take(&mut self, name: &str, now: Timestamp) -> bool {
        let Some(limit) = self.limits.get(name).filter(|_| self.on) else {
            return true;
        };
        let rate = i64::from(*limit);
        let full = rate * COST;
        let (level, since) = self.levels.get(name).copied().unwrap_or((full, now));
        // A token is a million parts and a second a million microseconds: the rate is parts per microsecond.
        const { assert!(COST == SECOND) }
        let level = now.micros_since(since).saturating_mul(rate).saturating_add(level).min(full);
        let granted = level >= COST - SLACK;
        self.levels.insert(name.to_owned(), (if granted { level - COST } else { level }, now));
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn a_second_holds_exactly_its_limit() {
        let mut buckets = Buckets::new([("import", 15)]);
        let granted = (0..100).filter(|_| buckets.take("import", at(0))).count();
        assert_eq!(granted, 15);
        assert!(buckets.take("import", at(SECOND)));
    }

    #[test]
    fn a_client_that_keeps_the_pace_is_never_refused() {
        let mut buckets = Buckets::new([("parameters", 1)]);
        for n in 0..1000 {
            // Every other request arrives 90 ms early.
            let early = if n % 2 == 1 { 90_000 } else { 0 };
            assert!(buckets.take("parameters", at(n * SECOND - early)), "request {n}");
        }
    }

    #[test]
    fn a_client_that_is_a_tenth_too_fast_is_refused_soon() {
        let mut buckets = Buckets::new([("parameters", 1)]);
        assert!((0..30).any(|n| !buckets.take("parameters", at(n * 900_000))));
    }

    #[test]
    fn turned_off_nothing_is_refused() {
        let mut buckets = Buckets::new([("parameters", 1)]);
        buckets.turn(false);
        assert!((0..100).all(|_| buckets.take("parameters", at(0))));
        assert_eq!(buckets.limits(), None);
    }
}
