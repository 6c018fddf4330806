//! Between inflating and unpacking: one thread each, so that a single large layer keeps two cores busy. What comes through
//! is hashed on the side that unpacks, which has less to do.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use aws_lc_rs::digest::{Context, SHA256};
use tare_model::Digest;

use crate::content::from_hash;

/// Large enough that hashing and inflating run in long strides.
const BUFFER: usize = 256 << 10;
/// Buffers between the two.
const AHEAD: usize = 8;

/// The end that is read from.
pub(crate) struct Relay {
    from: Receiver<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
    hash: Context,
}

/// Both ends.
pub(crate) fn relay() -> (SyncSender<Vec<u8>>, Relay) {
    let (to, from) = sync_channel(AHEAD);
    (to, Relay { from, buffer: Vec::new(), at: 0, hash: Context::new(&SHA256) })
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

impl Relay {
    /// The digest of everything that came. The other end sees that no more is wanted.
    pub(crate) fn digest(self) -> Digest {
        from_hash(&self.hash.finish())
    }
}

impl BufRead for Relay {
    /// The end of the stream is where the sender ended, for whatever reason: it knows whether that was the end.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.buffer.len()
            && let Ok(buffer) = self.from.recv()
        {
            self.hash.update(&buffer);
            (self.buffer, self.at) = (buffer, 0);
        }
        Ok(&self.buffer[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Relay {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let length = out.len().min(ready.len());
        out[..length].copy_from_slice(&ready[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::sha256;

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
        assert_eq!(relay.digest(), sha256(&bytes));
    }

    #[test]
    fn a_reader_that_leaves_stops_the_sender() {
        let (to, relay) = relay();
        drop(relay);
        assert!(!send_all(io::repeat(7), &to).unwrap());
    }
}
