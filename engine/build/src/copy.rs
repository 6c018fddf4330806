//! COPY and ADD: what is taken is found and hashed first, and copied only when the cache does not have it.

pub(crate) mod fetch;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::Stat;
use tare_dockerfile::Ignore;
use tare_image::Unwrapped;
use tare_model::Digest;
use tare_snapshot::{Snapshots, Unpacked};

use crate::cache::key::Key;
use crate::context::LIMITS;
use crate::error::io;
use crate::files::mode::Mode;
use crate::files::place::{Owner, Place, is_directory};
use crate::files::walk::walk;
use crate::files::{Files, Picked, hash, walk_picked};
use crate::{Error, Result};

const BUFFER: usize = 256 << 10;

/// What COPY or ADD shall do, all variables replaced.
#[derive(Clone, Debug)]
pub(crate) struct CopySpec {
    /// Paths with wildcards, from the root of the tree they are taken from.
    pub sources: Vec<String>,
    /// What is fetched.
    pub remote: Vec<Remote>,
    /// Files that stand in the Dockerfile itself: name and content.
    pub texts: Vec<(String, String)>,
    /// In the stage, from its root.
    pub destination: PathBuf,
    /// Whether it is a directory by its spelling.
    pub to_directory: bool,
    pub chown: Option<String>,
    pub chmod: Option<Mode>,
    /// `--exclude`, as written and as it is applied.
    pub exclude: Vec<String>,
    pub excluded: Ignore,
    pub parents: bool,
    /// Whether owners stay what they are where the files come from.
    pub keep_owners: bool,
    /// Whether archives are unpacked.
    pub unpack: bool,
}

/// What is fetched.
#[derive(Clone, Debug)]
pub(crate) enum Remote {
    File {
        address: String,
        /// What its bytes must be.
        checksum: Option<Digest>,
        /// Whether it is unpacked if it is an archive.
        unpack: bool,
    },
    /// The files of a commit.
    Repository {
        address: String,
        /// How its commit must begin, in hexadecimal digits.
        commit: Option<String>,
        /// Whether `.git` comes along.
        keep: bool,
    },
}

/// A tree that files are taken from, which of them, and whether archives among them are unpacked.
pub(crate) struct From {
    pub files: Files,
    pub sources: Vec<String>,
    pub unpack: bool,
    /// What stands for a directory `.git`, whose content differs from one fetch to the next.
    pub commit: Option<String>,
}

/// What was found, ready to be copied.
pub(crate) struct Selection {
    picked: Vec<(Picked, bool)>,
    /// Stands for all of it.
    pub digest: Digest,
}

impl CopySpec {
    /// Finds and hashes what is to be copied. Blocking.
    pub(crate) fn select(&self, from: Vec<From>) -> Result<Selection> {
        let (mut picked, mut commits) = (Vec::new(), Vec::new());
        for From { files, sources, unpack, commit } in from {
            for source in sources {
                let found = files.pick(&source)?;
                commits.extend(found.iter().map(|_| commit.clone()));
                picked.extend(found.into_iter().map(|one| (one, unpack)));
            }
        }
        if picked.len() + self.texts.len() > 1 && !self.to_directory && !self.parents {
            let message = "When using COPY with more than one source file, the destination must be a directory and end with a /";
            return Err(Error::Request(message.to_owned()));
        }
        let mut key = Key::new("files");
        for ((one, unpack), commit) in picked.iter().zip(&commits) {
            key.add([u8::from(*unpack)]).maybe(commit.as_ref());
            if self.parents {
                key.add(one.path.as_os_str().as_encoded_bytes());
            }
            hash(
                &mut key,
                one,
                &|path| self.leaves_out(path) || commit.is_some() && is_git(path),
                self.keep_owners || self.unpack,
            )?;
        }
        for (name, body) in &self.texts {
            key.list([name, body]);
        }
        Ok(Selection { picked, digest: key.finish() })
    }

