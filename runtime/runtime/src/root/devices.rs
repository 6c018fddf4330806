//! /dev: nodes, links and the terminal.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, FsWord, Gid, Mode, OFlags, Uid, chownat, fchown, fstat, fstatfs, major, makedev,
    minor, mknodat, openat, symlinkat,
};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tare_oci::runtime::ConsoleSize;

use super::{RootDir, copy, put};
use crate::create::sources::is_device;
use crate::failure::{Failure, Step};
use crate::plan::{Device, DeviceKind, Devices};

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Fills /dev. `sources` are the host's nodes where they are to be bound. The host's own /dev is given no links.
pub(crate) fn fill(root: &RootDir, devices: &Devices, sources: &[OwnedFd]) -> Result<(), Failure> {
    if !devices.fill {
        return Ok(());
    }
    for (i, device) in devices.list.iter().enumerate() {
        let step = || format!("make device {}", device.path.display());
        let done = match sources.get(i) {
            Some(source) => root.file(&device.path).and_then(|place| put(source, place.as_fd())),
            None => make(root, device),
        };
        done.step(step)?;
    }
    if root.is_current().at("look at the root")? {
        return Ok(());
    }
    let dev = root.directory(Path::new("/dev")).at("open /dev")?;
    for (name, target) in LINKS {
        match symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Failure::new(&format!("make link /dev/{name}"), e)),
        }
    }
    Ok(())
}

fn make(root: &RootDir, device: &Device) -> io::Result<()> {
    let (parent, name) = root.parent(&device.path)?;
    let kind = match device.kind {
        DeviceKind::Character => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Pipe => FileType::Fifo,
    };
    match mknodat(&parent, name, kind, Mode::from_raw_mode(device.mode), makedev(device.major, device.minor))
    {
        Ok(()) => {}
        Err(Errno::EXIST) => return check_existing(&parent, name, device),
        Err(e) => return Err(e.into()),
    }
    if device.owner != (0, 0) {
        let (uid, gid) = (Uid::from_raw(device.owner.0), Gid::from_raw(device.owner.1));
        chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// An image may bring its own /dev/null, but nothing else under that name.
fn check_existing(parent: &OwnedFd, name: &std::ffi::OsStr, device: &Device) -> io::Result<()> {
    let found = openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if is_device(&found, device)? {
        Ok(())
    } else {
        Err(io::Error::other("the image has something else there"))
    }
}

/// Both ends of a terminal.
pub(crate) struct Terminal {
    /// The caller's end.
    pub(crate) master: OwnedFd,
    /// The program's end.
    pub(crate) peer: OwnedFd,
}

const DEVPTS: FsWord = 0x1cd1;

/// Opens a terminal of the container's own devpts; both ends by descriptor, since a path into /dev/pts could be made to
/// lead elsewhere meanwhile (CVE-2025-52565).
pub(crate) fn open_terminal(root: &RootDir, size: ConsoleSize, owner: u32) -> Result<Terminal, Failure> {
    let step = "open a terminal: /dev/pts/ptmx";
    let master = root.open(Path::new("/dev/pts/ptmx"), OFlags::RDWR | OFlags::NOCTTY).at(step)?;
    let number = fstat(&master).at(step)?.st_rdev;
    if fstatfs(&master).at(step)?.f_type != DEVPTS || (major(number), minor(number)) != (5, 2) {
        return Err(Failure::rule(format!("{step} is not the container's devpts")));
    }
    unlockpt(&master).at(step)?;
    let peer = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .at(step)?;
    if size != ConsoleSize::default() {
        let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&peer, size).at(step)?;
    }
    fchown(&peer, Some(Uid::from_raw(owner)), None).at(step)?;
    Ok(Terminal { master, peer })
}

/// Shows init's terminal as /dev/console.
pub(crate) fn bind_console(root: &RootDir, peer: BorrowedFd<'_>) -> io::Result<()> {
    let (dev, name) = root.parent(Path::new("/dev/console"))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&dev, name, flags, Mode::from_raw_mode(0o600)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let place = openat(&dev, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&place)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP.into());
    }
    put(&copy(peer, false)?, place.as_fd())
}
