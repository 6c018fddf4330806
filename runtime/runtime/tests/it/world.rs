//! A bundle in a temporary directory, and what becomes of it.

use std::fs::{self, File};
use std::io::Read;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use tare_model::DEFAULT_CAPABILITIES;
use tare_model::RootMount;
use tare_oci::runtime::{
    Capabilities, IdMapping, Linux, Mount, Namespace, NamespaceKind, Process, Root, Spec,
};
use tare_runtime::{Created, Error, Launch, Running, Stdio, Target};
use tare_sys::mount::{Change, Propagation};
use tempfile::TempDir;

pub(crate) fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.is_file())
}

/// What the tests mount is theirs alone, and goes with them however they end.
pub(crate) fn leave_the_hosts_mounts() {
    tare_sys::namespace::unshare(tare_sys::clone::NEW_MOUNT).unwrap();
    let private = Change { propagation: Some(Propagation::Private), ..Change::default() };
    tare_sys::mount::set(File::open("/").unwrap().as_fd(), true, private).unwrap();
}

const APPLETS: [&str; 22] = [
    "sh", "ls", "cat", "id", "mount", "hostname", "ps", "grep", "env", "stat", "readlink", "sleep", "true",
    "ip", "mknod", "mkdir", "stty", "tty", "head", "touch", "chmod", "kill",
];

/// A shell script that lists its open descriptors without opening one to do so.
pub(crate) const LIST_FDS: &str =
    "n=0; while [ $n -lt 64 ]; do [ -e /proc/self/fd/$n ] && echo -n \"$n \"; n=$((n+1)); done; true";

/// A bundle.
pub(crate) struct Bundle {
    pub(crate) dir: TempDir,
    pub(crate) spec: Spec,
    pub(crate) rootfs: Vec<RootMount>,
}

impl Bundle {
    /// With a shell script as its program, confined as a container is by default.
    pub(crate) fn of(script: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fill(&dir.path().join("rootfs"));
        Self { dir, spec: spec(&["/bin/sh", "-c", script]), rootfs: Vec::new() }
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join("rootfs").join(inside.trim_start_matches('/'))
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        self.spec.process.as_mut().unwrap()
    }

    pub(crate) fn linux(&mut self) -> &mut Linux {
        self.spec.linux.as_mut().unwrap()
    }

    pub(crate) fn mount(&mut self, destination: &str, kind: &str, source: &Path, options: &[&str]) {
        self.spec.mounts.push(mount(destination, kind, source, options));
    }

    /// Joins a namespace instead of making one.
    pub(crate) fn join(&mut self, kind: NamespaceKind, path: &Path) {
        self.without(kind);
        self.linux().namespaces.push(Namespace { kind, path: Some(path.to_owned()) });
    }

    pub(crate) fn without(&mut self, kind: NamespaceKind) {
        self.linux().namespaces.retain(|namespace| namespace.kind != kind);
    }

    /// Gives it a user namespace whose root is user 100000, and to that user the files of its root.
    pub(crate) fn map_ids(&mut self) {
        let map = vec![IdMapping { container_id: 0, host_id: 100_000, size: 65536 }];
        self.linux().namespaces.push(Namespace { kind: NamespaceKind::User, path: None });
        (self.linux().uid_mappings, self.linux().gid_mappings) = (map.clone(), map);
        for path in [self.dir.path().to_owned(), self.path("")] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o711)).unwrap();
        }
        for path in ["", "tmp", "dev", "proc", "sys"] {
            chown(self.path(path), Some(100_000), Some(100_000)).unwrap();
        }
    }

    pub(crate) fn launch(&self, stdio: Stdio) -> Launch<'_> {
        Launch {
            id: "test",
            bundle: self.dir.path(),
            spec: &self.spec,
            rootfs: &self.rootfs,
            stdio,
            seccomp_cache: None,
            cgroup: None,
            preserve_fds: 0,
            door: None,
            relaxed: tare_runtime::Relaxed::default(),
        }
    }

    /// Starts it; its output can be read to the end.
    pub(crate) fn start(&self) -> Result<Container<'_>, Error> {
        let (stdio, output) = pipes();
        let mut created = tare_runtime::clone_init(self.launch(stdio))?;
        created.ready()?;
        Ok(Container { running: created.start()?, output: Some(output), bundle: PhantomData })
    }

    /// Runs it to its end.
    pub(crate) fn run(&self) -> Output {
        self.start().unwrap_or_else(|e| panic!("{e}")).finish()
    }

    /// Runs it to its end, which must be good, and answers what it printed.
    pub(crate) fn text(&self) -> String {
        let output = self.run();
        assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
        output.stdout
    }

    /// Why it does not start.
    pub(crate) fn refusal(&self) -> Error {
        match self.start() {
            Err(error) => error,
            Ok(container) => panic!("it ran: {:?}", container.finish()),
        }
    }
}

