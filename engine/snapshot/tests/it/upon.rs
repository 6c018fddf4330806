//! Archives that mean something only upon the layers below, seen through overlayfs.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tar::EntryType;
use tare_model::{Digest, HasKind, Kind};
use tare_snapshot::{Limits, Snapshots};

use crate::archive::{Tar, tar};
use crate::{World, names};

/// A merged-/usr system with some files.
fn base() -> Tar {
    tar()
        .directory_with("usr/", |header| header.set_mode(0o711))
        .directory_with("usr/lib/", |header| {
            header.set_mode(0o750);
            header.set_uid(7);
        })
        .file("usr/lib/old", "old")
        .file("usr/lib/gone", "1")
        .directory("usr/lib/sub/")
        .file("usr/lib/sub/old", "old")
        .symlink("lib", "usr/lib")
        .symlink("lib64", "/lib")
        .symlink("out", "/../../..")
}

/// Layers upon each other; the chain id of the last, and its own tree.
fn stack(world: &World, layers: Vec<Tar>) -> (Digest, PathBuf) {
    let mut top: Option<(Digest, PathBuf)> = None;
    for (number, layer) in layers.into_iter().enumerate() {
        let parent = top.map(|(chain, _)| chain);
        top = Some(world.layer(number as u8 + 1, parent.as_ref(), &layer.finish()));
    }
    top.unwrap()
}

fn read(snapshots: &Snapshots, chain: &Digest, path: &str) -> Option<String> {
    let root = snapshots.open_root(Some(chain)).unwrap();
    root.read_file(Path::new(path), 100).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
}

/// Compares what the merged tree has at each path; nothing for nothing.
fn assert_merged(world: &World, chain: &Digest, expected: &[(&str, &str)]) {
    for (path, content) in expected {
        let found = read(&world.snapshots, chain, path);
        assert_eq!(found.as_deref().unwrap_or_default(), *content, "{path}");
    }
    world.assert_untouched();
}

#[test]
fn symlinks_of_the_layer_are_followed_inside_it() {
    let world = World::new();
    let outside = world.directory.path().to_str().unwrap().to_owned();
    let layer = tar()
        .directory("real/")
        .symlink("rel", "real")
        .file("rel/a", "a")
        .symlink("abs", "/real")
        .file("abs/b", "b")
        .symlink("up", "../../../../..")
        .file("up/top", "t")
        .symlink("chain", "up/abs")
        .directory_with("chain/dir/", |header| header.set_mode(0o711))
        .file("chain/dir/c", "c")
        .hard_link("linked", "chain/a")
        .symlink("dangling", "not/there")
        .file("dangling/d", "d")
        .symlink("host", &outside)
        .file("host/precious", "image")
        .hard_link("host/again", "host/precious");
    let (chain, tree) = stack(&world, vec![layer]);
    assert_merged(
        &world,
        &chain,
        &[
            ("real/a", "a"),
            ("real/b", "b"),
            ("top", "t"),
            ("real/dir/c", "c"),
            ("linked", "a"),
            ("not/there/d", "d"),
            (&format!("{outside}/precious"), "image"),
            (&format!("{outside}/again"), "image"),
        ],
    );
    assert!(tree.join("rel").is_symlink() && tree.join("chain").is_symlink());
    assert_eq!(tree.join("real/dir").metadata().unwrap().mode() & 0o7777, 0o711);
}

#[test]
fn whiteouts_and_replacements_follow_symlinks_too() {
    let world = World::new();
    let first = tar().directory("etc/").file("etc/passwd", "1").directory("d/").file("d/x", "1");
    let second = tar()
        .symlink("a", "/etc")
        .file("a/.wh.passwd", "")
        .symlink("b", "../d")
        .file("b/.wh..wh..opq", "")
        .directory("c/")
        .file("c/x", "1")
        .symlink("c", "d")
        .file("c/y", "2");
    let (chain, _) = stack(&world, vec![first, second]);
    assert_merged(&world, &chain, &[("etc/passwd", ""), ("d/x", ""), ("d/y", "2"), ("c/y", "2")]);
}

