//! The flags that checkpoint and restore share.

use std::path::Path;

use tare_runtime::kept::{Care, GroupsMode, Images};

use crate::failure::Failure;
use crate::flags::{Flag, Given, switch, value};
use crate::global::Global;

pub(crate) const FLAGS: [Flag; 10] = [
    value("image-path", ""),
    value("work-path", ""),
    switch("tcp-established", ""),
    switch("ext-unix-sk", ""),
    switch("shell-job", ""),
    switch("lazy-pages", ""),
    switch("file-locks", ""),
    switch("auto-dedup", ""),
    value("manage-cgroups-mode", ""),
    value("empty-ns", ""),
];

/// Where runc looks, too, when it is told nothing.
const DEFAULT: &str = "checkpoint";

pub(crate) fn images<'a>(global: &'a Global, given: &Given<'a>) -> Result<Images<'a>, Failure> {
    let path = |name: &str| given.value(name).filter(|path| !path.is_empty()).map(Path::new);
    Ok(Images {
        criu: &global.criu,
        dir: path("image-path").unwrap_or(Path::new(DEFAULT)),
        work: path("work-path"),
        care: Care {
            tcp_established: given.is("tcp-established"),
            external_sockets: given.is("ext-unix-sk"),
            shell_job: given.is("shell-job"),
            file_locks: given.is("file-locks"),
            lazy_pages: given.is("lazy-pages"),
            auto_dedup: given.is("auto-dedup"),
            empty_network: empty_network(given)?,
            groups: groups(given.value("manage-cgroups-mode"))?,
        },
    })
}

fn groups(mode: Option<&str>) -> Result<GroupsMode, Failure> {
    match mode {
        None | Some("" | "soft") => Ok(GroupsMode::Soft),
        Some("full") => Ok(GroupsMode::Full),
        Some("strict") => Ok(GroupsMode::Strict),
        Some("ignore") => Ok(GroupsMode::Ignore),
        Some(other) => {
            let rule = format!("--manage-cgroups-mode must be soft, full, strict or ignore, not {other}");
            Err(Failure::new(rule))
        }
    }
}

fn empty_network(given: &Given<'_>) -> Result<bool, Failure> {
    match given.values("empty-ns").find(|name| *name != "network") {
        None => Ok(given.values("empty-ns").next().is_some()),
        Some(other) => Err(Failure::new(format!("--empty-ns must be network, not {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_namespaces_are_those_that_criu_has() {
        assert_eq!(groups(None).unwrap(), GroupsMode::Soft);
        assert_eq!(groups(Some("strict")).unwrap(), GroupsMode::Strict);
        assert!(groups(Some("harsh")).is_err());
        let given = |words: &[&'static str]| Given::parse_anywhere(words, &FLAGS).unwrap();
        assert!(empty_network(&given(&["--empty-ns", "network"])).unwrap());
        assert!(!empty_network(&given(&["id"])).unwrap());
        assert!(empty_network(&given(&["--empty-ns", "mount"])).is_err());
    }
}
