//! A container that runs is written to disk, by criu.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::images::{Images, STREAMS, external, external_mounts, names, planned, shared_namespaces};
use super::record::replace;
use super::{Kept, Status};
use crate::criu::{Criu, Message, Request, point_to_log};
use crate::error::{Error, Result};

/// How it is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checkpoint<'a> {
    /// The container goes on afterwards.
    pub leave_running: bool,
    /// Memory only, for a checkpoint soon; the container goes on.
    pub pre_dump: bool,
    /// Connections that are just being made are left out.
    pub skip_in_flight: bool,
    /// The directory of the checkpoint before, from that of this one.
    pub parent: Option<&'a Path>,
    /// Where memory is sent to: address and port.
    pub page_server: Option<(&'a str, u16)>,
    /// A descriptor that criu writes to when lazy pages can be asked for.
    pub status_fd: Option<i32>,
}

impl Kept {
    /// Writes it. Unless it goes on, it is gone afterwards, which the caller makes known by deleting it.
    ///
    /// # Errors
    /// [`Error::NotNow`] when it does not run; what criu says, and where its log is.
    pub fn checkpoint(&self, images: &Images<'_>, wanted: &Checkpoint<'_>) -> Result<()> {
        let lock = self.lock()?;
        if !matches!(self.status()?, Status::Running | Status::Paused) {
            return Err(Error::NotNow("cannot checkpoint a container that is not running".to_owned()));
        }
        make_dir(images.dir)?;
        make_dir(images.log_dir())?;
        let request = if wanted.pre_dump { Request::PreDump } else { Request::Dump };
        let dirs = images.open()?;
        let mut options = images.options(&dirs, request);
        self.describe(&mut options)?;
        options.flag(names::LEAVE_RUNNING, wanted.leave_running);
        options.flag(names::LINK_REMAP, true);
        options.flag(names::SKIP_IN_FLIGHT, wanted.skip_in_flight);
        options.flag(names::FORCE_IRMAP, true);
        options.flag(names::TRACK_MEMORY, wanted.pre_dump || wanted.parent.is_some());
        if let Some(parent) = wanted.parent {
            options.text(names::PARENT, parent.as_os_str().as_encoded_bytes());
        }
        if let Some((address, port)) = wanted.page_server {
            let mut server = Message::default();
            server.text(1, address.as_bytes());
            server.number(2, u64::from(port));
            options.message(names::PAGE_SERVER, &server);
        }
        if let Some(fd) = wanted.status_fd {
            tare_sys::fd::keep_on_exec(fd).map_err(|e| Error::step("pass --status-fd on", e))?;
            options.number(names::STATUS, fd as u64);
        }
        if !wanted.pre_dump {
            self.write_streams(&mut options, images.dir)?;
        }
        let mut criu = Criu::start(images.criu, &[&dirs.images, &dirs.work], false)?;
        let asked = criu.ask(request, &options, |_| Ok(()));
        drop(lock);
        asked.map(drop).map_err(|e| point_to_log(e, request, images.log_dir()))
    }

    /// Which process, and what of it comes from outside.
    fn describe(&self, options: &mut Message) -> Result<()> {
        let (spec, pid) = (self.spec()?, self.record.pid);
        let plan = planned(&spec, &self.record.bundle)?;
        if plan.shares_mounts() {
            let rule = "cannot checkpoint a container without a mount namespace of its own";
            return Err(Error::NotNow(rule.to_owned()));
        }
        let group = self.record.cgroup.as_ref().map(|_| self.cgroup()).transpose()?;
        options.number(names::PID, pid as u64);
        options.text(names::ROOT, plan.root.path.as_os_str().as_encoded_bytes());
        let masks = masks(pid)?;
        for (inside, _) in external_mounts(&plan, group.as_ref()) {
            if !plan.hidden.masked.contains(&inside) || masks.contains(&inside) {
                external(options, &inside, &inside);
            }
        }
        for (name, _, key) in shared_namespaces(&spec) {
            let path = format!("/proc/{pid}/ns/{name}");
            let inode = fs::metadata(&path).map_err(|e| Error::step(&format!("look at {path}"), e))?.ino();
            options.text(names::EXTERNAL, format!("{name}[{inode}]:{key}").as_bytes());
        }
        if let Some(dir) = group.as_ref().and_then(tare_cgroup::Cgroup::freezer_dir) {
            options.text(names::FREEZER, dir.as_os_str().as_encoded_bytes());
        }
        Ok(())
    }

    /// The streams that lead out of the container are named, so that others can take their place.
    fn write_streams(&self, options: &mut Message, dir: &Path) -> Result<()> {
        let pid = self.record.pid;
        let inside: Vec<String> = mounts_of(pid)?.iter().filter_map(|line| first_word(line)).collect();
        let mut streams = Vec::new();
        for number in 0..3 {
            let link = format!("/proc/{pid}/fd/{number}");
            let target = fs::read_link(&link).map(|path| path.display().to_string()).unwrap_or_default();
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
            let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).map(str::trim);
            let outside = mount.is_some_and(|mount| !inside.iter().any(|known| known == mount));
            let is_file = target.starts_with('/');
            match (mount.and_then(|mount| mount.parse::<u32>().ok()), fs::metadata(&link)) {
                (Some(mount), Ok(found)) if outside && is_file => {
                    let key = format!("file[{mount:x}:{:x}]", found.ino());
                    options.text(names::EXTERNAL, key.as_bytes());
                    streams.push(key);
                }
                _ => streams.push(target),
            }
        }
        let text = serde_json::to_vec(&streams).map_err(|e| Error::step("write the streams", e))?;
        replace(&dir.join(STREAMS), &text, 0o600).map_err(|e| Error::step("write the streams", e))
    }
}

fn make_dir(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| Error::step(&format!("make {}", path.display()), e))
}

fn mounts_of(pid: i32) -> Result<Vec<String>> {
    let path = format!("/proc/{pid}/mountinfo");
    let text = fs::read_to_string(&path).map_err(|e| Error::step(&format!("read {path}"), e))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn first_word(line: &str) -> Option<String> {
    line.split(' ').next().map(str::to_owned)
}

/// The files that are covered by the null device.
fn masks(pid: i32) -> Result<Vec<PathBuf>> {
    let mask = |line: &String| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (root == "/null").then(|| PathBuf::from(point))
    };
    Ok(mounts_of(pid)?.iter().filter_map(mask).collect())
}
