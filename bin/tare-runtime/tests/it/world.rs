//! A bundle with busybox as its whole userland, and the command line that makes containers of it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long what must come is waited for, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const APPLETS: [&str; 17] = [
    "sh", "sleep", "cat", "echo", "true", "id", "tty", "readlink", "ls", "touch", "hostname", "stty",
    "mknod", "head", "rm", "tr", "mkdir",
];

/// A container's files, and its state.
pub(crate) struct World {
    dir: TempDir,
    /// Who makes the container; none is root.
    pub(crate) user: Option<u32>,
    /// The user's own place for sockets and such ($XDG_RUNTIME_DIR).
    pub(crate) runtime_dir: PathBuf,
    pub(crate) id: String,
    pub(crate) config: Value,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// It must have gone well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// It must not.
    #[track_caller]
    pub(crate) fn refused(self, words: &str) {
        assert!(self.code != 0 && self.err.contains(words), "wanted \"{words}\": {self:?}");
    }
}

impl World {
    /// None, with a word why, on a machine that cannot have one.
    pub(crate) fn of(script: &str) -> Option<Self> {
        Self::by(None, script)
    }

    /// Of a user who is in no file of this machine, with everything in the user's own hands.
    pub(crate) fn of_user(user: u32, script: &str) -> Option<Self> {
        if fs::read_to_string("/proc/sys/user/max_user_namespaces").is_ok_and(|max| max.trim() == "0") {
            println!("skipped: needs user namespaces");
            return None;
        }
        Self::by(Some(user), script)
    }

    fn by(user: Option<u32>, script: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
            println!("skipped: needs root and /bin/busybox (busybox-static)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("rootfs/bin");
        for name in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
            fs::create_dir_all(dir.path().join("rootfs").join(name)).unwrap();
        }
        copy("/bin/busybox", &bin);
        APPLETS.iter().for_each(|applet| symlink("busybox", bin.join(applet)).unwrap());
        let id = format!("test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let runtime_dir = dir.path().join("run");
        let mut world = Self { dir, user, runtime_dir, id, config: Value::Null };
        let rootless: &[&str] = if user.is_some() { &["--rootless"] } else { &[] };
        let bundle = world.path("");
        let own: &[&str] = &["spec", "--bundle", bundle.to_str().unwrap()];
        if let Some(user) = user {
            copy(env!("CARGO_BIN_EXE_tare-runtime"), &world.path(""));
            give(world.dir.path(), user);
        }
        world.tare(&[own, rootless].concat()).ok();
        world.config = serde_json::from_slice(&fs::read(world.path("config.json")).unwrap()).unwrap();
        world.config["process"]["args"] = json!(["/bin/sh", "-c", script]);
        world.save();
        Some(world)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Changes of `config` come into force.
    pub(crate) fn save(&self) {
        fs::write(self.path("config.json"), self.config.to_string()).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.user {
            None => Command::new(env!("CARGO_BIN_EXE_tare-runtime")),
            Some(user) => {
                let mut command = Command::new(self.path("tare-runtime"));
                command.uid(user).gid(user).env("XDG_RUNTIME_DIR", &self.runtime_dir);
                command
            }
        };
        command.arg("--root").arg(self.path("state")).args(arguments).current_dir(self.dir.path());
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command whose output ends with it.
    pub(crate) fn tare(&self, arguments: &[&str]) -> Ran {
        ran(&self.command(arguments).output().unwrap())
    }

    /// A command that leaves a container behind, whose output goes to the file `out`.
    pub(crate) fn leaving(&self, arguments: &[&str]) -> Ran {
        let file = File::options().append(true).create(true).open(self.path("out")).unwrap();
        let error = File::create(self.path("err")).unwrap();
        let status = self.command(arguments).stdout(file).stderr(error).status().unwrap();
        Ran {
            code: status.code().unwrap(),
            out: String::new(),
            err: fs::read_to_string(self.path("err")).unwrap(),
        }
    }

    /// `create`.
    pub(crate) fn create(&self) -> Ran {
        self.leaving(&["create", &self.id])
    }

    /// Any command with nothing but the id.
    pub(crate) fn verb(&self, verb: &str) -> Ran {
        self.tare(&[verb, &self.id])
    }

    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.verb("state").ok()).unwrap()
    }

    #[track_caller]
    pub(crate) fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().unwrap() as i32
    }

    /// What the container has printed.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.path("out")).unwrap_or_default()
    }

    /// Waits until the container has printed this.
    pub(crate) fn hear(&self, words: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !self.output().contains(words) {
            assert!(std::time::Instant::now() < deadline, "no \"{words}\" from it: {}", self.output());
            std::thread::yield_now();
        }
    }

    /// Lets its programs make device nodes anywhere; opening them is another matter. Before it is made.
    pub(crate) fn allow_mknod(&mut self) {
        for set in ["bounding", "effective", "permitted"] {
            self.config["process"]["capabilities"][set] = json!(["CAP_MKNOD"]);
        }
        self.save();
    }

    /// After [`World::allow_mknod`], in a running container.
    pub(crate) fn assert_devices_are_filtered(&self) {
        let open = |numbers: &str| {
            let script = format!("mknod /dev/probe c {numbers} && head -c 1 /dev/probe; rm /dev/probe");
            self.tare(&["exec", &self.id, "sh", "-c", &script])
        };
        let (mem, zero) = (open("1 1"), open("1 5"));
        assert_eq!((zero.err.as_str(), zero.out.len()), ("", 1), "{zero:?}");
        assert_eq!(mem.err, "head: /dev/probe: Operation not permitted\n");
    }

    /// Waits until the container's program has ended.
    pub(crate) fn wait(&self, pid: i32) {
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        // None: it has ended already.
        let Ok(init) = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) else { return };
        let mut fds = [rustix::event::PollFd::new(&init, rustix::event::PollFlags::IN)];
        let patience = rustix::time::Timespec::try_from(PATIENCE).unwrap();
        assert_eq!(rustix::event::poll(&mut fds, Some(&patience)).unwrap(), 1, "it does not end");
    }

    /// Whether no directory, group or process is left.
    pub(crate) fn is_clean(&self) -> bool {
        let groups = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
        let group = groups.map(|entry| entry.path().join("tare").join(&self.id)).find(|path| path.exists());
        !self.path("state").join(&self.id).exists() && group.is_none()
    }
}

/// A program to be executed soon. By another process: a descriptor that is open for writing here is inherited by what
/// other tests start, until its execve, and as long as anybody has it the program is busy (`ETXTBSY`).
fn copy(program: &str, to: &Path) {
    assert!(Command::new("cp").arg(program).arg(to).status().unwrap().success());
}

/// A script to be executed soon, made in the same way.
pub(crate) fn script(at: &Path, text: &str) {
    let mut install = Command::new("install");
    let mut install = install.args(["-m755", "/dev/stdin"]).arg(at).stdin(Stdio::piped()).spawn().unwrap();
    install.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(install.wait().unwrap().success());
}

/// The whole tree.
fn give(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), user));
    }
}

/// No test leaves a container behind, not even one that failed.
impl Drop for World {
    fn drop(&mut self) {
        let _ = self.command(&["delete", "--force", &self.id]).output();
    }
}

pub(crate) fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
