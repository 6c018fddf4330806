//! A tree from its root down, always in the same order: a directory, then what is in it by the bytes of its names. Every
//! step is one component below an open directory, so that a container that renames and links meanwhile leads nowhere.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat, fgetxattr, fstat, openat, statat};
use rustix::io::Errno;

use super::{Name, REDIRECT, failed, is_opaque, is_whiteout, kind, open_in_tree, refused};
use crate::Result;
use crate::error::io;

/// How many directories on the way stay open; those above are opened anew when the walk comes back to them.
const OPEN: usize = 64;

/// What a writable layer has under a name.
pub(crate) enum Found<'a> {
    /// A directory, before what is in it.
    Directory { open: &'a OwnedFd, stat: &'a Stat, opaque: bool },
    /// Something that is no directory, and the directory that holds it.
    Other { parent: BorrowedFd<'a>, stat: &'a Stat },
    /// The layers below had something here that is gone.
    Whiteout,
}

/// Whether to look into the directory that was just shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Go {
    Into,
    Past,
}

/// The names of one directory, sorted. A million of them take their letters and eight bytes each.
struct Names {
    letters: Vec<u8>,
    spans: Vec<(u32, u16)>,
    next: usize,
}

struct Frame {
    name: Name,
    names: Names,
    /// Closed while the walk is far below.
    open: Option<OwnedFd>,
}

/// Shows the root and everything below it. What vanishes during the walk is passed over.
pub(crate) fn walk(root: &OwnedFd, show: &mut dyn FnMut(&Name, &Found<'_>) -> Result<Go>) -> Result<()> {
    let stat = fstat(root).map_err(failed("look at", &Name::ROOT))?;
    let opaque = is_opaque(root).map_err(failed("look at", &Name::ROOT))?;
    if show(&Name::ROOT, &Found::Directory { open: root, stat: &stat, opaque })? == Go::Past {
        return Ok(());
    }
    let top = root.try_clone().map_err(|error| io("open", ".")(error))?;
    let mut stack = vec![frame(Name::ROOT, top)?];
    while let Some(frame) = stack.last_mut() {
        let Some(last) = frame.names.next() else {
            stack.pop();
            continue;
        };
        let parent = match &frame.open {
            Some(open) => open,
            None => frame.open.insert(open_in_tree(root, &frame.name)?),
        };
        if let Some(below) = one(&frame.name, parent, &last, show)? {
            stack.push(below);
            let depth = stack.len();
            if let Some(far) = depth.checked_sub(OPEN).and_then(|at| stack.get_mut(at)) {
                far.open = None;
            }
        }
    }
    Ok(())
}

fn one(
    directory: &Name,
    parent: &OwnedFd,
    last: &[u8],
    show: &mut dyn FnMut(&Name, &Found<'_>) -> Result<Go>,
) -> Result<Option<Frame>> {
    let too_long =
        || refused(&directory.join(last).as_bytes()[..512], "is longer than the 4095 bytes of a path");
    let name = directory.child(last).ok_or_else(too_long)?;
    let stat = match statat(parent, last, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        stat => stat.map_err(failed("look at", &name))?,
    };
    if is_whiteout(&stat) {
        return show(&name, &Found::Whiteout).map(|_| None);
    }
    if kind(&stat) != FileType::Directory {
        return show(&name, &Found::Other { parent: parent.as_fd(), stat: &stat }).map(|_| None);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = match openat(parent, last, flags, rustix::fs::Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        open => open.map_err(failed("open", &name))?,
    };
    let opaque = is_opaque(&open).map_err(failed("look at", &name))?;
    refuse_redirect(&name, &open)?;
    match show(&name, &Found::Directory { open: &open, stat: &stat, opaque })? {
        Go::Into => frame(name, open).map(Some),
        Go::Past => Ok(None),
    }
}

/// Containers are mounted so that overlayfs never renames a directory by a note in it: its content would be elsewhere.
fn refuse_redirect(name: &Name, open: &OwnedFd) -> Result<()> {
    match fgetxattr(open, REDIRECT, &mut [0_u8; 1][..]) {
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        _ => Err(refused(name.as_bytes(), "was renamed by overlayfs without a copy, which cannot be packed")),
    }
}

fn frame(name: Name, open: OwnedFd) -> Result<Frame> {
    let names = Names::read(&open).map_err(failed("list", &name))?;
    Ok(Frame { name, names, open: Some(open) })
}

impl Names {
    fn read(directory: &OwnedFd) -> rustix::io::Result<Self> {
        let mut names = Self { letters: Vec::new(), spans: Vec::new(), next: 0 };
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            // No directory comes near four gigabytes of names.
            let start = u32::try_from(names.letters.len()).map_err(|_| Errno::OVERFLOW)?;
            let length = u16::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
            names.letters.extend_from_slice(name);
            names.spans.push((start, length));
        }
        let letters = &names.letters;
        names.spans.sort_unstable_by(|a, b| slice(letters, *a).cmp(slice(letters, *b)));
        Ok(names)
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let span = *self.spans.get(self.next)?;
        self.next += 1;
        Some(slice(&self.letters, span).to_owned())
    }
}

fn slice(letters: &[u8], (start, length): (u32, u16)) -> &[u8] {
    &letters[start as usize..start as usize + usize::from(length)]
}
