//! Archives made entry by entry, good ones and others.

use tar::{EntryType, Header};

#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

pub(crate) fn tar() -> Tar {
    Tar::default()
}

impl Tar {
    /// The name is written raw: the crate's own writer refuses what we want to test.
    pub(crate) fn header(kind: EntryType, name: &str) -> Header {
        let mut header = Header::new_gnu();
        assert!(name.len() <= 100, "use long()");
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(0);
        header
    }

    pub(crate) fn raw(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.file_with(name, content, |_| {})
    }

    pub(crate) fn file_with(self, name: &str, content: &str, change: impl FnOnce(&mut Header)) -> Self {
        let mut header = Self::header(EntryType::Regular, name);
        header.set_size(content.len() as u64);
        change(&mut header);
        self.raw(header, content.as_bytes())
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.raw(Self::header(EntryType::Directory, name), b"")
    }

    pub(crate) fn directory_with(self, name: &str, change: impl FnOnce(&mut Header)) -> Self {
        let mut header = Self::header(EntryType::Directory, name);
        change(&mut header);
        self.raw(header, b"")
    }

    pub(crate) fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Self::header(kind, name);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.raw(header, b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Link, name, target)
    }

    pub(crate) fn device(self, kind: EntryType, name: &str, major: u32, minor: u32) -> Self {
        let mut header = Self::header(kind, name);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.raw(header, b"")
    }

    /// An extended header for the entry that follows.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let content: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        let mut header = Self::header(EntryType::XHeader, "pax");
        header.set_size(content.len() as u64);
        self.raw(header, &content)
    }

    /// A GNU long name for the entry that follows.
    pub(crate) fn long(self, name: &str) -> Self {
        let mut header = Self::header(EntryType::GNULongName, "././@LongLink");
        header.set_size(name.len() as u64 + 1);
        self.raw(header, format!("{name}\0").as_bytes())
    }

    /// Without the two blocks of zeros at the end.
    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}
