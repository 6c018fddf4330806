//! `--output`: where the outcome of a build goes beside the store.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use tare_docker_api::BuildExport;

use crate::create::words::{Said, fields};
use crate::failure::{Failure, Result};
use crate::whole::WholeFile;

const KINDS: [&str; 7] = ["local", "tar", "oci", "docker", "image", "registry", "moby"];

/// One `--output`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Output {
    /// What the daemon is asked for.
    pub(crate) wanted: BuildExport,
    /// Where it goes here; `-` is standard output.
    pub(crate) destination: Option<String>,
}

/// `type=local,dest=DIR`, `type=tar,dest=FILE`, …; a path alone is a directory, `-` alone a tar on standard output.
pub(crate) fn output(text: &str) -> Said<Output> {
    let mut attrs = BTreeMap::new();
    let mut kind = None;
    let fields = fields(text)?;
    if let [path] = &fields[..]
        && !path.contains('=')
    {
        let kind = if path == "-" { "tar" } else { "local" };
        attrs.insert("dest".to_owned(), path.clone());
        return finish(kind.to_owned(), attrs);
    }
    for field in fields {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("\"{field}\" is not key=value"))?;
        match key.to_ascii_lowercase().as_str() {
            "type" => kind = Some(value.to_owned()),
            key => {
                attrs.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    finish(kind.ok_or("type=… is missing")?, attrs)
}

fn finish(kind: String, mut attrs: BTreeMap<String, String>) -> Said<Output> {
    let mut destination = attrs.remove("dest").filter(|path| !path.is_empty());
    let kind = match kind.as_str() {
        "registry" => {
            attrs.insert("push".to_owned(), "true".to_owned());
            "image".to_owned()
        }
        // Docker's own meaning of a "docker" export without a file: into the store.
        "docker" if destination.is_none() => "moby".to_owned(),
        known if KINDS.contains(&known) => kind,
        other => return Err(format!("unknown type \"{other}\": known are {}", KINDS.join(", "))),
    };
    match (kind.as_str(), &destination) {
        ("local", None) => return Err("a local output needs dest=DIRECTORY".to_owned()),
        ("local", Some(path)) if path == "-" => {
            return Err("a directory cannot go to standard output: use type=tar".to_owned());
        }
        ("tar" | "oci", None) => destination = Some("-".to_owned()),
        ("image" | "moby", Some(_)) => {
            return Err(format!("an output of type {kind} goes to the store and takes no dest"));
        }
        _ => {}
    }
    if destination.as_deref() == Some("-") && io::stdout().is_terminal() {
        return Err("an archive is not written to a terminal: name a file with dest=FILE".to_owned());
    }
    Ok(Output { wanted: BuildExport { kind, attrs }, destination })
}

/// Takes what the daemon sends of one output to where it belongs. A file that is not finished goes with this value.
pub(crate) struct Writing {
    to: Option<SyncSender<Bytes>>,
    worker: Option<JoinHandle<io::Result<Option<WholeFile>>>>,
    shown: String,
}

impl Writing {
    /// Begins; a directory or file that cannot be made is an error now, before anything is built.
    pub(crate) fn begin(output: &Output) -> Result<Option<Self>> {
        let Some(destination) = output.destination.clone() else { return Ok(None) };
        let failure = |error: io::Error| failure(&destination, &error);
        let (to, pieces) = sync_channel(16);
        let mut bytes = Pieces { pieces, current: Bytes::new() };
        let worker = match (output.wanted.kind.as_str(), destination.as_str()) {
            ("local", path) => {
                let path = PathBuf::from(path);
                fs::create_dir_all(&path).map_err(failure)?;
                std::thread::spawn(move || unpack(bytes, &path).map(|()| None))
            }
            (_, "-") => std::thread::spawn(move || drain(&mut bytes, &mut io::stdout()).map(|()| None)),
            (_, path) => {
                let mut file = WholeFile::begin(Path::new(path), 0o666).map_err(failure)?;
                std::thread::spawn(move || drain(&mut bytes, &mut file).map(|()| Some(file)))
            }
        };
        Ok(Some(Self { to: Some(to), worker: Some(worker), shown: destination }))
    }

    /// Takes a piece.
    pub(crate) fn take(&self, piece: Bytes) {
        // A worker that has ended says why in `finish`.
        if let Some(to) = &self.to {
            let _ = to.send(piece);
        }
    }

    /// Waits until everything is written.
    pub(crate) fn finish(mut self) -> Result<()> {
        let written = self.end().and_then(|file| file.map_or(Ok(()), WholeFile::keep));
        written.map_err(|error| failure(&self.shown, &error))
    }

    /// Nothing comes any more: what the worker has made of it.
    fn end(&mut self) -> io::Result<Option<WholeFile>> {
        self.to = None;
        let ended = self.worker.take().map(JoinHandle::join);
        ended.unwrap_or(Ok(Ok(None))).unwrap_or_else(|_| Err(io::Error::other("the writer broke")))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // This program may end before its threads do.
        let _ = self.end();
    }
}

/// With the reason below all others, where there is one: which file could not be unpacked does not say yet that the disk is full.
fn failure(shown: &str, error: &io::Error) -> Failure {
    let first = std::error::Error::source(error);
    let last = std::iter::successors(first, |reason| reason.source()).last();
    let last = last.map_or_else(String::new, |reason| format!(": {reason}"));
    Failure::new(format!("output {shown}: {error}{last}"))
}

/// The pieces as one stream.
struct Pieces {
    pieces: Receiver<Bytes>,
    current: Bytes,
}

impl io::Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.recv() {
                Ok(piece) => self.current = piece,
                Err(_) => return Ok(0),
            }
        }
        let taken = self.current.split_to(buffer.len().min(self.current.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

fn drain(bytes: &mut Pieces, to: &mut impl Write) -> io::Result<()> {
    io::copy(bytes, to)?;
    to.flush()
}

/// Unpacks the files of an image into a directory. Nothing leaves it, whatever the names and links in it say. All of it belongs to
/// the user, so no program in it may run as its owner (set-user-ID).
fn unpack(bytes: Pieces, directory: &Path) -> io::Result<()> {
    let mut archive = tar::Archive::new(bytes);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(false);
    archive.set_mask(0o7000);
    archive.set_overwrite(true);
    // Directories come last, since one that may not be written would refuse its own files.
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        match entry.header().entry_type() {
            tar::EntryType::Directory => directories.push(entry),
            tar::EntryType::Char | tar::EntryType::Block | tar::EntryType::Fifo => {}
            _ => {
                let unpacked = entry.unpack_in(directory);
                if unpacked.is_err() {
                    discard_half(&entry, directory);
                }
                if !unpacked? {
                    let name = entry.path()?.display().to_string();
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("{name:?} leads out of the directory"),
                    ));
                }
            }
        }
    }
    directories.sort_by(|a, b| b.path_bytes().cmp(&a.path_bytes()));
    directories.iter_mut().try_for_each(|directory_entry| directory_entry.unpack_in(directory).map(drop))
}

