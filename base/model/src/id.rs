use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An object's identifier: 64 lower-case hexadecimal digits, random, as Docker clients expect of containers,
/// networks and exec sessions.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

/// A name that a person gave to a container, volume or network: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most 255 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is no [`Id`] or [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdError {
    /// Not 64 lower-case hexadecimal digits.
    #[error("\"{0}\" is no id: 64 lower-case hexadecimal digits are wanted")]
    Id(String),
    /// A character or a length that names do not have.
    #[error("invalid name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, 2 to 255 characters")]
    Name(String),
}

impl Id {
    /// The id made of 32 random bytes.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        use fmt::Write;
        Self(bytes.iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }))
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, as tables show them.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl Name {
    /// The name as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let valid = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if valid { Ok(Self(text.to_owned())) } else { Err(IdError::Id(text.to_owned())) }
    }
}

impl FromStr for Name {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        let valid = first && rest && (2..=255).contains(&text.len());
        if valid { Ok(Self(text.to_owned())) } else { Err(IdError::Name(text.to_owned())) }
    }
}

macro_rules! text_type {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text_type!(Id);
text_type!(Name);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_64_hexadecimal_digits() {
        let id = Id::from_random([0xab; 32]);
        assert_eq!(id.as_str().parse::<Id>().unwrap(), id);
        assert_eq!(id.short(), "abababababab");
        assert!("AB".repeat(32).parse::<Id>().is_err());
        assert!("../../etc".parse::<Id>().is_err());
    }

    #[test]
    fn names_never_hold_a_path() {
        assert!("web-1.a_b".parse::<Name>().is_ok());
        for bad in ["", "a", ".a", "-a", "a/b", "a b", "ä1", &"a".repeat(256)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