    /// What the copy is in the history, in Docker's form: what stands for the files with all that decides about them, and where
    /// they went.
    pub(crate) fn told(&self, keyword: &str, selection: &Selection) -> String {
        let mut key = Key::new("told");
        self.describe(key.add(selection.digest.to_string()));
        let kind = match &selection.picked[..] {
            [(only, _)] if self.texts.is_empty() && only.is_directory() => "dir",
            [_] if self.texts.is_empty() => "file",
            _ => "multi",
        };
        format!("{keyword} {kind}:{} in {}", key.finish().hex(), self.destination.display())
    }

    fn leaves_out(&self, path: &Path) -> bool {
        !self.excluded.is_empty() && self.excluded.excludes(path.as_os_str().as_encoded_bytes())
    }

    /// What makes a difference beside the files and the tree they go to.
    pub(crate) fn describe(&self, key: &mut Key) {
        key.add(self.destination.as_os_str().as_encoded_bytes());
        key.maybe(self.chown.as_ref()).maybe(self.chmod.as_ref().map(|mode| format!("{mode:?}")));
        key.list(&self.exclude);
        let flags = [self.to_directory, self.parents, self.keep_owners, self.unpack];
        key.add(flags.map(u8::from));
    }

    /// Copies what was selected into the tree below `root`. Blocking.
    pub(crate) fn copy(
        &self,
        snapshots: &Arc<Snapshots>,
        root: BorrowedFd,
        selection: &Selection,
        owner: Option<(u32, u32)>,
    ) -> Result<()> {
        let into =
            Into { spec: self, snapshots, root, owner: owner.map(|(uid, gid)| Owner::Is { uid, gid }) };
        selection.picked.iter().try_for_each(|(picked, unpack)| into.one(picked, *unpack))?;
        self.texts.iter().try_for_each(|(name, body)| into.text(name, body))
    }
}

struct Into<'a> {
    spec: &'a CopySpec,
    snapshots: &'a Arc<Snapshots>,
    root: BorrowedFd<'a>,
    /// `--chown`
    owner: Option<Owner>,
}

impl<'a> Into<'a> {
    fn place(&self, path: &Path, owner: Owner) -> Result<Place<'a>> {
        Place::open(self.root, path, owner, self.spec.chmod.as_ref())
    }

    fn plain_owner(&self) -> Owner {
        let kept = if self.spec.keep_owners { Owner::Kept } else { Owner::Is { uid: 0, gid: 0 } };
        self.owner.unwrap_or(kept)
    }

    fn one(&self, picked: &Picked, unpack: bool) -> Result<()> {
        if picked.is_directory() {
            return self.directory(picked);
        }
        if unpack && is_archive(picked.file()?)? {
            return self.archive(picked);
        }
        if self.spec.leaves_out(Path::new(&picked.name())) {
            return Ok(());
        }
        let (directory, name) = self.target(picked);
        let place = self.place(&directory, self.plain_owner())?;
        place.file_from(picked.file()?, &name, &picked.stat, &picked.path)?;
        place.finish()
    }

    /// Where a file goes and what it is called there.
    fn target(&self, picked: &Picked) -> (PathBuf, OsString) {
        if self.spec.parents {
            let above = picked.path.parent().unwrap_or(Path::new("/"));
            let below = above.strip_prefix("/").unwrap_or(above);
            return (self.spec.destination.join(below), picked.name());
        }
        self.named(picked.name())
    }

    fn named(&self, name: OsString) -> (PathBuf, OsString) {
        let destination = &self.spec.destination;
        match (destination.parent(), destination.file_name()) {
            (Some(above), Some(last)) if !self.spec.to_directory && !is_directory(self.root, destination) => {
                (above.to_owned(), last.to_owned())
            }
            _ => (destination.clone(), name),
        }
    }

    fn directory(&self, picked: &Picked) -> Result<()> {
        let below = picked.path.strip_prefix("/").unwrap_or(&picked.path);
        let destination =
            if self.spec.parents { self.spec.destination.join(below) } else { self.spec.destination.clone() };
        let mut place = self.place(&destination, self.plain_owner())?;
        // A directory whose pattern excludes it is made only for what is taken back in it.
        let mut waiting: Vec<PathBuf> = Vec::new();
        let top = picked.open.as_fd();
        walk_picked(picked, &|_| false, &mut |found| {
            waiting.retain(|above| found.path.starts_with(above));
            if self.spec.leaves_out(found.path) {
                if found.is_directory() {
                    waiting.push(found.path.to_owned());
                }
                return Ok(());
            }
            for above in waiting.drain(..) {
                put_directory(&mut place, top, &above)?;
            }
            place.put(found)
        })?;
        place.finish()
    }

    /// What an archive holds keeps its owners.
    fn archive(&self, picked: &Picked) -> Result<()> {
        let unpacked = unpack(self.snapshots, picked.file()?)?;
        let mut place = self.place(&self.spec.destination, self.owner.unwrap_or(Owner::Kept))?;
        let top = rustix::fs::openat(unpacked.root(), ".", DIRECTORY, rustix::fs::Mode::empty());
        walk(top.map_err(io("open what was unpacked"))?, &mut |found| {
            place.put(found)?;
            Ok(true)
        })?;
        place.finish()
    }

    fn text(&self, name: &str, body: &str) -> Result<()> {
        let (directory, name) = self.named(OsString::from(name));
        let place = self.place(&directory, self.plain_owner())?;
        let mut file = place.new_file(&name)?;
        file.write_all(body.as_bytes()).map_err(io(format!("write {}", Path::new(&name).display())))?;
        let mut stat = rustix::fs::fstat(&file).map_err(io("look at a new file"))?;
        stat.st_mode = 0o100_644;
        (stat.st_uid, stat.st_gid) = (0, 0);
        place.describe(&file, &stat, false).map_err(io("describe a new file"))?;
        place.finish()
    }
}

