//! Values as tables show them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tare_model::{Timestamp, format_bytes, format_duration};

/// At most so many letters, the last one an ellipsis where some are left out.
pub(crate) fn shortened(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}

/// `a=b,c=d`
pub(crate) fn labels(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// `2 hours`, since then until now.
pub(crate) fn ago(seconds: i64) -> String {
    let passed = Timestamp::from(SystemTime::now()).since(Timestamp { seconds, nanoseconds: 0 });
    format_duration(Duration::from_secs(passed.as_secs()))
}

/// `2026-01-02 03:04:05 +0000 UTC`, as Go prints a time.
pub(crate) fn moment(time: Timestamp) -> String {
    time.to_string().replacen('T', " ", 1).replace('Z', " +0000 UTC")
}

/// A size that a daemon counted; one that it did not count is unknown.
pub(crate) fn size_of(bytes: i64) -> String {
    u64::try_from(bytes).map_or_else(|_| "N/A".into(), format_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_ends_in_an_ellipsis() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdefg", 6), "abcde…");
        assert_eq!(shortened("ääääääää", 3), "ää…");
    }

    #[test]
    fn times_are_gos() {
        let time: Timestamp = "2024-01-02T03:04:05.123Z".parse().unwrap();
        assert_eq!(moment(time), "2024-01-02 03:04:05.123 +0000 UTC");
    }
}
