//! Namespaces of others, and few of one's own.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::os::fd::AsFd;
use tare_oci::runtime::{IdMapping, NamespaceKind};
use tare_runtime::Error;
use tare_sys::clone::{self, Cloned};

use crate::world::{Bundle, Container, childless, mountinfo, process};

const KINDS: [(NamespaceKind, &str); 6] = [
    (NamespaceKind::User, "user"),
    (NamespaceKind::Pid, "pid"),
    (NamespaceKind::Network, "net"),
    (NamespaceKind::Ipc, "ipc"),
    (NamespaceKind::Uts, "uts"),
    (NamespaceKind::Cgroup, "cgroup"),
];

fn name(kind: NamespaceKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).unwrap().1
}

fn of(pid: i32, kind: NamespaceKind) -> PathBuf {
    format!("/proc/{pid}/ns/{}", name(kind)).into()
}

fn asleep(bundle: &Bundle) -> Container<'_> {
    let container = bundle.start().unwrap();
    assert_eq!(container.hear(), "up\n");
    container
}

pub(crate) fn a_user_namespace_is_joined_and_owns_what_is_new() {
    let mut first = Bundle::of("echo up; exec sleep 100");
    first.map_ids();
    let holder = asleep(&first);
    let mut second =
        Bundle::of("readlink /proc/self/ns/user; id -u; echo $$; hostname; stat -c %u /proc/1 /dev/zero");
    second.map_ids();
    second.join(NamespaceKind::User, &of(holder.running.pid, NamespaceKind::User));
    let user = fs::read_link(of(holder.running.pid, NamespaceKind::User)).unwrap();
    // config.json may repeat the maps, as containerd does, or be silent.
    for repeat in [true, false] {
        if !repeat {
            second.linux().uid_mappings.clear();
            second.linux().gid_mappings.clear();
        }
        assert_eq!(second.text(), format!("{}\n0\n1\ntare-test\n0\n65534\n", user.display()));
    }
    let map = vec![IdMapping { container_id: 0, host_id: 200_000, size: 65536 }];
    (second.linux().uid_mappings, second.linux().gid_mappings) = (map.clone(), map);
    let refusal = second.refusal().to_string();
    assert_eq!(refusal, "invalid linux.uidMappings: are not those of the user namespace that is joined");
    drop(holder);
    assert!(childless());
}

pub(crate) fn all_but_the_mounts_is_shared_and_entered_by_exec() {
    let mut first = Bundle::of("echo up; exec sleep 100");
    first.map_ids();
    let holder = asleep(&first);
    let script = "for n in user pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; ps -o pid,args";
    let mut second = Bundle::of(&format!("{script}; echo up; exec sleep 101"));
    second.map_ids();
    second.spec.hostname = None;
    for (kind, _) in KINDS {
        second.join(kind, &of(holder.running.pid, kind));
    }
    let container = second.start().unwrap();
    let mut heard = String::new();
    while !heard.ends_with("up\n") {
        heard += &container.hear();
    }
    let own = KINDS.map(|(kind, _)| fs::read_link(of(holder.running.pid, kind)).unwrap());
    let own: String = own.map(|link| format!("{}\n", link.display())).concat();
    assert!(heard.starts_with(&own), "{heard}{own}");
    assert!(heard.contains("sleep 100"), "the other container's processes are seen: {heard}");
    let output = container.exec(&second.spec, &process(&["sh", "-c", script])).unwrap();
    assert!(output.stdout.starts_with(&own) && output.stdout.contains("sleep 101"), "{output:?}");
}

pub(crate) fn a_process_id_namespace_is_shared_with_the_host_or_another() {
    let first = Bundle::of("echo up; exec sleep 100");
    let holder = asleep(&first);
    let mut second = Bundle::of("readlink /proc/self/ns/pid; ps -o args");
    second.join(NamespaceKind::Pid, &of(holder.running.pid, NamespaceKind::Pid));
    let text = second.text();
    assert!(text.contains("sleep 100"), "{text}");
    assert!(!text.contains(&*fs::read_link("/proc/self/ns/pid").unwrap().to_string_lossy()), "{text}");
    drop(holder);
    let mut third =
        Bundle::of("readlink /proc/self/ns/pid; ls -d /proc/$PARENT; kill -0 $PARENT && echo seen");
    third.process().env.push(format!("PARENT={}", std::process::id()));
    third.without(NamespaceKind::Pid);
    let own = fs::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(third.run().stdout.lines().next(), own.to_str());
    assert!(childless());
}

