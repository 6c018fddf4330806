//! A container that was written to disk runs again, by criu.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, fchdir, pidfd_open};
use tare_cgroup::Cgroup;
use tare_oci::runtime::Spec;
use tare_sys::mount::{self, Propagation};
use tare_sys::path::{mkdir_all_in_root, open_in_root};
use tare_sys::{clone, namespace};

use super::Kept;
use super::create::{Request, begin, record_of};
use super::group::{self, Driver};
use super::images::{
    Dirs, Images, external, external_mounts, names, planned, read_streams, shared_namespaces,
};
use crate::Running;
use crate::create::sources::{clone_tree, is_directory, spread};
use crate::criu::{self, Criu, Message, Moment, point_to_log};
use crate::error::{Error, Result};
use crate::hooks::Occasions;
use crate::plan::{InitPlan, MountKind};
use crate::root::put;

/// How it is read back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restore<'a> {
    /// `TYPE:NAME` of another label for its processes.
    pub label: Option<&'a str>,
    /// Another SELinux context for its mounts.
    pub mount_label: Option<&'a str>,
}

/// The root is seen here by criu, in a mount namespace that nobody else is in.
const ROOT: &str = "criu-root";

/// Makes a container out of images. Pipes that it had as standard streams become the caller's.
///
/// # Errors
/// As for [`super::create`]; what criu says, and where its log is. Nothing is left of it then.
pub fn restore(
    root: &Path,
    request: &Request<'_>,
    images: &Images<'_>,
    wanted: &Restore<'_>,
) -> Result<(Kept, Running)> {
    // Before anything is made.
    images.open()?;
    let streams = read_streams(images.dir)?;
    let (bundle, spec) = super::create::bundle(request)?;
    let plan = planned(&spec, &bundle)?;
    let dir = begin(root, request.id, &spec)?;
    let made = in_dir(&dir, (request, images, wanted), (&bundle, &spec, &plan), &streams);
    made.inspect_err(|_| drop(fs::remove_dir_all(&dir)))
}

type Asked<'a> = (&'a Request<'a>, &'a Images<'a>, &'a Restore<'a>);
type Described<'a> = (&'a Path, &'a Spec, &'a InitPlan);

fn in_dir(
    dir: &Path,
    (request, images, wanted): Asked<'_>,
    (bundle, spec, plan): Described<'_>,
    streams: &[String],
) -> Result<(Kept, Running)> {
    let made = group::make(spec, request.id, Driver::of(request), |what| {
        super::record::note_group(dir, what).map_err(|e| Error::step("write down the cgroup", e))
    })?;
    let cgroup = made.as_ref().map(|made| &made.group);
    let restored = group::limit(spec, cgroup, request.rootless).and_then(|()| {
        let place = dir.join(ROOT);
        let start =
            || start(images, &place, |options| describe(options, (spec, plan), cgroup, (streams, wanted)));
        let running = with_root(plan, &place, start)
            .and_then(|(criu, options, _dirs)| ask(criu, options, (spec, request.id, bundle), cgroup))
            .map_err(|e| point_to_log(e, criu::Request::Restore, images.log_dir()))?;
        // Not before: it would take the mount away from under criu.
        let _ = fs::remove_dir(&place);
        let record = record_of((running.pid, request.id), bundle, spec, made.as_ref())?;
        record.stage(dir)?;
        super::record::Record::settle(dir)?;
        Ok((Kept { dir: dir.to_owned(), record }, running))
    });
    restored.inspect_err(|_| drop(cgroup.map(|group| group.kill().and_then(|()| group.remove()))))
}

/// criu with what it inherits, and what to ask of it. Its directories are opened where it is, since it mounts in one of
/// them, and stay open here, where it looks them up.
fn start(
    images: &Images<'_>,
    place: &Path,
    describe: impl FnOnce(&mut Message) -> Result<Vec<OwnedFd>>,
) -> Result<(Criu, Message, Dirs)> {
    let dirs = images.open()?;
    let mut options = images.options(&dirs, criu::Request::Restore);
    options.text(names::ROOT, place.as_os_str().as_encoded_bytes());
    let fds = describe(&mut options)?;
    let all: Vec<&OwnedFd> = fds.iter().chain([&dirs.images, &dirs.work]).collect();
    Ok((Criu::start(images.criu, &all, true)?, options, dirs))
}

