use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What an image runs on: `os/architecture[/variant]`, in Go's names (OCI image-spec, *image index*, "platform").
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, `v8`, …; absent where the architecture has one form only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text is no [`Platform`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("platform \"{0}\" is not of the form os/architecture[/variant]")]
pub struct PlatformError(String);

impl Platform {
    /// The platform this program was built for.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8".to_owned())),
            "arm" => ("arm", Some("v7".to_owned())),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant }
    }

    /// Whether an image for `self` runs where `wanted` is asked for. A variant that one side leaves out is no obstacle.
    pub fn satisfies(&self, wanted: &Platform) -> bool {
        let variants = match (&self.variant, &wanted.variant) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => true,
        };
        self.os == wanted.os && self.architecture == wanted.architecture && variants
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let bad = || PlatformError(text.to_owned());
        let word = |w: &&str| {
            !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        let words: Vec<&str> = text.split('/').collect();
        if !words.iter().all(word) {
            return Err(bad());
        }
        match words[..] {
            [word] => Self::of_word(word).ok_or_else(bad),
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(bad()),
        }
    }
}

/// What a platform may be named by alone, as containerd's `platforms.Parse` knows them.
const SYSTEMS: [&str; 4] = ["darwin", "freebsd", "linux", "windows"];
const ARCHITECTURES: [&str; 14] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
    "riscv64", "s390x", "wasm",
];

impl Platform {
    /// An operating system stands for this machine's architecture, an architecture for Linux.
    fn of_word(word: &str) -> Option<Self> {
        if SYSTEMS.contains(&word) {
            return Some(Self { os: word.to_owned(), ..Self::host() });
        }
        let found = Self::new("linux", word, None);
        ARCHITECTURES.contains(&found.architecture.as_str()).then_some(found)
    }

    fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "i386" => "386",
            other => other,
        };
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_match_with_and_without_a_variant() {
        let arm: Platform = "linux/arm64".parse().unwrap();
        assert!(arm.satisfies(&"linux/arm64/v8".parse().unwrap()));
        assert!(!arm.satisfies(&"linux/amd64".parse().unwrap()));
        assert_eq!("linux/x86_64".parse::<Platform>().unwrap().to_string(), "linux/amd64");
        assert!("linux//x".parse::<Platform>().is_err());
    }

    #[test]
    fn one_word_is_a_system_or_an_architecture() {
        let read = |text: &str| text.parse::<Platform>().map(|platform| platform.to_string());
        assert_eq!(read("arm64"), Ok("linux/arm64".to_owned()));
        assert_eq!(read("x86_64"), Ok("linux/amd64".to_owned()));
        assert_eq!("linux".parse(), Ok(Platform::host()));
        assert!(read("bogus").is_err() && read("").is_err());
    }
}
