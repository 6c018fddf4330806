//! A directory as a tar: in the order of its names, with what `.dockerignore` leaves out left out, straight into the request.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use tare_dockerfile::{Ignore, Verdict};
use tokio::sync::mpsc::Sender;

/// What one message to the connection carries.
const PIECE: usize = 256 << 10;

/// Collects what the tar is written in, and hands it to the connection in large pieces.
pub(crate) struct Pieces {
    to: Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Pieces {
    pub(crate) fn new(to: Sender<io::Result<Bytes>>) -> Self {
        Self { to, buffer: Vec::with_capacity(PIECE) }
    }

    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the daemon reads no more");
        if piece.is_empty() { Ok(()) } else { self.to.blocking_send(Ok(piece.into())).map_err(gone) }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PIECE {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// Where a directory goes in the archive, and what of it.
pub(crate) struct Tree<'a> {
    pub(crate) directory: &'a Path,
    /// Before every name; empty, or with a slash at its end.
    pub(crate) prefix: &'a str,
    pub(crate) ignore: &'a Ignore,
}

/// Writes the files of a directory. Errors name the file.
pub(crate) fn tree(archive: &mut tar::Builder<impl Write>, tree: &Tree<'_>) -> io::Result<()> {
    // No recursion: a tree may be deeper than the stack.
    let mut pending = list(tree, b"", None)?;
    pending.reverse();
    // Directories that are left out, for as long as nothing in them is taken back.
    let mut unsent: Vec<Entry> = Vec::new();
    while let Some(entry) = pending.pop() {
        while unsent.last().is_some_and(|parent| !parent.holds(&entry.path)) {
            unsent.pop();
        }
        if !entry.verdict.excluded {
            for parent in unsent.drain(..) {
                append(archive, tree, &parent).map_err(|error| about(&error, &full(tree, &parent.path)))?;
            }
            append(archive, tree, &entry).map_err(|error| about(&error, &full(tree, &entry.path)))?;
        }
        if entry.metadata.is_dir() && (!entry.verdict.excluded || tree.ignore.may_return(&entry.path)) {
            let listed = list(tree, &entry.path, Some(&entry.verdict))?;
            pending.extend(listed.into_iter().rev());
            if entry.verdict.excluded {
                unsent.push(entry);
            }
        }
    }
    Ok(())
}

struct Entry {
    /// From the context's root.
    path: Vec<u8>,
    metadata: Metadata,
    verdict: Verdict,
}

impl Entry {
    /// Whether a path lies in this directory.
    fn holds(&self, path: &[u8]) -> bool {
        path.strip_prefix(&self.path[..]).is_some_and(|rest| rest.starts_with(b"/"))
    }
}

fn full(tree: &Tree<'_>, path: &[u8]) -> PathBuf {
    match path {
        b"" => tree.directory.to_owned(),
        path => tree.directory.join(std::ffi::OsStr::from_bytes(path)),
    }
}

fn about(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// What a directory holds, in the order of names.
fn list(tree: &Tree<'_>, path: &[u8], verdict: Option<&Verdict>) -> io::Result<Vec<Entry>> {
    let place = full(tree, path);
    let read = || fs::read_dir(&place)?.map(|entry| entry.map(|entry| entry.file_name())).collect();
    let names: io::Result<Vec<OsString>> = read();
    let mut names = names.map_err(|error| about(&error, &place))?;
    names.sort_unstable();
    let mut entries = Vec::with_capacity(names.len());
    for name in names {
        let mut inside = path.to_vec();
        if !inside.is_empty() {
            inside.push(b'/');
        }
        inside.extend_from_slice(name.as_bytes());
        let verdict = tree.ignore.judge(&inside, verdict);
        // What is left out is not even looked at, so that a file that may not be read can be left out.
        if verdict.excluded && !tree.ignore.may_return(&inside) {
            continue;
        }
        let metadata = match fs::symlink_metadata(place.join(&name)) {
            Ok(metadata) => metadata,
            // Removed since it was listed: it is not there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(about(&error, &place.join(&name))),
        };
        entries.push(Entry { path: inside, metadata, verdict });
    }
    Ok(entries)
}

/// Writes one entry: owned by root, as Docker sends contexts, with the time to the second.
fn append(archive: &mut tar::Builder<impl Write>, tree: &Tree<'_>, entry: &Entry) -> io::Result<()> {
    let kind = entry.metadata.file_type();
    let name = [tree.prefix.as_bytes(), &entry.path].concat();
    let name = Path::new(std::ffi::OsStr::from_bytes(&name));
    let mut header = header(entry.metadata.mode() & 0o7777, entry.metadata.mtime());
    if kind.is_file() {
        // What has become a link or a pipe since it was listed is not followed, and not waited for.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(full(tree, &entry.path), flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it changed while it was read: build again"));
        }
        let size = metadata.len();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(size);
        return archive.append_data(&mut header, name, Exactly { file, left: size });
    }
    header.set_size(0);
    if kind.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        return archive.append_data(&mut header, name, io::empty());
    }
    if kind.is_symlink() {
        header.set_entry_type(tar::EntryType::Symlink);
        return archive.append_link(&mut header, name, fs::read_link(full(tree, &entry.path))?);
    }
    // A socket means nothing elsewhere, and neither a device nor a pipe belongs to a build.
    if kind.is_fifo() {
        header.set_entry_type(tar::EntryType::Fifo);
        return archive.append_data(&mut header, name, io::empty());
    }
    Ok(())
}

fn header(mode: u32, modified: i64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(modified).unwrap_or(0));
    header
}

