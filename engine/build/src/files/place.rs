//! Writing files into the tree of a stage. The tree is what an image and its programs made it: every name is resolved
//! inside its root (CVE-2024-23652 and its like).

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode as Bits, OFlags, Stat, Timespec, Timestamps, Uid, chownat, fchmod, fchown,
    futimens, mkdirat, mknodat, openat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use tare_sys::path::{mkdir_all_in_root, open_in_root};

use super::mode::Mode;
use super::walk::{Found, open_directory};
use super::xattr;
use crate::error::io;
use crate::{Error, Result};

/// Who what is written belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Whoever it belonged to where it came from.
    Kept,
    Is {
        uid: u32,
        gid: u32,
    },
}

/// A place in a tree that files are written below.
pub(crate) struct Place<'a> {
    root: BorrowedFd<'a>,
    /// As the Dockerfile names it, from the root.
    path: PathBuf,
    /// The directories from there to what was written last, each with its path below.
    open: Vec<(PathBuf, OwnedFd)>,
    /// Directories that were made, whose times come last, as filling them changes those.
    made: Vec<(OwnedFd, Timestamps)>,
    owner: Owner,
    mode: Option<&'a Mode>,
}

/// How many directories wait for their times with an open descriptor each.
const WAITING: usize = 256;

impl<'a> Place<'a> {
    /// Opens the directory `path` of the tree below `root`, making what is missing with the given owner.
    pub(crate) fn open(
        root: BorrowedFd<'a>,
        path: &Path,
        owner: Owner,
        mode: Option<&'a Mode>,
    ) -> Result<Self> {
        let opened = make_directories(root, path, owner)?;
        let (open, made) = (vec![(PathBuf::new(), opened)], Vec::new());
        Ok(Self { root, path: path.to_owned(), open, made, owner, mode })
    }

    /// Copies what was found in a walk to the same path below this place.
    pub(crate) fn put(&mut self, found: &Found) -> Result<()> {
        let parent = found.path.parent().unwrap_or(Path::new(""));
        while self.open.len() > 1 && self.open.last().is_some_and(|(path, _)| path != parent) {
            self.open.pop();
        }
        let name = found.path.file_name().unwrap_or(found.name).to_owned();
        match found.kind() {
            FileType::Directory => self.directory(found, &name),
            FileType::RegularFile => self.file_from(found.open()?, &name, found.stat, found.path),
            FileType::Symlink => self.symlink(&found.target()?, &name, found.stat),
            FileType::Fifo => self.fifo(&name, found.stat),
            _ => Err(Error::Request(format!("{} is neither file, directory nor link", found.path.display()))),
        }
    }

