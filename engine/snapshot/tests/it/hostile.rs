//! Archives of somebody who wants out, in, or everything.

use std::io::{self, BufReader, Read};

use proptest::prelude::*;
use tar::EntryType;
use tare_model::{HasKind, Kind};
use tare_snapshot::{Error, Limits};

use crate::World;
use crate::archive::{Tar, tar};

#[test]
fn names_and_links_that_lead_out_are_refused() {
    let world = World::new();
    let cases = [
        tar().file("../precious", "x"),
        tar().file("a/../../precious", "x"),
        tar().file("..", "x"),
        tar().directory("../../"),
        tar().long("a/../../../precious").file("short", "x"),
        tar().pax(&[("path", b"../precious")]).file("short", "x"),
        tar().hard_link("a", "../../../../../precious"),
        tar().hard_link("a", "/etc/passwd"),
        tar().pax(&[("linkpath", b"../precious")]).hard_link("a", "b"),
        tar().symlink("a", "..").file("a/../precious", "x"),
        tar().symlink("a", "/etc").hard_link("b", "a/passwd"),
        tar().symlink("a", "b").symlink("b", "a").file("a/x", "x"),
        tar().symlink("a", "a/a/a").directory("a/x/"),
        tar().symlink("a", &"b/".repeat(40)).symlink("b", "a").file("a/x", "x"),
        tar().symlink("a", "/precious").file("precious", "x").file("a/x", "x"),
        tar().hard_link("a", "b").hard_link("b", "a"),
        tar().hard_link("a", "./"),
        tar().directory("d/").file("d/x", "").symlink("a", "d/").hard_link("b", "a/missing"),
        tar().file("a", "x").file("a/b", "x"),
        tar().directory("a/").hard_link("b", "a"),
        tar().file(".wh.a", "").hard_link("b", "a"),
        tar().pax(&[("path", b"a\0b")]).file("short", "x"),
        tar().file(".wh...", ""),
        tar().file(".wh..", ""),
        tar().file(".wh.", ""),
        tar().file(".wh.a/b", "x"),
        tar().symlink("a", ""),
        tar().symlink("./", "/etc"),
        tar().file("/", "x"),
    ];
    for (at, case) in cases.into_iter().enumerate() {
        let text = world.refusal(&case.finish());
        assert!(text.starts_with("the layer is refused: its entry "), "case {at}: {text}");
    }
}

#[test]
fn a_hard_link_to_a_symlink_is_the_symlink() {
    let world = World::new();
    let target = world.directory.path().join("precious");
    let archive = tar().symlink("a", target.to_str().unwrap()).hard_link("b", "a").finish();
    let (_, tree) = world.layer(1, None, &archive);
    assert!(tree.join("b").is_symlink());
    world.assert_untouched();
}

#[test]
fn metadata_of_a_symlink_never_reaches_what_it_leads_to() {
    let world = World::new();
    let target = world.directory.path().join("precious");
    let mut header = Tar::header(EntryType::Symlink, "a");
    let text = target.to_str().unwrap().as_bytes();
    header.as_old_mut().linkname[..text.len()].copy_from_slice(text);
    header.set_mode(0o4777);
    header.set_uid(1000);
    let archive = tar().pax(&[("SCHILY.xattr.user.x", b"y")]).raw(header, b"").finish();
    world.layer(1, None, &archive);
    world.assert_untouched();
}

#[test]
fn devices_of_the_machine_are_refused() {
    let world = World::new();
    for (kind, major, minor) in
        [(EntryType::Block, 8, 0), (EntryType::Char, 1, 1), (EntryType::Char, 0, 0), (EntryType::Block, 1, 3)]
    {
        let text = world.refusal(&tar().device(kind, "dev", major, minor).finish());
        assert!(text.contains("device") || text.contains("whiteout"), "{text}");
    }
}

#[test]
fn limits_on_bytes_and_entries_hold() {
    let world = World::new();
    let archive = tar().file("a", "12345").file("b", "12345").file("c", "").finish();
    let limits = |bytes, entries| Limits { bytes, entries, ..Limits::default() };
    for (limits, what) in [(limits(9, 9), "bytes"), (limits(99, 2), "entries")] {
        let error = world.snapshots.unpack(&archive[..], &limits).err().unwrap();
        assert_eq!(error.kind(), Kind::Exhausted);
        assert!(error.to_string().contains(what), "{error}");
    }
    assert!(world.snapshots.unpack(&archive[..], &limits(10, 3)).is_ok());
    world.assert_untouched();
}

