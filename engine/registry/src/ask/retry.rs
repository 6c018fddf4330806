//! When a failed request is worth another try, and after which pause. Pure.

use std::time::Duration;

use http::StatusCode;

use crate::Config;

/// Whether a status may be gone a moment later.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

/// The pause before try number `done + 1`; `None` when it is time to give up. `asked` is what the registry wants.
pub(crate) fn pause(config: &Config, done: u32, asked: Option<Duration>) -> Option<Duration> {
    if done >= config.retries {
        return None;
    }
    let own = config.first_wait.saturating_mul(2_u32.saturating_pow(done)).min(config.max_wait);
    match asked {
        Some(asked) if asked > config.max_wait => None,
        Some(asked) => Some(asked.max(own)),
        None => Some(own),
    }
}

/// `Retry-After` in its form of seconds; the form of a date, which trusts two clocks, is passed over.
pub(crate) fn retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end() {
        let config = Config { retries: 3, first_wait: Duration::from_millis(100), ..Config::default() };
        let pauses: Vec<_> = (0..4).map(|done| pause(&config, done, None).map(|p| p.as_millis())).collect();
        assert_eq!(pauses, [Some(100), Some(200), Some(400), None]);
        assert_eq!(
            pause(&Config { retries: u32::MAX, ..config }, u32::MAX - 1, None),
            Some(Duration::from_secs(10))
        );
    }

    #[test]
    fn a_registry_that_asks_for_patience_gets_some_but_not_any() {
        let config = Config { max_wait: Duration::from_secs(5), ..Config::default() };
        assert_eq!(pause(&config, 0, retry_after("3")), Some(Duration::from_secs(3)));
        assert_eq!(pause(&config, 0, retry_after("3600")), None);
        assert_eq!(pause(&config, 0, retry_after("99999999999999999999")), Some(config.first_wait));
        assert_eq!(retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), None);
    }
}
