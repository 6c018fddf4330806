//! Paths that change while the runtime works, and paths that were wrong from the beginning.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};
use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::runtime::Runtime;

clauses! {
    "CVE-2025-31133" {
        a_swapped_null_device_masks_nothing "A null device that is exchanged while paths are masked never shows another file in their place"
        a_false_null_device_masks_nothing "A null device that is a link from the beginning masks no path"
    }
    "CVE-2025-52565" {
        a_console_that_is_a_link_moves_no_mount "A /dev/console that is a link, a directory or a pipe leads the terminal's mount nowhere else"
    }
    "CVE-2025-52881" {
        a_swapped_proc_takes_no_sysctl "Kernel parameters are set in the real procfs while /proc is exchanged for a link"
    }
    "CVE-2026-41579" {
        dev_proc_and_sys_as_links_lead_nowhere "/dev, /proc and /sys that are links of the image lead no mount and no file out of their place"
    }
    "CVE-2021-30465" {
        a_swapped_destination_stays_inside "A mount's destination on a shared volume that is exchanged for a link makes and mounts nothing on the host"
    }
}

/// Exchanges two names until it is dropped, as another container on the same volume could.
struct Racer {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Racer {
    fn exchange(one: PathBuf, two: PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let thread = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE);
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

const STARTS: u32 = 40;

fn node(path: &Path, minor: u32) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, minor)).unwrap();
}

/// A container whose /dev is a volume that somebody else can write to.
fn with_shared_dev<'r>(runtime: &'r Runtime, script: &str) -> (Bundle<'r>, PathBuf) {
    let mut bundle = Bundle::of(runtime, script);
    let volume = bundle.path("dev-volume");
    fs::create_dir_all(volume.join("pts")).unwrap();
    fs::create_dir(volume.join("shm")).unwrap();
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        node(&volume.join(name), minor);
    }
    mknodat(CWD, volume.join("tty"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(5, 0))
        .unwrap();
    symlink("pts/ptmx", volume.join("ptmx")).unwrap();
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    bundle.mount("/dev", "bind", volume.to_str().unwrap(), &["rbind"]);
    bundle.mount(
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
    );
    fs::write(bundle.inside("etc/canary"), "canary").unwrap();
    fs::write(bundle.inside("etc/masked"), "masked").unwrap();
    (bundle, volume)
}

fn masks<'r>(runtime: &'r Runtime) -> (Bundle<'r>, PathBuf) {
    let (mut bundle, volume) = with_shared_dev(runtime, "cat /etc/masked");
    bundle.linux()["maskedPaths"] = json!(["/etc/masked"]);
    (bundle, volume)
}

fn a_swapped_null_device_masks_nothing(runtime: &Runtime) {
    let (bundle, volume) = masks(runtime);
    symlink("/etc/canary", volume.join("evil")).unwrap();
    let _racer = Racer::exchange(volume.join("null"), volume.join("evil"));
    for _ in 0..STARTS {
        let ran = bundle.run();
        assert!(ran.code != 0 || ran.out.is_empty(), "{ran:?}");
    }
}

fn a_false_null_device_masks_nothing(runtime: &Runtime) {
    let (bundle, volume) = masks(runtime);
    fs::remove_file(volume.join("null")).unwrap();
    symlink("/etc/canary", volume.join("null")).unwrap();
    let ran = bundle.run();
    assert!(ran.code != 0 && ran.out.is_empty(), "{ran:?}");
}

fn a_console_that_is_a_link_moves_no_mount(runtime: &Runtime) {
    for kind in ["link", "directory", "pipe"] {
        let (bundle, volume) = with_shared_dev(runtime, "cat /proc/self/mountinfo");
        let console = volume.join("console");
        match kind {
            "link" => symlink("/etc/canary", &console).unwrap(),
            "directory" => fs::create_dir(&console).unwrap(),
            _ => mknodat(CWD, &console, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap(),
        }
        // Refused is good as well.
        let shown = crate::console::try_on_a_terminal(bundle, "").unwrap_or_default();
        assert!(!shown.contains(" /etc/canary "), "{kind}: {shown}");
    }
}

fn a_swapped_proc_takes_no_sysctl(runtime: &Runtime) {
    let outside = tempfile::tempdir().unwrap();
    let name = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let before = fs::read_to_string(name).unwrap();
    let mut bundle = Bundle::of(runtime, &format!("cat {name}"));
    bundle.linux()["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "77"});
    let trap = bundle.inside("trap");
    fs::create_dir_all(trap.join("sys/net/ipv4")).unwrap();
    fs::write(trap.join("sys/net/ipv4/ip_unprivileged_port_start"), "1024").unwrap();
    symlink("/trap", bundle.inside("evil")).unwrap();
    let _racer = Racer::exchange(bundle.inside("proc"), bundle.inside("evil"));
    for _ in 0..STARTS {
        let ran = bundle.run();
        // It may see the trap, where /proc is a link now; what counts is that the parameter was not written there.
        assert!(ran.code != 0 || ["77\n", "1024"].contains(&ran.out.as_str()), "{ran:?}");
        assert_eq!(fs::read_to_string(trap.join("sys/net/ipv4/ip_unprivileged_port_start")).unwrap(), "1024");
    }
    assert_eq!(fs::read_to_string(name).unwrap(), before);
    assert_eq!(outside.path().read_dir().unwrap().count(), 0);
}

fn dev_proc_and_sys_as_links_lead_nowhere(runtime: &Runtime) {
    for name in ["dev", "proc", "sys"] {
        let outside = tempfile::tempdir().unwrap();
        let bundle = Bundle::of(runtime, "cat /proc/self/mountinfo");
        fs::remove_dir(bundle.inside(name)).unwrap();
        fs::create_dir(bundle.inside("elsewhere")).unwrap();
        for target in [outside.path(), Path::new("/elsewhere"), Path::new("../../../../elsewhere")] {
            let _ = fs::remove_file(bundle.inside(name));
            symlink(target, bundle.inside(name)).unwrap();
            let ran = bundle.run();
            assert!(ran.code != 0 || !ran.out.contains("/elsewhere"), "{name}: {}", ran.out);
            assert_eq!(outside.path().read_dir().unwrap().count(), 0, "{name}");
        }
    }
}

fn a_swapped_destination_stays_inside(runtime: &Runtime) {
    let (volume, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(volume.path().join("a")).unwrap();
    symlink(outside.path(), volume.path().join("b")).unwrap();
    let mut bundle = Bundle::of(runtime, "true");
    bundle.mount("/data", "bind", volume.path().to_str().unwrap(), &["rbind"]);
    bundle.mount("/data/a/deep/er", "tmpfs", "tmpfs", &[]);
    fs::write(bundle.path("file"), "").unwrap();
    let file = bundle.path("file");
    bundle.mount("/data/a/file", "bind", file.to_str().unwrap(), &["bind"]);
    let racer = Racer::exchange(volume.path().join("a"), volume.path().join("b"));
    for _ in 0..STARTS {
        bundle.run();
    }
    drop(racer);
    assert_eq!(outside.path().read_dir().unwrap().count(), 0);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        !mounts.contains(outside.path().to_str().unwrap())
            && !mounts.contains(volume.path().to_str().unwrap())
    );
}
