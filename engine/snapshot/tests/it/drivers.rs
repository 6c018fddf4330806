//! What a driver is chosen by, and what copying does where nothing is stacked.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tare_model::{HasKind, Kind};
use tare_snapshot::{Driver, Error, Snapshots};

use crate::World;
use crate::archive::tar;

#[test]
fn a_data_root_stays_with_its_driver() {
    let world = World::with(Some(Driver::Copy));
    world.layer(1, None, &tar().file("a", "1").finish());
    let World { snapshots, directory } = world;
    drop(snapshots);
    let open = |wanted| {
        let store = crate::store(directory.path());
        Snapshots::open_with(&directory.path().join("snapshots"), store, wanted)
    };
    let refused = open(Some(Driver::Overlay)).err().unwrap();
    assert!(matches!(refused, Error::OtherDriver { .. }) && refused.kind() == Kind::Conflict, "{refused}");
    assert_eq!(open(None).unwrap().driver(), Driver::Copy, "what is there decides");
    assert_eq!("vfs".parse::<Driver>().unwrap(), Driver::Copy);
    assert!("zfs".parse::<Driver>().is_err());
}

#[test]
fn layers_share_their_files_and_containers_have_their_own() {
    let world = World::with(Some(Driver::Copy));
    let (below, lower) =
        world.layer(1, None, &tar().directory("d/").file("d/a", "1").file("b", "22").finish());
    let (above, upper) = world.layer(2, Some(&below), &tar().file(".wh.b", "").file("d/c", "3").finish());
    assert_eq!(lower.join("d/a").metadata().unwrap().ino(), upper.join("d/a").metadata().unwrap().ino());
    assert!(!upper.join("b").exists() && lower.join("b").exists());
    let snapshots = &world.snapshots;
    snapshots.prepare("c", Some(&above)).unwrap();
    let tree = snapshots.upper("c").unwrap();
    std::fs::write(tree.join("d/a"), "changed").unwrap();
    assert_eq!(std::fs::read_to_string(lower.join("d/a")).unwrap(), "1");
    // The same length and the same time: only the kernel's own note tells.
    let before = tree.join("d/c").metadata().unwrap().modified().unwrap();
    std::fs::write(tree.join("d/c"), "4").unwrap();
    std::fs::File::options().write(true).open(tree.join("d/c")).unwrap().set_modified(before).unwrap();
    let changed: Vec<_> =
        snapshots.changes("c", &[]).unwrap().into_iter().map(|change| change.path).collect();
    assert_eq!(changed, [Path::new("/d"), Path::new("/d/a"), Path::new("/d/c")]);
    assert_eq!(snapshots.usage("c").unwrap(), 8);
    snapshots.remove("c").unwrap();
    snapshots.remove_layer(&above).unwrap();
    assert_eq!(std::fs::read_to_string(lower.join("d/a")).unwrap(), "1");
    world.assert_untouched();
}
