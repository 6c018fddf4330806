//! Volumes on a real file system.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use tare_model::{HasKind, Kind, Name};
use tare_store::{Batch, Store};
use tare_volume::{Error, Volume, Volumes};

struct World {
    volumes: Arc<Volumes>,
    store: Arc<Store>,
    directory: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    fn at(directory: tempfile::TempDir) -> Self {
        let store = Store::open(&directory.path().join("tare.db")).unwrap();
        let volumes = Volumes::open(&directory.path().join("volumes"), store.clone()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { volumes, store, directory, runtime }
    }

    fn reopen(self) -> Self {
        let Self { volumes, store, directory, .. } = self;
        drop((volumes, store));
        Self::at(directory)
    }

    fn create(&self, name: &str) -> Volume {
        self.run(self.volumes.create(Some(name.parse().unwrap()), "local", BTreeMap::new(), BTreeMap::new()))
            .unwrap()
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn lease(&self, volume: &Volume) {
        let mut batch = Batch::default();
        batch.lease("container/0123", &format!("volume/{}", volume.name));
        self.store.commit_blocking(batch).unwrap();
    }
}

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

#[test]
fn a_volume_is_made_once_and_found_again() {
    let world = World::new();
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let name: Name = "data".parse().unwrap();
    let made =
        world.run(world.volumes.create(Some(name.clone()), "", BTreeMap::new(), labels.clone())).unwrap();
    assert_eq!((made.name.as_str(), made.driver.as_str(), &made.labels), ("data", "local", &labels));
    assert_eq!(world.create("data"), made, "the same again, labels and time included");
    let path = world.volumes.path(&made);
    assert_eq!(path, world.directory.path().join("volumes/data/_data"));
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o755);
    assert_eq!(world.directory.path().join("volumes").metadata().unwrap().mode() & 0o7777, 0o700);
    fs::write(path.join("file"), "kept").unwrap();
    let world = world.reopen();
    world.run(world.volumes.reconcile()).unwrap();
    assert_eq!(world.volumes.list().unwrap(), std::slice::from_ref(&made));
    assert_eq!(world.volumes.get("data").unwrap(), made);
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "kept");
    assert_eq!(world.run(world.volumes.usage(&made)).unwrap(), 4);
}

#[test]
fn what_is_not_there_or_not_ours_is_said_in_dockers_words() {
    let world = World::new();
    let error = world.volumes.get("none").unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::NotFound, "get none: no such volume"));
    let error = world.run(world.volumes.remove("none", false)).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    world.run(world.volumes.remove("none", true)).unwrap();
    let error = world.run(world.volumes.create(None, "nfs", BTreeMap::new(), BTreeMap::new())).unwrap_err();
    assert_eq!(error.to_string(), "error looking up volume plugin nfs: plugin \"nfs\" not found");
    let options = BTreeMap::from([("type".to_owned(), "tmpfs".to_owned())]);
    let error = world.run(world.volumes.create(None, "local", options, BTreeMap::new())).unwrap_err();
    assert_eq!(error.kind(), Kind::NotSupported);
    assert!(world.volumes.list().unwrap().is_empty());
}

#[test]
fn a_leased_volume_stays_and_a_removed_one_is_gone() {
    let world = World::new();
    let volume = world.create("data");
    let path = world.volumes.path(&volume);
    fs::create_dir_all(path.join("a/b/c")).unwrap();
    symlink("/etc/passwd", path.join("a/link")).unwrap();
    world.lease(&volume);
    for force in [false, true] {
        let error = world.run(world.volumes.remove("data", force)).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert_eq!(error.to_string(), "remove data: volume is in use - [0123]");
    }
    assert!(path.join("a/b/c").is_dir());
    let mut batch = Batch::default();
    batch.unlease_all("container/0123");
    world.store.commit_blocking(batch).unwrap();
    world.run(world.volumes.remove("data", false)).unwrap();
    assert!(!world.directory.path().join("volumes/data").exists());
    assert_eq!(world.directory.path().join("volumes/.removed").read_dir().unwrap().count(), 0);
    assert!(Path::new("/etc/passwd").exists());
    assert!(matches!(world.volumes.get("data"), Err(Error::Missing(_))));
}

#[test]
fn pruning_takes_what_nobody_named_and_nobody_uses() {
    let world = World::new();
    let anonymous =
        || world.run(world.volumes.create(None, "local", BTreeMap::new(), BTreeMap::new())).unwrap();
    let (unused, used, named) = (anonymous(), anonymous(), world.create("named"));
    assert!(unused.is_anonymous() && !named.is_anonymous());
    assert_eq!(unused.name.as_str().len(), 64);
    world.lease(&used);
    fs::write(world.volumes.path(&unused).join("file"), "12345").unwrap();
    let pruned = world.run(world.volumes.prune(false, |_| false)).unwrap();
    assert!(pruned.names.is_empty());
    let pruned = world.run(world.volumes.prune(false, |_| true)).unwrap();
    assert_eq!((pruned.names, pruned.bytes), (vec![unused.name.to_string()], 5));
    let pruned = world.run(world.volumes.prune(true, |_| true)).unwrap();
    assert_eq!(pruned.names, ["named"]);
    assert_eq!(world.volumes.list().unwrap(), [used]);
}

