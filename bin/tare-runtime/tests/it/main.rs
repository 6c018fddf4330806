//! The command line as an engine uses it: one process a command, on the real kernel.

// Tests may say loudly what is wrong.
#![allow(clippy::unwrap_used)]

mod attack;
mod checkpoint;
mod flags;
mod hooks;
mod inside;
mod labels;
mod life;
mod limits;
mod logs;
mod program;
mod rootless;
mod systemd;
mod world;
