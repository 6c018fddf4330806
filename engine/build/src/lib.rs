//! # build: from a Dockerfile and files to an image
//!
//! - **Owns**: `<data-root>/build` (directories of cache mounts, what a step needs while it runs), the cache of steps.
//! - **In**: a context as a tar that nobody trusts, a Dockerfile in it, arguments, secrets.
//! - **Out**: an image with its names; progress, step by step.
//! - **Leans on**: container to run steps, image and snapshot for layers, store for the cache; dockerfile for the language; the
//!   program git where an address is one of git's.
//! - **Never**: resolves a path of a context, an image or a stage but inside its root, writes a secret to a disk, a log, the
//!   history or the cache.
//! - **Invariant**: the key of a step holds everything that can make a difference to what it does, so that what the cache
//!   gives is what the step would have made; an image appears whole, with its names, or not at all.
//!
//! ```text
//! tar, git ─context→ Dockerfile ─dockerfile→ stages ─job→ steps, each: key → cache, or run / copy → layer ─→ image
//! ```

mod builder;
mod cache;
mod context;
mod copy;
mod error;
mod fetch;
mod files;
mod finish;
mod foreign;
mod git;
mod glob;
mod job;
mod keep;
mod key;
mod lend;
mod mode;
mod mounts;
mod place;
mod progress;
mod prune;
mod request;
mod run;
mod scratch;
mod squash;
mod stage;
mod state;
mod walk;
mod xattr;

use std::cell::RefCell;
use std::sync::{Arc, Weak};

pub use builder::Builder;
pub use error::{Error, Result};
pub use progress::{Built, Exported, Listener, Made, Progress};
pub use prune::{PruneRequest, Pruned};
pub use request::{BuildRequest, Entitlements, Export, NamedContext, Reuse, RunSettings, Source};

/// This moment.
pub(crate) fn now() -> tare_model::Timestamp {
    std::time::SystemTime::now().into()
}

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
