//! Two merged trees beside each other.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Stat, readlinkat, statat};
use rustix::io::Errno;

use crate::changes::ChangeKind;
use crate::files::{self, Name, failed, kind, open_file, open_in_tree, same_content};
use crate::{LayeredRoot, Result};

/// Something that two trees do not have alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Absolute, as a process inside sees it.
    pub path: PathBuf,
    /// What became of it. A directory is changed only when its own owner, mode or kind is.
    pub kind: ChangeKind,
    /// Bytes of the file in the first tree; 0 for what is no file.
    pub before: u64,
    /// Bytes of the file in the second tree.
    pub after: u64,
}

impl LayeredRoot {
    /// What becomes of this tree to be the other one, by path. Times alone are no difference: what was rebuilt with the
    /// same bytes is the same.
    pub fn compare(&self, other: &LayeredRoot) -> Result<Vec<Difference>> {
        let mut comparison =
            Comparison { roots: [self, other], found: Vec::new(), left: vec![(Name::ROOT, [true, true])] };
        while let Some((name, there)) = comparison.left.pop() {
            comparison.directory(&name, there)?;
        }
        comparison.found.sort();
        Ok(comparison.found)
    }
}

struct Comparison<'a> {
    roots: [&'a LayeredRoot; 2],
    found: Vec<Difference>,
    /// Directories to be entered, and which of the trees have them.
    left: Vec<(Name, [bool; 2])>,
}

impl Comparison<'_> {
    fn directory(&mut self, name: &Name, there: [bool; 2]) -> Result<()> {
        let open = |side: usize| self.open(side, name, there[side]);
        let open = [open(0)?, open(1)?];
        let mut names = BTreeSet::new();
        for directory in open.iter().flatten() {
            names.extend(files::names(directory).map_err(failed("list", name))?);
        }
        for last in names {
            self.entry(name, &open, &last)?;
        }
        Ok(())
    }

    fn open(&self, side: usize, name: &Name, there: bool) -> Result<Option<OwnedFd>> {
        let root = self.roots[side].as_fd().filter(|_| there);
        root.map(|root| open_in_tree(root, name)).transpose()
    }

    fn entry(&mut self, directory: &Name, open: &[Option<OwnedFd>; 2], last: &[u8]) -> Result<()> {
        let name = directory.join(last);
        let look = |side: usize| -> Result<Option<Stat>> {
            let Some(open) = &open[side] else { return Ok(None) };
            match statat(open, last, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => Ok(None),
                stat => stat.map(Some).map_err(failed("look at", &name)),
            }
        };
        let stats = [look(0)?, look(1)?];
        let is_directory = |stat: &Option<Stat>| stat.is_some_and(|stat| kind(&stat) == FileType::Directory);
        let change = match &stats {
            [Some(before), Some(after)] => {
                (!self.same([before, after], open, &name)?).then_some(ChangeKind::Modified)
            }
            [None, Some(_)] => Some(ChangeKind::Added),
            [Some(_), None] => Some(ChangeKind::Deleted),
            [None, None] => None,
        };
        if let Some(kind) = change {
            let path = PathBuf::from(OsStr::from_bytes(&[b"/", name.as_bytes()].concat()));
            let [before, after] = stats.map(|stat| stat.as_ref().map_or(0, bytes));
            self.found.push(Difference { path, kind, before, after });
        }
        let there = [is_directory(&stats[0]), is_directory(&stats[1])];
        if there != [false, false] {
            self.left.push((name, there));
        }
        Ok(())
    }

    fn same(&self, stats: [&Stat; 2], open: &[Option<OwnedFd>; 2], name: &Name) -> Result<bool> {
        let [before, after] = stats;
        let described = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
        if described(before) != described(after) {
            return Ok(false);
        }
        let [Some(first), Some(second)] = open else { return Ok(false) };
        match kind(before) {
            FileType::Symlink => {
                let target =
                    |open: &OwnedFd| readlinkat(open, name.last(), Vec::new()).map_err(failed("read", name));
                Ok(target(first)? == target(second)?)
            }
            FileType::RegularFile if before.st_size != after.st_size => Ok(false),
            // Both trees show the same file of a layer that they share.
            FileType::RegularFile if before.st_ino == after.st_ino && before.st_ctime == after.st_ctime => {
                Ok(true)
            }
            FileType::RegularFile => same_bytes([first, second], name),
            _ => Ok(true),
        }
    }
}

fn bytes(stat: &Stat) -> u64 {
    if kind(stat) == FileType::RegularFile { stat.st_size.unsigned_abs() } else { 0 }
}

fn same_bytes(parents: [&OwnedFd; 2], name: &Name) -> Result<bool> {
    let open = |parent: &OwnedFd| open_file(parent, name.last()).map_err(failed("open", name));
    same_content([&open(parents[0])?, &open(parents[1])?], name)
}
