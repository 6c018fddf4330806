//! Moments that a person names.

use std::time::SystemTime;

use tare_model::{Timestamp, parse_duration};

use crate::failure::{Failure, Result};

/// Reads `--since` and `--until`: RFC 3339, a date, seconds since 1970, or a time span before now (`10m`). Gives seconds
/// and nanoseconds since 1970, which every daemon reads.
pub(crate) fn moment(text: &str) -> Result<String> {
    let time = read(text, Timestamp::from(SystemTime::now()));
    let time = time.ok_or_else(|| {
        Failure::new(format!("invalid time \"{text}\""))
            .hint("say it as 2026-01-31T12:00:00Z, 2026-01-31, 1700000000 or 10m")
    })?;
    Ok(format!("{}.{:09}", time.seconds, time.nanoseconds))
}

fn read(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(span) = parse_duration(text)
        && text != "0"
    {
        let nanoseconds = i64::from(now.nanoseconds) - i64::from(span.subsec_nanos());
        let borrowed = i64::from(nanoseconds < 0);
        let seconds = now.seconds - i64::try_from(span.as_secs()).ok()? - borrowed;
        return Some(Timestamp {
            seconds,
            nanoseconds: u32::try_from(nanoseconds + borrowed * 1_000_000_000).ok()?,
        });
    }
    if let Ok(time) = Timestamp::from_unix_text(text) {
        return Some(time);
    }
    // Docker's shorter forms mean the beginning of what they name, here in UTC.
    let completions = ["", "Z", ":00Z", "T00:00:00Z"];
    completions.iter().find_map(|rest| format!("{text}{rest}").parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_dockers_forms() {
        let now = Timestamp { seconds: 1000, nanoseconds: 5 };
        let seconds = |text| read(text, now).map(|time| (time.seconds, time.nanoseconds));
        assert_eq!(seconds("10m"), Some((400, 5)));
        assert_eq!(seconds("1s6ns"), Some((998, 999_999_999)));
        assert_eq!(seconds("0"), Some((0, 0)));
        assert_eq!(seconds("1700000000.5"), Some((1_700_000_000, 500_000_000)));
        assert_eq!(seconds("1970-01-02"), Some((86_400, 0)));
        assert_eq!(seconds("1970-01-01T00:01"), Some((60, 0)));
        assert_eq!(seconds("1970-01-01T00:00:07"), Some((7, 0)));
        assert_eq!(seconds("1970-01-01T01:00:00+01:00"), Some((0, 0)));
        assert_eq!(seconds("yesterday"), None);
    }
}
