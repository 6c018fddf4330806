//! Mount options, as the kernel shows them inside.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use tare_model::Capability;
use tare_oci::runtime::IdMapping;
use tare_runtime::Error;
use tare_sys::mount::{Change, Propagation};

use crate::world::{Bundle, childless, mount, process};

/// A directory with another file system mounted in it, in the tests' own mount namespace.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        let tree = Self(dir);
        tree.mount("sub");
        fs::write(tree.0.path().join("file"), "").unwrap();
        fs::write(tree.0.path().join("sub/file"), "").unwrap();
        tree
    }

    fn mount(&self, name: &str) {
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("it", self.0.path().join(name), "tmpfs", flags, c"mode=755").unwrap();
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for dir in fs::read_dir(self.0.path()).unwrap().flatten() {
            let _ = rustix::mount::unmount(dir.path(), rustix::mount::UnmountFlags::DETACH);
        }
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

fn all_ids(first: u32) -> Vec<IdMapping> {
    vec![IdMapping { container_id: 0, host_id: first, size: 65536 }]
}

pub(crate) fn owners_are_shown_as_an_id_map_says() {
    let tree = Tree::new();
    let script = "stat -c '%u %g' /vol/file /vol/sub/file; touch /vol/new; stat -c %u /vol/new";
    for (option, below) in [("idmap", "0 0"), ("ridmap", "5000 6000"), ("", "0 0")] {
        let mut bundle = Bundle::of(script);
        bundle.mount("/vol", "bind", tree.0.path(), &["rbind", "rw", option]);
        let last = bundle.spec.mounts.last_mut().unwrap();
        (last.uid_mappings, last.gid_mappings) = (all_ids(5000), all_ids(6000));
        // root is no owner there: its number is not in the map.
        assert_eq!(bundle.run().stdout, format!("5000 6000\n{below}\n"), "{option}");
    }
    assert!(childless(), "nothing is left of the processes that held the maps");
}

pub(crate) fn an_id_map_is_that_of_the_containers_user_namespace_unless_given() {
    let tree = Tree::new();
    fs::set_permissions(tree.0.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let mut bundle = Bundle::of("stat -c %u /vol/file /plain/file; touch /vol/new && stat -c %u /vol/new");
    bundle.map_ids();
    bundle.mount("/vol", "bind", tree.0.path(), &["bind", "idmap"]);
    bundle.mount("/plain", "bind", tree.0.path(), &["bind"]);
    assert_eq!(bundle.text(), "0\n65534\n0\n");
    let found = fs::metadata(tree.0.path().join("new")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&found), 0, "on the disk it is root's as well");
}

pub(crate) fn recursive_attributes_reach_what_is_mounted_below() {
    let tree = Tree::new();
    let script =
        "touch /vol/x && echo top; touch /vol/sub/x && echo below; grep ' /vol' /proc/self/mountinfo";
    let shown = |options: &[&str]| {
        let mut bundle = Bundle::of(script);
        bundle.mount("/vol", "bind", tree.0.path(), options);
        bundle.run().stdout
    };
    let options = |text: &str, point: &str| {
        let line = text.lines().find(|line| line.split(' ').nth(4) == Some(point)).unwrap().to_owned();
        line.split(' ').nth(5).unwrap().to_owned()
    };
    let text = shown(&["rbind", "ro"]);
    assert!(text.starts_with("below\n"), "{text}");
    let text =
        shown(&["rbind", "rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime", "rnosymfollow"]);
    for point in ["/vol", "/vol/sub"] {
        let shown = options(&text, point);
        assert_eq!(shown, "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow", "{text}");
    }
    let text = shown(&["rbind", "rro", "rw", "rstrictatime"]);
    assert!(text.starts_with("top\n"), "the mount's own attributes come last: {text}");
    let top = options(&text, "/vol");
    assert!(top.starts_with("rw") && options(&text, "/vol/sub") == "ro", "{text}");
}

pub(crate) fn mounts_spread_as_asked() {
    let tree = Tree(tempfile::tempdir().unwrap());
    tree.mount("");
    let dir = fs::File::open(tree.0.path()).unwrap();
    let shared = Change { propagation: Some(Propagation::Shared), ..Change::default() };
    tare_sys::mount::set(dir.as_fd(), false, shared).unwrap();
    for name in ["later", "inside"] {
        fs::create_dir(tree.0.path().join(name)).unwrap();
    }
    let mut bundle = Bundle::of("echo up; exec sleep 100");
    for (to, option) in
        [("/private", "rprivate"), ("/slave", "rslave"), ("/shared", "rshared"), ("/plain", "rw")]
    {
        bundle.mount(to, "bind", tree.0.path(), &["rbind", option]);
    }
    let container = bundle.start().unwrap();
    assert_eq!(container.hear(), "up\n");
    tree.mount("later");
    fs::write(tree.0.path().join("later/file"), "").unwrap();
    let list = "ls -d /*/later/file; mount -t tmpfs it /shared/inside && touch /shared/inside/file";
    let mut process = process(&["sh", "-c", list]);
    let admin: Capability = "CAP_SYS_ADMIN".parse().unwrap();
    let sets = process.capabilities.as_mut().unwrap();
    for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
        set.push(admin);
    }
    let output = container.exec(&bundle.spec, &process).unwrap();
    assert_eq!(output.stdout, "/shared/later/file\n/slave/later/file\n", "{}", output.stderr);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(tree.0.path().join("inside/file").exists(), "what is mounted in a shared mount shows outside");
}

