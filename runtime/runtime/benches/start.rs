//! What a start costs: the bare clone with each namespace, a whole container, and another program in one.
//! Prints medians in microseconds; nothing is asserted, since machines and moments differ.

#![allow(clippy::unwrap_used)] // a measurement that cannot be made may say so loudly

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde_json::json;
use tare_cgroup::{Cgroup, Hierarchies};
use tare_oci::runtime::{Process, Spec};
use tare_runtime::{Launch, Stdio, Target};
use tare_sys::clone::{self, Cloned, clone3};

const ROUNDS: usize = 400;

fn main() {
    if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
        println!("skipped: needs root and /bin/busybox (busybox-static)");
        return;
    }
    for (name, flags) in [
        ("clone3 + exit + wait, no namespace", 0),
        ("  mount", clone::NEW_MOUNT),
        ("  pid", clone::NEW_PID),
        ("  network", clone::NEW_NETWORK),
        ("  ipc", clone::NEW_IPC),
        ("  uts", clone::NEW_UTS),
        ("  cgroup", clone::NEW_CGROUP),
        ("  time", clone::NEW_TIME),
        ("  user", clone::NEW_USER),
        ("  mount pid network ipc uts", SIX),
        ("  the same and user", SIX | clone::NEW_USER),
    ] {
        println!("{name:40} {:6} us", median(|| reap(&cloned(flags))));
    }
    println!("{:40} {:6} us", "  the same, maps written, one-byte go", median(mapped));
    let root = tempfile::tempdir().unwrap();
    let spec = bundle(root.path());
    println!(
        "{:40} {:6} us",
        "container of true, start to exit",
        median(|| reap(&start(root.path(), &spec, &["true"], None)))
    );
    let group = format!("/tare-bench-{}", std::process::id());
    let group = Cgroup::create(&Hierarchies::detect().unwrap(), Path::new(&group)).unwrap();
    for (name, pause) in [("back to back", 0), ("after 30 ms of quiet", 30)] {
        let pause = Duration::from_millis(pause);
        let container = paused(pause, || reap(&start(root.path(), &spec, &["true"], Some(&group))));
        println!("{:40} {container:6} us", format!("container with a cgroup, {name}"));
    }
    let sleeper = start(root.path(), &spec, &["sleep", "1000"], Some(&group));
    println!("{:40} {:6} us", "exec of true in a container", median(|| exec(&sleeper, &spec, None)));
    for (name, pause) in [("back to back", 0), ("after 30 ms of quiet", 30)] {
        let entered = paused(Duration::from_millis(pause), || exec(&sleeper, &spec, Some(&group)));
        println!("{:40} {entered:6} us", format!("exec with a cgroup, {name}"));
    }
    rustix::process::pidfd_send_signal(&sleeper, rustix::process::Signal::KILL).unwrap();
    reap(&sleeper);
    group.remove().unwrap();
}

const SIX: u64 = clone::NEW_MOUNT | clone::NEW_PID | clone::NEW_NETWORK | clone::NEW_IPC | clone::NEW_UTS;

fn median(round: impl FnMut()) -> u128 {
    paused(Duration::ZERO, round)
}

/// Some costs only show when the machine has been quiet for a moment: RCU grace periods are not under way then.
fn paused(pause: Duration, mut round: impl FnMut()) -> u128 {
    let rounds = if pause.is_zero() { ROUNDS } else { ROUNDS / 4 };
    let mut times: Vec<u128> = (0..rounds)
        .map(|_| {
            std::thread::sleep(pause);
            let start = Instant::now();
            round();
            start.elapsed().as_micros()
        })
        .collect();
    times.sort_unstable();
    times[rounds / 2]
}

fn cloned(flags: u64) -> OwnedFd {
    match clone3(flags, None).unwrap() {
        Cloned::Child => tare_sys::process::exit(0),
        Cloned::Parent { pidfd, .. } => pidfd,
    }
}

fn mapped() {
    let (ours, theirs) = rustix::pipe::pipe().unwrap();
    match clone3(SIX | clone::NEW_USER, None).unwrap() {
        Cloned::Child => {
            let heard = rustix::io::read(&ours, &mut [0]).unwrap_or(0);
            tare_sys::process::exit(u8::from(heard != 1));
        }
        Cloned::Parent { pid, pidfd } => {
            fs::write(format!("/proc/{pid}/uid_map"), "0 100000 65536").unwrap();
            fs::write(format!("/proc/{pid}/gid_map"), "0 100000 65536").unwrap();
            rustix::io::write(&theirs, b"g").unwrap();
            reap(&pidfd);
        }
    }
}

fn reap(pidfd: &OwnedFd) {
    waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap();
}

fn bundle(root: &Path) -> Spec {
    let rootfs = root.join("rootfs");
    fs::create_dir_all(rootfs.join("bin")).unwrap();
    for name in ["true", "sleep"] {
        fs::copy("/bin/busybox", rootfs.join("bin").join(name)).unwrap();
    }
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
    let document = json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "hostname": "bench",
        "process": process(&["true"]),
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    });
    serde_json::from_value(document).unwrap()
}

fn process(args: &[&str]) -> serde_json::Value {
    json!({"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}, "noNewPrivileges": true})
}

fn start(root: &Path, spec: &Spec, args: &[&str], cgroup: Option<&Cgroup>) -> OwnedFd {
    let mut spec = spec.clone();
    spec.process = serde_json::from_value(process(args)).unwrap();
    let mut created = tare_runtime::clone_init(Launch {
        id: "bench",
        bundle: root,
        spec: &spec,
        rootfs: &[],
        stdio: nowhere(),
        seccomp_cache: None,
        cgroup,
        preserve_fds: 0,
        door: None,
        relaxed: tare_runtime::Relaxed::default(),
    })
    .unwrap();
    created.ready().unwrap();
    created.start().unwrap().pidfd
}

fn exec(container: &OwnedFd, spec: &Spec, cgroup: Option<&Cgroup>) {
    let process: Process = serde_json::from_value(process(&["true"])).unwrap();
    let target = Target {
        id: "bench",
        bundle: Path::new("/"),
        pidfd: container.as_fd(),
        spec,
        cgroup,
        seccomp_cache: None,
    };
    reap(&tare_runtime::exec(&target, &process, nowhere()).unwrap().pidfd);
}

fn nowhere() -> Stdio {
    let open = || File::options().read(true).write(true).open("/dev/null").unwrap().into();
    Stdio::Fds { stdin: open(), stdout: open(), stderr: open() }
}
