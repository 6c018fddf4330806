//! Room on a disk, for programs that fail without saying that there was none.

use std::path::Path;

/// A disk with fewer bytes free is full, for most that programs write.
const LITTLE: u64 = 1 << 20;

/// That the disk of `path` is full, in words, where it is.
pub(crate) fn lacking(path: &Path) -> Option<String> {
    let disk = rustix::fs::statvfs(path).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // Some file systems do not count their files.
    let no_files = disk.f_files > 0 && disk.f_favail == 0;
    let place = path.display();
    if no_files {
        return Some(format!("the disk is full: {place} can hold no more files"));
    }
    (free < LITTLE).then(|| format!("the disk is full: {free} bytes are free in {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_room_is_not_full() {
        assert_eq!(lacking(Path::new("/dev/shm")), None);
        assert_eq!(lacking(Path::new("/nowhere")), None);
        // It has neither blocks nor files.
        assert!(lacking(Path::new("/proc")).unwrap().starts_with("the disk is full: 0 bytes"));
    }
}
