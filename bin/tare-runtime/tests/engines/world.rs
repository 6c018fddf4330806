//! A place for an engine: namespaces of its own with nothing but loopback, a root file system, and groups to clean up.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;

/// How long an engine may take to answer on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends, and takes everything away, when it is dropped.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    /// Keeps the namespaces.
    keeper: Child,
    daemon: Option<Child>,
}

impl World {
    /// None, with a word why, where a peer is missing.
    pub(crate) fn of(peers: &[&str]) -> Option<Self> {
        let in_path = |name: &str| {
            std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
                .any(|dir| dir.join(name).exists())
        };
        let missing =
            peers.iter().chain(&["runc", "unshare", "nsenter", "script"]).find(|name| !in_path(name));
        if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() || missing.is_some() {
            println!("skipped: needs root, busybox-static and {}", missing.unwrap_or(&"nothing else"));
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        make_root(&dir.path().join("rootfs"));
        let mut keeper = Command::new("unshare");
        keeper.args(["--mount", "--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = keeper.spawn().unwrap();
        // Once it echoes, it is inside.
        keeper.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        keeper.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let world = Self { dir, keeper, daemon: None };
        let _ = world.inside("ip", &["link", "set", "lo", "up"]).status();
        Some(world)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Where this world's groups are, below the hierarchies' roots.
    pub(crate) fn group(&self) -> String {
        format!("/tare-engines-{}", self.keeper.id())
    }

    /// A command in the namespaces.
    pub(crate) fn inside(&self, program: &str, arguments: &[&str]) -> Command {
        let target = self.keeper.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &target, "--mount", "--net", "--", program]).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    /// Starts a daemon and waits until its socket answers. Afterwards it is ended first.
    pub(crate) fn serve(&mut self, program: &str, arguments: &[&str], socket: &str) {
        let log = fs::File::create(self.path("daemon.log")).unwrap();
        let mut command = self.inside(program, arguments);
        let daemon = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&daemon), PidfdFlags::empty()).unwrap();
        self.daemon = Some(daemon);
        let deadline = Instant::now() + PATIENCE;
        let pause = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        while UnixStream::connect(socket).is_err() {
            let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&pause)).unwrap() > 0;
            let log = || fs::read_to_string(self.path("daemon.log")).unwrap_or_default();
            assert!(!ended && Instant::now() < deadline, "{program} does not answer: {}", log());
        }
    }

    /// What one asks, and what is answered: the exit code and the standard output.
    pub(crate) fn answer(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.inside("timeout", &[&["40", program], arguments].concat()).output().unwrap();
        let code = output.status.code().unwrap_or(-1);
        format!("{}: {code} {}", arguments.join(" "), String::from_utf8_lossy(&output.stdout).trim())
    }

    /// The same with a terminal.
    pub(crate) fn answer_on_terminal(&self, line: &str) -> String {
        let output = self.inside("timeout", &["40", "script", "-qec", line, "/dev/null"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
        format!("{}: {}", output.status.code().unwrap_or(-1), text.trim())
    }
}

/// Both transcripts, line by line, so that a difference is found at once.
pub(crate) fn compare(runc: &[String], ours: &[String]) {
    assert_eq!(runc.len(), ours.len());
    for (runc, ours) in runc.iter().zip(ours) {
        assert_eq!(ours, runc, "left: this runtime, right: runc");
    }
}

/// This build.
pub(crate) const OURS: &str = env!("CARGO_BIN_EXE_tare-runtime");

fn make_root(root: &Path) {
    for name in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    // By another process: a program is busy for as long as anybody has it open for writing, a child of another test too.
    assert!(Command::new("cp").arg("/bin/busybox").arg(root.join("bin")).status().unwrap().success());
    for applet in ["sh", "sleep", "cat", "echo", "true", "id", "tty", "ls", "touch", "stty", "pwd"] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = kill_process(Pid::from_child(daemon), Signal::TERM);
            let _ = daemon.wait();
        }
        let points = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = points.lines().filter(|line| line.contains(" - cgroup"));
        for group in points.filter_map(|line| line.split(' ').nth(4)) {
            remove_group(&PathBuf::from(format!("{group}{}", self.group())));
        }
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Ends what is left in it, if a test has failed.
fn remove_group(dir: &Path) {
    let _ = fs::write(dir.join("cgroup.kill"), "1");
    for below in fs::read_dir(dir).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&below.path());
        }
    }
    // An engine's own helpers may be on their way out.
    for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
        let process = pid.parse().ok().and_then(Pid::from_raw);
        let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        let _ = process.map(|pidfd| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)));
    }
    let _ = fs::remove_dir(dir);
}
