//! `--security-opt`, capabilities and the modes of namespaces.

use super::words::Said;
use crate::failure::{Failure, Result};
use crate::flags::Given;

/// What `--security-opt` says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Security {
    /// What the daemon is told.
    pub(crate) options: Vec<String>,
    /// `systempaths=unconfined`: nothing of /proc and /sys is hidden.
    pub(crate) all_paths: bool,
}

/// Reads all values of `--security-opt`. A seccomp profile that is a file is read here and sent whole: the daemon may be
/// on another machine, and must not read files for whoever may speak to it.
pub(crate) fn security(values: &[String]) -> Said<Security> {
    let mut security = Security::default();
    for value in values {
        let (key, setting) = match value.split_once('=').or_else(|| value.split_once(':')) {
            Some(parts) => parts,
            None if value == "no-new-privileges" => ("no-new-privileges", ""),
            None => return Err(format!("invalid --security-opt: \"{value}\"")),
        };
        match (key, setting) {
            ("systempaths", "unconfined") => security.all_paths = true,
            ("seccomp", "unconfined" | "builtin") => security.options.push(value.clone()),
            ("seccomp", path) => security.options.push(format!("seccomp={}", profile(path)?)),
            _ => security.options.push(value.clone()),
        }
    }
    Ok(security)
}

fn profile(path: &str) -> Said<String> {
    let bytes =
        std::fs::read(path).map_err(|error| format!("opening seccomp profile ({path}) failed: {error}"))?;
    let json: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|error| format!("compacting json for seccomp profile ({path}) failed: {error}"))?;
    Ok(json.to_string())
}

/// `net_admin` → `CAP_NET_ADMIN`, sorted, each once.
pub(crate) fn capabilities(values: &[String]) -> Option<Vec<String>> {
    let full = |name: &String| {
        let upper = name.trim().to_uppercase();
        if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
    };
    let mut names: Vec<String> = values.iter().map(full).collect();
    names.sort();
    names.dedup();
    super::words::some(names)
}

/// Which value a namespace's flag has, when it is one that there can be.
pub(crate) fn mode(given: &Given, flag: &str, title: &str, fixed: &[&str], joins: bool) -> Result<String> {
    let mode = given.owned(flag);
    let joined = joins && mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    if mode.is_empty() || joined || fixed.contains(&mode.as_str()) {
        return Ok(mode);
    }
    let container = if joins { " or container:NAME" } else { "" };
    let hint = format!("it takes {}{container}", fixed.join(", "));
    Err(Failure::usage(format!("--{flag}: invalid {title} mode")).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(values: &[&str]) -> Said<Security> {
        security(&values.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_profile_is_sent_whole() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{{ \"defaultAction\":\n \"SCMP_ACT_ALLOW\" }}").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let sent = read(&[&format!("seccomp={path}")]).unwrap();
        assert_eq!(sent.options, ["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]);
        write!(file, "x").unwrap();
        assert!(read(&[&format!("seccomp={path}")]).is_err());
        assert!(
            read(&["seccomp=/nonexistent"])
                .unwrap_err()
                .starts_with("opening seccomp profile (/nonexistent) failed")
        );
    }

    #[test]
    fn options_pass_and_mistakes_do_not() {
        let both =
            read(&["no-new-privileges", "label:disable", "systempaths=unconfined", "seccomp=unconfined"])
                .unwrap();
        assert_eq!(both.options, ["no-new-privileges", "label:disable", "seccomp=unconfined"]);
        assert!(both.all_paths);
        assert!(read(&["bogus"]).is_err());
    }

    #[test]
    fn capabilities_get_their_full_names_once() {
        let names = ["net_admin".to_owned(), "CAP_NET_ADMIN".to_owned(), "all".to_owned()];
        assert_eq!(capabilities(&names).unwrap(), ["ALL", "CAP_NET_ADMIN"]);
        assert_eq!(capabilities(&[]), None);
    }
}
