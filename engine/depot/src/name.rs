//! The names that become paths. Pure.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Error;

/// A repository's name (distribution-spec, *pulling manifests*): lower-case components with single separators inside them, so
/// that no component is `..`, empty, or begins with the underscore of our own files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// A tag (distribution-spec): at most 128 letters, which do not begin with a dot or a dash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// What most clients allow at most.
const LONGEST: usize = 255;

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let sound = text.len() <= LONGEST && text.split('/').all(is_component);
        sound
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| Error::NameInvalid(text.chars().take(LONGEST).collect()))
    }
}

fn is_component(text: &str) -> bool {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()));
    let separators: Vec<&str> = text
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .filter(|s| !s.is_empty())
        .collect();
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    words.count() > 0
        && ends(text.chars().next())
        && ends(text.chars().next_back())
        && separators.iter().all(|s| matches!(*s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let sound = matches!(text.len(), 1..=128)
            && letter(text.as_bytes()[0])
            && text.bytes().all(|b| letter(b) || b == b'.' || b == b'-');
        sound
            .then(|| Self(text.to_owned()))
            .ok_or_else(|| Error::TagInvalid(text.chars().take(LONGEST).collect()))
    }
}

impl Name {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Below the directory of all repositories.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(&self.0)
    }
}

impl Tag {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_the_grammar() {
        for good in ["a", "library/debian", "a.b", "a_b", "a__b", "a---b", "0/1/2", "a/b.c/d-e"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", ".", "..", "../a", "a/../b", "a/..", "_a", "a_", "a..b", "a___b",
            "A", "a b", "a\0", "a%2e", "-a", "a-", "a._b", "ä", "_tags/a", &long,
        ] {
            assert!(matches!(bad.parse::<Name>(), Err(Error::NameInvalid(_))), "{bad}");
        }
    }

    #[test]
    fn tags_are_those_of_the_grammar() {
        for good in ["latest", "v1.2-3_4", "_", "A", &"a".repeat(128)] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", ".a", "a/b", "a b", "a\0", "ä", &"a".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leads_out_or_to_our_own_files(text in "[a-z0-9._/-]{0,40}") {
            if let Ok(name) = text.parse::<Name>() {
                let path = name.path();
                prop_assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(_))));
                prop_assert!(path.iter().all(|c| !c.to_string_lossy().starts_with('_')));
            }
        }
    }
}
