//! Device rules in systemd's words: systemd.resource-control(5), `DeviceAllow=`.

use super::{Kind, MKNOD, READ, Rule, WRITE};
use crate::error::{Error, Result};

/// What systemd is to allow where it keeps a v1 list of devices: a name of devices and letters of access each. None =
/// everything.
///
/// # Errors
/// Rules that its list cannot say: it knows no exceptions and no number that holds in every driver.
pub(crate) fn allowed(rules: &[Rule]) -> Result<Option<Vec<(String, String)>>> {
    let unsaid = |reason: &str| Error::InvalidLimit {
        field: "devices",
        reason: format!("{reason} cannot be told to systemd on cgroup v1: leave out --systemd-cgroup"),
    };
    let from = rules.iter().rposition(Rule::is_everything);
    let exceptions = &rules[from.map_or(0, |at| at + 1)..];
    if from.is_some_and(|at| rules[at].allow) {
        return match exceptions.iter().any(|rule| !rule.allow) {
            true => Err(unsaid("a denial behind an allowance of everything")),
            false => Ok(None),
        };
    }
    let mut list: Vec<(String, String)> = Vec::new();
    for (at, rule) in exceptions.iter().enumerate() {
        if rule.allow {
            let names = names(rule).ok_or_else(|| unsaid("a minor number of every driver"))?;
            list.extend(names.into_iter().map(|name| (name, rule.letters())));
        } else if exceptions[..at].iter().any(|before| before.allow && before.meets(rule)) {
            return Err(unsaid("a denial of what was allowed before"));
        }
    }
    Ok(Some(list))
}

fn names(rule: &Rule) -> Option<Vec<String>> {
    let kinds: &[&str] = match rule.kind {
        Kind::Any => &["block", "char"],
        Kind::Block => &["block"],
        Kind::Char => &["char"],
    };
    let name = |kind: &&str| match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (Some(major), None) => Some(format!("{kind}-{major}")),
        (None, None) => Some(format!("{kind}-*")),
        (None, Some(_)) => None,
    };
    kinds.iter().map(name).collect()
}

impl Rule {
    /// `rwm`.
    pub(super) fn letters(&self) -> String {
        let letters = [('r', READ), ('w', WRITE), ('m', MKNOD)];
        letters.iter().filter(|(_, bit)| self.access & bit != 0).map(|(letter, _)| *letter).collect()
    }

    /// Whether there is an access that both rules are about.
    fn meets(&self, other: &Rule) -> bool {
        let same = |one: Option<u32>, other: Option<u32>| one.is_none() || other.is_none() || one == other;
        let kinds = self.kind == other.kind || self.kind == Kind::Any || other.kind == Kind::Any;
        kinds
            && same(self.major, other.major)
            && same(self.minor, other.minor)
            && self.access & other.access != 0
    }
}

#[cfg(test)]
mod tests {
    use tare_oci::runtime::Resources;

    use super::*;

    fn list(devices: &str) -> Result<Option<Vec<(String, String)>>> {
        let resources: Resources = serde_json::from_str(&format!(r#"{{"devices": {devices}}}"#)).unwrap();
        allowed(&super::super::rules(&resources).unwrap())
    }

    #[test]
    fn rules_are_names_and_letters() {
        let own = r#"[{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": true, "type": "b", "major": 8, "access": "r"},
            {"allow": false, "type": "c", "major": 99, "minor": 1, "access": "m"}]"#;
        let list = list(own).unwrap().unwrap();
        let pair = |name: &str, letters: &str| (name.to_owned(), letters.to_owned());
        assert_eq!(list[..2], [pair("/dev/char/10:229", "rw"), pair("block-8", "r")]);
        for given_to_all in
            [pair("char-*", "m"), pair("block-*", "m"), pair("/dev/char/1:3", "rwm"), pair("char-136", "rwm")]
        {
            assert!(list.contains(&given_to_all), "{given_to_all:?}");
        }
    }

    #[test]
    fn everything_is_no_list() {
        assert_eq!(
            list(r#"[{"allow": false, "access": "rwm"}, {"allow": true, "access": "rwm"}]"#).unwrap(),
            None
        );
    }

    #[test]
    fn what_systemd_cannot_say_is_refused() {
        for rules in [
            r#"[{"allow": true, "type": "c", "minor": 5, "access": "r"}]"#,
            r#"[{"allow": true, "type": "c", "major": 10, "access": "rw"},
                {"allow": false, "type": "c", "major": 10, "minor": 3, "access": "w"}]"#,
            r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "b", "access": "w"}]"#,
        ] {
            assert!(list(rules).unwrap_err().to_string().contains("systemd on cgroup v1"), "{rules}");
        }
    }
}
