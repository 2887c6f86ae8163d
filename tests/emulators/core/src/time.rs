//! A moment, as the emulators count time.

use std::{ops::Add, time::Duration};

use serde::Serialize;

/// A moment in microseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Timestamp(i64);

/// Microseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000;

impl Timestamp {
    /// The moment that is `micros` microseconds after the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, as AWS JSON writes them: exact to the microsecond until the year 2255.
    #[expect(clippy::cast_precision_loss, reason = "2^53 microseconds reach the year 2255")]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / SECOND as f64
    }

    /// The moment `seconds` after the epoch; nothing if that is not a number or outside years 1970 to 9999.
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        /// 9999-12-31T23:59:59Z.
        const LAST: f64 = 253_402_300_799.0;
        (0.0..=LAST).contains(&seconds).then_some(Self((seconds * SECOND as f64) as i64))
    }

    /// How long after `earlier` this is, in microseconds; nothing is below zero.
    pub(crate) fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).max(0)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Stops at the end of time rather than wrap.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}
