//! The other driver: systemd makes the group, as a transient unit. It is asked over its own socket, in a few messages of
//! D-Bus that this room lays out itself: the program that does so stays beside every container, and a library for all
//! of D-Bus would be larger than the rest of it.

mod bus;
mod group;
mod properties;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tare_oci::runtime::Resources;

use self::bus::{Bus, Fault};
use self::properties::Property;
use self::wire::{Body, Reader};
use crate::detect::Version;
use crate::error::{Error, Result};

/// A container's unit: a scope, or a slice of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `docker-1f2e.scope`.
    pub name: String,
    /// Below which it is: `system.slice`.
    pub slice: String,
    /// Whether the user's own systemd keeps it.
    pub user: bool,
}

impl Unit {
    /// Reads a `cgroupsPath` of the form `slice:prefix:name`. Without one a container is `tare-ID.scope` below
    /// `system.slice`, or `user.slice` with the user's systemd.
    ///
    /// # Errors
    /// [`Error::InvalidUnit`].
    pub fn parse(path: Option<&str>, id: &str, user: bool) -> Result<Self> {
        let path = path.unwrap_or_default();
        let parts: Vec<&str> = if path.is_empty() { vec!["", "tare", id] } else { path.split(':').collect() };
        let [slice, prefix, name] = parts[..] else {
            return Err(Error::InvalidUnit {
                path: path.to_owned(),
                rule: "it must be \"slice:prefix:name\"",
            });
        };
        let default = if user { "user.slice" } else { "system.slice" };
        let slice = if slice.is_empty() { default } else { slice };
        let name = match prefix {
            _ if name.ends_with(".slice") => name.to_owned(),
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        let rule = match () {
            () if !slice.ends_with(".slice") => "its first part must end with \".slice\"",
            () if !is_name(slice) || !is_name(&name) => {
                "its parts must be letters, digits and : - _ . \\ @ only, and 255 of them at most"
            }
            () => return Ok(Self { name, slice: slice.to_owned(), user }),
        };
        Err(Error::InvalidUnit { path: path.to_owned(), rule })
    }

    /// Makes the unit, with a process in it from the start, as a scope needs one. Returns the group's path, from the
    /// hierarchies' roots. One of the same name that has failed and was never looked at again gives way.
    pub(crate) fn start(
        &self,
        pid: i32,
        version: Version,
        resources: &Resources,
        annotations: &BTreeMap<String, String>,
    ) -> Result<PathBuf> {
        let mut properties = properties::unit(&self.name, &self.slice, pid);
        properties.extend(limits(version, resources)?);
        for asked in properties::of_annotations(annotations)? {
            properties.retain(|(name, _)| *name != asked.0);
            properties.push(asked);
        }
        let mut bus = self.connect()?;
        let body = || Body::default().text(&self.name).text("replace").properties(&properties).no_units();
        let started = match bus.job("StartTransientUnit", body()) {
            Err(Fault::Refused(name, _)) if name == "org.freedesktop.systemd1.UnitExists" => {
                self.reset(&mut bus)?;
                bus.job("StartTransientUnit", body())
            }
            other => other,
        };
        self.done("start", started)?;
        self.group(&mut bus)
    }

    /// Changes limits of the unit, until it is over.
    pub(crate) fn set(&self, version: Version, resources: &Resources) -> Result<()> {
        let properties = limits(version, resources)?;
        if properties.is_empty() {
            return Ok(());
        }
        let body = Body::default().text(&self.name).bool(true).properties(&properties);
        let set = self.connect()?.manager("SetUnitProperties", body);
        set.map(drop).map_err(|fault| self.fault("change", &fault))
    }

    /// Moves a process into the unit's group, or one below it, with systemd's rights: who asks may lack those over the
    /// group that both places have above them.
    pub(crate) fn admit(&self, pid: i32, below: &Path) -> Result<()> {
        let below = Path::new("/").join(below).display().to_string();
        let body = Body::default().text(&self.name).text(&below).numbers(&[pid.unsigned_abs()]);
        let moved = self.connect()?.manager("AttachProcessesToUnit", body);
        moved.map(drop).map_err(|fault| self.fault("take a process into", &fault))
    }

    /// Ends the unit and all in it. One that is gone is no error.
    ///
    /// # Errors
    /// When systemd does not answer or refuses.
    pub fn stop(&self) -> Result<()> {
        let mut bus = self.connect()?;
        match bus.job("StopUnit", Body::default().text(&self.name).text("replace")) {
            Err(fault) if is_unknown(&fault) => return Ok(()),
            stopped => self.done("stop", stopped)?,
        }
        self.reset(&mut bus)
    }

    /// Makes systemd forget a failure.
    fn reset(&self, bus: &mut Bus) -> Result<()> {
        match bus.manager("ResetFailedUnit", Body::default().text(&self.name)) {
            Err(fault) if !is_unknown(&fault) => Err(self.fault("reset", &fault)),
            _ => Ok(()),
        }
    }

    fn group(&self, bus: &mut Bus) -> Result<PathBuf> {
        let kind = if self.name.ends_with(".slice") { "Slice" } else { "Scope" };
        let body = Body::default().text(&format!("org.freedesktop.systemd1.{kind}")).text("ControlGroup");
        let object = format!("/org/freedesktop/systemd1/unit/{}", label(&self.name));
        let fail = |fault: Fault| self.fault("find the cgroup of", &fault);
        let answer = bus.call(&object, "org.freedesktop.DBus.Properties", "Get", body).map_err(fail)?;
        let mut reader = Reader::new(&answer);
        let path = reader.signature().and_then(|_| reader.text()).map_err(|e| fail(e.into()))?;
        Ok(PathBuf::from(path))
    }

    fn connect(&self) -> Result<Bus> {
        Bus::connect(self.user)
            .map_err(|fault| Error::NoSystemd { user: self.user, reason: fault.to_string() })
    }

    fn done(&self, action: &'static str, result: std::result::Result<String, Fault>) -> Result<()> {
        match result {
            Ok(result) if result == "done" => Ok(()),
            Ok(result) => Err(self.failure(action, format!("the job ended with \"{result}\""))),
            Err(fault) => Err(self.fault(action, &fault)),
        }
    }

    fn fault(&self, action: &'static str, fault: &Fault) -> Error {
        self.failure(action, fault.to_string())
    }

    fn failure(&self, action: &'static str, reason: String) -> Error {
        Error::Unit { action, unit: self.name.clone(), reason }
    }
}

/// What systemd is told of. v2's devices are a program of ours, which it leaves alone.
fn limits(version: Version, resources: &Resources) -> Result<Vec<Property>> {
    let mut list = properties::limits(resources)?;
    if version != Version::V2 {
        list.extend(properties::devices(resources)?);
    }
    Ok(list)
}

fn is_unknown(fault: &Fault) -> bool {
    matches!(fault, Fault::Refused(name, _) if name == "org.freedesktop.systemd1.NoSuchUnit")
}

/// systemd.unit(5), "String Escaping for Inclusion in Unit Names".
fn is_name(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
    !stem.is_empty()
        && name.len() <= 255
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b))
}

