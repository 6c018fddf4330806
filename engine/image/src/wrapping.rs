//! What an archive is wrapped in: its tar comes as it is, or compressed, and no bomb comes out of it.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use tokio::sync::mpsc::Receiver;

use crate::arriving::Arriving;
use crate::config::Limits;
use crate::inflate::Compression;
use crate::{Error, Result};

/// Bytes of an archive when it is unpacked.
const ARCHIVE_BYTES: u64 = 1 << 40;
const BUFFER: usize = 256 << 10;
/// 128 MiB: what zstd itself takes without being asked.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The archive's tar, whatever it is wrapped in.
pub(crate) fn decoded(archive: Receiver<io::Result<Bytes>>, limits: &Limits) -> Result<Bounded> {
    let arriving = Arriving::new(archive);
    let taken = arriving.taken();
    let mut input = BufReader::with_capacity(BUFFER, arriving);
    let broken = |e: io::Error| Error::Archive(e.to_string());
    let magic = input.fill_buf().map_err(broken)?;
    if magic.is_empty() {
        return Err(Error::Archive("it is empty".to_owned()));
    }
    let compression = match magic {
        [b'B', b'Z', b'h', ..] => {
            return Err(Error::Archive("bzip2 is not supported; use gzip or zstd".to_owned()));
        }
        [0xfd, b'7', b'z', b'X', b'Z', ..] => {
            return Err(Error::Archive("xz is not supported; use gzip or zstd".to_owned()));
        }
        magic => Compression::of(magic),
    };
    let decoder: Box<dyn Read + Send> = match compression {
        Compression::Plain => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(broken)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(broken)?;
            Box::new(decoder)
        }
    };
    Ok(Bounded { decoder, taken, bytes: 0, ratio: limits.ratio, ratio_from: limits.ratio_from })
}

/// A decoder that is no bomb.
pub(crate) struct Bounded {
    decoder: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
    bytes: u64,
    ratio: u64,
    ratio_from: u64,
}

impl Read for Bounded {
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
