//! Shell patterns as Go's `path.Match` has them: `*` and `?` cover no slash, `[a-c]` and `[^x]` one character of a class,
//! a backslash takes the meaning off what follows. Pure.

use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::str::Chars;

use crate::{Error, Result};

/// A pattern that was read.
pub(crate) struct Pattern(Vec<Piece>);

enum Piece {
    Any,
    One,
    Of { negated: bool, ranges: Vec<RangeInclusive<char>> },
    Exactly(char),
}

impl Piece {
    fn fits(&self, c: char) -> bool {
        match self {
            Self::Any | Self::One => c != '/',
            Self::Of { negated, ranges } => ranges.iter().any(|range| range.contains(&c)) != *negated,
            Self::Exactly(wanted) => c == *wanted,
        }
    }
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut letters = text.chars().peekable();
        let mut pieces = Vec::new();
        while let Some(letter) = letters.next() {
            pieces.push(match letter {
                '*' => Piece::Any,
                '?' => Piece::One,
                '[' => class(&mut letters)?,
                '\\' => Piece::Exactly(letters.next().ok_or_else(malformed)?),
                other => Piece::Exactly(other),
            });
        }
        Ok(Self(pieces))
    }

    /// Whether the whole text fits.
    pub(crate) fn fits(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let mut reached = vec![false; text.len() + 1];
        reached[0] = true;
        for piece in &self.0 {
            if matches!(piece, Piece::Any) {
                (0..text.len()).for_each(|at| reached[at + 1] |= reached[at] && piece.fits(text[at]));
                continue;
            }
            (0..text.len()).rev().for_each(|at| reached[at + 1] = reached[at] && piece.fits(text[at]));
            reached[0] = false;
        }
        reached[text.len()]
    }
}

/// What stands behind `[`.
fn class(letters: &mut Peekable<Chars<'_>>) -> Result<Piece> {
    let negated = letters.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    while ranges.is_empty() || letters.next_if_eq(&']').is_none() {
        let low = member(letters)?;
        let high = if letters.next_if_eq(&'-').is_some() { member(letters)? } else { low };
        ranges.push(low..=high);
    }
    Ok(Piece::Of { negated, ranges })
}

fn member(letters: &mut Peekable<Chars<'_>>) -> Result<char> {
    match letters.next() {
        None | Some(']' | '-') => Err(malformed()),
        Some('\\') => letters.next().ok_or_else(malformed),
        Some(other) => Ok(other),
    }
}

fn malformed() -> Error {
    Error::invalid("syntax error in pattern")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern).unwrap().fits(text)
    }

    #[test]
    fn stars_stop_at_slashes() {
        assert!(fits("deb*:*", "debian:12") && fits("*/b?x", "a/box") && fits("", ""));
        assert!(!fits("*", "a/b") && !fits("deb?", "debian") && !fits("", "a"));
    }

    #[test]
    fn classes_and_backslashes_are_understood() {
        assert!(fits("web:[12]", "web:2") && fits("web:[a-c]", "web:b") && fits("web:[^a-c]", "web:d"));
        assert!(!fits("web:[12]", "web:3") && !fits("web:[^12]", "web:2") && fits(r"a\*[\]]", "a*]"));
        for bad in ["[", "[]", "[]a]", "[a", "[a-]", "[-x]", "\\", "[\\"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(pattern in r"[a-c/?*^\[\]\\-]{0,8}", text in "[a-c/-]{0,8}") {
            if let Ok(pattern) = Pattern::parse(&pattern) {
                pattern.fits(&text);
            }
        }
    }
}
