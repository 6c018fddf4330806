//! Whole trees that a container wrote: they may be deeper than any path, and full of symlinks, none of which is followed.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, renameat, statat,
    unlinkat,
};
use rustix::io::{Errno, Result, fcntl_dupfd_cloexec};

/// Removes the directory `name` of `home`. A directory inside that is not empty is first moved up into `home` under a
/// name from `fresh`, so that neither depth of recursion nor open descriptors grow with the tree.
///
/// # Errors
/// The first failing call's; `EXDEV` where something is mounted inside.
pub fn remove(home: BorrowedFd<'_>, name: &str, fresh: impl FnMut() -> String) -> Result<()> {
    Removal::new(name).go_on(home, fresh, usize::MAX).map(drop)
}

/// [`remove`], a part at a time.
pub struct Removal {
    /// What of it lies in its home.
    left: Vec<String>,
}

impl Removal {
    /// Nothing of `name` is removed yet.
    pub fn new(name: &str) -> Self {
        Self { left: vec![name.to_owned()] }
    }

    /// Removes up to `most` things and tells whether all is gone. `home` is the same each time.
    ///
    /// # Errors
    /// As [`remove`].
    pub fn go_on(
        &mut self,
        home: BorrowedFd<'_>,
        mut fresh: impl FnMut() -> String,
        most: usize,
    ) -> Result<bool> {
        let mut done = 0;
        while let Some(name) = self.left.pop() {
            let directory = open(home, name.as_bytes())?;
            for child in children(&directory, most - done)? {
                done += 1;
                if remove_one(directory.as_fd(), &child)? {
                    continue;
                }
                let moved = fresh();
                renameat(&directory, child.name.as_slice(), home, &moved)?;
                self.left.push(moved);
            }
            if done == most {
                self.left.push(name);
                return Ok(false);
            }
            unlinkat(home, &name, AtFlags::REMOVEDIR)?;
        }
        Ok(true)
    }
}

struct Child {
    name: Vec<u8>,
    kind: FileType,
}

fn open(home: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(
        home,
        name,
        flags,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )
}

/// Up to so many of them.
fn children(directory: &OwnedFd, most: usize) -> Result<Vec<Child>> {
    let mut children = Vec::new();
    let mut entries = Dir::read_from(directory)?;
    while children.len() < most
        && let Some(entry) = entries.read()
    {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            children.push(Child { name: name.to_owned(), kind: entry.file_type() });
        }
    }
    Ok(children)
}

/// Whether the child is gone; a directory with something in it is not.
fn remove_one(directory: BorrowedFd<'_>, child: &Child) -> Result<bool> {
    let name = child.name.as_slice();
    if child.kind != FileType::Directory {
        match unlinkat(directory, name, AtFlags::empty()) {
            // The file system did not tell the kind.
            Err(Errno::ISDIR | Errno::PERM) if child.kind == FileType::Unknown => {}
            other => return other.map(|()| true),
        }
    }
    match unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Bytes of a file on the disk: of a sparse one those that are no holes, of all others their length, since the rest of
/// their last block is nobody's.
pub fn stored(stat: &Stat) -> u64 {
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
    u64::try_from(stat.st_size).unwrap_or(0).min(blocks.saturating_mul(512))
}

/// What [`bytes`] counts for one thing that is no directory.
pub fn bytes_of(stat: &Stat) -> u64 {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => stored(stat),
        // A symlink may lie in its inode alone.
        _ => u64::try_from(stat.st_size).unwrap_or(0),
    }
}

/// Bytes of the files of a tree, each counted once however many names it has and without its holes. What vanishes or is
/// moved meanwhile may not be counted, and other file systems mounted inside are not entered. Neither recursion nor open
/// descriptors grow with the tree.
///
/// # Errors
/// The first failing call's.
pub fn bytes(tree: &OwnedFd) -> Result<u64> {
    let mut counted = Counted::default();
    let mut way = vec![counted.level(tree, Vec::new())?];
    let mut here = dup(tree)?;
    while let Some(level) = way.last_mut() {
        let Some(name) = level.left.pop() else {
            way.pop();
            if !way.is_empty() {
                here = back(tree, &here, &mut way)?;
            }
            continue;
        };
        let Some(below) = subdirectory(here.as_fd(), &name)? else { continue };
        let inside = counted.level(&below, name)?;
        // Most have no directories inside: then there is no way back to be found.
        if !inside.left.is_empty() {
            way.push(inside);
            here = below;
        }
    }
    Ok(counted.bytes)
}

/// A directory on the way down.
struct Level {
    /// In the one above.
    name: Vec<u8>,
    id: (u64, u64),
    /// Directories in it that are still to be entered.
    left: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Counted {
    bytes: u64,
    /// Files with several names.
    seen: HashSet<(u64, u64)>,
}

impl Counted {
    /// Counts what is in a directory, except for the directories.
    fn level(&mut self, directory: &OwnedFd, name: Vec<u8>) -> Result<Level> {
        let mut left = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                left.push(name.to_bytes().to_owned());
            } else if stat.st_nlink == 1 || self.seen.insert((stat.st_dev, stat.st_ino)) {
                self.bytes += bytes_of(&stat);
            }
        }
        Ok(Level { name, id: id(directory)?, left })
    }
}

fn id(directory: &OwnedFd) -> Result<(u64, u64)> {
    fstat(directory).map(|stat| (stat.st_dev, stat.st_ino))
}

