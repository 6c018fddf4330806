//! Parts of merged layers, as mounts say them.

use std::path::Path;

use tare_model::RootMount;
use tare_snapshot::{Driver, Error};

use crate::archive::tar;
use crate::{World, drivers};

fn scratch(world: &World, name: &str) -> std::path::PathBuf {
    let path = world.directory.path().join(name);
    std::fs::create_dir(&path).unwrap();
    path
}

fn lower(mount: &RootMount) -> Vec<String> {
    let list = mount.options.iter().find_map(|option| option.strip_prefix("lowerdir=")).unwrap();
    list.split(':').map(str::to_owned).collect()
}

#[test]
fn a_directory_is_made_of_the_layers_that_are_not_hidden() {
    let world = World::new();
    let (one, _) =
        world.layer(1, None, &tar().file("a/b/one", "1").file("a/c/one", "1").file("x", "1").finish());
    let two =
        tar().file("a/b/two", "2").file("a/c/.wh..wh..opq", "").file("a/c/two", "2").symlink("link", "/a/b");
    let (two, top) = world.layer(2, Some(&one), &two.finish());
    let (three, _) = world.layer(3, Some(&two), &tar().file("other", "3").finish());
    let part = |path: &str, name: &str, writable| {
        world.snapshots.part(&three, Path::new(path), &scratch(&world, name), writable).unwrap()
    };
    assert_eq!(lower(&part("/a/b", "1", false).unwrap()).len(), 2);
    assert_eq!(lower(&part("/link", "2", false).unwrap()), lower(&part("a/./b", "3", false).unwrap()));
    let hidden = lower(&part("/a/c", "4", false).unwrap());
    assert_eq!(Path::new(&hidden[0]), top.join("a/c"), "what lies below an opaque directory is not shown");
    assert_eq!(std::fs::read_dir(&hidden[1]).unwrap().count(), 0, "overlayfs wants a second layer");
    let file = part("/x", "5", false).unwrap();
    assert_eq!((file.kind.as_str(), std::fs::read_to_string(&file.source).unwrap().as_str()), ("bind", "1"));
    assert!(part("/x", "6", true).is_none(), "a file that is written to is copied");
    let written = part("/a/b", "7", true).unwrap();
    assert!(written.options.iter().any(|option| option.starts_with("upperdir=")));
    for missing in ["/none", "/x/y", "/a/b/none"] {
        let refused = world.snapshots.part(&three, Path::new(missing), Path::new("/"), false);
        assert!(matches!(refused, Err(Error::Lookup { .. })), "{missing}: {refused:?}");
    }
}

/// A name in an image becomes no option of a mount.
#[test]
fn names_that_read_like_options_are_not_put_among_them() {
    let world = World::new();
    let (chain, _) = world.layer(1, None, &tar().file("a,upperdir=b/f", "1").file("c:d/f", "1").finish());
    for (path, name) in [("/a,upperdir=b", "1"), ("/c:d", "2")] {
        let part = world.snapshots.part(&chain, Path::new(path), &scratch(&world, name), false);
        assert_eq!(part.unwrap(), None, "{path}");
    }
}

#[test]
fn whole_trees_are_bound() {
    let world = World::with(Some(Driver::Copy));
    let (one, _) = world.layer(1, None, &tar().file("a/one", "1").finish());
    let (two, _) = world.layer(2, Some(&one), &tar().file("a/two", "2").finish());
    let scratch = scratch(&world, "1");
    let part = world.snapshots.part(&two, Path::new("/a"), &scratch, false).unwrap().unwrap();
    assert_eq!(part.kind, "bind");
    assert_eq!(std::fs::read_dir(part.source).unwrap().count(), 2);
    assert_eq!(world.snapshots.part(&two, Path::new("/a"), &scratch, true).unwrap(), None);
}

/// What a mount is told is text. A name that is none must not become another name, which the image has as a symlink to a file of
/// the host (class of CVE-2024-1753).
#[test]
fn names_that_are_no_text_are_not_bound_as_others() {
    for driver in drivers() {
        let world = World::with(Some(driver));
        let precious = world.directory.path().join("precious");
        let precious = precious.to_str().unwrap();
        let mut archive = tar();
        for (name, other, link) in [
            (&b"b\xff"[..], "b\u{fffd}", "a"),
            (b"d\xff/f", "d\u{fffd}", "e"),
            (b"g/h\xff/f", "g/h\u{fffd}", "g/i"),
        ] {
            let target =
                name.strip_suffix(b"/f").unwrap_or(name).rsplit(|byte| *byte == b'/').next().unwrap();
            archive = archive.pax(&[("path", name)]).file("short", "the image's").symlink(other, precious);
            archive = archive.pax(&[("linkpath", target)]).symlink(link, "short");
        }
        let (chain, _) = world.layer(1, None, &archive.finish());
        for (number, path) in ["/a", "/e", "/e/f", "/g/i", "/g/i/f"].into_iter().enumerate() {
            let scratch = scratch(&world, &number.to_string());
            let part = world.snapshots.part(&chain, Path::new(path), &scratch, false).unwrap();
            assert_eq!(part, None, "{driver}: {path}");
        }
    }
}
