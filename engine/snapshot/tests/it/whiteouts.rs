//! What lower layers have and upper ones hide, seen through each driver.

use std::path::Path;

use tare_model::Digest;

use crate::World;
use crate::archive::{Tar, tar};

fn base() -> Vec<u8> {
    tar()
        .file("keep", "1")
        .file("gone", "1")
        .directory("dir/")
        .file("dir/old", "1")
        .file("dir/kept", "1")
        .file("file", "1")
        .finish()
}

/// What the merged tree says under each path: its content, `/` for a directory, nothing for nothing. With each driver.
fn merged(upper: Tar, paths: &[&str]) -> Vec<Option<String>> {
    let upper = upper.finish();
    let mut shown = crate::drivers().into_iter().map(|driver| {
        let world = World::with(Some(driver));
        let (below, _) = world.layer(1, None, &base());
        let (above, _) = world.layer(2, Some(&below), &upper);
        look(&world, &above, paths)
    });
    let first = shown.next().unwrap();
    shown.for_each(|other| assert_eq!(first, other, "the drivers show the same"));
    first
}

fn look(world: &World, chain: &Digest, paths: &[&str]) -> Vec<Option<String>> {
    let root = world.snapshots.open_root(Some(chain)).unwrap();
    let look = |path: &&str| {
        let path = Path::new(path);
        if root.open_directory(path).unwrap().is_some() {
            return Some("/".to_owned());
        }
        root.read_file(path, 100).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
    };
    paths.iter().map(look).collect()
}

fn said(words: &[&str]) -> Vec<Option<String>> {
    words.iter().map(|word| (!word.is_empty()).then(|| (*word).to_owned())).collect()
}

#[test]
fn whiteouts_hide_files_and_directories() {
    let upper = tar().file(".wh.gone", "").file(".wh.dir", "").file("dir2/.wh.nothing", "");
    assert_eq!(merged(upper, &["keep", "gone", "dir", "dir/old", "dir2"]), said(&["1", "", "", "", "/"]));
}

#[test]
fn opaque_directories_show_only_what_is_theirs_in_either_order() {
    for upper in [
        tar().directory("dir/").file("dir/.wh..wh..opq", "").file("dir/new", "2"),
        tar().file("dir/new", "2").file("dir/.wh..wh..opq", ""),
        tar().file("dir/.wh..wh..opq", "").directory("dir/").file("dir/new", "2"),
    ] {
        assert_eq!(merged(upper, &["dir/old", "dir/new", "keep"]), said(&["", "2", "1"]));
    }
}

#[test]
fn whiteouts_are_for_lower_layers_only_in_either_order() {
    for upper in [
        tar()
            .file(".wh.gone", "")
            .file("gone", "2")
            .file(".wh.dir", "")
            .directory("dir/")
            .file("dir/new", "2"),
        tar()
            .file("gone", "2")
            .file(".wh.gone", "")
            .directory("dir/")
            .file("dir/new", "2")
            .file(".wh.dir", ""),
        tar().file("gone", "2").file(".wh.gone", "").file(".wh.dir", "").file("dir/new", "2"),
    ] {
        assert_eq!(merged(upper, &["gone", "dir/new", "dir/old"]), said(&["2", "2", ""]));
    }
}

#[test]
fn kinds_may_change_between_layers() {
    let upper = tar().directory("file/").file("file/in", "2").file("dir", "2");
    assert_eq!(merged(upper, &["file", "file/in", "dir", "dir/old"]), said(&["/", "2", "2", ""]));
}

#[test]
fn a_third_layer_brings_back_what_the_second_hid() {
    let world = World::new();
    let (first, _) = world.layer(1, None, &base());
    let (second, _) = world.layer(2, Some(&first), &tar().file(".wh.gone", "").file(".wh.dir", "").finish());
    let (third, _) = world.layer(3, Some(&second), &tar().file("gone", "3").file("dir/new", "3").finish());
    assert_eq!(look(&world, &third, &["gone", "dir/new", "dir/old"]), said(&["3", "3", ""]));
    assert_eq!(look(&world, &second, &["gone", "dir", "keep"]), said(&["", "", "1"]));
    assert_eq!(look(&world, &first, &["gone", "dir/old"]), said(&["1", "1"]));
}

#[test]
fn bookkeeping_of_aufs_is_passed_over() {
    let upper = tar().directory(".wh..wh.plnk/").file(".wh..wh.plnk/1.2", "x").file(".wh..wh.aufs", "x");
    assert_eq!(merged(upper, &["keep", ".wh..wh.plnk", ".wh..wh.aufs"]), said(&["1", "", ""]));
}

#[test]
fn looking_in_never_leaves_the_image() {
    let world = World::new();
    let precious = world.directory.path().join("precious");
    let archive = tar()
        .directory("etc/")
        .file("etc/passwd", "root")
        .symlink("abs", "/etc/passwd")
        .symlink("rel", "../../../../../etc/passwd")
        .symlink("out", precious.to_str().unwrap())
        .symlink("loop", "loop")
        .raw(Tar::header(tar::EntryType::Fifo, "pipe"), b"")
        .finish();
    let (chain, _) = world.layer(1, None, &archive);
    assert_eq!(
        look(&world, &chain, &["/abs", "rel", "out", "loop", "etc/passwd/x"]),
        said(&["root", "root", "", "", ""])
    );
    let root = world.snapshots.open_root(Some(&chain)).unwrap();
    assert!(root.read_file(Path::new("pipe"), 100).is_err());
    assert!(root.read_file(Path::new("etc"), 100).is_err());
    assert!(root.read_file(Path::new("etc/passwd"), 3).is_err());
    assert!(
        world.snapshots.open_root(None).unwrap().read_file(Path::new("etc/passwd"), 3).unwrap().is_none()
    );
}
