//! The group of a container.

use std::path::{Path, PathBuf};

use tare_cgroup::{Cgroup, Unit};
use tare_oci::runtime::{Resources, Spec};

use super::unit::{self, Keeper};
use super::{Request, hierarchies};
use crate::error::{Error, Result};

/// A group that was made.
pub(super) struct Made {
    /// Where, below the hierarchies' roots.
    pub(super) path: PathBuf,
    pub(super) group: Cgroup,
    /// Where systemd keeps it.
    pub(super) unit: Option<Unit>,
    /// In the group until init is.
    pub(super) keeper: Option<Keeper>,
}

/// Who makes it, and how.
#[derive(Clone, Copy)]
pub(super) struct Driver {
    /// Without a name it is made below or beside the caller's own, where that is allowed, which may be nowhere.
    pub(super) rootless: bool,
    /// systemd makes it.
    pub(super) systemd: bool,
}

impl Driver {
    pub(super) fn of(request: &Request<'_>) -> Self {
        Self { rootless: request.rootless, systemd: request.systemd }
    }
}

/// Makes the group that config.json names, or one named after the container.
///
/// `note` is told the path, or the unit, before anything is made.
pub(super) fn make(
    spec: &Spec,
    id: &str,
    driver: Driver,
    note: impl FnOnce(Noted<'_>) -> Result<()>,
) -> Result<Option<Made>> {
    if driver.systemd {
        let unit = unit::of(spec, id)?;
        note(Noted::Unit(&unit))?;
        return unit::make(spec, unit).map(Some);
    }
    let plain = |path, group| Made { path, group, unit: None, keeper: None };
    let found = hierarchies();
    let given = spec.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref());
    let named = given.is_some_and(|path| !path.is_empty());
    if driver.rootless && !named {
        let Ok(hierarchies) = found else { return Ok(None) };
        let above = hierarchies.own_place()?;
        let name = Path::new("tare").join(id);
        note(Noted::Path(&above.join(&name)))?;
        let made = Cgroup::create_where_allowed(hierarchies, &above, &name)?;
        return Ok(made.map(|group| plain(above.join(name), group)));
    }
    let path = path(spec, id)?;
    note(Noted::Path(&path))?;
    let group = Cgroup::create(found?, &path)?;
    Ok(Some(plain(path, group)))
}

/// What is about to be made.
#[derive(Clone, Copy)]
pub(super) enum Noted<'a> {
    Path(&'a Path),
    Unit(&'a Unit),
}

/// Relative ones start at the hierarchies' roots, as the field does it.
pub(super) fn path(spec: &Spec, id: &str) -> Result<PathBuf> {
    let given = spec.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref());
    match given.filter(|path| !path.is_empty()) {
        // It would become a group of that odd name.
        Some(path) if !path.starts_with('/') && path.split(':').count() == 3 => {
            Err(Error::spec("linux.cgroupsPath", "names a unit of systemd: give --systemd-cgroup, or a path"))
        }
        Some(path) => Ok(Path::new("/").join(path)),
        None => Ok(Path::new("/tare").join(id)),
    }
}

/// Sets the limits that config.json asks for. Rules for devices fall away where no group could be made: in a user
/// namespace no device can be made anyway. Other limits cannot fall away unsaid.
pub(super) fn limit(spec: &Spec, group: Option<&Cgroup>, rootless: bool) -> Result<()> {
    let Some(resources) = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref()) else {
        return Ok(());
    };
    let without = || Resources { devices: Vec::new(), ..resources.clone() };
    match group {
        Some(group) if rootless => Ok(group.apply(&without())?),
        Some(group) => Ok(group.apply(resources)?),
        None if without() == Resources::default() => Ok(()),
        None => Err(Error::NoGroup { wanted: "limits" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_below_the_hierarchies_roots() {
        let mut spec: Spec = serde_json::from_str(r#"{"linux":{}}"#).unwrap();
        assert_eq!(path(&spec, "x").unwrap(), Path::new("/tare/x"));
        for (given, wanted) in [("", "/tare/x"), ("/docker/1", "/docker/1"), ("pod/1", "/pod/1")] {
            spec.linux.as_mut().unwrap().cgroups_path = Some(given.to_owned());
            assert_eq!(path(&spec, "x").unwrap(), Path::new(wanted));
        }
        spec.linux.as_mut().unwrap().cgroups_path = Some("system.slice:docker:1".to_owned());
        assert!(path(&spec, "x").unwrap_err().to_string().contains("--systemd-cgroup"));
    }

    #[test]
    fn limits_do_not_fall_away_unsaid() {
        let spec = |text: &str| -> Spec { serde_json::from_str(text).unwrap() };
        let devices = r#"{"linux":{"resources":{"devices":[{"allow":false,"access":"rwm"}]}}}"#;
        limit(&spec(devices), None, true).unwrap();
        let pids = spec(r#"{"linux":{"resources":{"pids":{"limit":5}}}}"#);
        assert!(limit(&pids, None, true).unwrap_err().to_string().contains("cgroup"));
    }
}
