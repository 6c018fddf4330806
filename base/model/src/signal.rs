use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A Linux signal, 1 to 64, with the numbers of x86, arm and riscv (signal(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signal(i32);

/// Why a text is no [`Signal`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid signal: {0}")]
pub struct SignalError(String);

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const RT_MIN: i32 = 34;
const RT_MAX: i32 = 64;

impl Signal {
    /// SIGHUP.
    pub const HUP: Self = Self(1);
    /// SIGINT.
    pub const INT: Self = Self(2);
    /// SIGKILL.
    pub const KILL: Self = Self(9);
    /// SIGTERM, what `stop` sends when the image names nothing else.
    pub const TERM: Self = Self(15);

    /// The signal of this number.
    pub fn new(number: i32) -> Result<Self, SignalError> {
        if (1..=RT_MAX).contains(&number) { Ok(Self(number)) } else { Err(SignalError(number.to_string())) }
    }

    /// The number that kill(2) takes.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// All signals that have a name of their own, as `(name without SIG, number)`.
    pub fn named() -> impl Iterator<Item = (&'static str, i32)> {
        NAMES.iter().zip(1..).map(|(name, number)| (*name, number))
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    /// Reads a number, or a name with or without `SIG`, in either case: `9`, `KILL`, `sigkill`, `RTMIN+3`.
    fn from_str(text: &str) -> Result<Self, SignalError> {
        let bad = || SignalError(text.to_owned());
        if let Ok(number) = text.parse() {
            return Self::new(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let aliased = match name {
            "CLD" => "CHLD",
            "IOT" => "ABRT",
            "POLL" => "IO",
            other => other,
        };
        if let Some((_, number)) = Self::named().find(|(known, _)| *known == aliased) {
            return Ok(Self(number));
        }
        let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(""), _) => Some(RT_MIN),
            (_, Some("")) => Some(RT_MAX),
            (Some(plus), _) => {
                plus.strip_prefix('+').and_then(|n| n.parse::<i32>().ok()).and_then(|n| RT_MIN.checked_add(n))
            }
            (_, Some(minus)) => minus
                .strip_prefix('-')
                .and_then(|n| n.parse::<i32>().ok())
                .and_then(|n| RT_MAX.checked_sub(n)),
            _ => None,
        };
        real_time.filter(|number| (RT_MIN..=RT_MAX).contains(number)).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            number @ 1..=31 => write!(f, "SIG{}", NAMES[number as usize - 1]),
            number @ RT_MIN.. => write!(f, "SIGRTMIN+{}", number - RT_MIN),
            number => write!(f, "{number}"),
        }
    }
}

impl TryFrom<String> for Signal {
    type Error = SignalError;

    fn try_from(text: String) -> Result<Self, SignalError> {
        text.parse()
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> Self {
        signal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_reads_back_as_written() {
        for number in 1..=64 {
            let signal = Signal::new(number).unwrap();
            assert_eq!(signal.to_string().parse::<Signal>().unwrap(), signal);
        }
    }

    #[test]
    fn names_are_taken_in_every_usual_form() {
        for text in ["9", "KILL", "SIGKILL", "sigkill", "kill"] {
            assert_eq!(text.parse::<Signal>().unwrap(), Signal::KILL);
        }
        assert_eq!("RTMIN+3".parse::<Signal>().unwrap().number(), 37);
        assert_eq!("SIGRTMAX-1".parse::<Signal>().unwrap().number(), 63);
        for bad in ["", "0", "65", "-1", "SIG", "NOPE", "RTMIN+99", "RTMIN+2147483647", "RTMAX--2147483648"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
    }
}