/// Removes what there is of a file that could not be written to its end, if it is in the directory at all.
fn discard_half(entry: &tar::Entry<impl io::Read>, directory: &Path) {
    let Ok(name) = entry.path() else { return };
    let path = directory.join(name);
    let above = path.parent().map(fs::canonicalize).and_then(io::Result::ok);
    let inside =
        fs::canonicalize(directory).is_ok_and(|top| above.is_some_and(|above| above.starts_with(top)));
    if inside && entry.header().entry_type().is_file() {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn outputs_have_a_short_and_a_long_form() {
        let read = |text: &str| {
            output(text).map(|output| (output.wanted.kind, output.destination, output.wanted.attrs.len()))
        };
        assert_eq!(read("out").unwrap(), ("local".into(), Some("out".into()), 0));
        assert_eq!(read("type=local,dest=out").unwrap(), ("local".into(), Some("out".into()), 0));
        assert_eq!(read("type=docker").unwrap(), ("moby".into(), None, 0));
        assert_eq!(read("type=docker,dest=x.tar").unwrap(), ("docker".into(), Some("x.tar".into()), 0));
        assert_eq!(read("type=registry,name=a").unwrap(), ("image".into(), None, 2));
        assert_eq!(read("type=oci,dest=a,compression=zstd").unwrap(), ("oci".into(), Some("a".into()), 1));
        for (bad, part) in [
            ("dest=x", "type=… is missing"),
            ("type=local", "needs dest"),
            ("type=local,dest=-", "use type=tar"),
            ("type=floppy", "unknown type"),
            ("type=image,dest=x", "takes no dest"),
            ("type=tar,x", "not key=value"),
        ] {
            assert!(read(bad).unwrap_err().contains(part), "{bad}");
        }
    }

    fn send(output: &Output, bytes: &[u8]) -> Result<()> {
        let writing = Writing::begin(output)?.unwrap();
        for piece in bytes.chunks(1000) {
            writing.take(Bytes::copy_from_slice(piece));
        }
        writing.finish()
    }

    fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in entries {
            let mut header = tar::Header::new_gnu();
            // The crate would refuse such names itself.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(text.len() as u64);
            header.set_mode(0o4640);
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn files_land_in_the_directory_and_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("out");
        let to = output(target.to_str().unwrap()).unwrap();
        let large = "x".repeat(5000);
        send(&to, &archive(&[("a/b", &large), ("c", "2")])).unwrap();
        assert_eq!(fs::read_to_string(target.join("a/b")).unwrap(), large);
        assert_eq!(fs::metadata(target.join("c")).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(send(&to, &archive(&[("../evil", "1")])).unwrap_err().message.contains("leads out"));
        assert!(!directory.path().join("evil").exists());
        std::os::unix::fs::symlink(directory.path(), target.join("link")).unwrap();
        assert!(send(&to, &archive(&[("link/evil", "1")])).is_err());
        assert!(!directory.path().join("evil").exists());
    }

    #[test]
    fn an_archive_is_written_as_it_comes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.tar");
        send(&output(&format!("type=tar,dest={}", path.display())).unwrap(), b"bytes").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"bytes");
        assert!(Writing::begin(&output("type=tar,dest=/nonexistent/x").unwrap()).is_err());
    }
}