    fn parent(&self) -> BorrowedFd<'_> {
        self.open.last().expect("the place itself is never popped").1.as_fd()
    }

    fn shown(&self, name: &OsStr) -> String {
        let below = self.open.last().map(|(path, _)| path.as_path()).unwrap_or(Path::new(""));
        self.path.join(below).join(name).display().to_string()
    }

    /// Copies an open file to `name` here. `from` is what messages call it.
    pub(crate) fn file_from(&self, mut file: File, name: &OsStr, stat: &Stat, from: &Path) -> Result<()> {
        let attributes =
            xattr::read(&file).map_err(io(format!("read the attributes of {}", from.display())))?;
        let mut copy = self.new_file(name)?;
        std::io::copy(&mut file, &mut copy).map_err(io(format!("copy to {}", self.shown(name))))?;
        self.describe(&copy, stat, false)
            .and_then(|()| xattr::write(&copy, &attributes))
            .and_then(|()| futimens(&copy, &times(stat)))
            .map_err(io(format!("describe {}", self.shown(name))))
    }

    /// An empty file in the place of whatever had the name, unless that is a directory.
    pub(crate) fn new_file(&self, name: &OsStr) -> Result<File> {
        self.clear(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(self.parent(), name, flags, Bits::RUSR | Bits::WUSR);
        made.map(File::from).map_err(io(format!("make {}", self.shown(name))))
    }

    /// Owner and permissions; a change of owner clears set-id bits, so that it comes first.
    pub(crate) fn describe(&self, file: impl AsFd, stat: &Stat, directory: bool) -> rustix::io::Result<()> {
        let (uid, gid) = self.owner_of(stat);
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        fchmod(&file, Bits::from_raw_mode(self.mode_of(stat, directory)))
    }

    fn owner_of(&self, stat: &Stat) -> (u32, u32) {
        match self.owner {
            Owner::Kept => (stat.st_uid, stat.st_gid),
            Owner::Is { uid, gid } => (uid, gid),
        }
    }

    fn mode_of(&self, stat: &Stat, directory: bool) -> u32 {
        let mode = stat.st_mode & 0o7777;
        self.mode.map_or(mode, |change| change.apply(mode, directory))
    }

    fn directory(&mut self, found: &Found, name: &OsStr) -> Result<()> {
        let made = match mkdirat(self.parent(), name, Bits::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(io(format!("make {}", self.shown(name)))(error)),
        };
        let open = match open_directory(self.parent(), name) {
            Ok(open) => open,
            // A link to a directory of the tree stands for it.
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let whole = self.path.join(found.path);
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                open_in_root(self.root, &whole, flags).map_err(|_| {
                    Error::Request(format!("cannot copy a directory to {}: it is none", whole.display()))
                })?
            }
            Err(error) => return Err(io(format!("open {}", self.shown(name)))(error)),
        };
        if made {
            let described = self.describe(&open, found.stat, true);
            described.map_err(io(format!("describe {}", self.shown(name))))?;
            if self.made.len() < WAITING {
                let again = open.try_clone().map_err(io("keep a directory open"))?;
                self.made.push((again, times(found.stat)));
            }
        }
        self.open.push((found.path.to_owned(), open));
        Ok(())
    }

    fn symlink(&self, target: &[u8], name: &OsStr, stat: &Stat) -> Result<()> {
        self.clear(name)?;
        let (parent, (uid, gid)) = (self.parent(), self.owner_of(stat));
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        symlinkat(target, parent, name)
            .and_then(|()| chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW))
            .and_then(|()| utimensat(parent, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW))
            .map_err(io(format!("make the link {}", self.shown(name))))
    }

    fn fifo(&self, name: &OsStr, stat: &Stat) -> Result<()> {
        self.clear(name)?;
        let (parent, (uid, gid)) = (self.parent(), self.owner_of(stat));
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        mknodat(parent, name, FileType::Fifo, Bits::from_raw_mode(self.mode_of(stat, false)), 0)
            .and_then(|()| chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW))
            .and_then(|()| utimensat(parent, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW))
            .map_err(io(format!("make the fifo {}", self.shown(name))))
    }

    /// Takes away what has the name, unless it is a directory. Whatever is made here begins with this: a name of more than one
    /// component would be resolved by the kernel, through links of the tree, from the host's root.
    fn clear(&self, name: &OsStr) -> Result<()> {
        if Path::new(name).components().ne([Component::Normal(name)]) {
            return Err(Error::Request(format!(
                "cannot make {}: its name leads elsewhere",
                self.shown(name)
            )));
        }
        match unlinkat(self.parent(), name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {
                Err(Error::Request(format!("cannot replace the directory {} with a file", self.shown(name))))
            }
            Err(error) => Err(io(format!("replace {}", self.shown(name)))(error)),
        }
    }

    /// Gives the directories that were made their times.
    pub(crate) fn finish(self) -> Result<()> {
        for (directory, times) in self.made.iter().rev() {
            futimens(directory, times)
                .map_err(io(format!("describe a directory of {}", self.path.display())))?;
        }
        Ok(())
    }
}

/// Makes the directories of `path` that are missing; they belong to `owner`, root where owners are kept.
pub(crate) fn make_directories(root: BorrowedFd, path: &Path, owner: Owner) -> Result<OwnedFd> {
    let failed = || format!("make the directory {}", path.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    if let Ok(open) = open_in_root(root, path, flags) {
        return Ok(open);
    }
    let (uid, gid) = match owner {
        Owner::Kept => (0, 0),
        Owner::Is { uid, gid } => (uid, gid),
    };
    let missing: Vec<PathBuf> = path
        .ancestors()
        .take_while(|above| open_in_root(root, above, OFlags::PATH | OFlags::DIRECTORY).is_err())
        .map(Path::to_owned)
        .collect();
    mkdir_all_in_root(root, path, 0o755).map_err(io(failed()))?;
    for made in &missing {
        let directory = open_in_root(root, made, flags).map_err(io(failed()))?;
        fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(io(failed()))?;
        fchmod(&directory, Bits::from_raw_mode(0o755)).map_err(io(failed()))?;
    }
    open_in_root(root, path, flags).map_err(io(failed()))
}

/// Whether `path` leads to a directory of the tree.
pub(crate) fn is_directory(root: BorrowedFd, path: &Path) -> bool {
    open_in_root(root, path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
}

pub(crate) fn times(stat: &Stat) -> Timestamps {
    let time =
        |tv_sec, nanoseconds: u64| Timespec { tv_sec, tv_nsec: i64::try_from(nanoseconds).unwrap_or(0) };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel would follow a link of the tree from the host's root.
    #[test]
    fn a_name_of_more_than_one_component_makes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (tree, outside) = (home.path().join("tree"), home.path().join("outside"));
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::create_dir_all(tree.join("dir")).unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("dir/link")).unwrap();
        std::fs::write(outside.join("kept"), "kept").unwrap();
        let root = File::open(&tree).unwrap();
        let place = Place::open(root.as_fd(), Path::new("/dir"), Owner::Kept, None).unwrap();
        let stat = rustix::fs::fstat(&root).unwrap();
        for name in ["link/new", "link/kept", "../../outside/kept", "/etc/new", "..", ".", "", "new/"] {
            let name = OsStr::new(name);
            assert!(place.new_file(name).is_err(), "{}", name.display());
            assert!(place.symlink(b"x", name, &stat).is_err() && place.fifo(name, &stat).is_err());
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
        place.new_file(OsStr::new("new")).unwrap();
        assert!(tree.join("dir/new").exists());
    }
}
