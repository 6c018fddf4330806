use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;

/// What a client sends, as a reader for a thread that may block.
pub struct Arriving {
    from: Receiver<io::Result<Bytes>>,
    chunk: Bytes,
    taken: Arc<AtomicU64>,
}

impl Arriving {
    /// Reads until nobody sends any more; an error that is sent is the reader's.
    pub fn new(from: Receiver<io::Result<Bytes>>) -> Self {
        Self { from, chunk: Bytes::new(), taken: Arc::default() }
    }

    /// How many bytes were read so far, for who measures what they unpack to.
    pub fn taken(&self) -> Arc<AtomicU64> {
        self.taken.clone()
    }
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.from.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let length = self.chunk.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.chunk.split_to(length));
        self.taken.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}
