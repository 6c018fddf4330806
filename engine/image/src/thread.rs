//! Threads for work that waits for somebody elsewhere.

use std::path::Path;

use tokio::sync::oneshot;

use crate::{Error, Result};

/// Not in the pool of the threads that may block: they are few, and this one waits for a registry or a client, which may take
/// all the time it wants. A handful of slow ones would keep every container of the machine from starting.
pub(crate) fn in_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>> {
    let (done, result) = oneshot::channel();
    // Whoever waited may have gone; then the result goes too.
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || drop(done.send(work())));
    thread.map_err(Error::io("start a thread for a", Path::new(name)))?;
    Ok(result)
}
