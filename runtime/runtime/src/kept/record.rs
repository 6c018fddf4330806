use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tare_cgroup::Unit;
use tare_model::Timestamp;
use tare_oci::runtime::Spec;

use super::group::Noted;
use super::{missing_or, unreadable};
use crate::error::{Error, Result};

pub(super) const FILE: &str = "state.json";
/// The path of the group, for who removes what a maker that was killed has left.
const GROUP: &str = "cgroup";
/// The same of systemd's unit.
const UNIT: &str = "unit";

/// What is written down of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Of the specification that its config.json follows.
    pub oci_version: String,
    /// Its name.
    pub id: String,
    /// init, as the maker's process id namespace numbers it.
    pub pid: i32,
    /// When init began, in the kernel's ticks since boot: the number alone may have gone to another process.
    pub began: u64,
    /// Absolute.
    pub bundle: PathBuf,
    /// Absolute.
    pub rootfs: PathBuf,
    /// When it was made.
    pub created: Timestamp,
    /// Below the roots of the cgroup hierarchies; none where the user may not have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
    /// Where systemd keeps the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// As in config.json.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Writes down which group a container is about to have.
pub(super) fn note_group(dir: &Path, what: Noted<'_>) -> io::Result<()> {
    match what {
        Noted::Path(path) => fs::write(dir.join(GROUP), path.as_os_str().as_encoded_bytes()),
        Noted::Unit(unit) => fs::write(dir.join(UNIT), serde_json::to_vec(unit)?),
    }
}

/// The unit that was written down.
pub(super) fn noted_unit(dir: &Path) -> Option<Unit> {
    serde_json::from_slice(&fs::read(dir.join(UNIT)).ok()?).ok()
}

/// The group that was written down.
pub(super) fn noted_group(dir: &Path) -> Option<PathBuf> {
    // Empty: the maker was killed before it wrote, and made no group.
    let text = fs::read(dir.join(GROUP)).ok().filter(|text| !text.is_empty())?;
    Some(PathBuf::from(OsString::from_vec(text)))
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// init prepares itself.
    Creating,
    /// init waits for the start.
    Created,
    /// The program runs.
    Running,
    /// All processes are stopped.
    Paused,
    /// The program has ended.
    Stopped,
}

/// What `state` and `list` print, and hooks read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Of the specification.
    pub oci_version: String,
    /// Its name.
    pub id: String,
    /// 0 once it has ended.
    pub pid: i32,
    /// Where it is in its life.
    pub status: Status,
    /// Absolute.
    pub bundle: PathBuf,
    /// Absolute; not part of the specification, but engines read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<PathBuf>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// As in config.json.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The user that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl State {
    /// As hooks and seccomp agents are told of a container that is being made.
    pub(crate) fn of(spec: &Spec, id: &str, bundle: &Path) -> Self {
        Self {
            oci_version: spec.oci_version.clone(),
            id: id.to_owned(),
            pid: 0,
            status: Status::Creating,
            bundle: bundle.to_owned(),
            rootfs: None,
            created: None,
            annotations: spec.annotations.clone(),
            owner: None,
        }
    }
}

impl Record {
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = fs::read(&path).map_err(|e| missing_or(&path, &e))?;
        serde_json::from_slice(&text).map_err(|e| unreadable(&path, &e.into()))
    }

    /// Writes it where nobody finds it before it is [`settled`](Record::settle).
    pub(super) fn stage(&self, dir: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| Error::step("write state.json", e))?;
        stage(&dir.join(FILE), &text, 0o600).map_err(|e| Error::step("write state.json", e))
    }

    /// Whole or not at all.
    pub(super) fn settle(dir: &Path) -> Result<()> {
        settle(&dir.join(FILE)).map_err(|e| Error::step("write state.json", e))
    }
}

/// Writes a file, with this mode, so that its readers see the old one or the new one.
///
/// # Errors
/// The kernel's.
pub fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    stage(path, text, mode).and_then(|()| settle(path))
}

fn stage(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(aside(path))?;
    file.write_all(text)
}

fn settle(path: &Path) -> io::Result<()> {
    fs::rename(aside(path), path)
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}