/// A name as a part of an object's path: what is no letter or digit becomes `_` and its code.
fn label(name: &str) -> String {
    let mut label = String::with_capacity(name.len() * 2);
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            label.push(char::from(byte));
        } else {
            label.push_str(&format!("_{byte:02x}"));
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> Result<(String, String)> {
        Unit::parse(Some(path), "c1", false).map(|unit| (unit.slice, unit.name))
    }

    #[test]
    fn a_path_names_slice_and_scope() {
        let wanted = |slice: &str, name: &str| (slice.to_owned(), name.to_owned());
        assert_eq!(name("machine.slice:libpod:12ab").unwrap(), wanted("machine.slice", "libpod-12ab.scope"));
        assert_eq!(name("").unwrap(), wanted("system.slice", "tare-c1.scope"));
        assert_eq!(name(":docker:x").unwrap(), wanted("system.slice", "docker-x.scope"));
        assert_eq!(name("a-b.slice::x").unwrap(), wanted("a-b.slice", "x.scope"));
        assert_eq!(name("a.slice:p:b.slice").unwrap(), wanted("a.slice", "b.slice"));
        assert_eq!(Unit::parse(None, "c", true).unwrap().slice, "user.slice");
    }

    #[test]
    fn a_path_of_the_other_driver_is_refused() {
        for bad in
            ["/docker/x", "a:b", "a.slice:b:c:d", "a:b:c", "a.slice:b:../x", "a.slice:b:c d", "/.slice:a:b"]
        {
            let error = name(bad).unwrap_err().to_string();
            assert!(error.contains("cgroupsPath") && error.contains(bad), "{error}");
        }
    }

    #[test]
    fn labels_hide_what_paths_cannot_hold() {
        assert_eq!(label("a-1.scope"), "a_2d1_2escope");
        assert_eq!(label("1a"), "_31a");
    }
}
