use std::time::Duration;

use thiserror::Error;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid duration \"{0}\": numbers with the units ns, us, ms, s, m or h are wanted (as in 1m30s)")]
pub struct DurationError(String);

/// Reads a duration in Go's notation: `300ms`, `1.5h`, `1m30s`, `0`. Negative durations are refused.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let bad = || DurationError(text.to_owned());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanoseconds = 0.0_f64;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, tail) = rest.split_at(unit_at);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, after) = tail.split_at(end);
        nanoseconds += number.parse::<f64>().map_err(|_| bad())? * nanoseconds_in(unit).ok_or_else(bad)?;
        rest = after;
    }
    let fits = !text.is_empty() && nanoseconds < i64::MAX as f64;
    if fits { Ok(Duration::from_nanos(nanoseconds.round() as u64)) } else { Err(bad()) }
}

fn nanoseconds_in(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

/// Writes a time span as people read it, as Docker's tables do: `Less than a second`, `5 seconds`, `About a minute`, `2 hours`.
pub fn format_duration(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes) {
        (0, _) => "Less than a second".to_owned(),
        (1, _) => "1 second".to_owned(),
        (s, 0) => format!("{s} seconds"),
        (_, 1) => "About a minute".to_owned(),
        (_, m) if m < 60 => format!("{m} minutes"),
        _ => match hours {
            1 => "About an hour".to_owned(),
            h if h < 48 => format!("{h} hours"),
            h if h < 24 * 14 => format!("{} days", h / 24),
            h if h < 24 * 60 => format!("{} weeks", h / 24 / 7),
            h if h < 24 * 365 * 2 => format!("{} months", h / 24 / 30),
            h => format!("{} years", h / 24 / 365),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_go_notation() {
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        for bad in ["", "5", "-1s", "s", "1d", "1..5s", "999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn time_spans_read_as_in_docker_tables() {
        let shown = |seconds| format_duration(Duration::from_secs(seconds));
        assert_eq!(shown(0), "Less than a second");
        assert_eq!(shown(59), "59 seconds");
        assert_eq!(shown(61), "About a minute");
        assert_eq!(shown(3600), "About an hour");
        assert_eq!(shown(7200), "2 hours");
        assert_eq!(shown(86_400 * 3), "3 days");
    }
}
