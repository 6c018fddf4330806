//! The writing of a tar: ustar headers, and a pax extended header before those whose fields are too small (POSIX.1-2017,
//! *pax*). What is written depends on what it is given alone: no clock, no user names, no machine.

use std::io::{self, Write};

use tar::{EntryType, Header};

use crate::archive::Extent;
use crate::files::{Metadata, Time, Xattr};

const BLOCK: usize = 512;
/// What seven octal digits hold: the largest id, and the largest device number.
const LARGEST_ID: u32 = 0o7_777_777;
/// What eleven octal digits hold.
const LARGEST: u64 = 0o77_777_777_777;

/// One header to be written.
pub(crate) struct Head<'a> {
    pub name: &'a [u8],
    pub kind: EntryType,
    pub metadata: &'a Metadata,
    /// Where a link leads; empty for others.
    pub target: &'a [u8],
    /// Bytes of content that follow.
    pub size: u64,
    pub device: (u32, u32),
}

impl<'a> Head<'a> {
    /// Of something without content.
    pub(crate) fn new(name: &'a [u8], kind: EntryType, metadata: &'a Metadata) -> Self {
        Self { name, kind, metadata, target: b"", size: 0, device: (0, 0) }
    }
}

/// Writes a header, and the extended one that it needs.
pub(crate) fn head(to: &mut dyn Write, head: &Head<'_>) -> io::Result<()> {
    with_records(to, head, &records(head))
}

/// Writes the header of a sparse file in GNU's form 1.0 (GNU tar manual, "Storing Sparse Files"): the map goes before
/// the content. `head.size` is the file's.
pub(crate) fn sparse_head(to: &mut dyn Write, head: &Head<'_>, extents: &[Extent]) -> io::Result<()> {
    let mut map = format!("{}\n", extents.len());
    for Extent { offset, length } in extents {
        map.push_str(&format!("{offset}\n{length}\n"));
    }
    map.push_str(&"\0".repeat(map.len().next_multiple_of(BLOCK) - map.len()));
    let stored = map.len() as u64 + extents.iter().map(|extent| extent.length).sum::<u64>();
    let mut records = Vec::new();
    record(&mut records, "GNU.sparse.major", b"1");
    record(&mut records, "GNU.sparse.minor", b"0");
    record(&mut records, "GNU.sparse.name", head.name);
    record(&mut records, "GNU.sparse.realsize", head.size.to_string().as_bytes());
    let base: &[u8] = head.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let placeholder = [b"GNUSparseFile.0/", &base[..base.len().min(80)]].concat();
    let inner = Head { name: &placeholder, size: stored, target: b"", ..*head };
    records.extend(self::records(&inner));
    with_records(to, &inner, &records)?;
    to.write_all(map.as_bytes())
}

/// Fills the last block of `size` bytes of content.
pub(crate) fn pad(to: &mut dyn Write, size: u64) -> io::Result<()> {
    let rest = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    if rest == 0 { Ok(()) } else { to.write_all(&[0; BLOCK][rest..]) }
}

/// Two blocks of zeros end an archive.
pub(crate) fn end(to: &mut dyn Write) -> io::Result<()> {
    to.write_all(&[0; 2 * BLOCK])
}

fn with_records(to: &mut dyn Write, head: &Head<'_>, records: &[u8]) -> io::Result<()> {
    if !records.is_empty() {
        let mut header = blank(EntryType::XHeader, b"././@PaxHeader");
        header.set_mode(0o644);
        header.set_size(records.len() as u64);
        header.set_cksum();
        to.write_all(header.as_bytes())?;
        to.write_all(records)?;
        pad(to, records.len() as u64)?;
    }
    to.write_all(plain(head).as_bytes())
}

fn blank(kind: EntryType, name: &[u8]) -> Header {
    let mut header = Header::new_ustar();
    let field = &mut header.as_old_mut().name;
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name[..length]);
    header.set_entry_type(kind);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn plain(head: &Head<'_>) -> Header {
    let mut header = blank(head.kind, head.name);
    let field = &mut header.as_old_mut().linkname;
    let length = head.target.len().min(field.len());
    field[..length].copy_from_slice(&head.target[..length]);
    header.set_mode(head.metadata.mode);
    header.set_uid(u64::from(small(head.metadata.uid)));
    header.set_gid(u64::from(small(head.metadata.gid)));
    header.set_size(if head.size > LARGEST { 0 } else { head.size });
    header
        .set_mtime(u64::try_from(head.metadata.modified.seconds).ok().filter(|s| *s <= LARGEST).unwrap_or(0));
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.set_device_major(small(head.device.0));
        ustar.set_device_minor(small(head.device.1));
    }
    header.set_cksum();
    header
}

fn small(number: u32) -> u32 {
    if number > LARGEST_ID { 0 } else { number }
}

