//! How fast an answer has to come: one byte now and then keeps a connection alive, and whoever waits for what it brings.

use std::time::Duration;

use crate::{Config, Error};

/// Bytes a second that are too few, on average over a [`Pace::window`].
const SLOWEST: u64 = 1 << 10;

/// What an answer has brought, and how long it was waited for. The time that our own disk takes does not count.
#[derive(Debug)]
pub(crate) struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Measured over twice the time that a registry may be silent: a minute.
    pub(crate) fn new(config: &Config) -> Self {
        Self { window: config.read_timeout * 2, waited: Duration::ZERO, bytes: 0 }
    }

    /// Counts what came after so long; an error where it was too little.
    pub(crate) fn keep(&mut self, waited: Duration, bytes: usize, what: &str) -> Result<(), Error> {
        (self.waited, self.bytes) = (self.waited + waited, self.bytes + bytes as u64);
        if self.waited < self.window {
            return Ok(());
        }
        let (seconds, came) = (self.waited.as_secs_f64(), self.bytes);
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if came as f64 >= SLOWEST as f64 * seconds {
            return Ok(());
        }
        Err(Error::Slow { what: what.to_owned(), bytes: came, seconds: seconds as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drip_is_too_slow_and_a_slow_line_is_not() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(&Config::default());
        assert!((0..600).all(|_| pace.keep(second, 1100, "it").is_ok()));
        let told = (0..60).find_map(|_| pace.keep(second, 1000, "it").err());
        assert_eq!(told, Some(Error::Slow { what: "it".into(), bytes: 60_000, seconds: 60 }));
        assert!(pace.keep(second * 59, 0, "it").is_ok(), "a pause is another limit's");
    }
}
