//! The life of layers: made, stood upon, found again, removed.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tare_model::{Digest, HasKind, Kind};
use tare_snapshot::{Error, Limits};
use tare_store::Batch;

use crate::archive::tar;
use crate::{World, names, open};

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

#[test]
fn layers_are_found_again_and_what_was_unfinished_is_not() {
    let World { snapshots, directory } = World::new();
    let archive = tar().file("a", "12345").file("b", "678").finish();
    let unpacked = snapshots.unpack(&archive[..], &Limits::default()).unwrap();
    assert_eq!((unpacked.bytes, unpacked.entries), (8, 2));
    snapshots.commit(unpacked, &digest(1), None).unwrap();
    let unpacked = snapshots.unpack(&archive[..], &Limits::default()).unwrap();
    snapshots.commit(unpacked, &digest(2), Some(&digest(1))).unwrap();
    // As if the process ended here.
    std::mem::forget(snapshots.unpack(&archive[..], &Limits::default()).unwrap());
    drop(snapshots);

    let snapshots = open(directory.path());
    let tmp = directory.path().join("snapshots/tmp");
    assert!(names(&tmp).len() > 1);
    snapshots.reconcile(&BTreeSet::new()).unwrap();
    assert_eq!(names(&tmp).len(), 1, "only this session's directory stays");
    assert_eq!(snapshots.layers(), [digest(1), digest(2)]);
    assert_eq!(snapshots.parent(&digest(2)).unwrap(), Some(digest(1)));
    assert_eq!(snapshots.layer_size(&digest(1)).unwrap(), 8);
    assert!(!snapshots.has(&digest(3)));
    assert!(matches!(snapshots.parent(&digest(3)), Err(Error::NoLayer(_))));
    let unpacked = snapshots.unpack(&archive[..], &Limits::default()).unwrap();
    assert!(matches!(snapshots.commit(unpacked, &digest(4), Some(&digest(3))), Err(Error::NoLayer(_))));
}

#[test]
fn the_same_layer_at_once_and_many_side_by_side() {
    let world = World::new();
    let archive = tar().directory("d/").file("d/a", &"x".repeat(100_000)).finish();
    std::thread::scope(|scope| {
        for number in 0..16_u8 {
            let (world, archive) = (&world, &archive);
            scope.spawn(move || {
                let unpacked = world.unpack(archive).unwrap();
                world.snapshots.commit(unpacked, &digest(number % 4), None).unwrap();
            });
        }
    });
    assert_eq!(world.snapshots.layers().len(), 4);
    world.assert_untouched();
}

#[test]
fn a_writable_layer_stands_on_its_layer_until_removed() {
    let world = World::new();
    let root = tar().directory_with("./", |header| {
        header.set_mode(0o711);
        header.set_uid(5);
    });
    let (chain, tree) = world.layer(1, None, &root.file("a", "1").finish());
    let snapshots = &world.snapshots;
    snapshots.prepare("c1", Some(&chain)).unwrap();
    assert!(matches!(snapshots.prepare("c1", None), Err(Error::Exists(_))));
    assert!(matches!(snapshots.prepare("c2", Some(&digest(9))), Err(Error::NoLayer(_))));
    for key in ["", ".", "..", "a/b", ".hidden", "a:b"] {
        assert!(matches!(snapshots.prepare(key, None), Err(Error::Key(_))), "{key}");
    }
    let upper = snapshots.upper("c1").unwrap();
    let metadata = upper.metadata().unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o711, 5), "the root is that of the image");

    let [mount] = &snapshots.mounts("c1").unwrap()[..] else { panic!("one mount") };
    let work = upper.parent().unwrap().join("work");
    let expected = [
        format!("lowerdir={}", tree.display()),
        format!("upperdir={}", upper.display()),
        format!("workdir={}", work.display()),
        "redirect_dir=off".to_owned(),
        "metacopy=off".to_owned(),
        "index=off".to_owned(),
    ];
    assert_eq!((mount.kind.as_str(), &mount.options[..]), ("overlay", &expected[..]));

    std::fs::write(upper.join("new"), "12345").unwrap();
    assert_eq!(snapshots.usage("c1").unwrap(), 5);
    let merged = snapshots.open_writable_root("c1").unwrap();
    assert_eq!(merged.read_file(Path::new("new"), 9).unwrap().unwrap(), b"12345");
    assert_eq!(merged.read_file(Path::new("a"), 9).unwrap().unwrap(), b"1");
    drop(merged);

    let error = snapshots.remove_layer(&chain).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.to_string().contains("c1"), "{error}");
    snapshots.remove("c1").unwrap();
    assert!(matches!(snapshots.remove("c1"), Err(Error::NoWritable(_))));
    snapshots.remove_layer(&chain).unwrap();
    assert!(!tree.exists() && !snapshots.has(&chain));
    world.assert_untouched();
}

#[test]
fn a_container_without_an_image_has_a_plain_directory() {
    let world = World::new();
    world.snapshots.prepare("c1", None).unwrap();
    let [mount] = &world.snapshots.mounts("c1").unwrap()[..] else { panic!("one mount") };
    assert_eq!(
        (mount.kind.as_str(), Path::new(&mount.source)),
        ("bind", &*world.snapshots.upper("c1").unwrap())
    );
}

#[test]
fn what_others_stand_on_or_lease_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let store = crate::store(directory.path());
    let snapshots =
        tare_snapshot::Snapshots::open(&directory.path().join("snapshots"), store.clone()).unwrap();
    for (number, parent) in [(1, None), (2, Some(digest(1)))] {
        let unpacked = snapshots.unpack(&tar().file("a", "").finish()[..], &Limits::default()).unwrap();
        snapshots.commit(unpacked, &digest(number), parent.as_ref()).unwrap();
    }
    let mut batch = Batch::default();
    batch.lease("image/x", &format!("snapshot/{}", digest(2))).lease("container/1", "snapshot/leased");
    store.commit_blocking(batch).unwrap();
    assert!(matches!(snapshots.remove_layer(&digest(1)), Err(Error::InUse { .. })));
    assert!(matches!(snapshots.remove_layer(&digest(2)), Err(Error::InUse { .. })));
    for key in ["leased", "live", "left"] {
        snapshots.prepare(key, Some(&digest(2))).unwrap();
    }
    snapshots.reconcile(&BTreeSet::from(["live".to_owned()])).unwrap();
    let mut left = snapshots.writables().unwrap();
    left.sort();
    assert_eq!(left, ["leased", "live"]);
}

/// More layers than fit into a page of mount options.
#[test]
fn two_hundred_layers_are_one_tree() {
    let world = World::new();
    let mut parent = None;
    for number in 0..200_u8 {
        let archive = tar().file(&format!("f{number}"), "x").file("same", &number.to_string()).finish();
        parent = Some(world.layer(number, parent.as_ref(), &archive).0);
    }
    let root = world.snapshots.open_root(parent.as_ref()).unwrap();
    assert_eq!(root.read_file(Path::new("f0"), 9).unwrap().unwrap(), b"x");
    assert_eq!(root.read_file(Path::new("same"), 9).unwrap().unwrap(), b"199");
}

#[test]
fn roots_that_cannot_hold_layers_are_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = crate::store(directory.path());
    let refused = tare_snapshot::Snapshots::open(&directory.path().join("a:b"), store.clone()).err().unwrap();
    assert_eq!(refused.kind(), Kind::InvalidInput);
    let refused = tare_snapshot::Snapshots::open(Path::new("/proc/self"), store).err().unwrap();
    assert!(refused.to_string().contains("/proc/self"), "{refused}");
}
