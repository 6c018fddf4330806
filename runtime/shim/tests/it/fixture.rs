//! A container's directory, its shim, and the daemon's side of the socket.

use std::cell::RefCell;
use std::ffi::CString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::{Value, json};
use tare_oci::runtime::{ConsoleSize, Process};
use tare_protocol::{self as protocol, Event, Exit, Launch, LogFile, Phase, Request, Response, State};

/// A container that is launched and removed again.
pub(crate) struct Container {
    pub(crate) dir: PathBuf,
    pub(crate) shim: i32,
    /// Made before the shim was, as the daemon does it: its end cannot be missed.
    first: RefCell<Option<UnixStream>>,
    reaped: bool,
    mounted: Option<PathBuf>,
}

/// What a test wants of its container.
pub(crate) struct Wanted {
    pub(crate) args: Vec<String>,
    pub(crate) terminal: bool,
    pub(crate) stdin: bool,
    pub(crate) log: Option<(u64, u32)>,
    pub(crate) resources: Value,
    pub(crate) host_pids: bool,
    pub(crate) reserved: Option<std::net::TcpListener>,
}

pub(crate) fn sh(script: &str) -> Wanted {
    Wanted {
        args: ["sh", "-c", script].map(str::to_owned).to_vec(),
        terminal: false,
        stdin: false,
        log: Some((0, 1)),
        resources: json!({}),
        host_pids: false,
        reserved: None,
    }
}

/// How long what must come is waited for, on a machine that has much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const APPLETS: [&str; 16] = [
    "sh", "echo", "cat", "sleep", "wc", "dd", "head", "tr", "seq", "stty", "true", "false", "kill", "yes",
    "ps", "setsid",
];

fn make_root(root: &Path) {
    for below in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
        fs::create_dir_all(root.join(below)).unwrap();
    }
    // By another process: a descriptor that is open for writing here is inherited by what other tests start, until its
    // execve, and as long as anybody has it the program is busy (`ETXTBSY`).
    let copied = Command::new("cp").arg("/bin/busybox").arg(root.join("bin")).status().unwrap();
    assert!(copied.success(), "busybox-static is not installed");
    fs::write(root.join("etc/garbage"), [0x7f, b'n', b'o']).unwrap();
    fs::set_permissions(root.join("etc/garbage"), fs::Permissions::from_mode(0o755)).unwrap();
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
}

/// Waits for what no event tells.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn process(args: &[&str]) -> Process {
    serde_json::from_value(json!({
        "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/", "env": ["PATH=/bin", "TERM=xterm"],
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
    }))
    .unwrap()
}

fn spec(wanted: &Wanted) -> Value {
    let args: Vec<&str> = wanted.args.iter().map(String::as_str).collect();
    let mut process = process(&args);
    process.terminal = wanted.terminal;
    process.console_size = Some(ConsoleSize { height: 24, width: 80 });
    let kinds = ["pid", "mount", "network", "ipc", "uts", "cgroup"];
    let namespaces: Vec<Value> = kinds
        .iter()
        .filter(|kind| !wanted.host_pids || **kind != "pid")
        .map(|kind| json!({"type": kind}))
        .collect();
    json!({
        "ociVersion": "1.2.0", "root": {"path": "root"}, "hostname": "box", "process": process,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        ],
        "linux": {"namespaces": namespaces, "resources": wanted.resources},
    })
}

impl Container {
    /// Makes the directory and the listener, and starts the shim.
    pub(crate) fn launch(wanted: &Wanted) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("tare-shim-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&name);
        make_root(&dir.join("root"));
        fs::write(dir.join("config.json"), spec(wanted).to_string()).unwrap();
        let log =
            wanted.log.map(|(max_size, max_files)| LogFile { path: dir.join("log"), max_size, max_files });
        let launch = Launch {
            id: name.clone(),
            bundle: dir.clone(),
            rootfs: Vec::new(),
            cgroup: format!("/{name}"),
            log,
            open_stdin: wanted.stdin,
            stdin_once: wanted.stdin,
            seccomp_cache: None,
            reserved_fds: wanted.reserved.iter().count() as u32,
        };
        fs::write(dir.join("launch.json"), serde_json::to_vec(&launch).unwrap()).unwrap();
        let reserved: Vec<_> = wanted.reserved.iter().map(AsFd::as_fd).collect();
        let (shim, first) = spawn(&dir, &reserved);
        Self { dir, shim, first: RefCell::new(Some(first)), reaped: false, mounted: None }
    }