/// What comes from outside, and from where now. Answers the descriptors that criu needs for it.
fn describe(
    options: &mut Message,
    (spec, plan): (&Spec, &InitPlan),
    group: Option<&Cgroup>,
    (streams, wanted): (&[String], &Restore<'_>),
) -> Result<Vec<OwnedFd>> {
    let mut fds = Vec::new();
    for (inside, outside) in external_mounts(plan, group) {
        external(options, &inside, &outside);
    }
    let mut inherit = |key: &str, fd: i32| {
        let mut one = Message::default();
        one.text(1, key.as_bytes());
        one.number(2, fd as u64);
        options.message(names::INHERIT, &one);
    };
    for (number, stream) in (0..).zip(streams) {
        if stream.starts_with("pipe:") || stream.starts_with("file[") {
            inherit(stream, number);
        }
    }
    for (_, path, key) in shared_namespaces(spec) {
        let step = || format!("open namespace {}", path.display());
        let fd: OwnedFd = File::open(&path).map_err(|e| Error::step(&step(), e))?.into();
        inherit(key, fd.as_raw_fd());
        fds.push(fd);
    }
    options.flag(names::SIBLING, true);
    for (field, label) in [(names::LABEL, wanted.label), (names::MOUNT_LABEL, wanted.mount_label)] {
        label.into_iter().for_each(|label| options.text(field, label.as_bytes()));
    }
    Ok(fds)
}

/// criu goes into the container's group first, and tells the images' groups apart by its own.
fn ask(
    mut criu: Criu,
    mut options: Message,
    (spec, id, bundle): (&Spec, &str, &Path),
    group: Option<&Cgroup>,
) -> Result<Running> {
    group.map_or(Ok(()), |group| group.add(criu.pid()))?;
    let path = format!("/proc/{}/cgroup", criu.pid());
    let groups = fs::read_to_string(&path).map_err(|e| Error::step(&format!("read {path}"), e))?;
    for (controllers, path) in groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')) {
        for controller in controllers.split(',') {
            let mut root = Message::default();
            root.text(1, controller.as_bytes());
            root.text(2, path.as_bytes());
            options.message(names::GROUP_ROOT, &root);
        }
    }
    let hooks = Occasions::of(spec, id, bundle)?;
    let mut console = None;
    let pid = criu.ask(criu::Request::Restore, &options, |moment: Moment<'_>| {
        match (moment.name, &hooks) {
            ("setup-namespaces", Some(hooks)) => hooks.create_runtime(moment.pid)?,
            ("orphan-pts-master", _) => console = moment.fd,
            _ => {}
        }
        Ok(())
    })?;
    let process = Pid::from_raw(pid).ok_or(Error::Died)?;
    let pidfd = pidfd_open(process, PidfdFlags::empty()).map_err(|e| Error::step("open the process", e))?;
    Ok(Running { pid, pidfd, console, warnings: Vec::new() })
}

/// Does something where the root is mounted at `place`: in a mount namespace of its own, so that the host's mounts stay as
/// they are. What is started there stays there.
fn with_root<T>(plan: &InitPlan, place: &Path, done: impl FnOnce() -> Result<T>) -> Result<T> {
    let step = |what: &str, e: std::io::Error| Error::step(what, e);
    fs::create_dir(place).map_err(|e| step("make the root's place", e))?;
    let back = File::open("/proc/self/ns/mnt").map_err(|e| step("open the mount namespace", e))?;
    let here = open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::step("open the working directory", e))?;
    namespace::unshare(clone::NEW_MOUNT).map_err(|e| step("make a mount namespace", e))?;
    let made = mount_root(plan, place).and_then(|()| done());
    namespace::enter(back.as_fd(), clone::NEW_MOUNT).map_err(|e| step("leave the mount namespace", e))?;
    fchdir(&here).map_err(|e| Error::step("go back to the working directory", e))?;
    made
}

fn mount_root(plan: &InitPlan, place: &Path) -> Result<()> {
    let step = || format!("mount root {}", plan.root.path.display());
    let all =
        open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|e| Error::step("open /", e))?;
    mount::set(all.as_fd(), true, spread(Propagation::Slave)).map_err(|e| Error::step(&step(), e))?;
    let tree = clone_tree(&plan.root.path, true).map_err(|e| Error::step(&step(), e))?;
    make_places(plan, &tree)?;
    let on = open(place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    on.map_err(Into::into).and_then(|on| put(&tree, on.as_fd())).map_err(|e| Error::step(&step(), e))
}

/// criu finds mounts a place only where there is one. Below what is mounted itself the images have them.
fn make_places(plan: &InitPlan, root: &OwnedFd) -> Result<()> {
    for mount in &plan.mounts {
        let covered = |other: &PathBuf| other != &mount.destination && mount.destination.starts_with(other);
        if plan.mounts.iter().any(|other| covered(&other.destination)) {
            continue;
        }
        let is_file = match &mount.kind {
            MountKind::Bind { source, .. } => {
                clone_tree(source, false).and_then(|tree| Ok(!is_directory(&tree)?)).unwrap_or(false)
            }
            _ => false,
        };
        let made = if is_file {
            make_file(root, &mount.destination)
        } else {
            make_directory(root, &mount.destination)
        };
        made.map_err(|e| Error::step(&format!("make {}", mount.destination.display()), e))?;
    }
    Ok(())
}

fn make_directory(root: &OwnedFd, path: &Path) -> std::io::Result<()> {
    mkdir_all_in_root(root.as_fd(), path, 0o755).map(drop)
}

fn make_file(root: &OwnedFd, path: &Path) -> std::io::Result<()> {
    if open_in_root(root.as_fd(), path, OFlags::PATH).is_ok() {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let parent = mkdir_all_in_root(root.as_fd(), parent, 0o755)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&parent, name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
