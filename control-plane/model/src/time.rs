//! Times and spans. No clock is here: "now" is always an argument.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A moment, in microseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in JSON and for people, and as BIGINT in databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time}"),
            // Outside the years -9999 to 9999. No parser reads this back, but it does not panic.
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        Ok(Self(text.parse::<jiff::Timestamp>()?.as_microsecond()))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.micros()))
    }
}

impl Sub for Timestamp {
    type Output = Span;

    /// How long after `other` this is. Zero if it is earlier.
    fn sub(self, other: Self) -> Span {
        Span(u64::try_from(self.0.saturating_sub(other.0)).unwrap_or(0))
    }
}

/// A length of time: a whole number of microseconds, never negative. Written as a number with one unit: `90d`, `36h`, `15m`, `10s`,
/// `250ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[0-9]{1,6}(d|h|m|s|ms)$"))]
pub struct Span(u64);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration: a whole number of at most six digits and one of d, h, m, s, ms, as in `90d`")]
pub struct SpanError(String);

/// Microseconds of each unit, longest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000)];

impl Span {
    pub const ZERO: Self = Self(0);

    /// Days of 24 hours.
    #[must_use]
    pub const fn days(days: u32) -> Self {
        Self(days as u64 * 86_400_000_000)
    }

    #[must_use]
    pub const fn seconds(seconds: u32) -> Self {
        Self(seconds as u64 * 1_000_000)
    }

    #[must_use]
    pub const fn millis(millis: u32) -> Self {
        Self(millis as u64 * 1_000)
    }

    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self(self.0.saturating_mul(u64::from(times)))
    }

    /// Rounded up; 0 parts count as 1.
    #[must_use]
    pub fn divided_by(self, parts: u32) -> Self {
        Self(self.0.div_ceil(u64::from(parts.max(1))))
    }

    /// `None`: the number is negative.
    #[must_use]
    pub fn from_micros(micros: i64) -> Option<Self> {
        u64::try_from(micros).ok().map(Self)
    }

    /// At most `i64::MAX`.
    #[must_use]
    pub fn micros(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    #[must_use]
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0)
    }
}

impl Add for Span {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Span {
    type Output = Self;

    /// The difference, or zero if `other` is longer.
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = UNITS.iter().find(|(_, size)| self.0.is_multiple_of(*size)).unwrap_or(&("ms", 1_000));
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let error = || SpanError(text.chars().take(40).collect());
        let digits = text.chars().take_while(char::is_ascii_digit).count();
        if digits == 0 || digits > 6 {
            return Err(error());
        }
        let (number, unit) = text.split_at(digits);
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
        Ok(Self(number.parse::<u64>().map_err(|_| error())? * size))
    }
}

impl TryFrom<String> for Span {
    type Error = SpanError;

    fn try_from(text: String) -> Result<Self, SpanError> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_they_are_written() {
        for text in ["90d", "36h", "15m", "10s", "250ms"] {
            assert_eq!(text.parse::<Span>().map(|span| span.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "d", "90", "1.5d", "-1d", "90 d", "1d2h", "1234567d", "1w", "٣d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn times_are_read_as_they_are_written() {
        let time = Timestamp(1_790_000_000_123_456);
        assert_eq!(time.to_string().parse::<Timestamp>().ok(), Some(time));
        assert_eq!((time + Span::days(1)) - time, Span::days(1));
        assert_eq!(time - (time + Span::days(1)), Span::ZERO);
    }
}
