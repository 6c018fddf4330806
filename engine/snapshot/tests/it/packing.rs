//! What a container wrote, through a real overlay, and what becomes of it: the list of changes, the tar, the layer.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use tare_model::Digest;
use tare_snapshot::{Change, ChangeKind, Driver, PackOptions, Snapshots};

use crate::World;
use crate::archive::tar;

/// A container's tree, mounted nowhere: it is reached through the descriptor and gone with it.
struct Mounted(Place);

enum Place {
    Overlay(OwnedFd),
    Served(Option<OwnedFd>, std::process::Child),
    Bound(PathBuf),
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Served(tree, process) = self {
            drop(tree.take());
            assert!(process.wait().unwrap().success(), "it ends with its tree");
        }
    }
}

impl Mounted {
    fn new(snapshots: &Snapshots, key: &str) -> Self {
        let [mount] = &snapshots.mounts(key).unwrap()[..] else { panic!("one mount") };
        if mount.kind == "bind" {
            return Self(Place::Bound(mount.source.clone().into()));
        }
        if mount.kind == "fuse-overlayfs" {
            let program = Path::new(&mount.source);
            let served = tare_sys::fuse::overlay(program, &mount.options.join(","), MountAttrFlags::empty());
            let (tree, process) = served.unwrap();
            return Self(Place::Served(Some(tree), process));
        }
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        for option in &mount.options {
            let (name, value) = option.split_once('=').unwrap();
            fsconfig_set_string(&context, name, value).unwrap();
        }
        fsconfig_create(&context).unwrap();
        let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
        Self(Place::Overlay(mounted.unwrap()))
    }

    fn at(&self, path: &str) -> PathBuf {
        match &self.0 {
            Place::Overlay(mounted) | Place::Served(Some(mounted), _) => {
                format!("/proc/self/fd/{}/{path}", mounted.as_raw_fd()).into()
            }
            Place::Served(None, _) => unreachable!("until it is dropped"),
            Place::Bound(tree) => tree.join(path),
        }
    }
}

fn base() -> Vec<u8> {
    tar()
        .directory("etc/")
        .file("etc/keep", "1")
        .file("etc/edit", "1")
        .file("etc/gone", "1")
        .directory("old/")
        .file("old/a", "1")
        .file("old/b", "1")
        .directory("swap/")
        .file("swap/in", "1")
        .finish()
}

/// A container `c` upon the layer of [`base`].
fn container(driver: Driver) -> (World, Digest) {
    let world = World::with(Some(driver));
    let (chain, _) = world.layer(1, None, &base());
    world.snapshots.prepare("c", Some(&chain)).unwrap();
    (world, chain)
}

