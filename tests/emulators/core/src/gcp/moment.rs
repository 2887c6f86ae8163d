//! Times and durations in JSON: RFC 3339 in UTC, and seconds with an `s`.

use std::{str::FromStr, time::Duration};

use jiff::{
    SignedDuration,
    civil::{DateTime, date},
};

use crate::{Timestamp, time::SECOND};

/// What a [`Timestamp`] counts from.
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// Date and time in UTC. A time outside of the years -9999 to 9999 becomes the first or last of them.
pub(super) fn utc(moment: Timestamp) -> DateTime {
    EPOCH.saturating_add(SignedDuration::from_micros(moment.micros()))
}

/// RFC 3339 with as many digits as protobuf writes: none, three or six.
pub(super) fn rfc3339(moment: Timestamp) -> String {
    let format = match moment.micros().rem_euclid(SECOND) {
        0 => "%FT%TZ",
        micros if micros % 1000 == 0 => "%FT%T%.3fZ",
        _ => "%FT%T%.6fZ",
    };
    utc(moment).strftime(format).to_string()
}

/// Parses RFC 3339 with any offset, for the years 1970 to 9999. Digits after the microsecond are dropped.
///
/// The format is parsed here, and jiff computes the calendar: jiff accepts more formats than RFC 3339 has (no seconds, no separators, a
/// leap second, a time zone after the offset), and no time on the last day of 9999.
pub(super) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once(['T', 't'])?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (digits(date.next()?, 4)?, digits(date.next()?, 2)?, digits(date.next()?, 2)?);
    let (time, offset) = match time.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let at = time.rfind(['+', '-'])?;
            let (hours, minutes) = time[at + 1..].split_once(':')?;
            let seconds = digits::<i64>(hours, 2)? * 3600 + digits::<i64>(minutes, 2)? * 60;
            (&time[..at], if time[at..].starts_with('-') { -seconds } else { seconds })
        }
    };
    let (time, fraction) = time.split_once('.').map_or((time, None), |(time, fraction)| (time, Some(fraction)));
    let mut time = time.splitn(3, ':');
    let (hour, minute, second) = (digits(time.next()?, 2)?, digits(time.next()?, 2)?, digits(time.next()?, 2)?);
    let local = DateTime::new(year, month, day, hour, minute, second, 0).ok().filter(|local| (1970..=9999).contains(&local.year()))?;
    let micros = fraction.map_or(Some(0), micros)?;
    Some(Timestamp::from_micros((local.duration_since(EPOCH).as_secs() - offset) * SECOND + micros))
}

/// A duration as protobuf writes it: `86400s`, `0.200s`.
pub(super) fn span(duration: Duration) -> String {
    match duration.subsec_micros() {
        0 => format!("{}s", duration.as_secs()),
        micros if micros % 1000 == 0 => format!("{}.{:03}s", duration.as_secs(), micros / 1000),
        micros => format!("{}.{micros:06}s", duration.as_secs()),
    }
}

/// Parses a duration that is not negative and at most 10,000 years long, as protobuf demands.
pub(super) fn parse_span(text: &str) -> Option<Duration> {
    const LONGEST: u64 = 315_576_000_000;
    let text = text.strip_suffix('s')?;
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let plain = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: u64 = whole.parse().ok().filter(|seconds| plain && *seconds <= LONGEST)?;
    let micros = fraction.map_or(Some(0), micros)?;
    Some(Duration::from_secs(seconds) + Duration::from_micros(micros.unsigned_abs()))
}

/// One to nine digits after the point, as microseconds.
fn micros(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{fraction:0<9}")[..6].parse().ok()
}

/// Exactly `count` digits.
fn digits<N: FromStr>(text: &str, count: usize) -> Option<N> {
    (text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59.500Z", 951_868_799_500_000),
            ("2026-11-23T22:30:00.000001Z", 1_795_473_000_000_001),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000_000),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        ] {
            assert_eq!(rfc3339(Timestamp::from_micros(micros)), text);
            assert_eq!(parse_rfc3339(text), Some(Timestamp::from_micros(micros)), "{text}");
        }
        assert_eq!(parse_rfc3339("2026-11-24T00:30:00+02:00"), parse_rfc3339("2026-11-23T22:30:00Z"));
        assert_eq!(parse_rfc3339("2026-11-23T20:30:00.000-02:00"), parse_rfc3339("2026-11-23T22:30:00Z"));
        for wrong in [
            "",
            "2026-11-23",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T00:00:00",
            "2026-11-23T00:00Z",
            "2026-11-23 00:00:00Z",
            "20261123T000000Z",
            "2026-11-23T23:59:60Z",
            "2026-11-23T00:00:00Z[UTC]",
            "1969-12-31T23:59:59Z",
            "+2026-11-23T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_moment_is_too_far_away_to_be_written() {
        assert_eq!(rfc3339(Timestamp::from_micros(i64::MAX)), "9999-12-31T23:59:59.999999Z");
        assert_eq!(rfc3339(Timestamp::from_micros(-1)), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn spans_are_read_as_they_are_written() {
        for (text, micros) in [("0s", 0), ("86400s", 86_400_000_000), ("0.200s", 200_000), ("1.000001s", 1_000_001)] {
            assert_eq!(span(Duration::from_micros(micros)), text);
            assert_eq!(parse_span(text), Some(Duration::from_micros(micros)));
        }
        for wrong in ["", "s", "1", "-1s", "+1s", "1.s", ".5s", "1.0000000001s", "315576000001s", "1h"] {
            assert_eq!(parse_span(wrong), None, "{wrong}");
        }
    }
}
