//! Owner, permissions, times and extended attributes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fgetxattr, flistxattr, fsetxattr, fstat, futimens, lsetxattr, utimensat,
};
use rustix::io::{Errno, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub accessed: Time,
    pub modified: Time,
    pub xattrs: Vec<Xattr>,
}

/// Seconds since 1970 and nanoseconds counted forward from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Xattr {
    pub name: String,
    pub value: Vec<u8>,
}

/// Which attributes an image may carry: what programs keep for themselves, file capabilities and access lists. The
/// `trusted` ones steer overlayfs, as some `user` ones do where it is mounted by an ordinary user or served by a program; labels of
/// security modules are the host's to give.
pub(crate) fn is_welcome(name: &str) -> bool {
    let kept = |rest: &str| rest.starts_with("overlay.") || rest.starts_with("fuseoverlayfs.");
    let user = name.strip_prefix("user.").is_some_and(|rest| !rest.is_empty() && !kept(rest));
    let listed = ["security.capability", "system.posix_acl_access", "system.posix_acl_default"];
    (user || listed.contains(&name)) && name.len() <= 255 && !name.contains('\0')
}

impl Metadata {
    /// What an open file or directory has of what a copy of it should have.
    pub(crate) fn read(file: BorrowedFd<'_>) -> Result<Self> {
        Ok(Self { xattrs: read_xattrs(file)?, ..Self::of(&fstat(file)?) })
    }

    /// The same of something that has no attributes or cannot be opened.
    pub(crate) fn of(stat: &Stat) -> Self {
        let time = |seconds: i64, nanoseconds: u64| Time { seconds, nanoseconds: nanoseconds as u32 };
        Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            accessed: time(stat.st_atime, stat.st_atime_nsec),
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            xattrs: Vec::new(),
        }
    }

    /// Of what has none: a mark in a layer.
    pub(crate) fn nothing() -> Self {
        let (accessed, modified) = (Time::default(), Time::default());
        Self { mode: 0, uid: 0, gid: 0, accessed, modified, xattrs: Vec::new() }
    }

    fn times(&self) -> Timestamps {
        let time = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
        Timestamps { last_access: time(self.accessed), last_modification: time(self.modified) }
    }

    fn owner(&self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
    }

    /// Applies everything to an open file or directory. The order matters: a change of owner clears the setuid bits
    /// and file capabilities, and anything at all the times.
    pub(crate) fn apply(&self, file: BorrowedFd<'_>) -> Result<()> {
        let (uid, gid) = self.owner();
        fchown(file, uid, gid)?;
        fchmod(file, Mode::from_raw_mode(self.mode))?;
        for xattr in &self.xattrs {
            tolerate(fsetxattr(file, &xattr.name, &xattr.value, XattrFlags::empty()), xattr)?;
        }
        futimens(file, &self.times())
    }

    /// Applies everything to `name` in `directory` without following it if it is a symlink, whose mode has no meaning.
    pub(crate) fn apply_at(&self, directory: BorrowedFd<'_>, name: &[u8], symlink: bool) -> Result<()> {
        let (uid, gid) = self.owner();
        chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        // Attributes and modes of what cannot be opened are set by a path: that of the directory's descriptor, then one
        // component, which has just been made and is no symlink where that would matter.
        let path = || [format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).as_bytes(), name].concat();
        if !symlink {
            chmodat(CWD, path(), Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        for xattr in &self.xattrs {
            tolerate(lsetxattr(path(), &xattr.name, &xattr.value, XattrFlags::empty()), xattr)?;
        }
        utimensat(directory, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// A file system without this sort of attribute, or a symlink that may not carry it, is no reason to refuse an image.
/// Lost file capabilities are: the program would fail later and nobody would know why.
fn tolerate(result: Result<()>, xattr: &Xattr) -> Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) if xattr.name != "security.capability" => Ok(()),
        other => other,
    }
}

/// The attributes of an open file or directory that a copy of it should have, by name.
fn read_xattrs(file: BorrowedFd<'_>) -> Result<Vec<Xattr>> {
    // Most have none, and hardly any has many.
    let mut names = vec![0; 256];
    let length = match flistxattr(file, &mut names[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            names.resize(64 << 10, 0);
            flistxattr(file, &mut names[..])?
        }
        length => length?,
    };
    let names = names[..length].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    let mut xattrs = Vec::new();
    for name in names.filter(|name| is_welcome(name)) {
        let mut value = vec![0; 64 << 10];
        match fgetxattr(file, name, &mut value[..]) {
            // Taken away meanwhile.
            Err(Errno::NODATA) => continue,
            length => value.truncate(length?),
        }
        xattrs.push(Xattr { name: name.to_owned(), value });
    }
    xattrs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use super::is_welcome;

    #[test]
    fn attributes_that_steer_the_host_are_dropped() {
        for name in ["user.a", "security.capability", "system.posix_acl_access"] {
            assert!(is_welcome(name), "{name}");
        }
        let long = format!("user.{}", "a".repeat(251));
        for name in [
            "trusted.overlay.opaque",
            "trusted.x",
            "user.overlay.redirect",
            "security.selinux",
            "user.",
            "",
            &long,
        ] {
            assert!(!is_welcome(name), "{name}");
        }
    }
}
