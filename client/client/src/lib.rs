//! # client: what a person or a tool speaks to the daemon with
//!
//! - **Owns**: the connection to a daemon (found, dialled, started on demand), requests and answers of the Docker Engine API.
//! - **In**: a [`Host`], and calls in the words of the API.
//! - **Out**: the wire types of `tare-docker-api`, byte streams, and errors that say what to do.
//! - **Leans on**: hyper, `tare-docker-api`, `tare-model`.
//! - **Never**: prints, reads a terminal, or knows a command line.
//! - **Invariant**: no call sleeps or polls; the daemon's readiness, every answer and every stream is an event.
//!
//! [`Client`] sends; one file a noun adds its calls: [`Client::create_container`], [`Client::pull`], …
//! [`Frames`] and [`Lines`] cut what streams into pieces, without any I/O.

mod address;
mod build;
mod containers;
mod difference;
mod error;
mod exec;
mod frames;
mod host;
mod images;
mod lines;
mod own;
mod start;
mod system;
mod transport;
mod usage;
mod volumes;

pub use address::Address;
pub use build::BuildRequest;
pub use containers::{AttachOptions, ListOptions, LogOptions, PendingExit, WaitFor};
pub use difference::CommitOptions;
pub use error::{Error, Result};
pub use frames::{FrameError, Frames, Stream};
pub use host::{Host, Target};
pub use images::{ImportOptions, PullOptions};
pub use lines::Lines;
pub use system::EventOptions;
pub use transport::{Answer, Client, Hijacked, Messages};
