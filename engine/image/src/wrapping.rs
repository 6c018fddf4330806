//! What an archive is wrapped in: its tar comes as it is, or compressed in one of the ways that Docker reads, and no bomb
//! comes out of it. Layers of images are another matter: what they may be compressed by is told by their media type.

mod arriving;
mod xz;

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use tokio::sync::mpsc::Receiver;

use crate::layer::{Compression, zstd};
use crate::settings::Limits;
use crate::{Error, Result};

pub use arriving::Arriving;
use xz::Xz;

/// Bytes of an archive when it is unpacked.
const ARCHIVE_BYTES: u64 = 1 << 40;
const BUFFER: usize = 256 << 10;
/// How many of the first bytes tell what follows.
const MAGIC: usize = 6;

/// What bytes are compressed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrapping {
    Layer(Compression),
    Bzip2,
    Xz,
}

impl Wrapping {
    /// What the first [`MAGIC`] bytes tell.
    fn of(magic: &[u8]) -> Self {
        match magic {
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            magic => Self::Layer(Compression::of(magic)),
        }
    }
}

/// Whether what begins with these bytes is compressed by gzip, bzip2, xz or zstd.
pub fn is_wrapped(magic: &[u8]) -> bool {
    Wrapping::of(magic) != Wrapping::Layer(Compression::Plain)
}

/// What `input` holds, compressed by gzip, bzip2, xz, zstd or not at all. `taken` counts what was read of it so far, or is
/// its size: what inflates to too many times of that is refused.
pub fn unwrapped<'a>(input: impl BufRead + Send + 'a, taken: Arc<AtomicU64>) -> io::Result<Unwrapped<'a>> {
    within(input, taken, &Limits::default())
}

/// The archive's tar, whatever it is wrapped in.
pub(crate) fn decoded(archive: Receiver<io::Result<Bytes>>, limits: &Limits) -> Result<Unwrapped<'static>> {
    let arriving = Arriving::new(archive);
    let taken = arriving.taken();
    let mut input = BufReader::with_capacity(BUFFER, arriving);
    let broken = |e: io::Error| Error::Archive(e.to_string());
    if input.fill_buf().map_err(broken)?.is_empty() {
        return Err(Error::Archive("it is empty".to_owned()));
    }
    within(input, taken, limits).map_err(broken)
}

fn within<'a>(
    mut input: impl BufRead + Send + 'a,
    taken: Arc<AtomicU64>,
    limits: &Limits,
) -> io::Result<Unwrapped<'a>> {
    // However small the pieces are in which it comes.
    let mut magic = Vec::with_capacity(MAGIC);
    input.by_ref().take(MAGIC as u64).read_to_end(&mut magic)?;
    let wrapping = Wrapping::of(&magic);
    let input = Cursor::new(magic).chain(input);
    let decoder: Box<dyn Read + Send + 'a> = match wrapping {
        Wrapping::Layer(Compression::Plain) => Box::new(input),
        Wrapping::Layer(Compression::Gzip) => Box::new(MultiGzDecoder::new(input)),
        Wrapping::Layer(Compression::Zstd) => Box::new(zstd(input)?),
        Wrapping::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        Wrapping::Xz => Box::new(Xz::new(input)),
    };
    Ok(Unwrapped { decoder, taken, bytes: 0, ratio: limits.ratio, ratio_from: limits.ratio_from })
}

/// A decoder that is no bomb.
pub struct Unwrapped<'a> {
    decoder: Box<dyn Read + Send + 'a>,
    taken: Arc<AtomicU64>,
    bytes: u64,
    ratio: u64,
    ratio_from: u64,
}

impl Read for Unwrapped<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        self.bytes += read as u64;
        let taken = self.taken.load(Ordering::Relaxed).max(1);
        let blown = self.bytes > self.ratio_from && self.bytes / taken > self.ratio;
        if blown || self.bytes > ARCHIVE_BYTES {
            let cause = format!("{taken} bytes unpack to {} and more, which is refused", self.bytes);
            return Err(io::Error::other(cause));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let taken = Arc::new(AtomicU64::new(bytes.len() as u64));
        let mut unpacked = Vec::new();
        let limits = Limits { ratio_from: 1 << 20, ..Limits::default() };
        within(bytes, taken, &limits)?.read_to_end(&mut unpacked).map(|_| unpacked)
    }

    /// Gives one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let one = buffer.len().min(1);
            self.0.read(&mut buffer[..one])
        }
    }

    #[test]
    fn streams_follow_each_other_and_come_in_any_pieces() {
        let two = [bzip2(b"first "), bzip2(b"second")].concat();
        assert!(is_wrapped(&two));
        assert_eq!(read(&two).unwrap(), b"first second");
        let slow = BufReader::with_capacity(1, Slow(&two));
        let mut unpacked = Vec::new();
        unwrapped(slow, Arc::new(AtomicU64::new(1))).unwrap().read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, b"first second");
        for plain in [&b"BZh"[..], b"BZhx", b"\xfd7zXZ", b"", b"FROM x"] {
            assert_eq!(read(plain).unwrap(), plain);
        }
    }

    #[test]
    fn bombs_and_torn_streams_are_refused() {
        let bomb = bzip2(&vec![0; 16 << 20]);
        assert!(bomb.len() < 2000, "{}", bomb.len());
        assert!(read(&bomb).unwrap_err().to_string().contains("which is refused"));
        let whole = bzip2(&b"0123456789".repeat(1000));
        let mut damaged = whole.clone();
        damaged[30] ^= 1;
        for bad in [&whole[..whole.len() / 2], &damaged, &[&whole[..], b"garbage"].concat()] {
            assert!(read(bad).is_err());
        }
    }
}
