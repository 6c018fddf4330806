//! A container with a busybox root, and every command on it.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;
use serde_json::{Value, json};
use tare_tests::Ran;
use tempfile::TempDir;

use crate::runtime::Runtime;
use crate::sweep;

const APPLETS: &[&str] = &[
    "sh",
    "ls",
    "cat",
    "id",
    "mount",
    "umount",
    "hostname",
    "grep",
    "env",
    "stat",
    "readlink",
    "sleep",
    "true",
    "touch",
    "mknod",
    "mkdir",
    "echo",
    "uname",
    "ionice",
    "chrt",
    "taskset",
    "ip",
    "dd",
    "kill",
    "head",
    "tr",
    "wc",
    "pwd",
    "printf",
    "chmod",
    "rm",
    "tty",
    "stty",
    "ipcs",
    "sort",
    "cut",
    "date",
    "ps",
    "df",
    "test",
    "ln",
    "mkfifo",
    "chown",
    "setsid",
    "dnsdomainname",
];

/// A bundle, and the container that is made of it.
pub(crate) struct Bundle<'r> {
    runtime: &'r Runtime,
    dir: TempDir,
    pub(crate) id: String,
    pub(crate) config: Value,
    host: Option<Host>,
}

/// A mount namespace in the place of the host's: what a runtime leaves there goes with the test.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl<'r> Bundle<'r> {
    /// Whose program is a shell script.
    pub(crate) fn of(runtime: &'r Runtime, script: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().unwrap();
        let id = format!("oci-{}-{}", sweep::token(), NUMBER.fetch_add(1, Ordering::Relaxed));
        fill(&dir.path().join("rootfs"));
        Self { runtime, dir, id, config: config(&["/bin/sh", "-c", script]), host: None }
    }

    /// Below the bundle.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Below the root file system.
    pub(crate) fn inside(&self, name: &str) -> PathBuf {
        self.path("rootfs").join(name.trim_start_matches('/'))
    }

    /// The bundle's directory as text.
    pub(crate) fn dir(&self) -> String {
        self.dir.path().to_str().unwrap().to_owned()
    }

    pub(crate) fn process(&mut self) -> &mut Value {
        &mut self.config["process"]
    }

    pub(crate) fn linux(&mut self) -> &mut Value {
        &mut self.config["linux"]
    }

    /// One mount more.
    pub(crate) fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) {
        let entry = json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.config["mounts"].as_array_mut().unwrap().push(entry);
    }

    /// Takes a namespace away from the list.
    pub(crate) fn without_namespace(&mut self, kind: &str) {
        self.linux()["namespaces"].as_array_mut().unwrap().retain(|entry| entry["type"] != kind);
    }

    /// Without a mount namespace, nor what can only be kept in one.
    pub(crate) fn share_mounts(&mut self) {
        self.without_namespace("mount");
        self.config["mounts"] = json!([]);
        self.host = Some(Host(self.runtime.host()));
    }

    /// The process whose mount namespace the container shares.
    pub(crate) fn host(&self) -> u32 {
        self.host.as_ref().map_or_else(std::process::id, |host| host.0.id())
    }

    /// Replaces a namespace's entry, or adds one.
    pub(crate) fn namespace(&mut self, kind: &str, path: Option<&str>) {
        self.without_namespace(kind);
        let entry = path.map_or_else(|| json!({"type": kind}), |path| json!({"type": kind, "path": path}));
        self.linux()["namespaces"].as_array_mut().unwrap().push(entry);
    }

    /// A user namespace in which root is user 100000 of the host.
    pub(crate) fn map_ids(&mut self) {
        self.namespace("user", None);
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        self.linux()["uidMappings"] = map.clone();
        self.linux()["gidMappings"] = map;
        let open = |path: &Path| {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap()
        };
        open(self.dir.path());
        for name in ["", "tmp", "dev", "proc", "sys"] {
            std::os::unix::fs::chown(self.inside(name), Some(100_000), Some(100_000)).unwrap();
        }
    }

    /// Changes of `config` come into force.
    pub(crate) fn save(&self) {
        fs::write(self.path("config.json"), self.config.to_string()).unwrap();
    }

    /// Words are to be added.
    pub(crate) fn command(&self) -> Command {
        let host = self.host.as_ref().map(|host| host.0.id());
        let mut command = self.runtime.command(&self.path("state"), host);
        command.current_dir(self.dir.path());
        command
    }

    /// A command that prints something. It goes to files: a peer that hangs may leave somebody behind who would hold a pipe
    /// open for ever.
    pub(crate) fn cli(&self, words: &[&str]) -> Ran {
        let mut command = self.command();
        let line = format!("{:?}", command.args(words));
        let [mut out, mut err] = [(); 2].map(|()| tempfile::tempfile().unwrap());
        command.stdin(Stdio::piped()).stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        drop(child.stdin.take());
        let code = code_of(child.wait().unwrap());
        let text = |file: &mut File| {
            let mut bytes = Vec::new();
            file.rewind().and_then(|()| file.read_to_end(&mut bytes)).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Ran { line, code, out: text(&mut out), err: text(&mut err) }
    }

    /// A null device for the streams of containers: crun gives the one that it finds there to the container's user, and the
    /// machine's own must stay root's.
    pub(crate) fn null(&self) -> File {
        let path = self.path("null");
        if !path.exists() {
            let (kind, mode) = (FileType::CharacterDevice, Mode::from_raw_mode(0o666));
            mknodat(CWD, &path, kind, mode, makedev(1, 3)).unwrap();
        }
        File::options().read(true).write(true).open(path).unwrap()
    }

    /// A command that leaves a container behind, which writes to the file `out`.
    pub(crate) fn leaving(&self, words: &[&str]) -> Ran {
        let file = |name: &str| File::options().append(true).create(true).open(self.path(name)).unwrap();
        let _ = fs::remove_file(self.path("err"));
        let mut command = self.command();
        let line = format!("{words:?}");
        let status =
            command.args(words).stdin(self.null()).stdout(file("out")).stderr(file("err")).status().unwrap();
        let text = |name: &str| fs::read_to_string(self.path(name)).unwrap_or_default();
        Ran { line, code: status.code().unwrap_or(-1), out: text("out"), err: text("err") }
    }

    /// `create`.
    pub(crate) fn try_create(&self) -> Ran {
        self.save();
        self.leaving(&["create", "--bundle", &self.dir(), &self.id])
    }

    /// `create`, which must go well.
    #[track_caller]
    pub(crate) fn create(&self) {
        self.try_create().ok();
    }

    /// `create` and `start`.
    #[track_caller]
    pub(crate) fn start(&self) {
        self.create();
        self.verb("start").ok();
    }

    /// `create` must fail and leave no container behind; answers what it said.
    #[track_caller]
    pub(crate) fn refused(&self) -> String {
        let ran = self.try_create();
        assert_ne!(ran.code, 0, "it was created: {}", self.config);
        assert_ne!(self.verb("state").code, 0, "a container is left of what was refused: {}", ran.err);
        ran.err
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Ran {
        self.save();
        let ran = self.cli(&["run", "--bundle", &self.dir(), &self.id]);
        drop(self.cli(&["delete", "--force", &self.id]));
        ran
    }

    /// Runs it to its end, which must be good, and answers what it printed.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        let ran = self.run();
        ran.ok();
        ran.out
    }

    /// A command with nothing but the id.
    pub(crate) fn verb(&self, verb: &str) -> Ran {
        self.cli(&[verb, &self.id])
    }

    /// What `state` prints.
    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(self.verb("state").ok()).unwrap()
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

    /// Waits until a process has ended.
    pub(crate) fn wait(&self, pid: i32) {
        // None: it has ended already.
        let Ok(init) = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) else { return };
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&init, PollFlags::IN)], Some(&patience)).unwrap();
        assert_eq!(ended, 1, "it does not end");
    }

    /// Starts it, waits until it has ended by itself, and answers what it printed.
    #[track_caller]
    pub(crate) fn start_and_wait(&self) -> String {
        self.create();
        let pid = self.pid();
        self.verb("start").ok();
        self.wait(pid);
        self.output()
    }

    /// Waits until the container has printed a line with these words.
    pub(crate) fn hear(&self, words: &str) {
        tare_tests::until(&format!("\"{words}\" from the container"), || Ok(self.output().contains(words)))
            .unwrap();
    }

    /// The container's groups, as `/proc/PID/cgroup` names them: controllers and path.
    pub(crate) fn groups(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", self.pid())).unwrap();
        let line = |line: &str| {
            let mut parts = line.splitn(3, ':').skip(1).map(str::to_owned);
            Some((parts.next()?, parts.next()?))
        };
        text.lines().filter_map(line).collect()
    }
}

/// No test leaves a container behind, not even one that failed.
impl Drop for Bundle<'_> {
    fn drop(&mut self) {
        drop(self.cli(&["delete", "--force", &self.id]));
        sweep::remove_groups(&self.id);
        // Whom a detached container's maker left to this process.
        while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
    }
}

/// 128 + n where signal n ended it.
fn code_of(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn fill(root: &Path) {
    for dir in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    APPLETS.iter().for_each(|applet| symlink("busybox", root.join("bin").join(applet)).unwrap());
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
}

fn config(args: &[&str]) -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &str| {
        let options: Vec<&str> = options.split(',').collect();
        json!({"destination": destination, "type": kind, "source": source, "options": options})
    };
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
    let capabilities = json!([
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETUID"
    ]);
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {
            "args": args,
            "cwd": "/",
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": true,
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "hostname": "oci",
        "mounts": [
            mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
            mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"),
            mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k"),
            mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
            mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
        ],
        "linux": {
            "namespaces": namespaces,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "maskedPaths": [],
            "readonlyPaths": [],
        },
    })
}