    /// The same, started, with a connection that watches.
    pub(crate) fn run(wanted: &Wanted) -> (Self, Watch) {
        let container = Self::launch(wanted);
        let mut watch = container.watch();
        watch.until_ready();
        assert_eq!(container.ask(&Request::Start), Response::Ok, "{}", container.complaints());
        (container, watch)
    }

    /// Launches once more, with the log on a file system that is full but for a ballast file.
    pub(crate) fn stop_and_relaunch_with_log_in(&mut self, small: &Path) {
        kill_process(Pid::from_raw(self.shim).unwrap(), Signal::TERM).unwrap();
        self.wait();
        fs::remove_file(self.dir.join("shim.sock")).unwrap();
        let _ = fs::remove_file(self.dir.join("exit.json"));
        fs::create_dir(small).unwrap();
        rustix::mount::mount("tmpfs", small, "tmpfs", rustix::mount::MountFlags::empty(), c"size=64k")
            .unwrap();
        self.mounted = Some(small.to_owned());
        let mut launch: Launch =
            serde_json::from_slice(&fs::read(self.dir.join("launch.json")).unwrap()).unwrap();
        fs::write(small.join("log"), "").unwrap();
        let mut ballast = fs::File::create(small.join("ballast")).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
        launch.log = Some(LogFile { path: small.join("log"), max_size: 0, max_files: 1 });
        fs::write(self.dir.join("launch.json"), serde_json::to_vec(&launch).unwrap()).unwrap();
        let (shim, first) = spawn(&self.dir, &[]);
        (self.shim, self.reaped) = (shim, false);
        self.first.replace(Some(first));
    }

    pub(crate) fn connect(&self) -> UnixStream {
        connect(&self.dir)
    }

    pub(crate) fn watch(&self) -> Watch {
        let mut stream = self.first.take().unwrap_or_else(|| self.connect());
        protocol::write(&mut stream, &Request::Watch).unwrap();
        match protocol::read(&mut stream).unwrap() {
            Response::State(state) => Watch { stream, state },
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn ask(&self, request: &Request) -> Response {
        let mut stream = self.connect();
        protocol::write(&mut stream, request).unwrap();
        protocol::read(&mut stream).unwrap()
    }

    pub(crate) fn attach(&self, session: Option<&str>) -> UnixStream {
        let mut stream = self.connect();
        let session = session.map(str::to_owned);
        protocol::write(&mut stream, &Request::Attach { session, stdin: true, stdout: true, stderr: true })
            .unwrap();
        assert_eq!(protocol::read::<Response>(&mut stream).unwrap(), Response::Ok);
        stream
    }

    pub(crate) fn exec(&self, id: &str, process: Process, stdin: bool, attach: bool) -> Response {
        self.ask(&Request::Exec { id: id.to_owned(), process: Box::new(process), stdin, attach })
    }

    /// Waits for the shim's own end, and returns what it recorded.
    pub(crate) fn record(&mut self) -> Exit {
        self.wait();
        serde_json::from_slice(&fs::read(self.dir.join("exit.json")).unwrap()).unwrap()
    }

    pub(crate) fn wait(&mut self) {
        self.first.take();
        if !self.reaped {
            waitpid(Pid::from_raw(self.shim), WaitOptions::empty()).unwrap();
            self.reaped = true;
        }
    }

    /// What the shim has said on its stderr.
    pub(crate) fn complaints(&self) -> String {
        fs::read_to_string(self.dir.join("shim.log")).unwrap_or_default()
    }

    /// The log's entries: stream and text.
    pub(crate) fn log(&self, file: &str) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.dir.join(file)).unwrap();
        text.lines()
            .map(|line| {
                let entry: Value = serde_json::from_str(line).unwrap();
                assert!(entry["time"].as_str().unwrap().parse::<tare_model::Timestamp>().is_ok());
                (entry["stream"].as_str().unwrap().to_owned(), entry["log"].as_str().unwrap().to_owned())
            })
            .collect()
    }