#[test]
fn implied_directories_lead_where_symlinks_below_lead() {
    let world = World::new();
    let above = tar()
        .file("lib/new", "new")
        .file("lib/old", "newer")
        .file("lib/.wh.gone", "")
        .directory_with("lib/sub/", |header| header.set_mode(0o700))
        .file("lib/sub/new", "new")
        .file("lib64/deep/er", "deep")
        .hard_link("lib64/again", "lib/new")
        .file("out/etc/host", "inside")
        .file("usr/lib/plain", "plain");
    let (chain, tree) = stack(&world, vec![base(), above]);
    assert_eq!(names(&tree), ["etc", "usr"], "no symlink is hidden");
    assert_merged(
        &world,
        &chain,
        &[
            ("usr/lib/new", "new"),
            ("lib/old", "newer"),
            ("lib/gone", ""),
            ("lib/sub/old", "old"),
            ("lib64/sub/new", "new"),
            ("usr/lib/deep/er", "deep"),
            ("lib/again", "new"),
            ("etc/host", "inside"),
            ("lib/plain", "plain"),
        ],
    );
    let lib = tree.join("usr/lib").metadata().unwrap();
    assert_eq!((lib.mode() & 0o7777, lib.uid(), lib.mtime()), (0o750, 7, 1_700_000_000));
    let sub = tree.join("usr/lib/sub").metadata().unwrap();
    assert_eq!((sub.mode() & 0o7777, sub.mtime()), (0o700, 1_700_000_000));
    assert_eq!(tree.join("usr/lib/deep").metadata().unwrap().mode() & 0o7777, 0o755);
    assert_eq!(tree.join("usr/lib/new").metadata().unwrap().nlink(), 2);
}

#[test]
fn symlinks_of_several_layers_lead_on_and_what_is_hidden_does_not() {
    let world = World::new();
    let second = tar().symlink("usr/lib/sub", "/opt/sub").directory("opt/").directory("opt/sub/");
    let third = tar().file("lib/sub/x", "x").file("lib64/sub/y", "y");
    let (chain, tree) = stack(&world, vec![base(), second, third]);
    assert_merged(&world, &chain, &[("opt/sub/x", "x"), ("opt/sub/y", "y"), ("lib/old", "old")]);
    assert_eq!(names(&tree), ["opt"]);
    for hiding in [
        tar().file(".wh.lib", "").file("lib/x", "x"),
        tar().file("lib/x", "x").file(".wh.lib", ""),
        tar().file("lib/x", "x").file("lib/.wh..wh..opq", ""),
        tar().directory("lib/").file("lib/x", "x"),
        tar().file(".wh..wh..opq", "").file("lib/x", "x"),
    ] {
        let world = World::new();
        let (chain, tree) = stack(&world, vec![base(), hiding]);
        assert!(tree.join("lib/x").is_file());
        assert_merged(&world, &chain, &[("lib/x", "x"), ("lib/old", "")]);
    }
}

