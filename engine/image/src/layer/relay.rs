//! Between inflating, hashing and unpacking: one thread each, so that a single large layer keeps two cores busy. Buffers go
//! round: new ones would be cleared by the kernel, page by page, each time.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use tare_model::Digest;

use crate::content::from_hash;

/// Large enough that hashing and inflating run in long strides.
pub(crate) const BUFFER: usize = 256 << 10;
/// Buffers between two of them.
const AHEAD: usize = 8;

/// The end that is written to.
pub(crate) struct Outlet {
    to: SyncSender<Vec<u8>>,
    used: Used,
}

/// The end that is read from. When it is dropped, the other one sees that no more is wanted.
pub(crate) struct Relay {
    from: Receiver<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
    used: Used,
}

/// Buffers that have been read.
#[derive(Clone, Default)]
struct Used(Arc<Mutex<Vec<Vec<u8>>>>);

impl Used {
    /// A buffer of full length with anything in it.
    fn take(&self) -> Vec<u8> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        buffer.resize(BUFFER, 0);
        buffer
    }

    fn put(&self, buffer: Vec<u8>) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() < AHEAD && buffer.capacity() >= BUFFER {
            used.push(buffer);
        }
    }
}

/// Both ends.
pub(crate) fn relay() -> (Outlet, Relay) {
    let (to, from) = sync_channel(AHEAD);
    let used = Used::default();
    (Outlet { to, used: used.clone() }, Relay { from, buffer: Vec::new(), at: 0, used })
}

/// Both ends, and between them who counts what goes by: to be run in a thread of its own, it answers the digest of everything
/// when the stream has ended.
pub(crate) fn counted() -> (Outlet, impl FnOnce() -> Digest + Send, Relay) {
    let (to, counting) = sync_channel::<Vec<u8>>(AHEAD);
    let (out, relay) = relay();
    let used = out.used.clone();
    let count = move || {
        let mut hash = Context::new(&SHA256);
        for buffer in counting {
            hash.update(&buffer);
            if out.to.send(buffer).is_err() {
                break;
            }
        }
        from_hash(&hash.finish())
    };
    (Outlet { to, used }, count, relay)
}

impl Outlet {
    /// Sends a piece; false when nobody wants more.
    pub(crate) fn send(&self, piece: Vec<u8>) -> bool {
        self.to.send(piece).is_ok()
    }

    /// Sends everything that can be read; false when nobody wants the rest.
    pub(crate) fn send_all(&self, mut reader: impl Read) -> io::Result<bool> {
        loop {
            let mut buffer = self.used.take();
            let filled = fill(&mut reader, &mut buffer)?;
            if filled == 0 {
                return Ok(true);
            }
            buffer.truncate(filled);
            if !self.send(buffer) {
                return Ok(false);
            }
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

impl BufRead for Relay {
    /// The end of the stream is where the sender ended, for whatever reason: it knows whether that was the end.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.buffer.len()
            && let Ok(buffer) = self.from.recv()
        {
            self.used.put(std::mem::replace(&mut self.buffer, buffer));
            self.at = 0;
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
    fn everything_arrives_in_order_and_counted() {
        let bytes: Vec<u8> = (0..10_000_003_u32).map(|n| (n / 7) as u8).collect();
        let (to, count, mut relay) = counted();
        let mut arrived = Vec::new();
        let digest = std::thread::scope(|scope| {
            let bytes = &bytes;
            scope.spawn(move || assert!(to.send_all(&bytes[..]).unwrap()));
            let digest = scope.spawn(count);
            relay.read_to_end(&mut arrived).unwrap();
            digest.join().unwrap()
        });
        assert!(arrived == bytes);
        assert_eq!(digest, sha256(&bytes));
    }

    #[test]
    fn a_reader_that_leaves_stops_the_sender() {
        let (to, relay) = relay();
        drop(relay);
        assert!(!to.send_all(io::repeat(7)).unwrap());
        let (to, count, relay) = counted();
        drop(relay);
        std::thread::scope(|scope| {
            scope.spawn(count);
            assert!(!to.send_all(io::repeat(7)).unwrap());
        });
    }
}
