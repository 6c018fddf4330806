//! The marks by which a layer hides what those below it have, as overlayfs reads them
//! (Documentation/filesystems/overlayfs.rst).

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Stat, fgetxattr, makedev};
use rustix::io::Errno;

use super::kind;

/// Hides everything below in a directory that carries it with the value `y`.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";
/// Says that the content of a renamed directory is to be looked for below under its old name.
pub(crate) const REDIRECT: &str = "trusted.overlay.redirect";

pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    kind(stat) == FileType::CharacterDevice && stat.st_rdev == makedev(0, 0)
}

pub(crate) fn is_opaque(directory: &OwnedFd) -> rustix::io::Result<bool> {
    let mut value = [0; 8];
    match fgetxattr(directory, OPAQUE, &mut value[..]) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        // Longer than any mark of ours.
        Err(Errno::RANGE) => Ok(false),
        Err(error) => Err(error),
    }
}
