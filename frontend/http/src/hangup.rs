use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::stream::Stream;

/// Tells when a client has gone for good, and not merely finished sending.
///
/// A client may shut down its sending direction and wait for the reply (`nc`, `docker attach` without a terminal), so
/// an end of file on our side proves nothing. epoll(7) reports `EPOLLHUP` only when both directions are closed, and reports
/// it even to who asks for nothing else; so a second descriptor of the socket is registered for urgent data, which
/// nobody sends. On TCP it takes the keepalive's reset to tell a closed peer from a half-closed one.
pub(crate) struct Hangup(OwnedFd);

impl Hangup {
    pub(crate) fn of(stream: &Stream) -> io::Result<Self> {
        let socket = match stream {
            Stream::Unix(socket) => socket.as_fd(),
            Stream::Tcp(socket) => socket.as_fd(),
            Stream::Tls(socket) => socket.get_ref().0.as_fd(),
        };
        Ok(Self(socket.try_clone_to_owned()?))
    }

    /// Resolves when the client has gone; never, if that cannot be watched.
    #[expect(
        deprecated,
        reason = "its successor is unsafe for types that may close their descriptor early; an OwnedFd cannot"
    )]
    pub(crate) async fn wait(self) {
        let Ok(watch) = AsyncFd::with_interest(self.0, Interest::PRIORITY) else {
            return std::future::pending().await;
        };
        while let Ok(mut event) = watch.ready(Interest::PRIORITY).await {
            if is_gone(watch.get_ref()) {
                return;
            }
            event.clear_ready();
        }
    }
}

fn is_gone(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_ok() && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}