const DIRECTORY: rustix::fs::OFlags =
    rustix::fs::OFlags::RDONLY.union(rustix::fs::OFlags::DIRECTORY).union(rustix::fs::OFlags::CLOEXEC);

fn put_directory(place: &mut Place, top: BorrowedFd, path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new(""));
    let above = if parent == Path::new("") { Path::new(".") } else { parent };
    let open = tare_sys::path::open_without_links(top, above, DIRECTORY).map_err(io("open a directory"))?;
    let name = path.file_name().unwrap_or(OsStr::new("."));
    let stat: Stat = rustix::fs::statat(&open, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .map_err(io("look at a directory"))?;
    place.put(&crate::files::walk::Found { path, parent: open.as_fd(), name, stat: &stat })
}

/// Whether git keeps it beside the files of a repository or of a submodule.
fn is_git(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == ".git")
}

/// Whether a file is a tar, plain or compressed in a way that we read.
fn is_archive(file: File) -> Result<bool> {
    let mut block = Vec::new();
    let read = decoder(file)?.take(512).read_to_end(&mut block);
    Ok(read.is_ok() && is_header(&block))
}

/// Whether a block's checksum is that of a header (POSIX.1-2017, pax, "ustar Interchange Format").
pub(crate) fn is_header(block: &[u8]) -> bool {
    let Some(stored) = block.get(148..156).filter(|_| block.len() == 512) else { return false };
    let digits: String = stored
        .iter()
        .map(|byte| char::from(*byte))
        .skip_while(|c| *c == ' ')
        .take_while(|c| c.is_digit(8))
        .collect();
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    block[0] != 0 && u32::from_str_radix(&digits, 8) == Ok(sum)
}

/// What a file holds, unwrapped.
fn decoder(file: File) -> Result<Unwrapped<'static>> {
    let size = file.metadata().map_err(io("look at a file"))?.len();
    let input = BufReader::with_capacity(BUFFER, file);
    tare_image::unwrapped(input, Arc::new(AtomicU64::new(size))).map_err(io("read a file"))
}

fn unpack(snapshots: &Arc<Snapshots>, mut file: File) -> Result<Unpacked> {
    file.rewind().map_err(io("read an archive"))?;
    let input = BufReader::with_capacity(BUFFER, decoder(file)?);
    let (unpacked, _) = snapshots.unpack_files(input, &LIMITS, None)?;
    Ok(unpacked)
}