/// A name of four kilobytes makes two thousand directories, each of which is known by a path of its own.
#[test]
fn directories_that_are_only_implied_count() {
    let world = World::new();
    let deep = |top: usize| format!("{top}/{}", "d/".repeat(2000));
    let archive = (0..3).fold(tar(), |archive, top| archive.long(&(deep(top) + "f")).file("short", ""));
    let archive = archive.finish();
    let tight = |entries, memory| Limits { entries, memory, ..Limits::default() };
    for (limits, what) in [(tight(5000, 1 << 30), "entries"), (tight(1 << 30, 4 << 20), "bytes of names")] {
        let error = world.snapshots.unpack(&archive[..], &limits).err().unwrap();
        assert_eq!(error.kind(), Kind::Exhausted);
        assert!(error.to_string().contains(what), "{error}");
        world.assert_untouched();
    }
    assert!(world.snapshots.unpack(&archive[..], &tight(3 * 2002, 16 << 20)).is_ok());
    world.assert_untouched();
}

#[test]
fn attributes_of_directories_and_links_that_wait_count() {
    let world = World::new();
    let limits = Limits { memory: 1 << 20, ..Limits::default() };
    let value = vec![b'x'; 60_000];
    let described = (0..20).fold(tar(), |archive, number| {
        archive.pax(&[("SCHILY.xattr.user.x", &value)]).directory(&format!("{number}/"))
    });
    let target = format!("{}missing", "t/".repeat(2000));
    let linked = (0..300).fold(tar(), |archive, number| {
        archive.pax(&[("linkpath", target.as_bytes())]).hard_link(&format!("{number}"), "short")
    });
    for archive in [described.finish(), linked.finish()] {
        let error = world.snapshots.unpack(&archive[..], &limits).err().unwrap();
        assert!(error.to_string().contains("names and attributes"), "{error}");
        assert_eq!(error.kind(), Kind::Exhausted);
        world.assert_untouched();
    }
}

/// A file of 8 EiB that is announced and not there must cost neither memory nor disk.
#[test]
fn announced_sizes_are_not_believed() {
    let world = World::new();
    let huge = tar().file_with("a", "", |header| header.set_size(1 << 40)).unfinished();
    let error = world.unpack(&huge).err().unwrap();
    assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    let lying = tar().file_with("a", "", |header| header.set_size(1 << 30)).unfinished();
    assert_eq!(world.unpack(&lying).err().unwrap().kind(), Kind::Corrupt);
    let overflow = tar().pax(&[("size", b"18446744073709551615")]).file("a", "x").finish();
    assert_eq!(world.unpack(&overflow).err().unwrap().kind(), Kind::Corrupt);
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut header = Tar::header(kind, "x");
        header.set_size(1 << 40);
        let error = world.unpack(&tar().raw(header, b"").unfinished()).err().unwrap();
        assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    }
    world.assert_untouched();
}

#[test]
fn damaged_archives_are_corrupt_and_leave_nothing() {
    let world = World::new();
    let good = tar().file("a", &"x".repeat(2000)).directory("b/").finish();
    for length in [1, 100, 511, 513, 1000, 2047] {
        assert_eq!(world.unpack(&good[..length]).err().unwrap().kind(), Kind::Corrupt, "{length}");
    }
    let mut flipped = good.clone();
    flipped[5] ^= 1;
    assert!(world.refusal(&flipped).contains("checksum"));
    for case in [
        tar().pax(&[("path", b"x")]),
        tar().pax(&[("path", b"x")]).pax(&[("path", b"y")]).file("a", ""),
        tar().long("a").long("b").file("c", ""),
    ] {
        assert_eq!(world.unpack(&case.finish()).err().unwrap().kind(), Kind::Corrupt);
    }
    let text = world.refusal(&tar().raw(Tar::header(EntryType::new(b'V'), "label"), b"").finish());
    assert!(text.contains("type"), "{text}");
    let text = world.refusal(&tar().pax(&[("uid", b"4294967295")]).file("a", "").finish());
    assert!(text.contains("owner"), "{text}");
    world.assert_untouched();
    // No end mark at all is common and harmless.
    assert!(world.unpack(&tar().file("a", "x").unfinished()).is_ok());
    assert!(world.unpack(b"").is_ok());
}

/// Holes cost nothing in an archive: what a file would be with them is what counts.
#[test]
fn holes_count_as_what_they_are() {
    let world = World::new();
    let sparse = |size: u64| {
        let size = size.to_string();
        tar().pax(&[("GNU.sparse.realsize", size.as_bytes()), ("GNU.sparse.map", b"0,0")]).file("a", "")
    };
    for size in [1 << 40, i64::MAX as u64] {
        let error = world.unpack(&sparse(size).finish()).err().unwrap();
        assert_eq!(error.kind(), Kind::Exhausted, "{size}: {error}");
    }
    let error = world.unpack(&sparse(u64::MAX).finish()).err().unwrap();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    let many = (0..300).fold(tar(), |archive, at| {
        archive
            .pax(&[("GNU.sparse.realsize", b"1073741824"), ("GNU.sparse.map", b"0,0")])
            .file(&format!("{at}"), "")
    });
    assert_eq!(world.unpack(&many.finish()).err().unwrap().kind(), Kind::Exhausted);
    // Pieces that overlap, lead beyond the end, or are not there.
    for map in ["0,2,1,1", "5,1,0,1", "0,11", "18446744073709551615,1", "1", "0,1,0", "", "0,3"] {
        let archive =
            tar().pax(&[("GNU.sparse.realsize", b"10"), ("GNU.sparse.map", map.as_bytes())]).file("a", "xx");
        assert_eq!(world.unpack(&archive.finish()).err().unwrap().kind(), Kind::Corrupt, "{map:?}");
    }
    world.assert_untouched();
}