/// Everything that containers do to their trees.
fn work(tree: &Mounted) {
    let at = |path: &str| tree.at(path);
    std::fs::write(at("etc/edit"), "2").unwrap();
    std::fs::remove_file(at("etc/gone")).unwrap();
    std::fs::remove_dir_all(at("old")).unwrap();
    std::fs::create_dir(at("old")).unwrap();
    std::fs::write(at("old/b"), "2").unwrap();
    std::fs::remove_dir_all(at("swap")).unwrap();
    std::fs::write(at("swap"), "no directory any more").unwrap();
    let deep = "a-directory-with-a-name/".repeat(9);
    std::fs::create_dir_all(at(&deep)).unwrap();
    let long = format!("{deep}{}", "n".repeat(200));
    std::fs::write(at(&long), "long").unwrap();
    std::fs::hard_link(at(&long), at("again")).unwrap();
    symlink("x".repeat(300), at("link")).unwrap();
    std::fs::write(at("su"), vec![7; 700_000]).unwrap();
    std::os::unix::fs::chown(at("su"), Some(3_000_000_000), Some(2_097_152)).unwrap();
    std::fs::set_permissions(at("su"), PermissionsExt::from_mode(0o4751)).unwrap();
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    lsetxattr(at("su"), "security.capability", &capability, XattrFlags::empty()).unwrap();
    lsetxattr(at("su"), "user.note", b"a\nb\0c", XattrFlags::empty()).unwrap();
    lsetxattr(at("su"), "trusted.mine", b"host", XattrFlags::empty()).unwrap();
    mknodat(rustix::fs::CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    mknodat(rustix::fs::CWD, at("null"), FileType::CharacterDevice, Mode::RUSR, makedev(1, 3)).unwrap();
}

/// A tree by path: everything that a copy of it should have, the time of the root aside.
fn portrait(root: &Path) -> BTreeMap<String, String> {
    let mut portrait = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    let mut names_of = BTreeMap::new();
    while let Some(path) = left.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let kind = metadata.file_type();
        let time = if name.is_empty() { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) };
        let content = if kind.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        let content = content
            .iter()
            .fold(content.len() as u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let mut told = format!(
            "{:o} {}:{} {time:?} {} {content}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.rdev()
        );
        if kind.is_symlink() {
            told += &format!(" -> {:?}", std::fs::read_link(&path).unwrap());
        }
        if kind.is_dir() {
            let mut inside: Vec<_> = std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()).collect();
            inside.sort();
            left.extend(inside.into_iter().rev());
        } else if metadata.nlink() > 1 {
            names_of.entry(metadata.ino()).or_insert_with(Vec::new).push(name.clone());
        }
        for attribute in ["security.capability", "user.note", "trusted.mine"] {
            let mut value = [0; 64];
            if let Ok(length) = rustix::fs::lgetxattr(&path, attribute, &mut value[..]) {
                told += &format!(" {attribute}={:?}", &value[..length]);
            }
        }
        portrait.insert(name, told);
    }
    // Layers may share a file; what counts is which names of one tree mean the same file.
    for names in names_of.values().filter(|names| names.len() > 1) {
        for name in names {
            portrait.entry(name.clone()).and_modify(|told| *told += &format!(" = {}", names[0]));
        }
    }
    portrait
}

/// Names what two trees do not have alike, and nothing else.
fn assert_same(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) {
    let differs = |name: &&String| one.get(*name) != other.get(*name);
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).filter(differs).collect();
    let told: Vec<_> = names.iter().map(|name| (name, one.get(*name), other.get(*name))).collect();
    assert!(told.is_empty(), "{told:#?}");
}

fn merged(snapshots: &Snapshots, chain: &Digest) -> BTreeMap<String, String> {
    let root = snapshots.open_root(Some(chain)).unwrap();
    let fd = root.as_fd().unwrap().as_fd().as_raw_fd();
    portrait(Path::new(&format!("/proc/self/fd/{fd}/.")))
}

fn packed(snapshots: &Snapshots, key: &str, options: &PackOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    snapshots.pack(key, &mut bytes, options).unwrap();
    bytes
}

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

#[test]
fn changes_are_told_as_docker_tells_them() {
    crate::drivers().into_iter().for_each(changes_are_told_as_docker_tells_them_by);
}

