use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A moment in UTC, to the nanosecond. Its text is RFC 3339 as Go prints it: trailing zeros of the fraction are
/// dropped, the zone is `Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z, negative before.
    pub seconds: i64,
    /// 0 to 999,999,999, counted forward from `seconds`.
    pub nanoseconds: u32,
}

/// Why a text is no [`Timestamp`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid time \"{0}\": RFC 3339 (2026-01-31T12:00:00Z) or seconds since 1970 are wanted")]
pub struct TimestampError(String);

const SECONDS_A_DAY: i64 = 86_400;

impl Timestamp {
    /// Go's zero time, `0001-01-01T00:00:00Z`: what Docker's API gives for "never".
    pub const ZERO: Self = Self { seconds: -62_135_596_800, nanoseconds: 0 };

    /// Nanoseconds since 1970, saturating.
    pub fn unix_nanoseconds(&self) -> i64 {
        self.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(self.nanoseconds))
    }

    /// The time that has passed since `earlier`; zero where `earlier` is later.
    pub fn since(&self, earlier: Timestamp) -> Duration {
        let passed = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds)
            - i128::from(earlier.seconds) * 1_000_000_000
            - i128::from(earlier.nanoseconds);
        Duration::from_nanos(u64::try_from(passed.max(0)).unwrap_or(u64::MAX))
    }

    /// Reads `seconds[.fraction]` since 1970, the other form that `since` and `until` parameters have.
    pub fn from_unix_text(text: &str) -> Result<Self, TimestampError> {
        let bad = || TimestampError(text.to_owned());
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self {
            seconds: seconds.parse().map_err(|_| bad())?,
            nanoseconds: fraction_of(fraction).ok_or_else(bad)?,
        })
    }
}

fn fraction_of(digits: &str) -> Option<u32> {
    if digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    format!("{digits:0<9}").parse().ok()
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self { seconds: after.as_secs() as i64, nanoseconds: after.subsec_nanos() },
            Err(before) => {
                let before = before.duration();
                let borrow = i64::from(before.subsec_nanos() > 0);
                let nanoseconds = (1_000_000_000 - before.subsec_nanos()) % 1_000_000_000;
                Self { seconds: -(before.as_secs() as i64) - borrow, nanoseconds }
            }
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01, after Howard Hinnant's "chrono-compatible low-level date algorithms".
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.seconds.div_euclid(SECONDS_A_DAY));
        let second = self.seconds.rem_euclid(SECONDS_A_DAY);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
            second / 3600,
            second / 60 % 60,
            second % 60
        )?;
        if self.nanoseconds > 0 {
            let digits = format!("{:09}", self.nanoseconds);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        parse_rfc3339(text).ok_or_else(|| TimestampError(text.to_owned()))
    }
}

fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    if !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = &text[range];
        if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
    };
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, wanted)| text.as_bytes()[at] != wanted)
        || !matches!(text.as_bytes()[10], b'T' | b't' | b' ')
    {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let valid =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let rest = &text[19..];
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let fraction = rest[..zone_at].strip_prefix('.').unwrap_or("");
    let lone_dot = zone_at == 1 || (zone_at > 0 && !rest.starts_with('.'));
    if !valid || lone_dot {
        return None;
    }
    let offset = zone_offset(&rest[zone_at..])?;
    let seconds =
        days_from_civil(year, month, day) * SECONDS_A_DAY + hour * 3600 + minute * 60 + second - offset;
    Some(Timestamp { seconds, nanoseconds: fraction_of(fraction)? })
}

fn zone_offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (hours, minutes) = zone[1..].split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;

    fn try_from(text: String) -> Result<Self, TimestampError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_read_and_write() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-21T01:44:00Z", 1_795_225_440),
            ("0001-01-01T00:00:00Z", Timestamp::ZERO.seconds),
            ("1969-12-31T23:59:59Z", -1),
        ] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!((time.seconds, time.to_string().as_str()), (seconds, text));
        }
    }

    #[test]
    fn fractions_and_zones_are_kept_exactly() {
        let time: Timestamp = "2026-01-02T03:04:05.120000000+02:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-01-02T01:04:05.12Z");
        assert_eq!(
            Timestamp::from_unix_text("12.5").unwrap(),
            Timestamp { seconds: 12, nanoseconds: 500_000_000 }
        );
    }

    #[test]
    fn nonsense_is_refused_and_never_panics() {
        for bad in [
            "",
            "now",
            "2026-13-01T00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+aa:bb",
            "ééééééééééééééééééééé",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
        assert!(Timestamp::from_unix_text("1.0000000001").is_err());
    }
}