/// Whoever inflates and hashes must see the whole stream, and its error must come back as it was.
#[test]
fn the_stream_is_read_to_its_end_and_its_errors_are_kept() {
    struct Counted<'a>(&'a [u8], usize, Option<&'static str>);
    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(buffer)?;
            self.1 += read;
            match self.2 {
                Some(error) if read == 0 => Err(io::Error::other(error)),
                _ => Ok(read),
            }
        }
    }
    let world = World::new();
    let mut archive = tar().file("a", "x").finish();
    archive.extend([0; 100_000]);
    let mut reader = Counted(&archive, 0, None);
    world.snapshots.unpack(BufReader::new(&mut reader), &Limits::default()).unwrap();
    assert_eq!(reader.1, archive.len());
    let failing = BufReader::new(Counted(&archive, 0, Some("too much")));
    let error = world.snapshots.unpack(failing, &Limits::default()).err().unwrap();
    assert!(matches!(error, Error::Read(cause) if cause.to_string() == "too much"));
    world.assert_untouched();
}

/// Depth must cost neither the stack nor descriptors.
#[test]
fn the_deepest_path_that_there_can_be_is_made_and_removed() {
    let world = World::new();
    let name = "d/".repeat(2040) + "file";
    world.layer(1, None, &tar().long(&name).file("short", "x").finish());
    world.snapshots.remove_layer(&tare_model::Digest::from_bytes([1; 32])).unwrap();
    world.assert_untouched();
    assert!(
        world
            .refusal(&tar().long(&("d/".repeat(2050) + "file")).file("short", "x").finish())
            .contains("4095")
    );
}

const WORDS: [&str; 10] =
    ["a", "b", "..", ".", ".wh.a", ".wh..wh..opq", "/", "precious", ".wh.b", ".wh..wh.x"];

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&WORDS[..]), 1..5).prop_map(|words| words.join("/"))
}

fn entries() -> impl Strategy<Value = Vec<(u8, String, String)>> {
    let kinds = prop::sample::select(&b"00055512346xLKS"[..]);
    prop::collection::vec((kinds, path(), path()), 1..12)
}

/// Runs cases in one world: opening a database takes longer than a case.
fn check<T: std::fmt::Debug>(strategy: impl Strategy<Value = T>, case: impl Fn(&World, T)) {
    let world = World::new();
    let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let run = runner.run(&strategy, |value| {
        case(&world, value);
        world.assert_untouched();
        Ok(())
    });
    run.unwrap();
}

/// Any order of any entries: an error or a tree, and the neighbourhood is as it was.
#[test]
fn no_order_of_entries_leads_out() {
    check(entries(), |world, entries| {
        let below = tare_model::Digest::from_bytes([1; 32]);
        if !world.snapshots.has(&below) {
            let base = tar().symlink("a", "/../..").directory("b/").symlink("b/a", "../../precious");
            world.layer(1, None, &base.symlink("b/b", "/").file("precious", "image").finish());
        }
        let archive = entries
            .into_iter()
            .fold(tar(), |archive, (kind, name, target)| archive.link(EntryType::new(kind), &name, &target));
        if let Ok(unpacked) = world.unpack(&archive.finish()) {
            let chain = tare_model::Digest::from_bytes([2; 32]);
            if world.snapshots.commit(unpacked, &chain, Some(&below)).is_ok() {
                world.snapshots.remove_layer(&chain).unwrap();
            }
        }
    });
}

#[test]
fn no_damage_makes_it_panic() {
    let good = tar()
        .pax(&[("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"b")])
        .file("a/b", "content")
        .long("c/d")
        .symlink("c", "a")
        .finish();
    check((0..good.len(), any::<u8>(), any::<bool>()), |world, (at, byte, fix)| {
        let mut archive = good.clone();
        archive[at] = byte;
        if fix {
            let start = at / 512 * 512;
            let mut header = tar::Header::from_byte_slice(&archive[start..start + 512]).clone();
            header.set_cksum();
            archive[start..start + 512].copy_from_slice(header.as_bytes());
        }
        drop(world.unpack(&archive));
    });
}
