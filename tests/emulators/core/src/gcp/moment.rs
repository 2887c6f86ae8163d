//! Moments and spans as JSON has them: RFC 3339 in UTC, and seconds with an `s`.

use std::time::Duration;

use crate::{Timestamp, time::SECOND};

const DAY: i64 = 24 * 60 * 60;

/// Year, month, day, hour, minute and second in UTC.
pub(super) fn civil(moment: Timestamp) -> (i64, i64, i64, i64, i64, i64) {
    let seconds = moment.micros().div_euclid(SECOND);
    let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    // Days are counted from 0000-03-01, so that leap days come last (Howard Hinnant, "chrono-compatible low-level date
    // algorithms", civil_from_days).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day, rest / 3600, rest / 60 % 60, rest % 60)
}

/// RFC 3339 with as many digits as protobuf writes: none, three or six.
pub(super) fn rfc3339(moment: Timestamp) -> String {
    let (year, month, day, hour, minute, second) = civil(moment);
    let fraction = match moment.micros().rem_euclid(SECOND) {
        0 => String::new(),
        micros if micros % 1000 == 0 => format!(".{:03}", micros / 1000),
        micros => format!(".{micros:06}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Reads RFC 3339 with any offset; years 1970 to 9999, digits behind the microsecond are dropped.
pub(super) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once(['T', 't'])?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (digits(date.next()?, 4)?, digits(date.next()?, 2)?, digits(date.next()?, 2)?);
    let (time, offset) = match time.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let at = time.rfind(['+', '-'])?;
            let (hours, minutes) = time[at + 1..].split_once(':')?;
            let seconds = digits(hours, 2)? * 3600 + digits(minutes, 2)? * 60;
            (&time[..at], if time[at..].starts_with('-') { -seconds } else { seconds })
        }
    };
    let (time, fraction) = time.split_once('.').map_or((time, None), |(time, fraction)| (time, Some(fraction)));
    let mut time = time.splitn(3, ':');
    let (hour, minute, second) = (digits(time.next()?, 2)?, digits(time.next()?, 2)?, digits(time.next()?, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=length).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (shifted_year, shifted_month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, year_of_era) = (shifted_year.div_euclid(400), shifted_year.rem_euclid(400));
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    let seconds = days * DAY + hour * 3600 + minute * 60 + second - offset;
    let micros = fraction.map_or(Some(0), micros)?;
    Some(Timestamp::from_micros(seconds * SECOND + micros))
}

/// A span as protobuf writes it: `86400s`, `0.200s`.
pub(super) fn span(duration: Duration) -> String {
    match duration.subsec_micros() {
        0 => format!("{}s", duration.as_secs()),
        micros if micros % 1000 == 0 => format!("{}.{:03}s", duration.as_secs(), micros / 1000),
        micros => format!("{}.{micros:06}s", duration.as_secs()),
    }
}

/// Reads a span that is not negative and at most 10,000 years long, as protobuf demands.
pub(super) fn parse_span(text: &str) -> Option<Duration> {
    const LONGEST: u64 = 315_576_000_000;
    let text = text.strip_suffix('s')?;
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let plain = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: u64 = whole.parse().ok().filter(|seconds| plain && *seconds <= LONGEST)?;
    let micros = fraction.map_or(Some(0), micros)?;
    Some(Duration::from_secs(seconds) + Duration::from_micros(micros.unsigned_abs()))
}

/// One to nine digits behind the point, as microseconds.
fn micros(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{fraction:0<9}")[..6].parse().ok()
}

/// Exactly so many digits.
fn digits(text: &str, count: usize) -> Option<i64> {
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
            ("9999-12-31T23:59:59Z", 253_402_300_799_000_000),
        ] {
            assert_eq!(rfc3339(Timestamp::from_micros(micros)), text);
            assert_eq!(parse_rfc3339(text), Some(Timestamp::from_micros(micros)), "{text}");
        }
        assert_eq!(parse_rfc3339("2026-11-24T00:30:00+02:00"), parse_rfc3339("2026-11-23T22:30:00Z"));
        assert_eq!(parse_rfc3339("2026-11-23T20:30:00.000-02:00"), parse_rfc3339("2026-11-23T22:30:00Z"));
        for wrong in ["", "2026-11-23", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T00:00:00"] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
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
