use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tare_model::Timestamp;
use tare_oci::runtime::{Process, Spec};

use super::group::{self, Driver, Made};
use super::record::{Record, note_group, replace};
use super::status::began;
use super::{CONFIG, FILTERS, Kept, check_id, read_spec, unreadable};
use crate::door::Door;
use crate::error::{Error, Result};
use crate::hooks::Occasions;
use crate::{Created, Launch, Relaxed, Running, Stdio, create as caller};

/// A container to be made.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its name.
    pub id: &'a str,
    /// The directory of its config.json.
    pub bundle: &'a Path,
    /// How many of the caller's descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
    /// How many of the caller's descriptors from 3 on are sockets that it was given to pass on (sd_listen_fds(3)): the
    /// program inherits them first and is told of them.
    pub listen_fds: u32,
    /// What is to be left out.
    pub relaxed: Relaxed,
    /// Whether a cgroup that this user may not make is done without.
    pub rootless: bool,
    /// Whether systemd makes its group.
    pub systemd: bool,
    /// Whether [`Making::keep`] will be called: init then needs a door.
    pub keep: bool,
    /// Whether somebody takes a terminal, which config.json must then ask for, and must not otherwise; none = either.
    pub terminal: Option<bool>,
}

/// A container whose init stands before its execve. Given up, it leaves nothing behind.
#[derive(Debug)]
pub struct Making {
    /// What is known of it.
    pub kept: Kept,
    /// Its configuration.
    pub spec: Spec,
    created: Option<Created>,
}

/// Makes a container and waits until its init is ready. Its standard streams are the caller's, or a terminal.
///
/// # Errors
/// [`Error::Exists`], or the step that failed: nothing is left of it then.
pub fn create(root: &Path, request: &Request<'_>) -> Result<Making> {
    let (bundle, mut spec) = bundle(request)?;
    if let Some(process) = spec.process.as_mut() {
        announce(process, request.listen_fds);
    }
    let dir = begin(root, request.id, &spec)?;
    let made = in_dir(root, &dir, request, &bundle, spec);
    made.inspect_err(|_| drop(fs::remove_dir_all(&dir)))
}

/// The bundle's own name and its config.json, which must have a terminal if somebody takes it, and only then.
pub(super) fn bundle(request: &Request<'_>) -> Result<(PathBuf, Spec)> {
    check_id(request.id)?;
    let bundle = fs::canonicalize(request.bundle).map_err(|e| unreadable(request.bundle, &e))?;
    let spec = read_spec(&bundle.join(CONFIG))?;
    check_version(&spec.oci_version)?;
    let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    if request.terminal.is_some_and(|wanted| wanted != terminal) {
        let rule = if terminal { "needs --console-socket" } else { "must be true with --console-socket" };
        return Err(Error::spec("process.terminal", rule));
    }
    Ok((bundle, spec))
}

/// The container's directory with its own copy of config.json. The environment in that may hold secrets.
pub(super) fn begin(root: &Path, id: &str, spec: &Spec) -> Result<PathBuf> {
    let dir = make_dir(root, id)?;
    let text = serde_json::to_vec(spec).map_err(io::Error::from);
    let written = text.and_then(|text| replace(&dir.join(CONFIG), &text, 0o600));
    written
        .inspect_err(|_| drop(fs::remove_dir_all(&dir)))
        .map_err(|e| Error::step("write config.json", e))?;
    Ok(dir)
}

/// Versions of one major number are compatible, so a later 1.x is read as far as it is known.
fn check_version(version: &str) -> Result<()> {
    let rule = |rule: String| Err(Error::spec("ociVersion", rule));
    if version.is_empty() {
        return rule("is required".to_owned());
    }
    let numbers: Vec<&str> = version.split(['-', '+']).next().unwrap_or_default().split('.').collect();
    match numbers[..] {
        ["0" | "1", minor, patch] if [minor, patch].iter().all(|n| n.parse::<u32>().is_ok()) => Ok(()),
        _ => rule(format!("must be a version of the 1.x series, not \"{version}\"")),
    }
}

/// What sd_listen_fds(3) looks for.
pub(super) fn announce(process: &mut Process, listen_fds: u32) {
    if listen_fds > 0 {
        process.env.extend([format!("LISTEN_FDS={listen_fds}"), "LISTEN_PID=1".to_owned()]);
    }
}

/// The root is open to be walked through, not to be listed: a rootless program may look for its own container.
fn make_dir(root: &Path, id: &str) -> Result<PathBuf> {
    let fail = |e: io::Error| Error::step(&format!("make {}", root.display()), e);
    if !root.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o711).create(root).map_err(fail)?;
        fs::set_permissions(root, fs::Permissions::from_mode(0o711)).map_err(fail)?;
    }
    let dir = root.join(id);
    match fs::DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => Ok(dir),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(Error::Exists),
        Err(e) => Err(fail(e)),
    }
}

fn in_dir(root: &Path, dir: &Path, request: &Request<'_>, bundle: &Path, spec: Spec) -> Result<Making> {
    let mut made = group::make(&spec, request.id, Driver::of(request), |what| {
        note_group(dir, what).map_err(|e| Error::step("write down the cgroup", e))
    })?;
    let created = in_cgroup(root, dir, request, (bundle, &spec), made.as_mut());
    // The error that is returned is the first.
    let undo = |made: &Made| drop(made.group.kill().and_then(|()| made.group.remove()));
    let (record, created) = created.inspect_err(|_| made.iter().for_each(undo))?;
    Ok(Making { kept: Kept { dir: dir.to_owned(), record }, spec, created: Some(created) })
}

