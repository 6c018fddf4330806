//! Files that COPY, ADD and mounts take: found by name and wildcard inside one tree, which no link of that tree leaves; and how
//! trees are walked and written to.

mod glob;
pub(crate) mod mode;
pub(crate) mod place;
pub(crate) mod walk;
pub(crate) mod xattr;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use aws_lc_rs::digest::{Context as Hash, SHA256};
use rustix::fs::{FileType, OFlags, Stat, fstat};
use tare_sys::path::open_in_root;

use crate::cache::key::Key;
use crate::error::io;
use crate::{Error, Result};
use walk::{Found, names, walk};

/// How many files a wildcard may find.
const MATCHES: usize = 100_000;

/// A tree that files are taken from.
pub(crate) struct Files {
    /// None: it is empty.
    pub root: Option<OwnedFd>,
    /// For messages: `build context`, `stage build`.
    pub what: String,
}

/// Something that was asked for.
#[derive(Debug)]
pub(crate) struct Picked {
    /// As it was asked for, from the tree's root.
    pub path: PathBuf,
    /// What it is, links followed.
    pub open: OwnedFd,
    pub stat: Stat,
}

impl Picked {
    pub(crate) fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }

    /// What it is called.
    pub(crate) fn name(&self) -> OsString {
        self.path.file_name().map_or_else(|| OsString::from("."), OsStr::to_owned)
    }

    pub(crate) fn file(&self) -> Result<std::fs::File> {
        use std::io::Seek;
        let cloned = self.open.try_clone().map(std::fs::File::from);
        // The clone shares its position with whoever read it before.
        let rewound = cloned.and_then(|mut file| file.rewind().map(|()| file));
        rewound.map_err(io(format!("open {} again", self.path.display())))
    }
}

impl Files {
    fn root(&self) -> Result<BorrowedFd<'_>> {
        let root = self.root.as_ref().map(AsFd::as_fd);
        root.ok_or_else(|| Error::Request(format!("COPY failed: the {} has no files", self.what)))
    }

    /// Everything that `pattern` means, in order; at least one.
    pub(crate) fn pick(&self, pattern: &str) -> Result<Vec<Picked>> {
        let root = self.root()?;
        let cleaned = crate::stage::state::clean(Path::new(pattern));
        let paths = if glob::has_wildcard(pattern) { expand(root, &cleaned)? } else { vec![cleaned] };
        if paths.is_empty() {
            let message = format!(
                "COPY failed: no source files were specified: nothing in the {} matches {pattern}",
                self.what
            );
            return Err(Error::Request(message));
        }
        paths.into_iter().map(|path| self.open(&path)).collect()
    }

    /// One path, links inside the tree followed.
    pub(crate) fn open(&self, path: &Path) -> Result<Picked> {
        let root = self.root()?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let found = open_in_root(root, path, OFlags::PATH).map_err(|error| self.missing(path, &error))?;
        let stat = fstat(&found).map_err(io(format!("look at {}", path.display())))?;
        let open = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Directory => {
                open_in_root(root, path, flags).map_err(|error| self.missing(path, &error))?
            }
            _ => return Err(Error::Request(format!("{} is neither file nor directory", path.display()))),
        };
        let stat = fstat(&open).map_err(io(format!("look at {}", path.display())))?;
        Ok(Picked { path: path.to_owned(), open, stat })
    }

    fn missing(&self, path: &Path, error: &std::io::Error) -> Error {
        let shown = path.strip_prefix("/").unwrap_or(path).display();
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Error::Request(format!(
                "COPY failed: file not found in {} or excluded by .dockerignore: stat {shown}: file does not exist",
                self.what
            )),
            _ => Error::Request(format!("COPY failed: {shown} in the {}: {error}", self.what)),
        }
    }
}

/// Where an open file of a directory of ours stands.
pub(crate) fn within(directory: &Path, open: &OwnedFd) -> Result<PathBuf> {
    use std::os::fd::AsRawFd;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", open.as_raw_fd()))
        .map_err(io("find where it stands"))?;
    if path.starts_with(directory) {
        return Ok(path);
    }
    Err(Error::Request("it leads out of its tree".to_owned()))
}

