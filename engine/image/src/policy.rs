//! What the administrator wants of images: which repositories are accepted, refused, or accepted when somebody who is
//! trusted has signed. Pure but for [`Policy::read`].

mod key;
mod permit;
pub(crate) mod signature;

use std::fs;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use tare_model::Reference;

use crate::{Error, Result};

use key::Key;
pub(crate) use signature::Verified;

/// A policy that is longer is a mistake.
const LIMIT: u64 = 1 << 20;

/// Rules for repositories, the first that fits counts.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    /// Where no rule fits.
    otherwise: Verdict,
}

#[derive(Clone, Debug)]
struct Rule {
    /// `registry/repository`, with `*` for any letters.
    pattern: String,
    verdict: Verdict,
}

/// What becomes of an image.
#[derive(Clone, Debug, Default)]
pub(crate) enum Verdict {
    #[default]
    Accept,
    Reject,
    Signed(Signed),
}

/// Accepted when one of these keys has signed it.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) keys: Vec<Key>,
    /// Whether a signature made for another repository counts, as of an image that was copied here.
    pub(crate) any_name: bool,
}

/// The file's form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default)]
    default: Option<GivenVerdict>,
    #[serde(default)]
    rules: Vec<GivenRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenRule {
    pattern: String,
    policy: GivenVerdict,
}

/// `"accept"`, `"reject"`, or `{"signedBy": …}`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum GivenVerdict {
    Accept,
    Reject,
    SignedBy(GivenKeys),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GivenKeys {
    /// Files, or the keys themselves in PEM.
    keys: Vec<String>,
    /// `repository`, which is usual, or `any`.
    #[serde(default)]
    identity: Identity,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Identity {
    #[default]
    Repository,
    Any,
}

impl Policy {
    /// Reads a policy file. One that is not there accepts everything; one that cannot be understood is an error, and never
    /// taken for one that accepts.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |cause: String| Error::Policy(format!("{}: {cause}", path.display()));
        let mut text = String::new();
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error.to_string())),
        };
        file.take(LIMIT).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("/"))).map_err(failed)
    }

    fn parse(text: &str, directory: &Path) -> std::result::Result<Self, String> {
        let given: Given = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let rule = |given: GivenRule| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/:*[]".contains(&b);
            if given.pattern.is_empty() || !given.pattern.bytes().all(plain) {
                return Err(format!("the pattern \"{}\" is no registry/repository with *", given.pattern));
            }
            Ok(Rule { pattern: given.pattern, verdict: verdict(given.policy, directory)? })
        };
        let rules = given.rules.into_iter().map(rule).collect::<std::result::Result<_, _>>()?;
        let otherwise = given.default.map_or(Ok(Verdict::Accept), |given| verdict(given, directory))?;
        Ok(Self { rules, otherwise })
    }

    /// What holds for a repository.
    pub(crate) fn of(&self, reference: &Reference) -> &Verdict {
        let names = [reference.domain(), &canonical(reference.domain())]
            .map(|domain| format!("{domain}/{}", reference.path()));
        let means = |rule: &&Rule| names.iter().any(|name| fits(rule.pattern.as_bytes(), name.as_bytes()));
        self.rules.iter().find(means).map_or(&self.otherwise, |rule| &rule.verdict)
    }

    /// What holds for an image without any name.
    pub(crate) fn of_nameless(&self) -> &Verdict {
        &self.otherwise
    }
}

fn verdict(given: GivenVerdict, directory: &Path) -> std::result::Result<Verdict, String> {
    let keys = match given {
        GivenVerdict::Accept => return Ok(Verdict::Accept),
        GivenVerdict::Reject => return Ok(Verdict::Reject),
        GivenVerdict::SignedBy(keys) => keys,
    };
    if keys.keys.is_empty() {
        return Err(
            "signedBy names no keys: nothing could ever be accepted, which \"reject\" says better".to_owned()
        );
    }
    let read = |text: &String| {
        if text.contains("-----BEGIN") {
            return Key::parse(text);
        }
        let path = directory.join(text);
        let pem = fs::read_to_string(&path).map_err(|error| format!("key {}: {error}", path.display()))?;
        Key::parse(&pem).map_err(|error| format!("key {}: {error}", path.display()))
    };
    let any_name = matches!(keys.identity, Identity::Any);
    let keys = keys.keys.iter().map(read).collect::<std::result::Result<_, _>>()?;
    Ok(Verdict::Signed(Signed { keys, any_name }))
}

