//! Lists of numbers, as cpuset(7) writes them.

use crate::error::{Error, Result};

/// As many processors or memory nodes as are told apart.
pub(super) const MOST: usize = 1024;

/// `0-3,7`, each below [`MOST`].
pub(super) fn numbers(field: &str, text: &str) -> Result<Vec<usize>> {
    let wrong = || Error::spec(field, format!("must be a list as in 0-3,7, not \"{text}\""));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number: usize = text.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        if number < MOST {
            Ok(number)
        } else {
            Err(Error::spec(field, format!("must name numbers below {MOST}")))
        }
    };
    let mut list = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(wrong());
        }
        list.extend(first..=last);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(numbers("f", "0-2,7,1023").unwrap(), [0, 1, 2, 7, 1023]);
        assert_eq!(numbers("f", "5").unwrap(), [5]);
        for wrong in ["", "a", "3-1", "1,,2", "-1", "1-", "+1", "1024", "0-99999999999999999999", "0x1"] {
            assert!(numbers("f", wrong).is_err(), "{wrong}");
        }
    }
}
