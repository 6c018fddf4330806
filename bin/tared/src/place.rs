//! Takes the directories for this daemon alone.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};

use crate::settings::Settings;

/// Held as long as the daemon lives: the kernel lets the locks go when it dies, however it dies.
pub(crate) struct Place {
    pidfile: PathBuf,
    _locks: [File; 2],
}

/// Makes the directories, closed to others (CVE-2021-41091), and locks them.
pub(crate) fn take(settings: &Settings) -> Result<Place> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "tared must be run by root: running as an ordinary user is not supported yet (it will use {} and {})",
        settings.data_root.display(),
        settings.exec_root.display()
    );
    // Nothing here depends on where the daemon was started, and no directory is kept busy by it.
    rustix::process::chdir("/").context("cannot change to /")?;
    make(&settings.data_root, 0o700)?;
    let data = lock(&settings.data_root.join("tared.lock"), || {
        format!("the data root {}", settings.data_root.display())
    })?;
    make(&settings.exec_root, 0o710)?;
    if let Some(group) = group(settings) {
        let owned = rustix::fs::chown(&settings.exec_root, None, Some(rustix::fs::Gid::from_raw(group)));
        owned.with_context(|| format!("cannot give {} to its group", settings.exec_root.display()))?;
    }
    let exec = lock(&settings.exec_root.join("tared.lock"), || {
        format!("the exec root {}", settings.exec_root.display())
    })?;
    write_pidfile(&settings.pidfile)?;
    Ok(Place { pidfile: settings.pidfile.clone(), _locks: [data, exec] })
}

impl Place {
    /// Removes what only a running daemon has.
    pub(crate) fn leave(self) {
        let _ = std::fs::remove_file(&self.pidfile);
    }
}

/// The group that may use the daemon.
pub(crate) fn group(settings: &Settings) -> Option<u32> {
    tare_http::group_id(settings.group.as_deref().unwrap_or("tare"))
}

fn make(dir: &Path, mode: u32) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(dir);
    made.with_context(|| format!("cannot create {}", dir.display()))?;
    let closed = std::fs::set_permissions(dir, Permissions::from_mode(mode));
    closed.with_context(|| format!("cannot close {} to others", dir.display()))
}

fn lock(path: &Path, what: impl Fn() -> String) -> Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let taken = flock(&file, FlockOperation::NonBlockingLockExclusive);
    taken.with_context(|| format!("another tared is using {}", what()))?;
    Ok(file)
}

fn write_pidfile(path: &Path) -> Result<()> {
    let cannot = || format!("cannot write the pidfile {}", path.display());
    if let Some(pid) = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok()) {
        // Its program, which a process that has ended and waits for its parent has no more.
        let program = std::fs::read_link(format!("/proc/{pid}/exe"));
        let alive = program.is_ok_and(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tared"))
        });
        ensure!(
            pid == std::process::id() || !alive,
            "process {pid} is running with the pidfile {}",
            path.display()
        );
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(cannot)?;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o644)
        .open(path)
        .with_context(cannot)?;
    writeln!(file, "{}", std::process::id()).with_context(cannot)
}