pub(crate) fn a_tmpfs_begins_with_what_it_covers_if_asked() {
    let mut bundle = Bundle::of(
        "cd /data; cat file dir/deep; readlink link; stat -c '%a %u %g' . file dir; touch new || echo ro; \
         touch /copy/new; stat -c %a /tmp /plain; ls /plain",
    );
    for dir in ["data/dir", "copy", "plain"] {
        fs::create_dir_all(bundle.path(dir)).unwrap();
    }
    fs::write(bundle.path("data/file"), "file\n").unwrap();
    fs::write(bundle.path("data/dir/deep"), "deep\n").unwrap();
    fs::write(bundle.path("plain/covered"), "").unwrap();
    symlink("/etc/passwd", bundle.path("data/link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bundle.path("data/pipe"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    fs::set_permissions(bundle.path("data/file"), fs::Permissions::from_mode(0o4750)).unwrap();
    chown(bundle.path("data/dir"), Some(33), Some(44)).unwrap();
    for (dir, mode) in [("data", 0o750), ("tmp", 0o1777), ("plain", 0o700), ("data/dir", 0o2711)] {
        fs::set_permissions(bundle.path(dir), fs::Permissions::from_mode(mode)).unwrap();
    }
    bundle.mount("/data", "tmpfs", Path::new("tmpfs"), &["ro", "tmpcopyup", "size=1m"]);
    bundle.mount("/copy", "tmpfs", Path::new("tmpfs"), &["tmpcopyup"]);
    bundle.mount("/tmp", "tmpfs", Path::new("tmpfs"), &[]);
    bundle.mount("/plain", "tmpfs", Path::new("tmpfs"), &["mode=711"]);
    let text = bundle.text();
    assert_eq!(text, "file\ndeep\n/etc/passwd\n750 0 0\n4750 0 0\n2711 33 44\nro\n1777\n711\n");
    assert!(!bundle.path("copy/new").exists());
    // More than it holds is an error, not half a copy.
    fs::write(bundle.path("data/file"), vec![1; 2 << 20]).unwrap();
    let refusal = bundle.refusal().to_string();
    assert!(refusal.starts_with("mount /data: tmpcopyup: no space"), "{refusal}");
}

pub(crate) fn a_remount_changes_what_is_mounted_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut bundle = Bundle::of("touch /vol/x || echo ro; grep -E ' /(vol|tmp) ' /proc/self/mountinfo");
    bundle.mount("/vol", "bind", dir.path(), &["bind", "noexec"]);
    bundle.mount("/tmp", "tmpfs", Path::new("tmpfs"), &["size=1m"]);
    bundle.spec.mounts.push(mount("/vol", "bind", dir.path(), &["remount", "bind", "ro", "nosuid"]));
    bundle.spec.mounts.push(mount("/tmp", "tmpfs", Path::new("tmpfs"), &["remount", "size=2m", "nodev"]));
    let text = bundle.text();
    assert!(text.starts_with("ro\n") && text.contains(" /vol ro,nosuid,relatime "), "{text}");
    assert!(text.contains(" /tmp rw,nodev,relatime ") && text.contains("size=2048k"), "{text}");
    assert!(text.contains(" /vol ro,nosuid"), "what is not named is taken away: {text}");
    let mut bundle = Bundle::of("true");
    bundle.spec.mounts.push(mount("/etc", "bind", Path::new("/"), &["remount", "bind", "ro"]));
    assert_eq!(bundle.refusal().to_string(), "remount /etc: invalid argument");
}

pub(crate) fn an_overlay_and_parameters_of_file_systems_are_mounted() {
    let dir = tempfile::tempdir().unwrap();
    for (layer, file) in [("one", "a"), ("two", "b"), ("upper", "c"), ("work", "d")] {
        fs::create_dir(dir.path().join(layer)).unwrap();
        fs::write(dir.path().join(layer).join(file), "").unwrap();
    }
    fs::remove_file(dir.path().join("work/d")).unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let mut bundle = Bundle::of(
        "ls /over; touch /over/new; grep -c nosuid /proc/self/mountinfo >/dev/null; touch /over/bin",
    );
    let layers = format!("lowerdir={}:{}", path("one"), path("two"));
    let (upper, work) = (format!("upperdir={}", path("upper")), format!("workdir={}", path("work")));
    bundle.mount("/over", "overlay", Path::new("overlay"), &[&layers, &upper, &work, "nosuid"]);
    bundle.mount(
        "/quick",
        "tmpfs",
        Path::new("tmpfs"),
        &["sync", "lazytime", "dirsync", "silent", "iversion", "nomand"],
    );
    bundle.mount(
        "/bound",
        "bind",
        dir.path(),
        &["bind", "sync", "lazytime", "dirsync", "defaults", "loud", "mand"],
    );
    assert_eq!(bundle.text(), "a\nb\nc\n");
    assert!(dir.path().join("upper/new").exists());
    let refusal = |kind: &str, options: &[&str]| {
        let mut bundle = Bundle::of("true");
        bundle.mount("/x", kind, Path::new("x"), options);
        bundle.refusal()
    };
    let unknown = refusal("tmpfs", &["nonsense=7"]).to_string();
    assert!(unknown.starts_with("mount /x: ") && unknown.contains("nonsense"), "{unknown}");
    assert!(refusal("nofs", &[]).to_string().starts_with("mount /x: open file system nofs: no such device"));
    assert!(
        matches!(refusal("tmpfs", &["idmap"]), Error::Spec { field, .. } if field == "mounts[6].options")
    );
    assert!(childless());
}