fn changes_are_told_as_docker_tells_them_by(driver: Driver) {
    let (world, _) = container(driver);
    assert_eq!(world.snapshots.changes("c", &[]).unwrap(), []);
    let tree = Mounted::new(&world.snapshots, "c");
    work(&tree);
    let told = world.snapshots.changes("c", &[]).unwrap();
    let told: Vec<String> = told
        .iter()
        .filter(|change| !change.path.starts_with("/a-directory-with-a-name"))
        .map(|Change { path, kind }| {
            let letter = match kind {
                ChangeKind::Modified => 'C',
                ChangeKind::Added => 'A',
                ChangeKind::Deleted => 'D',
            };
            format!("{letter} {}", path.display())
        })
        .collect();
    let expected = [
        "A /again",
        "C /etc",
        "C /etc/edit",
        "D /etc/gone",
        "A /link",
        "A /null",
        "C /old",
        "D /old/a",
        "C /old/b",
        "A /pipe",
        "A /su",
        "C /swap",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_packed_layer_is_the_tree_that_it_was_packed_from() {
    crate::drivers().into_iter().for_each(a_packed_layer_is_the_tree_that_it_was_packed_from_by);
}

fn a_packed_layer_is_the_tree_that_it_was_packed_from_by(driver: Driver) {
    let (world, chain) = container(driver);
    let snapshots = &world.snapshots;
    let tree = Mounted::new(snapshots, "c");
    work(&tree);
    let mut before = portrait(&tree.at("."));
    drop(tree);
    // The attribute that belongs to the host stays behind.
    let su = before.get_mut("su").unwrap();
    *su = su.split(" trusted.mine").next().unwrap().to_owned();

    let archive = packed(snapshots, "c", &PackOptions::default());
    assert!(archive == packed(snapshots, "c", &PackOptions::default()), "the same bytes each time");
    world.layer(2, Some(&chain), &archive);
    assert_same(&merged(snapshots, &digest(2)), &before);

    let mut listing = std::process::Command::new("tar");
    let listing = listing.args(["--xattrs", "-tf", "-"]).stdin(std::process::Stdio::piped());
    let mut listing = listing.stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(listing.stdin.as_mut().unwrap(), &archive).unwrap();
    let listing = listing.wait_with_output().unwrap();
    let names = String::from_utf8(listing.stdout).unwrap();
    assert!(listing.status.success());
    let hidden = if driver.stacks() { "old/.wh..wh..opq" } else { "old/.wh.a" };
    for name in ["etc/.wh.gone", hidden, "swap", "again"] {
        assert!(names.lines().any(|line| line == name), "{name} in {names}");
    }
    assert!(!names.contains("keep"), "what did not change is not packed: {names}");
}

#[test]
fn a_layer_that_is_taken_over_is_the_one_that_was_packed() {
    crate::drivers().into_iter().for_each(a_layer_that_is_taken_over_is_the_one_that_was_packed_by);
}

fn a_layer_that_is_taken_over_is_the_one_that_was_packed_by(driver: Driver) {
    let (world, chain) = container(driver);
    let snapshots = &world.snapshots;
    let tree = Mounted::new(snapshots, "c");
    work(&tree);
    // What the runtime leaves behind.
    for directory in ["proc", "var/run/secrets"] {
        std::fs::create_dir_all(tree.at(directory)).unwrap();
    }
    for file in ["etc/hosts", "var/run/secrets/key"] {
        std::fs::write(tree.at(file), "").unwrap();
    }
    drop(std::os::unix::net::UnixListener::bind(tree.at("socket")).unwrap());
    drop(tree);
    let mounted = ["/proc", "/etc/hosts", "/var/run/secrets/key", "/etc/keep", "/nowhere"];
    let options = PackOptions { latest: Some(1_750_000_000), mounted: mounted.map(PathBuf::from).to_vec() };
    let mut archive = Vec::new();
    let outcome = snapshots.pack("c", &mut archive, &options).unwrap();
    let changes = snapshots.changes("c", &options.mounted).unwrap();
    let told = |path: &str| changes.iter().any(|change| change.path == Path::new(path));
    assert!(told("/socket") && told("/etc/edit"));
    assert!(!told("/var") && !told("/proc") && !told("/etc/hosts"), "{changes:?}");

    assert!(snapshots.take("c", &outcome, &digest(3), None).is_err(), "it stands on another layer");
    snapshots.take("c", &outcome, &digest(3), Some(&chain)).unwrap();
    assert!(snapshots.changes("c", &[]).is_err(), "no writable layer any more");
    world.layer(2, Some(&chain), &archive);
    let (taken, unpacked) = (merged(snapshots, &digest(3)), merged(snapshots, &digest(2)));
    // An attribute of the host's own may stay with what never left it.
    let without = |tree: BTreeMap<String, String>| -> BTreeMap<_, _> {
        tree.into_iter().map(|(n, t)| (n, t.split(" trusted.mine").next().unwrap().to_owned())).collect()
    };
    assert_same(&without(taken), &without(unpacked.clone()));
    assert!(!unpacked.contains_key("socket") && !unpacked.contains_key("var"));
    assert!(unpacked["su"].contains("(1750000000, 0)"), "{}", unpacked["su"]);
    assert_eq!(snapshots.layer_size(&digest(3)).unwrap(), snapshots.layer_size(&digest(2)).unwrap());
    assert_eq!(snapshots.layer_stored(&digest(3)).unwrap(), snapshots.layer_stored(&digest(2)).unwrap());
    snapshots.remove_layer(&digest(3)).unwrap();
    world.assert_untouched();
}

/// `/var/run` is a link to `/run` nearly everywhere: what was made to mount upon stands there.
#[test]
fn what_was_mounted_through_a_link_is_no_part_of_the_layer() {
    for driver in crate::drivers() {
        let world = World::with(Some(driver));
        let archive = crate::archive::tar().directory("run/").directory("var/").symlink("var/run", "../run");
        let archive = archive.symlink("round", "round").symlink("etc", "/var/run/etc").finish();
        let (chain, _) = world.layer(1, None, &archive);
        world.snapshots.prepare("c", Some(&chain)).unwrap();
        let tree = Mounted::new(&world.snapshots, "c");
        std::fs::create_dir_all(tree.at("run/secrets")).unwrap();
        std::fs::create_dir_all(tree.at("run/etc")).unwrap();
        for file in ["run/secrets/key", "run/etc/hosts"] {
            std::fs::write(tree.at(file), "").unwrap();
        }
        drop(tree);
        let points = ["/var/run/secrets/key", "/etc/hosts", "/round/x"].map(PathBuf::from);
        assert!(world.snapshots.changes("c", &points).unwrap().is_empty(), "{driver:?}");
        assert!(!world.snapshots.changes("c", &points[..1]).unwrap().is_empty(), "{driver:?}");
    }
}

#[test]
fn a_sparse_file_stays_one() {
    crate::drivers().into_iter().for_each(a_sparse_file_stays_one_by);
}

fn a_sparse_file_stays_one_by(driver: Driver) {
    let world = World::with(Some(driver));
    world.snapshots.prepare("c", None).unwrap();
    let path = world.snapshots.upper("c").unwrap().join("disk.img");
    let file = std::fs::File::create(&path).unwrap();
    for place in [0_u64, 5 << 30, (10 << 30) - 4096] {
        file.write_all_at(&[9; 4096], place).unwrap();
    }
    file.sync_all().unwrap();
    let used = world.snapshots.usage("c").unwrap();
    assert!((12_288..1 << 20).contains(&used), "{used} bytes are used");
    let archive = packed(&world.snapshots, "c", &PackOptions::default());
    assert!(archive.len() < 100_000, "{} bytes", archive.len());
    let (_, tree) = world.layer(2, None, &archive);
    let metadata = tree.join("disk.img").metadata().unwrap();
    assert_eq!(metadata.len(), 10 << 30);
    assert!(metadata.blocks() < 1000, "{} blocks", metadata.blocks());
    assert_eq!(world.snapshots.layer_size(&digest(2)).unwrap(), 10 << 30);
    assert_eq!(world.snapshots.layer_stored(&digest(2)).unwrap(), metadata.blocks() * 512);
    let copy = std::fs::File::open(tree.join("disk.img")).unwrap();
    for (place, expected) in [(0_u64, 9), (4096, 0), (5 << 30, 9), ((10 << 30) - 1, 9)] {
        let mut byte = [1];
        copy.read_exact_at(&mut byte, place).unwrap();
        assert_eq!(byte, [expected], "at {place}");
    }
}

#[test]
fn what_no_layer_can_say_is_refused_and_named() {
    let world = World::new();
    world.snapshots.prepare("c", None).unwrap();
    std::fs::write(world.snapshots.upper("c").unwrap().join(".wh.passwd"), "").unwrap();
    let error = world.snapshots.pack("c", &mut Vec::new(), &PackOptions::default()).unwrap_err();
    assert!(error.to_string().contains(".wh.passwd"), "{error}");
}
