use std::io;
use std::os::fd::BorrowedFd;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Error;

/// Runs `work` on a thread of its own inside of the network namespace that `namespace` (`/proc/<pid>/ns/net`) refers
/// to. The thread ends with it: the caller's thread, which may be one of a pool, never changes its namespace.
pub fn within<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let enter = move || {
        let entered = move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network));
        entered.map(|()| work()).map_err(|cause| Error::Namespace(cause.into()))
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, enter);
        let panicked = || Error::Namespace(io::Error::other("the thread that entered it panicked"));
        thread.map_err(Error::Namespace)?.join().unwrap_or_else(|_| Err(panicked()))
    })
}
