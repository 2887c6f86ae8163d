//! Time, as the emulators count it.

use std::{ops::Add, time::Duration};

use serde::Serialize;

/// Microseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Timestamp(i64);

pub(crate) const SECOND: i64 = 1_000_000;

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, as AWS JSON has them: exact to the microsecond until the year 2255.
    #[expect(clippy::cast_precision_loss, reason = "2^53 microseconds reach the year 2255")]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / SECOND as f64
    }

    /// `None`: not a number, or outside the years 1970 to 9999.
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        /// 9999-12-31T23:59:59Z.
        const LAST: f64 = 253_402_300_799.0;
        (0.0..=LAST).contains(&seconds).then_some(Self((seconds * SECOND as f64) as i64))
    }

    /// The time since `earlier`, in microseconds; never negative.
    pub(crate) fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0).max(0)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates instead of wrapping.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}
