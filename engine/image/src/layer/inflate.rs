//! From the bytes that a registry sends to those of the tar: decoders, and the limits that stop a bomb.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use tare_oci::image::media_type;

use super::Budget;
use crate::settings::{Limits, MORE};
use crate::{Error, Result};

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Plain,
    Gzip,
    Zstd,
}

/// 128 MiB: what zstd itself takes without being asked, and the most that its own levels use.
const ZSTD_WINDOW_LOG: u32 = 27;

impl Compression {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "uncompressed tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// What the first bytes tell; four are enough.
    pub(crate) fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame, with which seekable zstd may begin.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// The compression that a layer's media type announces; `None` when it is no layer that can be unpacked.
pub(crate) fn announced(kind: &str) -> Option<Compression> {
    // Layers that were not to be distributed are fetched from the registry like others, or not at all.
    let kind = kind.replace(".nondistributable", "").replace(".foreign", "");
    match kind.as_str() {
        media_type::OCI_LAYER | media_type::DOCKER_LAYER => Some(Compression::Plain),
        media_type::OCI_LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => Some(Compression::Gzip),
        media_type::OCI_LAYER_ZSTD | media_type::DOCKER_LAYER_ZSTD => Some(Compression::Zstd),
        _ => None,
    }
}

/// The bytes of a layer's tar.
pub(crate) struct Inflated<'a> {
    decoder: Box<dyn Read + 'a>,
    bytes: u64,
    /// Compressed bytes that the decoder was given, counted by who gives them.
    taken: Arc<AtomicU64>,
    limits: Limits,
    /// Of all layers together.
    budget: Option<&'a Budget>,
    layer: &'a str,
    failure: Option<Error>,
}

impl<'a> Inflated<'a> {
    /// Decodes `source`; `taken` counts what was read from it.
    pub(crate) fn new(
        layer: &'a str,
        compression: Compression,
        source: impl BufRead + 'a,
        taken: Arc<AtomicU64>,
        limits: Limits,
    ) -> Result<Self> {
        let decoder: Box<dyn Read + 'a> = match compression {
            Compression::Plain => Box::new(source),
            Compression::Gzip => Box::new(MultiGzDecoder::new(source)),
            Compression::Zstd => Box::new(
                zstd(source).map_err(|e| Error::Inflate { layer: layer.to_owned(), cause: e.to_string() })?,
            ),
        };
        Ok(Self { decoder, bytes: 0, taken, limits, budget: None, layer, failure: None })
    }

    /// Counts what comes out for all layers together, too.
    pub(crate) fn within(self, budget: &'a Budget) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// Why reading failed, where it was not the source's fault.
    pub(crate) fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    fn bomb(&self) -> Option<String> {
        let Limits { layer_bytes, ratio, ratio_from, .. } = self.limits;
        let taken = self.taken.load(Ordering::Relaxed).max(1);
        if self.bytes > layer_bytes {
            return Some(format!("it unpacks to more than {layer_bytes} bytes"));
        }
        let blown = self.bytes > ratio_from && self.bytes / taken > ratio;
        blown.then(|| {
            format!(
                "{taken} compressed bytes unpack to {}, more than {ratio} times as many{MORE}",
                self.bytes
            )
        })
    }
}

impl Read for Inflated<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer).inspect_err(|e| {
            self.failure = Some(Error::Inflate { layer: self.layer.to_owned(), cause: e.to_string() });
        })?;
        self.bytes += read as u64;
        match self.bomb().or_else(|| self.budget?.spend(read)) {
            None => Ok(read),
            Some(cause) => {
                self.failure = Some(Error::Bomb { layer: self.layer.to_owned(), cause });
                Err(io::Error::other("a limit is reached"))
            }
        }
    }
}

/// Decodes zstd with a window that fits into memory.
pub(crate) fn zstd<'a, B: BufRead + 'a>(source: B) -> io::Result<zstd::stream::read::Decoder<'a, B>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(compressed: Vec<u8>, limits: Limits) -> (io::Result<Vec<u8>>, Option<Error>) {
        let taken = Arc::new(AtomicU64::new(compressed.len() as u64));
        let compression = Compression::of(&compressed);
        let mut inflated = Inflated::new("l", compression, Cursor::new(compressed), taken, limits).unwrap();
        let mut tar = Vec::new();
        let result = inflated.read_to_end(&mut tar).map(|_| tar);
        (result, inflated.failure())
    }

    #[test]
    fn every_compression_gives_the_same_bytes() {
        let plain = b"some bytes that stand for a tar".repeat(1000);
        let two_members = [gzip(&plain[..500]), gzip(&plain[500..])].concat();
        let zstd = zstd::stream::encode_all(&plain[..], 3).unwrap();
        for compressed in [plain.clone(), gzip(&plain), two_members, zstd] {
            assert!(inflate(compressed, Limits::default()).0.unwrap() == plain);
        }
    }

    #[test]
    fn a_bomb_is_stopped_by_its_ratio_and_by_its_size() {
        let bomb = gzip(&vec![0; 8 << 20]);
        assert!(bomb.len() < 9000, "{}", bomb.len());
        let by_ratio = Limits { ratio_from: 1 << 20, ..Limits::default() };
        let by_size = Limits { layer_bytes: 1 << 20, ..Limits::default() };
        for limits in [by_ratio, by_size] {
            let (result, failure) = inflate(bomb.clone(), limits);
            assert!(result.is_err());
            assert!(matches!(failure, Some(Error::Bomb { .. })), "{failure:?}");
        }
        assert!(inflate(bomb, Limits::default()).0.is_ok(), "small enough to be let through");
    }

    #[test]
    fn cut_and_damaged_streams_are_errors() {
        let whole = gzip(&b"0123456789".repeat(10_000));
        let mut damaged = whole.clone();
        damaged[20] ^= 0xff;
        let trailing = [whole.clone(), b"garbage".to_vec()].concat();
        for bad in [whole[..whole.len() / 2].to_vec(), damaged, trailing] {
            let (result, failure) = inflate(bad, Limits::default());
            assert!(result.is_err() && matches!(failure, Some(Error::Inflate { .. })));
        }
    }

    #[test]
    fn a_giant_zstd_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(29).unwrap();
        encoder.write_all(&[7; 1 << 16]).unwrap();
        let (result, ..) = inflate(encoder.finish().unwrap(), Limits::default());
        assert!(result.is_err());
    }

    #[test]
    fn media_types_announce_their_compression() {
        for (kind, compression) in [
            (media_type::OCI_LAYER, Some(Compression::Plain)),
            (media_type::DOCKER_LAYER_GZIP, Some(Compression::Gzip)),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Some(Compression::Gzip)),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Some(Compression::Zstd)),
            ("application/vnd.oci.image.layer.v1.tar+bzip2", None),
            ("", None),
        ] {
            assert_eq!(announced(kind), compression, "{kind}");
        }
    }
}
