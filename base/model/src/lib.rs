//! # model: the words everybody uses
//!
//! - **Owns**: identifiers, digests, image references, platforms, root mounts, signals, capabilities, names of limits, times, sizes,
//!   error kinds; which word a misspelt one means.
//! - **In**: text that a person, a client or a file gave.
//! - **Out**: values that are valid by construction, and their canonical text.
//! - **Leans on**: nothing but serde.
//! - **Never**: does I/O, reads the clock or knows who asks.
//! - **Invariant**: `T::from_str(&t.to_string()) == t` for every type here that is read from text.

mod capability;
mod digest;
mod duration;
mod id;
mod kind;
mod nearest;
mod platform;
mod reference;
mod rlimit;
mod root_mount;
mod signal;
mod size;
mod timestamp;

pub use capability::{Capability, DEFAULT_CAPABILITIES};
pub use digest::{Digest, DigestError};
pub use duration::{DurationError, format_duration, parse_duration};
pub use id::{Id, IdError, Name};
pub use kind::{HasKind, Kind};
pub use nearest::nearest;
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
pub use rlimit::ULIMITS;
pub use root_mount::RootMount;
pub use signal::{Signal, SignalError};
pub use size::{SizeError, format_bytes, format_bytes_binary, parse_bytes};
pub use timestamp::{Timestamp, TimestampError};