/// The paths that a pattern with wildcards matches. `**` stands for any number of directories.
fn expand(root: BorrowedFd, pattern: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::from("/")];
    for component in pattern.components() {
        let Component::Normal(part) = component else { continue };
        let part = part.to_string_lossy();
        let mut next = Vec::new();
        for at in found {
            match &*part {
                "**" => directories(root, &at, &mut next)?,
                plain if !glob::has_wildcard(plain) => next.push(at.join(plain)),
                pattern => matching(root, &at, pattern, &mut next),
            }
            if next.len() > MATCHES {
                return Err(Error::Limit(format!("the pattern {part} matches more than {MATCHES} files")));
            }
        }
        found = next;
    }
    found.retain(|path| open_in_root(root, path, OFlags::PATH).is_ok());
    found.sort();
    found.dedup();
    Ok(found)
}

fn matching(root: BorrowedFd, at: &Path, pattern: &str, into: &mut Vec<PathBuf>) {
    let Ok(directory) = open_in_root(root, at, OFlags::RDONLY | OFlags::DIRECTORY) else { return };
    for name in names(directory.as_fd()).unwrap_or_default() {
        if name.to_str().is_some_and(|name| glob::matches(pattern, name)) {
            into.push(at.join(name));
        }
    }
}

fn directories(root: BorrowedFd, at: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(top) = open_in_root(root, at, OFlags::RDONLY | OFlags::DIRECTORY) else { return Ok(()) };
    into.push(at.to_owned());
    walk(top, &mut |found| {
        if found.is_directory() {
            into.push(at.join(found.path));
        }
        if into.len() > MATCHES {
            return Err(Error::Limit(format!("more than {MATCHES} directories below {}", at.display())));
        }
        Ok(true)
    })
}

/// Which files below a directory are left out, by their path below it.
pub(crate) type Excluded<'a> = &'a dyn Fn(&Path) -> bool;

/// Walks what was picked, without what is excluded. A directory that is excluded is still entered, as a pattern may take a
/// file in it back.
pub(crate) fn walk_picked(
    picked: &Picked,
    excluded: Excluded,
    show: &mut dyn FnMut(&Found) -> Result<()>,
) -> Result<()> {
    let top = picked.open.try_clone().map_err(io("open a directory again"))?;
    let top = open_again(&top)?;
    walk(top, &mut |found| {
        if !excluded(found.path) {
            show(found)?;
        }
        Ok(true)
    })
}

/// A descriptor with a position of its own.
fn open_again(directory: &OwnedFd) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, ".", flags, rustix::fs::Mode::empty()).map_err(io("open a directory again"))
}

/// Adds all that makes a difference of what was picked: names, kinds, permissions, contents, links; never times. Owners only
/// where they are kept.
pub(crate) fn hash(key: &mut Key, picked: &Picked, excluded: Excluded, owners: bool) -> Result<()> {
    if !picked.is_directory() {
        key.add("file").add(picked.name().as_bytes());
        describe(key, &picked.stat, owners);
        return contents(key, picked.file()?, &picked.path);
    }
    key.add("directory");
    walk_picked(picked, excluded, &mut |found| {
        key.add(found.path.as_os_str().as_bytes());
        describe(key, found.stat, owners);
        match found.kind() {
            FileType::RegularFile => contents(key, found.open()?, found.path)?,
            FileType::Symlink => {
                key.add(found.target()?);
            }
            _ => {}
        }
        Ok(())
    })
}

fn describe(key: &mut Key, stat: &Stat, owners: bool) {
    key.number(stat.st_mode);
    if owners {
        key.number(stat.st_uid).number(stat.st_gid);
    }
}

fn contents(key: &mut Key, mut file: std::fs::File, path: &Path) -> Result<()> {
    use std::io::Read;
    let attributes = xattr::read(&file).map_err(io(format!("read the attributes of {}", path.display())))?;
    for (name, value) in &attributes {
        key.add(name).add(value);
    }
    let (mut hash, mut buffer) = (Hash::new(&SHA256), vec![0; 256 << 10]);
    loop {
        crate::wanted()?;
        match file.read(&mut buffer).map_err(io(format!("read {}", path.display())))? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    key.add(hash.finish());
    Ok(())
}
