//! Honest archives: everything that is in them arrives.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use crate::archive::tar;
use crate::{World, names};
use tar::EntryType;

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn owners_modes_times_and_links_arrive() {
    let world = World::new();
    let archive = tar()
        .directory_with("./", |header| header.set_mode(0o750))
        .directory_with("./bin/", |header| header.set_mode(0o1777))
        .pax(&[("mtime", b"1234567890.123456789"), ("uid", b"3000000000")])
        .file_with("./bin/su", "setuid", |header| {
            header.set_mode(0o4755);
            header.set_gid(42);
        })
        .symlink("./bin/sh", "/bin/su")
        .hard_link("./bin/again", "./bin/su")
        .file("./empty", "")
        .raw(crate::archive::Tar::header(EntryType::Fifo, "./pipe"), b"")
        .device(EntryType::Char, "./null", 1, 3)
        .finish();
    let (_, tree) = world.layer(1, None, &archive);

    assert_eq!(tree.metadata().unwrap().mode() & 0o7777, 0o750);
    let bin = tree.join("bin").metadata().unwrap();
    assert_eq!((bin.mode() & 0o7777, bin.mtime(), bin.mtime_nsec()), (0o1777, 1_700_000_000, 0));
    let su = tree.join("bin/su").metadata().unwrap();
    assert_eq!((su.mode() & 0o7777, su.uid(), su.gid(), su.nlink()), (0o4755, 3_000_000_000, 42, 2));
    assert_eq!((su.mtime(), su.mtime_nsec()), (1_234_567_890, 123_456_789));
    assert_eq!(tree.join("bin/again").metadata().unwrap().ino(), su.ino());
    let link = tree.join("bin/sh").symlink_metadata().unwrap();
    assert_eq!(link.mtime(), 1_700_000_000);
    assert_eq!(std::fs::read_link(tree.join("bin/sh")).unwrap(), Path::new("/bin/su"));
    assert!(tree.join("pipe").metadata().unwrap().file_type().is_fifo());
    assert_eq!(tree.join("null").metadata().unwrap().rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(std::fs::read_to_string(tree.join("bin/su")).unwrap(), "setuid");
}

#[test]
fn attributes_arrive_but_for_those_that_steer_the_host() {
    let world = World::new();
    // A version 2 capability set (cap_net_raw=ep) has bytes that are newlines and NULs.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let archive = tar()
        .pax(&[
            ("SCHILY.xattr.user.note", b"a\nb\0c"),
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.whiteout", b"y"),
        ])
        .file("ping", "x")
        .pax(&[("SCHILY.xattr.trusted.overlay.opaque", b"y"), ("SCHILY.xattr.user.a", b"b")])
        .directory("dir/")
        .finish();
    let (_, tree) = world.layer(1, None, &archive);
    assert_eq!(xattr(&tree.join("ping"), "user.note").unwrap(), b"a\nb\0c");
    assert_eq!(xattr(&tree.join("ping"), "security.capability").unwrap(), capability);
    assert_eq!(xattr(&tree.join("dir"), "user.a").unwrap(), b"b");
    for name in ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.whiteout"] {
        assert_eq!((xattr(&tree.join("ping"), name), xattr(&tree.join("dir"), name)), (None, None), "{name}");
    }
}

#[test]
fn long_names_arrive_by_either_extension() {
    let world = World::new();
    let deep = format!("{}end", "directory-of-some-length/".repeat(40));
    let archive = tar()
        .long(&deep)
        .file("short", "gnu")
        .pax(&[("path", b"pax/\xc3\xa4\xff")])
        .file("short", "pax")
        .finish();
    let (_, tree) = world.layer(1, None, &archive);
    assert_eq!(std::fs::read_to_string(tree.join(&deep)).unwrap(), "gnu");
    let name = OsStr::from_bytes(b"\xc3\xa4\xff");
    assert_eq!(std::fs::read_to_string(tree.join("pax").join(name)).unwrap(), "pax");
    assert_eq!(names(&tree), ["directory-of-some-length", "pax"]);
}

#[test]
fn names_that_begin_at_the_root_mean_the_images_root() {
    let world = World::new();
    let archive = tar().directory("/app/").file("/app/run", "x").hard_link("/app/again", "/app/run").finish();
    let (_, tree) = world.layer(1, None, &archive);
    assert_eq!(names(&tree.join("app")), ["again", "run"]);
}

