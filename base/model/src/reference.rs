use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Digest;

/// The name of an image in a registry: `[domain/]path[:tag][@digest]`, after the grammar of the distribution project's
/// reference package. It is kept in full (`docker.io/library/debian:bookworm`); people see [`Reference::familiar`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no [`Reference`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReferenceError {
    /// Empty, too long, or a character out of place.
    #[error("invalid reference format: \"{0}\"")]
    Format(String),
    /// Docker's familiar complaint, worth its own words.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// A name that could be mistaken for an image id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
}

const DEFAULT_DOMAIN: &str = "docker.io";
const OFFICIAL: &str = "library/";
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

impl Reference {
    /// The registry, with its port where one is named: `docker.io`, `127.0.0.1:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository inside the registry: `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, where one is named.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one is named.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What a registry is asked for: the digest before the tag, `latest` where there is neither.
    pub fn identifier(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The reference with the tag `latest` where it has neither tag nor digest.
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same repository under another tag, without a digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        valid_tag(tag)
            .then(|| Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
            .ok_or_else(|| ReferenceError::Format(format!("{self}:{tag}")))
    }

    /// The same repository at a digest, without a tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The repository without tag and digest.
    pub fn repository(&self) -> Self {
        Self { tag: None, digest: None, ..self.clone() }
    }

    /// As people write it: without `docker.io/` and `library/`.
    pub fn familiar(&self) -> String {
        let name = match (self.domain.as_str(), self.path.strip_prefix(OFFICIAL)) {
            (DEFAULT_DOMAIN, Some(official)) if !official.contains('/') => official.to_owned(),
            (DEFAULT_DOMAIN, _) => self.path.clone(),
            _ => format!("{}/{}", self.domain, self.path),
        };
        format!("{name}{}", self.suffix())
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let bad = || ReferenceError::Format(text.to_owned());
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest.parse::<Digest>().map_err(|_| bad())?)),
            None => (text, None),
        };
        if named.len() == 64 && digest.is_none() && Digest::from_hex(named).is_ok() {
            return Err(ReferenceError::LooksLikeId(named.to_owned()));
        }
        let (name, tag) = match named.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (named, None),
        };
        let (domain, path) = split_domain(name);
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase(path));
        }
        let valid = valid_domain(&domain)
            && path.split('/').all(valid_component)
            && tag.as_deref().is_none_or(valid_tag)
            && domain.len() + 1 + path.len() <= NAME_MAX;
        if valid { Ok(Self { domain, path, tag, digest }) } else { Err(bad()) }
    }
}

/// The first component is a domain when it has a dot or a port, is `localhost`, or has an upper-case letter.
fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    let official = domain == DEFAULT_DOMAIN && !path.contains('/');
    (domain.to_owned(), if official { format!("{OFFICIAL}{path}") } else { path.to_owned() })
}

fn valid_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let port_ok = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    port_ok
        && literal.map_or_else(|| host.split('.').all(label), |v6| v6.parse::<std::net::Ipv6Addr>().is_ok())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn valid_component(component: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let edges = bytes.first().is_some_and(|b| word(*b)) && bytes.last().is_some_and(|b| word(*b));
    let separators = component.split(|c: char| word(c as u8) && c.is_ascii()).filter(|s| !s.is_empty());
    edges && separators.into_iter().all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`
fn valid_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn familiar_names_grow_to_full_ones_and_back() {
        for (familiar, full) in [
            ("debian", "docker.io/library/debian"),
            ("debian:bookworm", "docker.io/library/debian:bookworm"),
            ("grafana/grafana", "docker.io/grafana/grafana"),
            ("localhost/a", "localhost/a"),
            ("127.0.0.1:5000/web/site:v1", "127.0.0.1:5000/web/site:v1"),
            ("[::1]:5000/a", "[::1]:5000/a"),
        ] {
            let reference: Reference = familiar.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
        }
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let both: Reference = format!("debian:12@{digest}").parse().unwrap();
        assert_eq!((both.tag(), both.identifier()), (Some("12"), digest));
        assert_eq!("debian".parse::<Reference>().unwrap().or_latest().identifier(), "latest");
    }

    #[test]
    fn what_the_grammar_excludes_is_refused() {
        for bad in [
            "",
            ":",
            "/",
            "a//b",
            "a/",
            "-a",
            "a-",
            "a___b",
            "a..b",
            "a:",
            "a:-x",
            "a@sha256:00",
            "a b",
            "x/../y",
            "a:b:c",
            "é",
            "host:99999/a",
            "host:0/a",
            "a.b:/c",
            "..",
            "./a",
            &format!("a:{}", "t".repeat(129)),
            &"a/".repeat(130),
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
        assert!(matches!("Debian".parse::<Reference>(), Err(ReferenceError::Uppercase(_))));
        assert!(matches!("ab".repeat(32).parse::<Reference>(), Err(ReferenceError::LooksLikeId(_))));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_parses_reads_back(text in "[a-zA-Z0-9:/@._\\[\\]é-]{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
                prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
            }
        }
    }
}