    /// The group's directories that exist.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        let name = self.dir.file_name().unwrap();
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
        hierarchies.map(|hierarchy| hierarchy.join(name)).filter(|path| path.exists()).collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.first.take();
        if !self.reaped {
            let _ = kill_process(Pid::from_raw(self.shim).unwrap(), Signal::TERM);
            let _ = waitpid(Pid::from_raw(self.shim), WaitOptions::empty());
        }
        if std::thread::panicking() {
            eprintln!("the shim says: {}", self.complaints());
        }
        if let Some(mounted) = &self.mounted {
            let _ = rustix::mount::unmount(mounted, rustix::mount::UnmountFlags::DETACH);
        }
        let groups = self.groups();
        let _ = fs::remove_dir_all(&self.dir);
        assert!(std::thread::panicking() || groups.is_empty(), "{groups:?}");
    }
}

fn connect(dir: &Path) -> UnixStream {
    let stream = UnixStream::connect(dir.join("shim.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Starts the shim of a directory with its listener and the first connection to it, as the daemon does.
fn spawn(dir: &Path, more: &[std::os::fd::BorrowedFd<'_>]) -> (i32, UnixStream) {
    let program = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/shim");
    let listener = UnixListener::bind(dir.join("shim.sock")).unwrap();
    let first = connect(dir);
    let stderr = fs::File::create(dir.join("shim.log")).unwrap();
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut fds = vec![listener.as_fd()];
    fds.extend_from_slice(more);
    let shim = tare_sys::spawn::spawn(&tare_sys::spawn::Program {
        path: &text(&program),
        args: &[c"tare-runtime".into(), text(dir)],
        env: &[c"RUST_BACKTRACE=1".into()],
        stdout: None,
        stderr: stderr.as_fd(),
        fds: &fds,
    });
    (shim.unwrap(), first)
}

/// The connection that watches.
pub(crate) struct Watch {
    stream: UnixStream,
    pub(crate) state: State,
}

impl Watch {
    pub(crate) fn next(&mut self) -> Option<Event> {
        match protocol::read(&mut self.stream) {
            Ok(Response::Event(event)) => Some(event),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }

    pub(crate) fn until<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let mut seen = Vec::new();
        while let Some(event) = self.next() {
            if let Some(found) = wanted(&event) {
                return found;
            }
            seen.push(event);
        }
        panic!("the events ended with {seen:?}");
    }

    pub(crate) fn until_ready(&mut self) {
        if self.state.phase == Phase::Creating {
            self.until(|event| match event {
                Event::Ready => Some(()),
                Event::Failed { message, .. } => panic!("{message}"),
                _ => None,
            });
        }
    }

    /// Why there is no container, and the exit code that this means.
    pub(crate) fn failure(&mut self) -> (String, u8) {
        self.state.failed.take().unwrap_or_else(|| {
            self.until(|event| match event {
                Event::Failed { message, exit_code } => Some((message.clone(), *exit_code)),
                _ => None,
            })
        })
    }

    pub(crate) fn exit(&mut self) -> Exit {
        self.until(|event| match event {
            Event::Exited(exit) => Some(exit.clone()),
            _ => None,
        })
    }

    pub(crate) fn exec_exit(&mut self, wanted: &str) -> i32 {
        self.until(|event| match event {
            Event::ExecExited { id, exit_code } if id == wanted => Some(*exit_code),
            _ => None,
        })
    }
}

/// Reads Docker's frames to the end: stdout and stderr.
pub(crate) fn frames(stream: &mut UnixStream) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut header = [0; 8];
    while stream.read_exact(&mut header).is_ok() {
        assert_eq!(header[1..4], [0, 0, 0]);
        let mut part = vec![0; u32::from_be_bytes(header[4..].try_into().unwrap()) as usize];
        stream.read_exact(&mut part).unwrap();
        match header[0] {
            1 => out.extend(part),
            2 => err.extend(part),
            other => panic!("stream {other}"),
        }
    }
    (out, err)
}

/// Reads raw bytes until they contain `wanted`.
pub(crate) fn expect(stream: &mut UnixStream, wanted: &str) -> String {
    let (mut seen, mut part) = (Vec::new(), [0; 1024]);
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if text.contains(wanted) {
            return text;
        }
        match stream.read(&mut part) {
            Ok(n) if n > 0 => seen.extend_from_slice(&part[..n]),
            end => panic!("{end:?} after {text:?}"),
        }
    }
}

pub(crate) fn send(stream: &mut UnixStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}
