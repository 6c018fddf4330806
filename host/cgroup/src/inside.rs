//! What is inside a group: its processes and sub-groups. A container that was given its group nests thousands in it, so
//! neither recursion nor open descriptors grow with them.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir as Listing, FileType, rmdir, unlinkat};
use rustix::io::{Errno, Result as Answer};

use crate::error::{Error, Result};
use crate::file;
use crate::group::Dir;

pub(crate) fn processes_in(dir: &Dir) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    collect(dir.fd.as_fd(), &mut found).map_err(|e| Error::file("list the processes of", &dir.path, e))?;
    Ok(found)
}

fn collect(group: BorrowedFd<'_>, found: &mut Vec<i32>) -> Answer<()> {
    let mut take = |group: BorrowedFd<'_>| match file::read(group, "cgroup.procs") {
        Ok(text) => {
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
            Ok(())
        }
        // Removed meanwhile, or a threaded v2 group, whose processes the group above lists.
        Err(Errno::NODEV | Errno::NOENT | Errno::OPNOTSUPP) => Ok(()),
        Err(e) => Err(e),
    };
    take(group)?;
    walk(group, take, |_, _| Ok(()))
}

pub(crate) fn remove_dir(dir: &Dir) -> Result<()> {
    let fail = |e: Errno| match e {
        Errno::BUSY => Error::Busy { path: dir.path.clone() },
        e => Error::file("remove cgroup", &dir.path, e),
    };
    let removed = match rmdir(&dir.path) {
        Err(Errno::BUSY | Errno::NOTEMPTY) => {
            remove_below(dir.fd.as_fd()).map_err(fail)?;
            rmdir(&dir.path)
        }
        other => other,
    };
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(fail(e)),
    }
}

fn remove_below(group: BorrowedFd<'_>) -> Answer<()> {
    let remove = |above: BorrowedFd<'_>, name: &CStr| match unlinkat(above, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e),
    };
    walk(group, |_| Ok(()), remove)
}

/// Goes to every group below one. `enter` sees each before what is in it, and `leave` after that, by its name in the one
/// above. The way back is `..`: the kernel never moves a group to another parent.
fn walk(
    group: BorrowedFd<'_>,
    mut enter: impl FnMut(BorrowedFd<'_>) -> Answer<()>,
    mut leave: impl FnMut(BorrowedFd<'_>, &CStr) -> Answer<()>,
) -> Answer<()> {
    let mut here = file::open_dir(group, ".")?;
    let mut left = sub_groups(group)?;
    // The groups on the way down, each with its siblings that are still to be entered.
    let mut way: Vec<(Box<CStr>, Vec<Box<CStr>>)> = Vec::new();
    loop {
        if let Some(name) = left.pop() {
            let Ok(below) = file::open_dir(&here, &*name) else {
                leave(here.as_fd(), &name)?;
                continue;
            };
            enter(below.as_fd())?;
            way.push((name, std::mem::replace(&mut left, sub_groups(below.as_fd())?)));
            here = below;
        } else if let Some((name, siblings)) = way.pop() {
            here = file::open_dir(&here, "..")?;
            leave(here.as_fd(), &name)?;
            left = siblings;
        } else {
            return Ok(());
        }
    }
}

fn sub_groups(group: BorrowedFd<'_>) -> Answer<Vec<Box<CStr>>> {
    // The link count of a group's directory is 2 + its sub-groups: saves listing some 20 files for nothing.
    if rustix::fs::fstat(group)?.st_nlink == 2 {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in Listing::new(match file::open_listing(group, ".") {
        Err(Errno::NOENT) => return Ok(names),
        opened => opened?,
    })? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            names.push(name.into());
        }
    }
    Ok(names)
}
