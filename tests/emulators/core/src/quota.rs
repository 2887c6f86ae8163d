//! Request quotas: token buckets, the same for every cloud.

use std::{collections::BTreeMap, time::Duration};

use crate::{Timestamp, time::SECOND};

/// A bucket for each name. It holds the requests of one period and fills evenly.
#[derive(Clone, Debug)]
pub struct Buckets {
    on: bool,
    /// What one request costs: as many parts as the period has microseconds, so that a bucket gains its limit in parts each microsecond.
    cost: i64,
    /// Requests per period, by the quota's name. A missing name has no limit.
    limits: BTreeMap<String, u32>,
    /// By place and name: the level in parts, and the time at which it held.
    levels: BTreeMap<(String, String), (i64, Timestamp)>,
}

impl Buckets {
    /// Full buckets with these limits, in requests per second. A name without a limit is not limited.
    pub fn new<'a>(limits: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        Self::per(Duration::from_micros(SECOND.unsigned_abs()), limits)
    }

    /// Full buckets with limits for another period: at least a microsecond, at most an hour.
    pub fn per<'a>(period: Duration, limits: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        /// So that a full bucket of the highest limit is far below 64 bits.
        const LONGEST: Duration = Duration::from_secs(60 * 60);
        let limits = limits.into_iter().map(|(name, limit)| (name.to_owned(), limit)).collect();
        let cost = i64::try_from(period.min(LONGEST).as_micros()).unwrap_or(i64::MAX).max(1);
        Self { on: true, cost, limits, levels: BTreeMap::new() }
    }

    /// Seconds, rounded up, until a bucket that refused has a token again; `None`: never.
    pub fn wait(&self, place: &str, name: &str) -> Option<u32> {
        let rate = i64::from(*self.limits.get(name)?);
        let level = self.levels.get(&(place.to_owned(), name.to_owned())).map_or(0, |(level, _)| *level);
        let missing = (self.cost - level).max(0).unsigned_abs();
        let per_second = rate.saturating_mul(SECOND).unsigned_abs();
        if per_second == 0 { None } else { u32::try_from(missing.div_ceil(per_second)).ok() }
    }

    /// How far a bucket may be overdrawn: a tenth of a request. Clouds do not count to the microsecond, and a client that keeps its pace
    /// must not be throttled because one packet was faster than the one before. The overdraft is owed, so the pace over time stays exact.
    fn slack(&self) -> i64 {
        self.cost / 10
    }

    /// Turns all limits on or off. The buckets are full afterwards.
    pub fn turn(&mut self, on: bool) {
        self.on = on;
        self.levels.clear();
    }

    /// Changes one limit, in requests per period. Its buckets are full afterwards. Zero refuses everything.
    pub fn limit(&mut self, name: &str, limit: u32) {
        self.limits.insert(name.to_owned(), limit);
        self.levels.retain(|(_, limited), _| limited != name);
    }

    /// The limits in force; `None`: they are off.
    pub fn limits(&self) -> Option<&BTreeMap<String, u32>> {
        self.on.then_some(&self.limits)
    }

    /// Takes one token. `false`: the bucket is empty.
    pub fn take(&mut self, name: &str, now: Timestamp) -> bool {
        self.take_in("", name, now)
    }

    /// Takes one token of a place, such as a region, with buckets of its own and the same limits.
    pub fn take_in(&mut self, place: &str, name: &str, now: Timestamp) -> bool {
        let Some(limit) = self.limits.get(name).filter(|_| self.on) else {
            return true;
        };
        let level_of = (place.to_owned(), name.to_owned());
        let rate = i64::from(*limit);
        let full = rate * self.cost;
        let (level, since) = self.levels.get(&level_of).copied().unwrap_or((full, now));
        let level = now.micros_since(since).saturating_mul(rate).saturating_add(level).min(full);
        let granted = level >= self.cost - self.slack();
        self.levels.insert(level_of, (if granted { level - self.cost } else { level }, now));
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
    fn a_minute_holds_exactly_its_limit_and_fills_evenly() {
        let mut buckets = Buckets::per(Duration::from_secs(60), [("write", 60)]);
        let granted = (0..100).filter(|_| buckets.take("write", at(0))).count();
        assert_eq!(granted, 60);
        assert_eq!(buckets.wait("", "write"), Some(1));
        assert!(!buckets.take("write", at(SECOND / 2)));
        assert!(buckets.take("write", at(SECOND)));
        assert!(!buckets.take("write", at(SECOND)));
        assert_eq!((0..100).filter(|_| buckets.take("write", at(600 * SECOND))).count(), 60);
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
