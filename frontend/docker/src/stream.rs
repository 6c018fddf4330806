//! What flows over connections that were handed over: a program's output, and its input.

mod detach;
mod session;

pub(crate) use detach::DetachKeys;
pub(crate) use session::{Session, hijack};

use crate::version::{Change, Version};

/// Bytes as they are.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";
/// Frames of `[stream, 0, 0, 0, length (4 bytes, big endian)]` and so many bytes.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// What the client is told is coming. Before 1.42 both were called raw.
pub(crate) fn content_type(tty: bool, version: Version) -> &'static str {
    if tty || !version.has(Change::MultiplexedType) { RAW } else { MULTIPLEXED }
}

/// The head of a frame; stream 1 is the standard output, 2 the standard error.
pub(crate) fn frame_head(stream: u8, length: usize) -> [u8; 8] {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [stream, 0, 0, 0, length[0], length[1], length[2], length[3]]
}
