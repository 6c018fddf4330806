//! Work that blocks, and whether somebody still waits for it.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use crate::error::io;
use crate::{Error, Result};

thread_local! {
    /// Alive while somebody waits for the work of this thread; nothing in threads of their own.
    static WAITING: RefCell<Option<Weak<()>>> = const { RefCell::new(None) };
}

/// Runs what blocks on a thread that may. Dropping the future leaves the thread to itself, which asks [`wanted`].
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let waiting = Arc::new(());
    let waits = Arc::downgrade(&waiting);
    let done = tokio::task::spawn_blocking(move || {
        WAITING.replace(Some(waits));
        work()
    });
    done.await.unwrap_or(Err(Error::Cancelled))
}

/// Runs on a thread of its own what waits for a client or a server: those that may block are few, and either may take all the
/// time it wants.
pub(crate) fn in_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<oneshot::Receiver<Result<T>>> {
    let (done, result) = oneshot::channel();
    // Whoever waited may have gone; then the result goes too.
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || drop(done.send(work())));
    thread.map_err(io("start a thread"))?;
    Ok(result)
}

/// An error where nobody waits any more for the work of this thread: its client has gone. For what can take minutes.
pub(crate) fn wanted() -> Result<()> {
    let gone = WAITING.with_borrow(|waits| waits.as_ref().is_some_and(|waits| waits.strong_count() == 0));
    if gone { Err(Error::Cancelled) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_told() {
        let (ended, end) = std::sync::mpsc::channel();
        let (begun, begin) = tokio::sync::oneshot::channel();
        let work = tokio::spawn(blocking(move || {
            wanted()?;
            let _ = begun.send(());
            while wanted().is_ok() {
                std::thread::yield_now();
            }
            ended.send(()).map_err(|_| Error::Cancelled)
        }));
        begin.await.unwrap();
        work.abort();
        tokio::task::spawn_blocking(move || end.recv()).await.unwrap().unwrap();
        assert!(wanted().is_ok(), "threads of their own are nobody's");
    }
}
