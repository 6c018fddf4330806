//! What a run has made goes with it, however a runtime or the run itself ends: everything is below one directory that
//! has a name of chance, and every container has that name in its own. What is found by it is nobody else's.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, FlockOperation, flock};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getppid, pidfd_open, pidfd_send_signal, setsid, wait,
};
use rustix::time::Timespec;

use crate::bundle::Bundle;
use crate::runtime::Runtime;

const PREFIX: &str = "tare-oci-";
/// Held by the run as long as it lives.
const LOCK: &str = "lock";
const GROUPS: &str = "/sys/fs/cgroup";
/// This program, also when it has been built anew meanwhile.
const SELF: &str = "/proc/self/exe";

static TOKEN: OnceLock<String> = OnceLock::new();

/// The part of a container's name that is this run's alone.
pub(crate) fn token() -> &'static str {
    TOKEN.get().map_or("", String::as_str)
}

/// A run of the suite.
pub(crate) struct Run {
    dir: PathBuf,
    _lock: File,
    /// Clears away when this process has ended, whatever ended it.
    janitor: Child,
}

impl Run {
    /// Clears away what others have left, and begins one.
    pub(crate) fn begin() -> Self {
        sweep_dead();
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(std::env::temp_dir()).unwrap().keep();
        // Root of a user namespace has to come through.
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(dir.join(LOCK), "").unwrap();
        let lock = File::open(dir.join(LOCK)).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        let mut janitor = Command::new(SELF);
        janitor.arg("--janitor").arg(&dir).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let janitor = janitor.spawn().unwrap();
        tempfile::env::override_temp_dir(&dir).unwrap();
        TOKEN.set(token_of(&dir).unwrap().to_owned()).unwrap();
        Self { dir, _lock: lock, janitor }
    }

    /// Ends what a runtime has left to this process.
    pub(crate) fn end_children(&self) {
        let own = self.janitor.id().to_string();
        loop {
            let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
            let strays: Vec<i32> = children
                .split_whitespace()
                .filter(|pid| *pid != own)
                .filter_map(|pid| pid.parse().ok())
                .collect();
            for pid in &strays {
                // Nobody but this process reaps them, so that the number is theirs.
                let pid = Pid::from_raw(*pid).unwrap();
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            }
            // Theirs come to this process when they have ended.
            if strays.is_empty() {
                return;
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.end_children();
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The janitor: waits, out of reach of the run's terminal, until the run is over.
pub(crate) fn janitor(dir: &Path) {
    let _ = setsid();
    let _ = std::io::stdin().read(&mut [0]);
    sweep(dir);
}

fn token_of(dir: &Path) -> Option<&str> {
    let token = dir.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    (token.len() >= 6 && token.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(token)
}

/// Whether nobody holds it any more. One that is just beginning has no lock yet, and is left alone.
fn is_dead(dir: &Path) -> bool {
    let lock = File::open(dir.join(LOCK));
    lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok())
}

/// Runs that were cut off together with their janitor.
fn sweep_dead() {
    let runs = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten().map(|entry| entry.path());
    runs.filter(|dir| token_of(dir).is_some() && is_dead(dir)).for_each(|dir| sweep(&dir));
}

/// Removes all that a run has made: processes, groups, mounts, files.
fn sweep(dir: &Path) {
    let Some(token) = token_of(dir) else { return };
    let name = format!("oci-{token}-");
    let groups = groups(Path::new(GROUPS), &name);
    remove(&groups, |pid| is_in(pid, &name) || holds(pid, dir));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().rev().filter_map(|line| line.split(' ').nth(4));
    for point in points.filter(|point| Path::new(point).starts_with(dir)) {
        let _ = unmount(point, UnmountFlags::DETACH);
    }
    let _ = fs::remove_dir_all(dir);
}

/// Removes a container's groups, and whoever is in them: a peer that fails may leave both.
pub(crate) fn remove_groups(id: &str) {
    let groups = groups(Path::new(GROUPS), id);
    if !groups.is_empty() {
        remove(&groups, |pid| is_in(pid, id));
    }
}

fn remove(groups: &[PathBuf], is_theirs: impl Fn(i32) -> bool) {
    for group in groups {
        for (file, thawed) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            let path = group.join(file);
            let _ = path.exists().then(|| fs::write(&path, thawed));
        }
    }
    // A process may make another meanwhile, but not for ever.
    for _ in 0..100 {
        if !end(&processes(&is_theirs)) {
            break;
        }
    }
    // The deepest first.
    groups.iter().rev().for_each(|group| drop(fs::remove_dir(group)));
}

/// Whether a path names the container, or the run: `oci-x-1` is not in `oci-x-10`.
fn names(path: &str, name: &str) -> bool {
    path.split_once(name)
        .is_some_and(|(_, rest)| name.ends_with('-') || !rest.starts_with(|next: char| next.is_ascii_digit()))
}

/// The groups that have the name in theirs, and those below them, each after the one that it is in.
fn groups(above: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        if path.to_str().is_some_and(|path| names(path, name)) {
            found.push(path.clone());
        }
        found.extend(groups(&path, name));
    }
    found
}

/// Processes that are to go; neither this one nor who waits for it is among them.
fn processes(is_theirs: &impl Fn(i32) -> bool) -> Vec<OwnedFd> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let own = [Some(std::process::id() as i32), getppid().map(Pid::as_raw_pid)];
    numbers.filter(|pid| !own.contains(&Some(*pid))).filter_map(|pid| opened(pid, is_theirs)).collect()
}

fn opened(pid: i32, is_theirs: &impl Fn(i32) -> bool) -> Option<OwnedFd> {
    // Held before it is judged: the number cannot become another's in between.
    let process = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    (is_theirs(pid) && !has_ended(&process, 0)).then_some(process)
}

fn is_in(pid: i32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .is_ok_and(|groups| groups.lines().any(|line| names(line, name)))
}

/// Whether it writes to a file of the run or waits at a pipe of it: who only looks at what a run has left is not one of its
/// processes.
fn holds(pid: i32, dir: &Path) -> bool {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    fds.into_iter().any(|fd| {
        let inside = fs::read_link(fd.path()).is_ok_and(|target| target.starts_with(dir));
        let is_pipe = || {
            let found = rustix::fs::stat(fd.path());
            found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo)
        };
        let number = fd.file_name();
        let writes = || {
            let info =
                fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", number.display())).unwrap_or_default();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            flags.is_some_and(|flags| flags.trim().ends_with(['1', '2']))
        };
        inside && (is_pipe() || writes())
    })
}

