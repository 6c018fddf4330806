//! Between inflating and unpacking: one thread each, so that a single large layer keeps two cores busy.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Large enough that hashing and inflating run in long strides.
const BUFFER: usize = 256 << 10;
/// Buffers between the two.
const AHEAD: usize = 8;

/// The end that is read from.
pub(crate) struct Relay {
    from: Receiver<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
}

/// Both ends.
pub(crate) fn relay() -> (SyncSender<Vec<u8>>, Relay) {
    let (to, from) = sync_channel(AHEAD);
    (to, Relay { from, buffer: Vec::new(), at: 0 })
}

/// Sends everything that can be read; false when nobody wants the rest.
pub(crate) fn send_all(mut reader: impl Read, to: &SyncSender<Vec<u8>>) -> io::Result<bool> {
    loop {
        let mut buffer = vec![0; BUFFER];
        let filled = fill(&mut reader, &mut buffer)?;
        if filled == 0 {
            return Ok(true);
        }
        buffer.truncate(filled);
        if to.send(buffer).is_err() {
            return Ok(false);
        }
    }
}

/// Reads until the buffer is full or nothing is left.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Read for Relay {
    /// The end of the stream is where the sender ended, for whatever reason: it knows whether that was the end.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() {
            let Ok(buffer) = self.from.recv() else { return Ok(0) };
            (self.buffer, self.at) = (buffer, 0);
        }
        let length = out.len().min(self.buffer.len() - self.at);
        out[..length].copy_from_slice(&self.buffer[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order() {
        let bytes: Vec<u8> = (0..1_000_003_u32).map(|n| n as u8).collect();
        let (to, mut relay) = relay();
        let mut arrived = Vec::new();
        std::thread::scope(|scope| {
            let bytes = &bytes;
            scope.spawn(move || assert!(send_all(&bytes[..], &to).unwrap()));
            relay.read_to_end(&mut arrived).unwrap();
        });
        assert!(arrived == bytes);
    }

    #[test]
    fn a_reader_that_leaves_stops_the_sender() {
        let (to, relay) = relay();
        drop(relay);
        assert!(!send_all(io::repeat(7), &to).unwrap());
    }
}
