//! # dockerfile: what a Dockerfile says
//!
//! - **Owns**: the language of the Dockerfile reference: instructions, variables, stages and how they lean on each other;
//!   `.dockerignore` and what it leaves out.
//! - **In**: the bytes of a Dockerfile, what the build is given from outside ([`Given`]), the environment of a base.
//! - **Out**: [`Dockerfile`], a tree of instructions with their places; [`Scope::expand`], the same with variables replaced;
//!   [`Stages`], what needs what; [`Error`], which shows the line with a caret.
//! - **Leans on**: `tare-model`, serde_json for the JSON form.
//! - **Never**: does I/O, knows an image or runs anything.
//! - **Invariant**: no input panics, and none takes more than time and memory in proportion to its size.

mod dockerfile;
mod error;
mod expand;
mod heredoc;
mod ignore;
mod instruction;
mod line;
mod parse;
mod ports;
mod read;
mod scope;
mod span;
mod stages;
mod statement;
mod words;

pub use dockerfile::{Directives, Dockerfile, Heredoc, Located, Stage, Step, Warning};
pub use error::{Error, Result};
pub use ignore::{Ignore, Verdict, ignore_files};
pub use instruction::{
    AddFiles, Argument, BindMount, CacheMount, Command, CopyFiles, Healthcheck, Instruction, Mount, Run,
    RunCommand, RunNetwork, RunSecurity, SecretMount, Sharing, Source, SshMount,
};
pub use parse::{parse, parse_trigger};
pub use ports::ports;
pub use read::LARGEST;
pub use scope::{Given, Globals, Scope};
pub use span::{Span, Word, excerpt};
pub use stages::{Origin, Stages};
