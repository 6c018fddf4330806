//! # dockerfile: what a Dockerfile says
//!
//! - **Owns**: the language of the Dockerfile reference.
//! - **In**: the bytes of a Dockerfile.
//! - **Out**: [`Dockerfile`], a tree of instructions with their places.
//! - **Leans on**: `tare-model`, serde_json for the JSON form.
//! - **Never**: does I/O, knows an image or runs anything.
//! - **Invariant**: no input panics.

mod dockerfile;
mod error;
mod instruction;
mod span;

pub use dockerfile::{Directives, Dockerfile, Heredoc, Located, Stage, Step, Warning};
pub use error::{Error, Result};
pub use instruction::{
    AddFiles, Argument, BindMount, CacheMount, Command, CopyFiles, Healthcheck, Instruction, Mount, Run,
    RunCommand, RunNetwork, RunSecurity, SecretMount, Sharing, Source, SshMount,
};
pub use span::{Span, Word, excerpt};
