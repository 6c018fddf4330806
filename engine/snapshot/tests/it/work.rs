//! Trees that are worked on without being run.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use tare_snapshot::{Driver, Error, Front, IN_MEMORY, Limits};

use crate::World;
use crate::archive::{Tar, tar};

#[test]
fn what_is_written_through_the_descriptor_is_in_the_writable_layer_alone() {
    let stacking = crate::drivers().into_iter().filter(|driver| driver.stacks());
    stacking.for_each(what_is_written_through_the_descriptor_is_in_the_writable_layer_alone_by);
}

fn what_is_written_through_the_descriptor_is_in_the_writable_layer_alone_by(driver: Driver) {
    let world = World::with(Some(driver));
    let below = tar().directory("etc/").file("etc/a", "below").file("etc/b", "below").finish();
    let (chain, tree) = world.layer(1, None, &below);
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    world.snapshots.prepare("work", Some(&chain)).unwrap();
    let root = world.snapshots.open_to_write("work").unwrap();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let file = openat(&root, "etc/a", flags, Mode::RUSR).unwrap();
    File::from(file).write_all(b"changed").unwrap();
    unlinkat(&root, "etc/b", AtFlags::empty()).unwrap();
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before, "it is mounted nowhere");
    let upper = world.snapshots.upper("work").unwrap();
    assert_eq!(std::fs::read_to_string(upper.join("etc/a")).unwrap(), "changed");
    assert_eq!(std::fs::read_to_string(tree.join("etc/a")).unwrap(), "below");
    drop(root);
    let merged = world.snapshots.open_writable_root("work").unwrap();
    assert!(merged.read_file(Path::new("/etc/b"), 100).unwrap().is_none());
    assert_eq!(merged.read_file(Path::new("/etc/a"), 100).unwrap().unwrap(), b"changed");
    world.snapshots.prepare("empty", None).unwrap();
    let root = world.snapshots.open_to_write("empty").unwrap();
    openat(root.as_fd(), "first", flags, Mode::RUSR).unwrap();
    assert!(world.snapshots.upper("empty").unwrap().join("first").exists());
}

#[test]
fn an_archive_that_is_no_layer_has_no_marks_and_no_devices() {
    let world = World::new();
    let bytes = tar().file(".wh.a", "plain").file(".keys/a", "a file").file(".end", "").finish();
    let (unpacked, found) = world.snapshots.unpack_files(&bytes[..], &Limits::default(), None).unwrap();
    assert!(found.files.is_empty() && found.apart.is_none());
    for (name, text) in [(".wh.a", "plain"), (".keys/a", "a file"), (".end", "")] {
        assert_eq!(std::fs::read_to_string(unpacked.path().join(name)).unwrap(), text);
    }
    drop(unpacked);
    for bad in [
        tar().hard_link("a", "missing"),
        tar().file("../precious", "x"),
        tar().device(tar::EntryType::Char, "null", 1, 3),
    ] {
        let refused = world.snapshots.unpack_files(&bad.finish()[..], &Limits::default(), None);
        assert!(matches!(refused.map(drop), Err(Error::Refused { .. })));
        world.assert_untouched();
    }
}

const FRONT: Front = Front { in_memory: &[".keys", ".text"], apart: ".sub", end: ".end" };

#[test]
fn what_comes_before_the_tree_is_kept_apart_and_nothing_in_the_tree_adds_to_it() {
    let world = World::new();
    let front = || tar().file(".sub/one/x", "1").file(".keys/a/b", "secret").file("./.text", "text");
    let tree = |archive: Tar| {
        let archive = archive.directory(".sub/").file(".sub/one/x", "2").file(".keys/a/b", "other");
        archive.file(".text", "other").file(".end", "again").file("./a", "1").finish()
    };
    let bytes = tree(front().file(".end", ""));
    let unpack = |bytes: &[u8]| world.snapshots.unpack_files(bytes, &Limits::default(), Some(FRONT));
    let (unpacked, found) = unpack(&bytes).unwrap();
    let kept: Vec<(&[u8], &[u8])> = found.files.iter().map(|(name, text)| (&name[..], &text[..])).collect();
    assert_eq!(kept, [(&b".keys/a/b"[..], &b"secret"[..]), (b".text", b"text")]);
    let apart = found.apart.unwrap();
    assert_eq!(std::fs::read_to_string(apart.join("one/x")).unwrap(), "1");
    for (name, text) in
        [(".sub/one/x", "2"), (".keys/a/b", "other"), (".text", "other"), (".end", "again"), ("a", "1")]
    {
        assert_eq!(std::fs::read_to_string(unpacked.path().join(name)).unwrap(), text);
    }
    drop(unpacked);
    assert!(!apart.exists());
    let (unpacked, found) = unpack(&tar().file(".end", "").finish()).unwrap();
    assert!(found.files.is_empty() && found.apart.is_none());
    drop(unpacked);
    let nothing = (0..200_000).fold(tar(), |archive, number| archive.file(&format!(".keys/{number}"), ""));
    let long = "x".repeat(usize::try_from(IN_MEMORY).unwrap() + 1);
    for bad in [
        tar().file(".keys/a", &long),
        nothing,
        front(),
        front().file("a", "too early").file(".end", ""),
        front().directory("./").file(".end", ""),
        front().file(".keys/a/b", "twice").file(".end", ""),
        front().file(".text", "twice").file(".end", ""),
        tar().symlink(".sub", "/etc").file(".end", ""),
        front().file(".end", "").hard_link("a", ".sub/one/x"),
        tar().symlink(".keys/a", "/etc/passwd").file(".end", ""),
    ] {
        let refused = unpack(&bad.finish());
        assert!(matches!(refused.map(drop), Err(Error::Refused { .. } | Error::Limit { .. })));
        world.assert_untouched();
    }
}