/// What the plain header cannot say.
fn records(head: &Head<'_>) -> Vec<u8> {
    let Head { metadata, .. } = head;
    let mut records = Vec::new();
    if head.name.len() > 100 {
        record(&mut records, "path", head.name);
    }
    if head.target.len() > 100 {
        record(&mut records, "linkpath", head.target);
    }
    if head.size > LARGEST {
        record(&mut records, "size", head.size.to_string().as_bytes());
    }
    for (key, id) in [("uid", metadata.uid), ("gid", metadata.gid)] {
        if id > LARGEST_ID {
            record(&mut records, key, id.to_string().as_bytes());
        }
    }
    let Time { seconds, nanoseconds } = metadata.modified;
    if nanoseconds > 0 || !(0..=LARGEST as i64).contains(&seconds) {
        record(&mut records, "mtime", time(metadata.modified).as_bytes());
    }
    for Xattr { name, value } in &metadata.xattrs {
        record(&mut records, &format!("SCHILY.xattr.{name}"), value);
    }
    records
}

/// `[-]seconds[.fraction]`, the fraction without needless zeros. Before 1970 the whole number counts back from there.
fn time(Time { seconds, nanoseconds }: Time) -> String {
    let (sign, whole, fraction) = match (seconds < 0, nanoseconds) {
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, part) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - part),
        (false, part) => ("", seconds.unsigned_abs(), part),
    };
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{}", format!("{fraction:09}").trim_end_matches('0'))
}

/// Adds `25 key=value\n`: the length counts itself and the newline.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::archive::{Archive, Kind};

    fn metadata(mode: u32, ids: (u32, u32), modified: Time, xattrs: Vec<Xattr>) -> Metadata {
        Metadata { mode, uid: ids.0, gid: ids.1, accessed: modified, modified, xattrs }
    }

    fn read_back(bytes: Vec<u8>) -> (Vec<u8>, Kind, Metadata) {
        let mut bytes = bytes;
        end(&mut bytes).unwrap();
        let mut archive = Archive::new(&bytes[..]);
        let entry = archive.next().unwrap().unwrap();
        (entry.name, entry.kind, entry.metadata)
    }

    proptest! {
        /// Whatever is written is what our own reader reads.
        #[test]
        fn what_is_written_is_read_again(
            name in prop::collection::vec(1_u8..=255, 1..300),
            target in prop::collection::vec(1_u8..=255, 1..300),
            (uid, gid) in (0..u32::MAX, 0..u32::MAX),
            (seconds, nanoseconds) in (-(1_i64 << 40)..1 << 40, 0..1_000_000_000_u32),
            value: Vec<u8>,
        ) {
            let xattrs = vec![Xattr { name: "user.x".to_owned(), value }];
            let expected = metadata(0o4751, (uid, gid), Time { seconds, nanoseconds }, xattrs);
            let mut bytes = Vec::new();
            let link = Head { target: &target, ..Head::new(&name, EntryType::Symlink, &expected) };
            head(&mut bytes, &link).unwrap();
            prop_assert_eq!(bytes.len() % BLOCK, 0);
            let (read_name, kind, read) = read_back(bytes);
            prop_assert_eq!(read_name, name);
            prop_assert_eq!(kind, Kind::Symlink { target });
            prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn sizes_beyond_the_field_and_devices_are_told() {
        let plain = metadata(0o600, (0, 0), Time::default(), Vec::new());
        let mut bytes = Vec::new();
        let size = (8 << 30) + 7;
        head(&mut bytes, &Head { size, ..Head::new(b"big", EntryType::Regular, &plain) }).unwrap();
        let mut archive = Archive::new(&bytes[..]);
        assert_eq!(archive.next().unwrap().unwrap().kind, Kind::File { size, extents: None });
        let mut bytes = Vec::new();
        head(&mut bytes, &Head { device: (8, 1), ..Head::new(b"sda1", EntryType::Block, &plain) }).unwrap();
        assert_eq!(read_back(bytes).1, Kind::Block { major: 8, minor: 1 });
    }

    #[test]
    fn a_map_of_a_sparse_file_is_read_again() {
        let plain = metadata(0o600, (0, 0), Time::default(), Vec::new());
        let extents = [Extent { offset: 1 << 20, length: 3 }, Extent { offset: 10 << 30, length: 0 }];
        let mut bytes = Vec::new();
        let sparse = Head { size: 10 << 30, ..Head::new(b"dir/disk.img", EntryType::Regular, &plain) };
        sparse_head(&mut bytes, &sparse, &extents).unwrap();
        bytes.extend_from_slice(b"abc");
        pad(&mut bytes, 3).unwrap();
        let (name, kind, _) = read_back(bytes);
        assert_eq!(name, b"dir/disk.img");
        assert_eq!(kind, Kind::File { size: 10 << 30, extents: Some(extents.to_vec()) });
    }
}