fn in_cgroup(
    root: &Path,
    dir: &Path,
    request: &Request<'_>,
    (bundle, spec): (&Path, &Spec),
    mut made: Option<&mut Made>,
) -> Result<(Record, Created)> {
    let cgroup = made.as_deref().map(|made| &made.group);
    group::limit(spec, cgroup, request.rootless)?;
    let door = request.keep.then(|| make_door(dir)).transpose()?;
    let filters = make_filters(root);
    let mut created = crate::clone_init(Launch {
        id: request.id,
        bundle,
        spec,
        rootfs: &[],
        stdio: stdio(spec),
        seccomp_cache: filters.as_deref(),
        cgroup,
        preserve_fds: request.preserve_fds.saturating_add(request.listen_fds),
        door,
        relaxed: request.relaxed,
    })?;
    // init mounts meanwhile. One that has failed says so itself.
    let record = record_of((created.pid, request.id), bundle, spec, made.as_deref())
        .and_then(|record| record.stage(dir).map(|()| record));
    created.ready().inspect_err(|_| after_failure(spec, request.id, bundle))?;
    // init is there now.
    if let Some(made) = made.as_mut() {
        made.keeper = None;
    }
    let record = record
        .and_then(|record| Record::settle(dir).map(|()| record))
        .inspect_err(|_| caller::end(created.pidfd.as_fd()))?;
    Ok((record, created))
}

/// A container that hooks have known is told to be gone, also when it was one of them that refused.
fn after_failure(spec: &Spec, id: &str, bundle: &Path) {
    // The error that is returned is the first.
    if let Ok(Some(hooks)) = Occasions::of(spec, id, bundle) {
        drop(hooks.poststop());
    }
}

fn make_door(dir: &Path) -> Result<Door> {
    let dir = File::open(dir).map_err(|e| Error::step("open the container's directory", e))?;
    Door::make(dir.as_fd()).map_err(|e| Error::step("make the pipes of the start", e))
}

/// Only saves time: without it every start compiles its filter.
pub(super) fn make_filters(root: &Path) -> Option<PathBuf> {
    let path = root.join(FILTERS);
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => Some(path),
        Err(e) => (e.kind() == io::ErrorKind::AlreadyExists).then_some(path),
    }
}

fn stdio(spec: &Spec) -> Stdio {
    match spec.process.as_ref().filter(|process| process.terminal) {
        Some(process) => Stdio::Terminal { size: process.console_size.unwrap_or_default() },
        None => Stdio::Inherit,
    }
}

/// What is known of a container whose init has this number.
pub(super) fn record_of(
    (pid, id): (i32, &str),
    bundle: &Path,
    spec: &Spec,
    made: Option<&Made>,
) -> Result<Record> {
    let root = spec.root.as_ref().map(|root| root.path.as_path()).unwrap_or(Path::new(""));
    Ok(Record {
        oci_version: spec.oci_version.clone(),
        id: id.to_owned(),
        pid,
        began: began(pid).ok_or(Error::Died)?,
        bundle: bundle.to_owned(),
        rootfs: bundle.join(root),
        created: Timestamp::from(SystemTime::now()),
        cgroup: made.map(|made| made.path.clone()),
        unit: made.and_then(|made| made.unit.clone()),
        annotations: spec.annotations.clone(),
    })
}

impl Making {
    /// init's number.
    pub fn pid(&self) -> i32 {
        self.kept.record.pid
    }

    /// init.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.created.as_ref().map(|created| created.pidfd.as_fd())
    }

    /// The terminal's master, once.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.created.as_mut()?.console.take()
    }

    /// What could not be done and does not keep the container from running.
    pub fn warnings(&self) -> &[String] {
        self.created.as_ref().map_or(&[], |created| &created.warnings)
    }

    /// Writes init's number where others look for it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_pid(&self, path: &Path) -> Result<()> {
        replace(path, self.pid().to_string().as_bytes(), 0o644)
            .map_err(|e| Error::step(&format!("write {}", path.display()), e))
    }

    /// Lets it wait for its start on its own.
    ///
    /// # Errors
    /// When init is gone.
    pub fn keep(mut self) -> Result<Kept> {
        let Some(created) = self.created.as_ref() else { return Err(Error::Died) };
        caller::keep(created)?;
        self.created = None;
        let kept = Kept { dir: self.kept.dir.clone(), record: self.kept.record.clone() };
        Ok(kept)
    }

    /// Starts it from the process that made it.
    ///
    /// # Errors
    /// As for [`Created::start`]. Nothing is left of it then.
    pub fn start(mut self) -> Result<(Kept, Running)> {
        let Some(created) = self.created.take() else { return Err(Error::Died) };
        let kept = Kept { dir: self.kept.dir.clone(), record: self.kept.record.clone() };
        let running = created.start().inspect_err(|_| kept.give_up())?;
        kept.after_start(&self.spec).inspect_err(|_| {
            caller::end(running.pidfd.as_fd());
            kept.give_up();
        })?;
        Ok((kept, running))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Some(created) = self.created.take() {
            caller::end(created.pidfd.as_fd());
            self.kept.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_series_are_taken() {
        for version in ["1.0.0", "1.0.2-dev", "1.2.1", "1.99.0", "1.1.0+dev", "0.6.0"] {
            check_version(version).unwrap();
        }
        for version in ["", "1", "1.0", "2.0.0", "1.x.0", "v1.0.0", "1.0.0.0"] {
            assert!(check_version(version).is_err(), "{version:?}");
        }
    }
}
