//! # build: from a Dockerfile and files to an image
//!
//! - **Owns**: `<data-root>/build` (directories of cache mounts, what a step needs while it runs), the cache of steps.
//! - **In**: a context as a tar that nobody trusts, a Dockerfile in it, arguments, secrets.
//! - **Out**: an image with its names; progress, step by step.
//! - **Leans on**: container to run steps, image and snapshot for layers, registry for what ADD fetches, store for the cache;
//!   dockerfile for the language, sys, oci, model; the program git where an address is one of git's.
//! - **Never**: resolves a path of a context, an image or a stage but inside its root, writes a secret to a disk, a log, the
//!   history or the cache.
//! - **Invariant**: the key of a step holds everything that can make a difference to what it does, so that what the cache
//!   gives is what the step would have made; an image appears whole, with its names, or not at all.
//!
//! ```text
//! tar, git ─context→ Dockerfile ─dockerfile→ stages ─job→ steps, each: key → cache, or run / copy → layer ─→ image
//! ```
//!
//! `builder` is the door, `job` one build, `stage` one of its stages and what that is between two instructions; `run` and `copy`
//! are the instructions that touch files, by `files`, which knows trees that nobody trusts; `cache` has what steps came to, by
//! their keys; `context` and `git` bring files in; `finish` makes the image.

mod builder;
mod cache;
mod context;
mod copy;
mod error;
mod files;
mod finish;
mod foreign;
mod git;
mod job;
mod progress;
mod prune;
mod request;
mod room;
mod run;
mod scratch;
mod stage;
mod waiting;

pub use builder::Builder;
pub use error::{Error, Result};
pub use progress::{Built, Exported, Listener, Made, Progress};
pub use prune::{Cached, PruneRequest, Pruned};
pub use request::{BuildRequest, Entitlements, Export, NamedContext, Reuse, RunSettings, Source};

pub(crate) use waiting::{blocking, in_a_thread, wanted};

/// This moment.
pub(crate) fn now() -> tare_model::Timestamp {
    std::time::SystemTime::now().into()
}