#[test]
fn an_empty_volume_takes_the_images_content_whole() {
    let world = World::new();
    let volume = world.create("data");
    let image = tempfile::tempdir().unwrap();
    let at = |path: &str| image.path().join(path);
    fs::create_dir_all(at("dir/deep")).unwrap();
    fs::write(at("dir/file"), "content").unwrap();
    fs::hard_link(at("dir/file"), at("dir/deep/again")).unwrap();
    symlink("/etc/passwd", at("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    rustix::fs::setxattr(at("dir/file"), "user.note", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    std::os::unix::fs::chown(at("dir/file"), Some(7), Some(8)).unwrap();
    fs::set_permissions(at("dir/file"), fs::Permissions::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(image.path(), Some(999), Some(998)).unwrap();
    fs::set_permissions(image.path(), fs::Permissions::from_mode(0o1750)).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123);
    fs::File::open(at("dir")).unwrap().set_modified(old).unwrap();

    assert!(world.run(world.volumes.populate(&volume, open(image.path()))).unwrap());
    let path = world.volumes.path(&volume);
    let root = path.metadata().unwrap();
    assert_eq!((root.mode() & 0o7777, root.uid(), root.gid()), (0o1750, 999, 998));
    let file = path.join("dir/file").metadata().unwrap();
    assert_eq!((file.mode() & 0o7777, file.uid(), file.gid(), file.nlink()), (0o4711, 7, 8, 2));
    assert_eq!(path.join("dir/deep/again").metadata().unwrap().ino(), file.ino());
    assert_eq!(fs::read_to_string(path.join("dir/file")).unwrap(), "content");
    assert_eq!(path.join("dir").metadata().unwrap().modified().unwrap(), old);
    assert_eq!(fs::read_link(path.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert!(path.join("pipe").metadata().unwrap().file_type().is_fifo());
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(path.join("dir/file"), "user.note", &mut value[..]).unwrap(), 1);

    fs::write(at("later"), "x").unwrap();
    assert!(!world.run(world.volumes.populate(&volume, open(image.path()))).unwrap(), "only an empty one");
    assert!(!path.join("later").exists());
    assert_eq!(world.directory.path().join("volumes/data").read_dir().unwrap().count(), 1);
}

#[test]
fn a_volume_in_use_is_filled_where_it_is_mounted() {
    let world = World::new();
    let volume = world.create("data");
    world.lease(&volume);
    let mounted = open(&world.volumes.path(&volume));
    let image = tempfile::tempdir().unwrap();
    fs::create_dir(image.path().join("dir")).unwrap();
    fs::write(image.path().join("dir/file"), "content").unwrap();
    std::os::unix::fs::chown(image.path(), Some(999), Some(998)).unwrap();
    fs::set_permissions(image.path(), fs::Permissions::from_mode(0o750)).unwrap();
    assert!(world.run(world.volumes.populate(&volume, open(image.path()))).unwrap());
    let seen = format!("/proc/self/fd/{}/dir/file", std::os::fd::AsRawFd::as_raw_fd(&mounted));
    assert_eq!(fs::read_to_string(seen).unwrap(), "content", "a container that runs sees it");
    let root = world.volumes.path(&volume).metadata().unwrap();
    assert_eq!((root.mode() & 0o7777, root.uid(), root.gid()), (0o750, 999, 998));
    assert_eq!(world.directory.path().join("volumes/data").read_dir().unwrap().count(), 1);
}

/// What crashes leave: half a copy, a directory without a record, a record without a directory, something dying.
#[test]
fn reconciling_loses_no_data() {
    let world = World::new();
    let volume = world.create("half");
    let root = world.directory.path().join("volumes");
    fs::create_dir(root.join("half/_filling")).unwrap();
    fs::write(root.join("half/_filling/x"), "x").unwrap();
    let gone = world.create("gone");
    fs::remove_dir_all(root.join("gone")).unwrap();
    fs::create_dir_all(root.join("orphan/_data")).unwrap();
    fs::write(root.join("orphan/_data/precious"), "x").unwrap();
    fs::create_dir_all(root.join("empty/_data")).unwrap();
    fs::create_dir_all(root.join(".removed/0/a/b")).unwrap();
    fs::write(root.join("lost+found"), "no volume").unwrap();

    world.run(world.volumes.reconcile()).unwrap();
    let names: Vec<String> =
        world.volumes.list().unwrap().into_iter().map(|volume| volume.name.to_string()).collect();
    assert_eq!(names, ["gone", "half", "orphan"]);
    assert!(!root.join("half/_filling").exists() && world.volumes.path(&volume).is_dir());
    assert!(world.volumes.path(&gone).is_dir());
    assert!(root.join("orphan/_data/precious").exists());
    assert!(!root.join("empty").exists() && !root.join(".removed/0").exists());
}

/// Deeper than a thread has stack to go down, as images and containers may make them.
fn nest(path: &Path) {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(path, flags, Mode::empty()).unwrap();
    for _ in 0..25_000 {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "d", flags, Mode::empty()).unwrap();
    }
}

#[test]
fn what_is_left_at_the_start_goes_however_deep_it_is_and_what_cannot_go_stops_nobody() {
    // A disk may take milliseconds for each directory.
    let world = World::at(tempfile::tempdir_in("/dev/shm").unwrap());
    let volume = world.create("half");
    let root = world.directory.path().join("volumes");
    fs::create_dir_all(root.join("empty/_data")).unwrap();
    for deep in ["half/_filling", ".removed/0", "empty/_filling"] {
        fs::create_dir_all(root.join(deep)).unwrap();
        nest(&root.join(deep));
    }
    fs::write(root.join(".removed/file"), "no directory").unwrap();
    world.run(world.volumes.reconcile()).unwrap();
    assert!(!root.join("half/_filling").exists() && !root.join("empty").exists());
    assert!(world.volumes.path(&volume).is_dir());
    let begun = std::time::Instant::now();
    while root.join(".removed").read_dir().unwrap().count() > 1 {
        assert!(begun.elapsed().as_secs() < 60, "it stays");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
