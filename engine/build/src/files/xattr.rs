use std::os::fd::AsFd;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};
use rustix::io::Errno;

/// What a copy of a file keeps of its extended attributes: file capabilities, access lists and what programs keep for
/// themselves; never those that steer overlayfs or that security modules give.
pub(crate) fn read(file: impl AsFd) -> rustix::io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; 64 << 10];
    let length = match flistxattr(&file, &mut names[..]) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        length => length?,
    };
    let mut value = vec![0; 64 << 10];
    let mut kept = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()) {
        let user = name.strip_prefix("user.").is_some_and(|rest| !rest.starts_with("overlay."));
        if user
            || ["security.capability", "system.posix_acl_access", "system.posix_acl_default"].contains(&name)
        {
            let length = fgetxattr(&file, name, &mut value[..])?;
            kept.push((name.to_owned(), value[..length].to_owned()));
        }
    }
    kept.sort_unstable();
    Ok(kept)
}

/// Gives a copy what its original had. A file system without such attributes loses them, file capabilities excepted.
pub(crate) fn write(file: impl AsFd, attributes: &[(String, Vec<u8>)]) -> rustix::io::Result<()> {
    attributes.iter().try_for_each(|(name, value)| {
        match fsetxattr(&file, name.as_str(), value, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP | Errno::PERM) if name != "security.capability" => Ok(()),
            other => other,
        }
    })
}