/// The directory that the way ends in, from one that was entered there. Where that one was moved meanwhile, what is above
/// it may be anything: then the way is gone once more from the top, as far as it is still the same.
fn back(tree: &OwnedFd, from: &OwnedFd, way: &mut Vec<Level>) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(above) = openat(from, "..", flags, Mode::empty())
        && way.last().map(|last| last.id) == Some(id(&above)?)
    {
        return Ok(above);
    }
    let mut here = dup(tree)?;
    for depth in 1..way.len() {
        match subdirectory(here.as_fd(), &way[depth].name)? {
            Some(next) if id(&next)? == way[depth].id => here = next,
            _ => {
                way.truncate(depth);
                break;
            }
        }
    }
    Ok(here)
}

fn dup(directory: &OwnedFd) -> Result<OwnedFd> {
    fcntl_dupfd_cloexec(directory, 0)
}

fn subdirectory(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Option<OwnedFd>> {
    match open(directory, name) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, mkdirat};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;

    fn directory(path: &std::path::Path) -> OwnedFd {
        openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn a_tree_deeper_than_any_path_goes() {
        let home = tempfile::tempdir().unwrap();
        let fd = directory(home.path());
        mkdirat(&fd, "tree", Mode::RWXU).unwrap();
        let mut inner = open(fd.as_fd(), b"tree").unwrap();
        for _ in 0..3000 {
            mkdirat(&inner, "deeper", Mode::RWXU).unwrap();
            inner = open(inner.as_fd(), b"deeper").unwrap();
        }
        drop(inner);
        let mut next = 0;
        remove(fd.as_fd(), "tree", || {
            next += 1;
            next.to_string()
        })
        .unwrap();
        assert_eq!(home.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn links_are_removed_and_what_they_lead_to_stays() {
        let (home, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("precious"), "12345").unwrap();
        std::fs::create_dir_all(home.path().join("tree/a/b")).unwrap();
        std::fs::write(home.path().join("tree/a/file"), "123").unwrap();
        std::fs::hard_link(home.path().join("tree/a/file"), home.path().join("tree/a/b/again")).unwrap();
        symlink(outside.path(), home.path().join("tree/a/b/link")).unwrap();
        let sparse = std::fs::File::create(home.path().join("tree/a/sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let link_length = outside.path().as_os_str().len() as u64;
        assert_eq!(bytes(&directory(&home.path().join("tree"))).unwrap(), 3 + link_length);
        let mut next = 0;
        remove(directory(home.path()).as_fd(), "tree", || {
            next += 1;
            next.to_string()
        })
        .unwrap();
        assert_eq!(home.path().read_dir().unwrap().count(), 0);
        assert!(outside.path().join("precious").exists());
    }

    /// So many descriptors a process may have more than it has.
    fn with_few_descriptors<T>(act: impl FnOnce() -> T) -> T {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(open + 100), ..before }).unwrap();
        let done = act();
        setrlimit(Resource::Nofile, before).unwrap();
        done
    }

    #[test]
    fn wide_and_deep_trees_are_measured_with_few_descriptors() {
        let home = tempfile::tempdir_in("/dev/shm").unwrap();
        let fd = directory(home.path());
        mkdirat(&fd, "tree", Mode::RWXU).unwrap();
        let mut inner = open(fd.as_fd(), b"tree").unwrap();
        for _ in 0..3000 {
            for name in ["deeper", "beside"] {
                mkdirat(&inner, name, Mode::RWXU).unwrap();
                let file = open(inner.as_fd(), name.as_bytes()).unwrap();
                rustix::fs::symlinkat("12345", &file, "link").unwrap();
                mkdirat(&file, "again", Mode::RWXU).unwrap();
            }
            inner = open(inner.as_fd(), b"deeper").unwrap();
        }
        for name in 0..3000 {
            std::fs::create_dir(home.path().join("tree").join(name.to_string())).unwrap();
        }
        drop(inner);
        let tree = open(fd.as_fd(), b"tree").unwrap();
        assert_eq!(with_few_descriptors(|| bytes(&tree)).unwrap(), 2 * 3000 * 5);
        let mut next = 0;
        remove(fd.as_fd(), "tree", || {
            next += 1;
            next.to_string()
        })
        .unwrap();
    }

    #[test]
    fn the_way_back_leads_out_of_no_tree() {
        let (home, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/tmp").unwrap());
        std::fs::create_dir_all(home.path().join("tree/a/b/c")).unwrap();
        let at = |path: &str| directory(&home.path().join(path));
        let level = |name: &str, path: &str| Level {
            name: name.into(),
            id: id(&at(path)).unwrap(),
            left: Vec::new(),
        };
        let way = || vec![level("", "tree"), level("a", "tree/a"), level("b", "tree/a/b")];
        let (tree, c, mut gone) = (at("tree"), at("tree/a/b/c"), way());
        let above = back(&tree, &c, &mut gone).unwrap();
        assert_eq!((id(&above).unwrap(), gone.len()), (id(&at("tree/a/b")).unwrap(), 3));
        // What was entered is elsewhere, and where it was is still there.
        std::fs::rename(home.path().join("tree/a/b/c"), outside.path().join("c")).unwrap();
        let above = back(&tree, &c, &mut gone).unwrap();
        assert_eq!((id(&above).unwrap(), gone.len()), (id(&at("tree/a/b")).unwrap(), 3));
        // The directory above is not.
        std::fs::rename(home.path().join("tree/a/b"), outside.path().join("b")).unwrap();
        std::fs::create_dir(home.path().join("tree/a/b")).unwrap();
        let above = back(&tree, &c, &mut gone).unwrap();
        assert_eq!((id(&above).unwrap(), gone.len()), (id(&at("tree/a")).unwrap(), 2));
    }
}