/// A container that runs. Its root goes with its bundle, so it cannot live longer than that.
pub(crate) struct Container<'a> {
    pub(crate) running: Running,
    output: Option<[OwnedFd; 2]>,
    bundle: PhantomData<&'a Bundle>,
}

/// What a program left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Container<'_> {
    pub(crate) fn finish(mut self) -> Output {
        let [stdout, stderr] = self.output.take().unwrap().map(read);
        Output { code: reap(&self.running.pidfd), stdout, stderr }
    }

    /// The next bytes that it prints.
    pub(crate) fn hear(&self) -> String {
        let mut text = [0; 4096];
        let length = rustix::io::read(&self.output.as_ref().unwrap()[0], &mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    pub(crate) fn exec(&self, spec: &Spec, process: &Process) -> Result<Output, Error> {
        let (stdio, output) = pipes();
        let bundle = Path::new("/");
        let target = Target {
            id: "test",
            bundle,
            pidfd: self.running.pidfd.as_fd(),
            spec,
            cgroup: None,
            seccomp_cache: None,
        };
        let running = tare_runtime::exec(&target, process, stdio)?;
        Ok(Container { running, output: Some(output), bundle: PhantomData }.finish())
    }
}

/// No test leaves a process behind, not even one that failed.
impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.running.pidfd, rustix::process::Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.running.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

pub(crate) fn pipes() -> (Stdio, [OwnedFd; 2]) {
    let pair = || pipe_with(PipeFlags::CLOEXEC).unwrap();
    let ((stdout, from_stdout), (stderr, from_stderr)) = (flip(pair()), flip(pair()));
    let stdin = File::open("/dev/null").unwrap().into();
    (Stdio::Fds { stdin, stdout, stderr }, [from_stdout, from_stderr])
}

fn flip<A, B>((a, b): (A, B)) -> (B, A) {
    (b, a)
}

pub(crate) fn read(fd: OwnedFd) -> String {
    let mut text = Vec::new();
    // The master of a terminal ends with EIO.
    let _ = File::from(fd).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

pub(crate) fn reap(pidfd: &OwnedFd) -> i32 {
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap();
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap()
}

/// Kills a container that was made and not started.
pub(crate) fn discard(created: Created) -> i32 {
    let Created { pidfd, .. } = created;
    let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
    reap(&pidfd)
}

/// Whether this process has any child left.
pub(crate) fn childless() -> bool {
    matches!(
        waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG),
        Err(rustix::io::Errno::CHILD)
    )
}

pub(crate) fn mountinfo() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

fn fill(root: &Path) {
    for dir in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::copy(busybox().unwrap(), root.join("bin/busybox")).unwrap();
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/tmp:/bin/sh\n")
        .unwrap();
}

pub(crate) fn mount(destination: &str, kind: &str, source: &Path, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: Some(kind.to_owned()),
        source: Some(source.to_owned()),
        options: options.iter().map(ToString::to_string).collect(),
        ..Mount::default()
    }
}

pub(crate) fn process(args: &[&str]) -> Process {
    let capabilities = DEFAULT_CAPABILITIES.to_vec();
    Process {
        args: args.iter().map(ToString::to_string).collect(),
        env: vec!["PATH=/bin".to_owned()],
        cwd: "/".into(),
        no_new_privileges: true,
        capabilities: Some(Capabilities {
            bounding: capabilities.clone(),
            effective: capabilities.clone(),
            permitted: capabilities,
            ..Capabilities::default()
        }),
        ..Process::default()
    }
}

fn spec(args: &[&str]) -> Spec {
    use NamespaceKind as N;
    let namespace = |kind| Namespace { kind, path: None };
    let path = Path::new;
    Spec {
        oci_version: "1.2.0".to_owned(),
        root: Some(Root { path: "rootfs".into(), readonly: false }),
        process: Some(process(args)),
        hostname: Some("tare-test".to_owned()),
        mounts: vec![
            mount("/proc", "proc", path("proc"), &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", path("tmpfs"), &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts",
                "devpts",
                path("devpts"),
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            mount(
                "/dev/shm",
                "tmpfs",
                path("shm"),
                &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
            ),
            mount("/dev/mqueue", "mqueue", path("mqueue"), &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", path("sysfs"), &["nosuid", "noexec", "nodev", "ro"]),
        ],
        linux: Some(Linux {
            namespaces: [N::Pid, N::Network, N::Ipc, N::Uts, N::Mount, N::Cgroup].map(namespace).to_vec(),
            masked_paths: ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/none"]
                .map(PathBuf::from)
                .to_vec(),
            readonly_paths: ["/proc/sys", "/proc/bus", "/proc/none"].map(PathBuf::from).to_vec(),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}