/// Writes a file that lies in no directory.
pub(crate) fn file(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    mode: u32,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = header(mode, 0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, name, bytes)
}

/// As many bytes as the header has promised: a file that grows meanwhile is cut, one that shrinks is an error.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file shrank while it was read: build again",
            ));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// The names in the archive of a tree.
    fn packed(directory: &Path, rules: &[&str]) -> Vec<String> {
        let ignore = Ignore::of(rules.iter().copied()).unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        tree(&mut archive, &Tree { directory, prefix: "", ignore: &ignore }).unwrap();
        let bytes = archive.into_inner().unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
    }

    fn sample() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b/keep", "b/drop", "b/deep/x", "a", "c"] {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        directory
    }

    #[test]
    fn names_come_in_order_and_what_is_left_out_is_not_there() {
        let directory = sample();
        assert_eq!(packed(directory.path(), &[]), ["a", "b", "b/deep", "b/deep/x", "b/drop", "b/keep", "c"]);
        assert_eq!(packed(directory.path(), &["b"]), ["a", "c"]);
        assert_eq!(packed(directory.path(), &["b", "!b/keep"]), ["a", "b", "b/keep", "c"]);
        assert_eq!(packed(directory.path(), &["*", "!**/x"]), ["b", "b/deep", "b/deep/x"]);
        assert_eq!(packed(directory.path(), &["*", "!*/nothing"]), [""; 0]);
    }

    #[test]
    fn two_archives_of_one_tree_are_equal_and_symlinks_stay() {
        let directory = sample();
        symlink("../outside", directory.path().join("link")).unwrap();
        let bytes = || {
            let mut archive = tar::Builder::new(Vec::new());
            let ignore = Ignore::default();
            tree(&mut archive, &Tree { directory: directory.path(), prefix: "p/", ignore: &ignore }).unwrap();
            archive.into_inner().unwrap()
        };
        let one = bytes();
        assert_eq!(one, bytes());
        let mut archive = tar::Archive::new(&one[..]);
        let link = archive
            .entries()
            .unwrap()
            .map(Result::unwrap)
            .find(|entry| entry.path().unwrap().ends_with("link"));
        let link = link.unwrap();
        assert_eq!(link.path().unwrap(), Path::new("p/link"));
        assert_eq!(link.link_name().unwrap().unwrap(), Path::new("../outside"));
    }

    #[test]
    fn sockets_are_passed_over_and_long_and_odd_names_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
        let long = "x".repeat(200);
        fs::write(directory.path().join(&long), "1").unwrap();
        fs::write(directory.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "2").unwrap();
        assert_eq!(packed(directory.path(), &[]), [long, "\u{fffd}".to_owned()]);
    }

    #[test]
    fn a_file_that_is_gone_or_shrinks_is_named() {
        let directory = sample();
        let read = Exactly { file: File::open(directory.path().join("a")).unwrap(), left: 5 }
            .read_to_end(&mut Vec::new());
        assert!(read.unwrap_err().to_string().contains("shrank"));
        let missing =
            Tree { directory: &directory.path().join("none"), prefix: "", ignore: &Ignore::default() };
        let error = tree(&mut tar::Builder::new(Vec::new()), &missing).unwrap_err();
        assert!(error.to_string().contains("/none: "), "{error}");
    }
}