#[test]
fn the_later_of_two_entries_wins() {
    let world = World::new();
    let archive = tar()
        .file("a", "first")
        .file("a", "second")
        .directory("b/")
        .file("b/inside", "x")
        .file("b", "a file now")
        .file("c", "a file first")
        .directory_with("c/", |header| header.set_mode(0o700))
        .file("c/inside", "y")
        .symlink("d", "/precious")
        .file("d", "no link any more")
        .directory_with("e/", |header| header.set_mode(0o700))
        .file("e/kept", "z")
        .directory_with("e/", |header| header.set_mode(0o711))
        .hard_link("a", "a")
        .finish();
    let (_, tree) = world.layer(1, None, &archive);
    assert_eq!(names(&tree), ["a", "b", "c", "d", "e"]);
    assert_eq!(std::fs::read_to_string(tree.join("a")).unwrap(), "second");
    assert_eq!(std::fs::read_to_string(tree.join("b")).unwrap(), "a file now");
    assert_eq!(std::fs::read_to_string(tree.join("c/inside")).unwrap(), "y");
    assert_eq!(std::fs::read_to_string(tree.join("d")).unwrap(), "no link any more");
    assert_eq!(tree.join("e").metadata().unwrap().mode() & 0o7777, 0o711);
    assert_eq!(names(&tree.join("e")), ["kept"]);
    world.assert_untouched();
}

#[test]
fn directories_that_are_only_implied_are_those_of_the_layer_below() {
    let world = World::new();
    let below = tar()
        .directory_with("home/", |header| {
            header.set_mode(0o711);
            header.set_uid(7);
        })
        .directory_with("home/user/", |header| header.set_mode(0o700))
        .finish();
    let (below, _) = world.layer(1, None, &below);
    let above = tar().file("home/user/new/file", "x").finish();
    let (_, tree) = world.layer(2, Some(&below), &above);
    let home = tree.join("home").metadata().unwrap();
    assert_eq!((home.mode() & 0o7777, home.uid(), home.mtime()), (0o711, 7, 1_700_000_000));
    assert_eq!(tree.join("home/user").metadata().unwrap().mode() & 0o7777, 0o700);
    assert_eq!(tree.join("home/user/new").metadata().unwrap().mode() & 0o7777, 0o755);
}

/// What GNU tar makes of a directory of this machine, in each of its formats, against that directory itself.
#[test]
fn archives_of_gnu_tar_arrive_as_gnu_tar_took_them() {
    let source = tempfile::tempdir().unwrap();
    let at = |name: &str| source.path().join(name);
    std::fs::create_dir_all(at("a/b")).unwrap();
    std::fs::write(at("a/b/file"), vec![7; 1 << 20]).unwrap();
    std::fs::hard_link(at("a/b/file"), at("a/again")).unwrap();
    std::os::unix::fs::symlink("../nowhere", at("a/link")).unwrap();
    std::fs::write(at("a").join("n".repeat(200)), "long").unwrap();
    let mut holes = std::fs::File::create(at("sparse")).unwrap();
    for place in [1_u64 << 20, 1 << 24, 1 << 28] {
        use std::os::unix::fs::FileExt;
        holes.write_all_at(&[9; 5000], place).unwrap();
    }
    holes.set_len((1 << 28) + 100_000).unwrap();
    holes.sync_all().unwrap();
    holes = std::fs::File::open(at("sparse")).unwrap();
    for arguments in [
        &["--format=gnu", "--sparse"][..],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=ustar", "--exclude=nnn*"],
    ] {
        let world = World::new();
        let mut made = Command::new("tar");
        let made =
            made.args(arguments).arg("-C").arg(source.path()).args(["-cf", "-", "."]).output().unwrap();
        let (_, tree) = world.layer(1, None, &made.stdout);
        assert_eq!(std::fs::read(tree.join("a/b/file")).unwrap(), vec![7; 1 << 20], "{arguments:?}");
        assert_eq!(tree.join("a/again").metadata().unwrap().nlink(), 2);
        let ours = tree.join("sparse").metadata().unwrap();
        let theirs = holes.metadata().unwrap();
        assert_eq!((ours.len(), ours.mtime()), (theirs.len(), theirs.mtime()), "{arguments:?}");
        let compared = Command::new("cmp").arg(at("sparse")).arg(tree.join("sparse")).status().unwrap();
        assert!(compared.success(), "{arguments:?}");
        if arguments.len() > 1 && arguments[1] == "--sparse" {
            assert!(ours.blocks() < 200, "{arguments:?}: {} blocks", ours.blocks());
        }
        if arguments[0] == "--format=pax" {
            assert_eq!(ours.mtime_nsec(), theirs.mtime_nsec());
        }
    }
}