fn has_ended(process: &OwnedFd, seconds: i64) -> bool {
    let patience = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&patience)).is_ok_and(|ended| ended == 1)
}

/// Kills, and waits until they are gone. Whether there was any.
fn end(processes: &[OwnedFd]) -> bool {
    for process in processes {
        let _ = pidfd_send_signal(process, Signal::KILL);
        has_ended(process, 10);
    }
    // Where they are this process's own.
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    !processes.is_empty()
}

/// A run that is cut off in the middle of a clause: says where it is, and lasts.
pub(crate) fn last() {
    let run = Run::begin();
    let runtime = Runtime::ours().unwrap();
    let bundle = Bundle::of(&runtime, "sleep 1000");
    bundle.start();
    println!("{} {} {} {}", run.dir.display(), run.janitor.id(), bundle.id, bundle.pid());
    loop {
        std::thread::park();
    }
}

/// What this suite promises of itself: cut off, with its janitor or without, it leaves nothing, and touches nothing else.
pub(crate) fn leaves_nothing() {
    for with_janitor in [true, false] {
        let mut run = Command::new(SELF);
        let mut run = run.arg("--last").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let [dir, janitor, id, pid] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let (dir, pid) = (Path::new(dir), pid.parse::<i32>().unwrap());
        let container = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
        let mut reader =
            Command::new("sleep").arg("1000").stdin(File::open(dir.join(LOCK)).unwrap()).spawn().unwrap();
        let foreign = groups(Path::new(GROUPS), id)
            .first()
            .unwrap()
            .with_file_name(format!("not-{}", std::process::id()));
        fs::create_dir(&foreign).unwrap();
        if !with_janitor {
            rustix::process::kill_process(Pid::from_raw(janitor.parse().unwrap()).unwrap(), Signal::KILL)
                .unwrap();
        }
        run.kill().unwrap();
        run.wait().unwrap();
        if !with_janitor {
            assert!(dir.exists() && !has_ended(&container, 0), "there is nothing to clear away");
            sweep_dead();
        }
        assert!(has_ended(&container, 20), "the container is left");
        tare_tests::until("the janitor to be done", || Ok(!dir.exists())).unwrap();
        assert!(groups(Path::new(GROUPS), id).is_empty(), "its groups are left");
        assert!(foreign.exists() && reader.try_wait().unwrap().is_none(), "others were touched");
        fs::remove_dir(&foreign).unwrap();
        reader.kill().unwrap();
        reader.wait().unwrap();
    }
}