/// The name that rules know a registry by: others lead to the same one, and whoever writes a Dockerfile chooses.
fn canonical(domain: &str) -> String {
    let domain = domain.to_ascii_lowercase();
    let host = match domain.rsplit_once(':') {
        Some((host, port)) if port.parse() == Ok(443_u16) => host,
        _ => &domain,
    };
    match host {
        "registry-1.docker.io" | "index.docker.io" | "registry.hub.docker.com" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

/// Whether a pattern fits a whole name; `*` is any number of any letters.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, seen));
            at += 1;
        } else if pattern.get(at) == Some(&name[seen]) {
            (at, seen) = (at + 1, seen + 1);
        } else if let Some((before, from)) = star {
            // The star takes one letter more.
            star = Some((before, from + 1));
            (at, seen) = (before + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeiM5di2zN7j3FkXoNE/1q7AjlljH\\nIgSZv9BN0AvLOPtbWwZG/06Lr9S/z4zAKm9XPgkpdc0+22vK0QfQQvVr7g==\\n-----END PUBLIC KEY-----";

    fn parse(text: &str) -> std::result::Result<Policy, String> {
        Policy::parse(text, Path::new("/nowhere"))
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let policy = parse(
            r#"{"default":"reject","rules":[
                {"pattern":"reg.example:5000/prod/public/*","policy":"accept"},
                {"pattern":"reg.example:5000/*","policy":"reject"}]}"#,
        );
        let policy = policy.unwrap();
        let of = |name: &str| policy.of(&name.parse().unwrap());
        assert!(matches!(of("reg.example:5000/prod/public/web:1"), Verdict::Accept));
        assert!(matches!(of("reg.example:5000/prod/web:1"), Verdict::Reject));
        assert!(matches!(of("debian"), Verdict::Reject));
        assert!(matches!(Policy::default().of(&"debian".parse().unwrap()), Verdict::Accept));
    }

    #[test]
    fn a_registry_is_meant_by_each_of_its_names() {
        let policy = parse(
            r#"{"rules":[{"pattern":"reg.example/*","policy":"reject"},
                {"pattern":"docker.io/*","policy":"reject"},
                {"pattern":"other.example:443/*","policy":"reject"}]}"#,
        );
        let policy = policy.unwrap();
        let is_refused = |name: &str| matches!(policy.of(&name.parse().unwrap()), Verdict::Reject);
        for name in [
            "reg.example/a",
            "REG.example/a",
            "reg.example:443/a",
            "reg.example:0443/a",
            "debian",
            "registry-1.docker.io/library/debian",
            "Index.Docker.io:443/library/debian",
            "other.example:443/a",
        ] {
            assert!(is_refused(name), "{name}");
        }
        for name in ["reg.example:5000/a", "reg.example.org/a", "other.example/a"] {
            assert!(!is_refused(name), "{name}");
        }
    }

    #[test]
    fn patterns_fit_whole_names() {
        for (pattern, name, expected) in [
            ("docker.io/library/debian", "docker.io/library/debian", true),
            ("docker.io/library/debian", "docker.io/library/debian2", false),
            ("docker.io/*", "docker.io/library/debian", true),
            ("*", "a/b", true),
            ("*/debian", "docker.io/library/debian", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("docker.io/*", "evil.example/docker.io/x", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_an_error_and_never_accepts() {
        let signed =
            format!(r#"{{"rules":[{{"pattern":"a/*","policy":{{"signedBy":{{"keys":["{KEY}"]}}}}}}]}}"#);
        assert!(parse(&signed).is_ok(), "{:?}", parse(&signed));
        for bad in [
            "{",
            r#"{"default":"maybe"}"#,
            r#"{"rules":[{"pattern":"a"}]}"#,
            r#"{"rules":[{"pattern":"","policy":"accept"}]}"#,
            r#"{"rules":[{"pattern":"a b","policy":"accept"}]}"#,
            r#"{"rules":[{"pattern":"a","policy":{"signedBy":{"keys":[]}}}]}"#,
            r#"{"rules":[{"pattern":"a","policy":{"signedBy":{"keys":["no-such.pub"]}}}]}"#,
            r#"{"rules":[{"pattern":"a","policy":{"signedBy":{"keys":["-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]}}}]}"#,
            r#"{"rule":[]}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(Policy::read(Path::new("/no/such/policy.json")).is_ok());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.json");
        fs::write(&path, "").unwrap();
        assert!(Policy::read(&path).unwrap_err().to_string().contains("policy.json"));
    }
}
