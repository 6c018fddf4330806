use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches a descriptor for something to read.
///
/// tokio's other constructor is `unsafe` because a type's `as_raw_fd` may lie; an [`OwnedFd`]'s does not, so the deprecated
/// one is sound here.
#[allow(deprecated)]
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}
