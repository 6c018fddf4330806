//! Paths inside a root that somebody else writes to: openat2(2), which lets the kernel resolve links, `..` and
//! absolute targets inside the root at the moment of use (CVE-2021-30465, CVE-2024-45310).

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;

/// How often a resolution that raced with a rename somewhere in the system is tried again.
const RACES: usize = 128;

/// Opens a path below `root` as a process with that root would see it: symbolic links and `..` stay inside, magic links
/// (those of /proc/PID/fd) are refused. An absolute path is taken from the root. Always close-on-exec.
///
/// # Errors
/// openat2(2)'s; `ELOOP` for magic links.
pub fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    resolve(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// As [`open_in_root`], where no component may be a symbolic link at all.
///
/// # Errors
/// openat2(2)'s; `ELOOP` for a link.
pub fn open_without_links(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    resolve(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
}

/// Makes the directories of a path below `root` that are missing, each resolved inside the root, and answers the last
/// one as an `O_PATH` descriptor.
///
/// # Errors
/// `ENOTDIR` where something else stands in the way; `EINVAL` for a missing component `..`.
pub fn mkdir_all_in_root(root: BorrowedFd<'_>, path: &Path, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match open_in_root(root, path, flags) {
        Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
        answer => return answer,
    }
    let mut walked = PathBuf::from("/");
    let mut directory = open_in_root(root, &walked, flags)?;
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            Component::ParentDir | Component::Normal(_) => walked.push(component),
        }
        directory = step(root, &directory, &walked, component.as_os_str(), mode)?;
    }
    Ok(directory)
}

/// One component: opened as the root's resolution has it, made where it is missing.
fn step(
    root: BorrowedFd<'_>,
    above: &OwnedFd,
    walked: &Path,
    name: &OsStr,
    mode: u32,
) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match open_in_root(root, walked, flags) {
        Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
        answer => return answer,
    }
    if name == ".." {
        return Err(Errno::INVAL.into());
    }
    match mkdirat(above, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = flags | OFlags::NOFOLLOW;
    resolve(
        above.as_fd(),
        Path::new(name),
        flags,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )
}

fn resolve(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    how: ResolveFlags,
) -> io::Result<OwnedFd> {
    for _ in 0..RACES {
        match openat2(root, path, flags | OFlags::CLOEXEC, mode, how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            answer => return answer.map_err(io::Error::from),
        }
    }
    Err(Errno::AGAIN.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        let fd = rustix::fs::open(dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn links_and_dots_stay_inside() {
        let (dir, fd) = root();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "inside").unwrap();
        symlink("/etc", dir.path().join("absolute")).unwrap();
        symlink("../../../../etc", dir.path().join("relative")).unwrap();
        for path in ["/absolute/passwd", "relative/passwd", "../../etc/passwd"] {
            let file = open_in_root(fd.as_fd(), Path::new(path), OFlags::RDONLY).unwrap();
            assert_eq!(io::read_to_string(std::fs::File::from(file)).unwrap(), "inside", "{path}");
        }
        assert!(open_without_links(fd.as_fd(), Path::new("absolute/passwd"), OFlags::RDONLY).is_err());
    }

    #[test]
    fn directories_are_made_through_links_inside_only() {
        let (dir, fd) = root();
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        symlink("/real", dir.path().join("link")).unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        mkdir_all_in_root(fd.as_fd(), Path::new("/link/a/b"), 0o755).unwrap();
        assert!(dir.path().join("real/a/b").is_dir());
        // A dangling link is an obstacle, not a way out.
        assert!(mkdir_all_in_root(fd.as_fd(), Path::new("/out/x"), 0o755).is_err());
        assert_eq!(outside.path().read_dir().unwrap().count(), 0);
        assert!(mkdir_all_in_root(fd.as_fd(), Path::new("/new/../../x"), 0o755).is_ok());
        assert!(dir.path().join("x").is_dir(), "`..` above the root is the root");
    }

    #[test]
    fn magic_links_are_refused() {
        let proc = rustix::fs::open("/proc", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let error = open_in_root(proc.as_fd(), Path::new("self/fd/0"), OFlags::PATH).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let (dir, fd) = root();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = mkdir_all_in_root(fd.as_fd(), Path::new("file/a"), 0o755).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NOTDIR.raw_os_error()));
    }
}
