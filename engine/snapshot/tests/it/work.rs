//! Trees that are worked on without being run.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use tare_snapshot::{Driver, Error, IN_MEMORY, Limits};

use crate::World;
use crate::archive::tar;

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
fn a_context_has_no_marks_no_devices_and_keeps_some_files_out_of_the_disk() {
    let world = World::new();
    let bytes = tar().file(".keys/a/b", "secret").file(".wh.a", "plain").file("sub/x", "1").finish();
    let (mut unpacked, kept) = world.snapshots.unpack_files(&bytes[..], &Limits::default(), ".keys").unwrap();
    assert_eq!(kept.get(&b"a/b"[..]).unwrap(), b"secret");
    assert_eq!(std::fs::read_to_string(unpacked.path().join(".wh.a")).unwrap(), "plain");
    assert!(!unpacked.path().join(".keys").exists());
    let part = unpacked.split_off("sub").unwrap().unwrap();
    assert!(part.join("x").exists() && !unpacked.path().join("sub").exists());
    assert!(unpacked.split_off("none").unwrap().is_none());
    drop(unpacked);
    assert!(!part.exists());
    let nothing = (0..40_000).fold(tar(), |archive, number| archive.file(&format!(".keys/{number}"), ""));
    let long = "x".repeat(usize::try_from(IN_MEMORY).unwrap() + 1);
    for bad in [
        tar().file(".keys/a", &long),
        nothing,
        tar().symlink(".keys/a", "/etc/passwd"),
        tar().hard_link("a", "missing"),
        tar().file("../precious", "x"),
        tar().device(tar::EntryType::Char, "null", 1, 3),
    ] {
        let refused = world.snapshots.unpack_files(&bad.finish()[..], &Limits::default(), ".keys");
        assert!(matches!(refused.map(drop), Err(Error::Refused { .. } | Error::Limit { .. })));
        world.assert_untouched();
    }
}