pub(crate) fn a_container_may_have_nothing_of_its_own_but_mounts() {
    let mut bundle = Bundle::of(
        "for n in pid net ipc uts cgroup; do readlink /proc/self/ns/$n; done; hostname; ls /sys/class",
    );
    bundle.spec.hostname = None;
    for (kind, _) in KINDS {
        bundle.without(kind);
    }
    let text = bundle.text();
    let own = KINDS[1..].iter().map(|(_, name)| fs::read_link(format!("/proc/self/ns/{name}")).unwrap());
    let own: String = own.map(|link| format!("{}\n", link.display())).collect();
    assert!(text.starts_with(&own) && text.contains("\nnet\n"), "{text}");
    bundle.spec.hostname = Some("other".to_owned());
    assert!(matches!(bundle.refusal(), Error::Spec { field, .. } if field == "hostname"));
    bundle.spec.hostname = None;
    bundle.linux().namespaces.clear();
    assert!(matches!(bundle.refusal(), Error::Spec { field, .. } if field == "mounts"));
}

/// A process of no program that has namespaces.
struct Holder {
    pid: i32,
    pidfd: OwnedFd,
}

impl Holder {
    fn of(kinds: u64) -> Self {
        let (hear, _say) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        match clone::clone3(kinds, None).unwrap() {
            // It has the pipe's other end itself, so that it waits until it is killed.
            Cloned::Child => loop {
                let _ = rustix::io::read(&hear, &mut [0]);
            },
            Cloned::Parent { pid, pidfd } => Self { pid, pidfd },
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

pub(crate) fn a_mount_namespace_is_joined() {
    let holder = Holder::of(clone::NEW_MOUNT);
    let path = PathBuf::from(format!("/proc/{}/ns/mnt", holder.pid));
    let mut bundle = Bundle::of("readlink /proc/self/ns/mnt; cat /tmp/file; ls /");
    fs::write(bundle.path("tmp/file"), "inside\n").unwrap();
    bundle.join(NamespaceKind::Mount, &path);
    let before = mountinfo();
    let text = bundle.text();
    let expected = format!("{}\ninside\nbin\n", fs::read_link(&path).unwrap().display());
    assert!(text.starts_with(&expected), "{text}");
    assert_eq!(mountinfo(), before);
    bundle.join(NamespaceKind::Mount, "/proc/self/ns/mnt".as_ref());
    let refusal = bundle.refusal().to_string();
    assert!(refusal.contains("namespaces") && refusal.contains("the runtime's own"), "{refusal}");
    assert_eq!(mountinfo(), before);
}

/// Without a mount namespace, nor what needs one.
fn share_mounts(bundle: &mut Bundle) {
    bundle.without(NamespaceKind::Mount);
    bundle.spec.mounts.clear();
    bundle.linux().masked_paths.clear();
    bundle.linux().readonly_paths.clear();
}

pub(crate) fn without_one_the_root_is_all_that_it_has_and_the_host_is_unchanged() {
    let mut bundle = Bundle::of("echo up; exec sleep 100");
    share_mounts(&mut bundle);
    let before = mountinfo();
    let container = asleep(&bundle);
    let of_init = |file: &str| fs::read_link(format!("/proc/{}/{file}", container.running.pid)).unwrap();
    assert_eq!(of_init("ns/mnt"), fs::read_link("/proc/self/ns/mnt").unwrap());
    assert_eq!(of_init("root"), bundle.path("").canonicalize().unwrap());
    // A program that comes later has no mount namespace to enter, and must not find itself on the host.
    let exec = |args: &[&str]| container.exec(&bundle.spec, &process(args)).unwrap();
    assert_eq!(exec(&["ls", "/", "/dev/null"]).stdout, "/dev/null\n\n/:\nbin\ndev\netc\nproc\nsys\ntmp\n");
    assert_eq!(exec(&["ls", "/../../../.."]).stdout, exec(&["ls", "/"]).stdout);
    let mut outside = process(&["true"]);
    for cwd in ["/proc/self/fd/3", "/proc/self/fd/4", "/proc/1/root"] {
        outside.cwd = cwd.into();
        assert!(container.exec(&bundle.spec, &outside).is_err(), "{cwd}");
    }
    drop(container);
    for broken in ["no-such-program", "/etc"] {
        bundle.process().args = vec![broken.to_owned()];
        bundle.refusal();
    }
    // Where nothing is mounted, nodes and directories are made in the image's own tree, and nowhere else.
    let outside = tempfile::tempdir().unwrap();
    let mut hostile = Bundle::of("true");
    share_mounts(&mut hostile);
    hostile.process().cwd = "/elsewhere/made".into();
    std::os::unix::fs::symlink(outside.path(), hostile.path("elsewhere")).unwrap();
    assert!(hostile.refusal().to_string().contains("chdir to cwd"));
    fs::remove_dir_all(hostile.path("dev")).unwrap();
    std::os::unix::fs::symlink(outside.path(), hostile.path("dev")).unwrap();
    let refusal = hostile.refusal().to_string();
    assert!(refusal.contains("/dev of the image must be a directory"), "{refusal}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(mountinfo(), before);
    assert!(childless());
}

pub(crate) fn what_would_be_mounted_on_the_host_is_refused() {
    let before = mountinfo();
    let refused = |field: &str, change: &dyn Fn(&mut Bundle)| {
        let mut bundle = Bundle::of("true");
        share_mounts(&mut bundle);
        change(&mut bundle);
        let error = bundle.refusal();
        assert!(matches!(&error, Error::Spec { field: named, .. } if named == field), "{field}: {error}");
        assert!(error.to_string().contains("mount namespace"), "{error}");
    };
    refused("mounts", &|bundle| bundle.mount("/tmp", "tmpfs", "tmpfs".as_ref(), &[]));
    refused("root.readonly", &|bundle| bundle.spec.root.as_mut().unwrap().readonly = true);
    refused("linux.maskedPaths", &|bundle| bundle.linux().masked_paths.push("/proc/kcore".into()));
    refused("linux.readonlyPaths", &|bundle| bundle.linux().readonly_paths.push("/proc/sys".into()));
    refused("linux.namespaces", &Bundle::map_ids);
    refused("linux.namespaces", &|bundle| {
        let layer = tare_model::RootMount {
            kind: "bind".to_owned(),
            source: bundle.path("").display().to_string(),
            options: Vec::new(),
        };
        bundle.rootfs.push(layer);
    });
    assert_eq!(mountinfo(), before);
}

pub(crate) fn the_hosts_own_root_is_a_root_like_others() {
    let mut bundle = Bundle::of("readlink /proc/self/ns/mnt; readlink /proc/self/root; tty");
    share_mounts(&mut bundle);
    bundle.spec.root.as_mut().unwrap().path = "/".into();
    bundle.process().env = vec!["PATH=/usr/bin:/bin".to_owned()];
    let devices = || {
        let entries = fs::read_dir("/dev").unwrap().flatten();
        entries.map(|entry| entry.file_name()).collect::<std::collections::BTreeSet<_>>()
    };
    let before = (mountinfo(), devices());
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_eq!(bundle.run().stdout, format!("{}\n/\nnot a tty\n", own.display()));
    assert_eq!((mountinfo(), devices()), before);
}

pub(crate) fn what_is_not_that_namespace_is_refused_before_anything_is_made() {
    let plain = tempfile::NamedTempFile::new().unwrap();
    let pipe = tempfile::tempdir().unwrap();
    let pipe = pipe.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for path in ["/proc/self/ns/net".as_ref(), plain.path(), pipe.as_path(), "/tmp".as_ref()] {
        let mut bundle = Bundle::of("true");
        bundle.join(NamespaceKind::Pid, path);
        let at = bundle.linux().namespaces.len() - 1;
        let error = bundle.refusal();
        let wanted = format!("linux.namespaces[{at}].path");
        assert!(matches!(&error, Error::Spec { field, .. } if *field == wanted), "{error}");
    }
    let mut bundle = Bundle::of("true");
    bundle.join(NamespaceKind::Network, "/no/such".as_ref());
    assert_eq!(bundle.refusal().to_string(), "open namespace /no/such: no such file or directory");
    // By its path the host's own would be changed as well.
    let mut bundle = Bundle::of("true");
    bundle.join(NamespaceKind::Uts, "/proc/self/ns/uts".as_ref());
    assert!(bundle.refusal().to_string().contains("hostname would change the host"));
    let mut bundle = Bundle::of("true");
    bundle.join(NamespaceKind::Network, "/proc/self/ns/net".as_ref());
    bundle.text();
    bundle.linux().sysctl.insert("net.core.somaxconn".to_owned(), "7".to_owned());
    assert!(bundle.refusal().to_string().contains("somaxconn would change the host"));
    assert!(childless());
}