#[test]
fn hard_links_reach_into_layers_below() {
    let world = World::new();
    let first = base()
        .pax(&[("SCHILY.xattr.user.note", b"kept"), ("mtime", b"1234567890.5")])
        .file_with("bin", "program", |header| {
            header.set_mode(0o4755);
            header.set_uid(3);
            header.set_gid(4);
        })
        .symlink("link", "bin")
        .raw(Tar::header(EntryType::Fifo, "pipe"), b"")
        .device(EntryType::Char, "null", 1, 3);
    let second = tar().file("usr/middle", "m");
    let third = tar()
        .hard_link("b1", "bin")
        .hard_link("dir/b2", "/b1")
        .hard_link("b3", "bin")
        .hard_link("link2", "link")
        .hard_link("pipe2", "pipe")
        .hard_link("null2", "null")
        .hard_link("middle2", "usr/middle")
        .hard_link("lib/old2", "lib64/old")
        .hard_link("late", "bin")
        .file("late", "later wins");
    let (chain, tree) = stack(&world, vec![first, second, third]);
    assert_merged(
        &world,
        &chain,
        &[
            ("b1", "program"),
            ("dir/b2", "program"),
            ("b3", "program"),
            ("bin", "program"),
            ("link2", "program"),
            ("middle2", "m"),
            ("usr/lib/old2", "old"),
            ("late", "later wins"),
        ],
    );
    let found = tree.join("dir/b2").metadata().unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o4755, 3, 4));
    assert_eq!((found.mtime(), found.mtime_nsec(), found.nlink()), (1_234_567_890, 500_000_000, 4));
    let mut note = [0; 9];
    assert_eq!(rustix::fs::getxattr(tree.join("b3"), "user.note", &mut note[..]).unwrap(), 4);
    assert_eq!(tree.join("null2").metadata().unwrap().rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(tree.join("usr/lib").metadata().unwrap().mode() & 0o7777, 0o750);
    assert!(tree.join("link2").is_symlink());
}

#[test]
fn hard_links_below_that_make_no_sense_are_refused() {
    let world = World::new();
    let (below, _) = stack(&world, vec![base()]);
    for case in [
        tar().hard_link("a", "nowhere"),
        tar().hard_link("a", "usr"),
        tar().hard_link("a", "out/precious"),
        tar().hard_link("a", "usr/lib/old/x"),
        tar().file("usr/.wh.lib", "").hard_link("a", "usr/lib/old"),
        tar().file("usr/lib/.wh..wh..opq", "").hard_link("a", "lib/old"),
        tar().hard_link("a", "usr/lib/old").file("usr/lib/.wh.old", ""),
    ] {
        let unpacked = world.unpack(&case.finish());
        let chain = Digest::from_bytes([77; 32]);
        let tried = unpacked.and_then(|unpacked| world.snapshots.commit(unpacked, &chain, Some(&below)));
        assert_eq!(tried.unwrap_err().kind(), Kind::InvalidInput);
        world.assert_untouched();
    }
}

/// A sparse giant below must not become a real one, and copies count as the layer's bytes.
#[test]
fn copies_from_below_keep_holes_and_count() {
    use std::os::unix::fs::FileExt;
    let world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(directory.path().join("sparse")).unwrap();
    file.write_all_at(&[7; 5000], 1 << 30).unwrap();
    file.set_len((1 << 31) + 17).unwrap();
    let mut made = std::process::Command::new("tar");
    let made = made.arg("-C").arg(directory.path()).args(["-Scf", "-", "."]).output().unwrap();
    let (below, _) = world.layer(1, None, &made.stdout);
    let (_, tree) = world.layer(2, Some(&below), &tar().hard_link("again", "sparse").finish());
    let copy = tree.join("again").metadata().unwrap();
    assert_eq!((copy.len(), copy.nlink()), ((1 << 31) + 17, 2));
    assert!(copy.blocks() < 100, "{} blocks", copy.blocks());
    let mut content = [0; 5000];
    std::fs::File::open(tree.join("again")).unwrap().read_exact_at(&mut content, 1 << 30).unwrap();
    assert_eq!(content, [7; 5000]);
    assert_eq!(world.snapshots.layer_size(&Digest::from_bytes([2; 32])).unwrap(), (1 << 31) + 17);

    let limits = Limits { bytes: 1 << 20, entries: 10, ..Limits::default() };
    let layer = tar().hard_link("again", "sparse").finish();
    let unpacked = world.snapshots.unpack(&layer[..], &limits).unwrap();
    let error = world.snapshots.commit(unpacked, &Digest::from_bytes([3; 32]), Some(&below)).unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted);
    world.assert_untouched();
}
