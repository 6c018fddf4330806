//! Layers in another compression than the one in which they are kept: made for one shipment, and gone with it. The tar inside
//! stays as it is, and so do the image's configuration and its id.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::available_parallelism;

use aws_lc_rs::digest::{Context, SHA256};
use flate2::GzBuilder;
use futures_util::{StreamExt, TryStreamExt, stream};
use tare_model::Digest;
use tare_oci::image::{Descriptor, media_type};
use tokio::task::spawn_blocking;

use super::shipment::Shipment;
use crate::content::{Content, HashedFile, discard, from_hash};
use crate::document::descriptor;
use crate::layer::{Compression, Inflated, announced};
use crate::progress::{LayerState, Listener, Reporter};
use crate::{Error, Images, Result};

const BUFFER: usize = 256 << 10;
/// Of gzip: what everybody else sends.
const GZIP_LEVEL: u32 = 6;
/// Of zstd: its own choice, smaller than gzip's and made in a fraction of the time.
const ZSTD_LEVEL: i32 = 3;

/// How layers are compressed where they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerCompression {
    /// What every registry and engine takes (RFC 1952).
    Gzip,
    /// Smaller, and unpacked several times faster (RFC 8878); engines take it since 2020.
    Zstd,
}

impl FromStr for LayerCompression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => Err(Error::UnknownCompression(other.to_owned())),
        }
    }
}

impl LayerCompression {
    fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => media_type::OCI_LAYER_GZIP,
            Self::Zstd => media_type::OCI_LAYER_ZSTD,
        }
    }

    fn is(self, other: Compression) -> bool {
        matches!((self, other), (Self::Gzip, Compression::Gzip) | (Self::Zstd, Compression::Zstd))
    }
}

/// A blob that only a shipment has.
#[derive(Debug)]
pub(crate) struct Remade(PathBuf);

impl Drop for Remade {
    fn drop(&mut self) {
        discard(&self.0);
    }
}

/// The blobs that only a shipment has, by their digests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Own(Arc<BTreeMap<Digest, Remade>>);

impl Own {
    pub(crate) fn new(blobs: BTreeMap<Digest, Remade>) -> Self {
        Self(Arc::new(blobs))
    }

    /// The file with a blob, which is a kept one where it is not among these.
    pub(crate) fn path(&self, content: &Content, blob: &Digest) -> PathBuf {
        self.0.get(blob).map_or_else(|| content.path(blob), |own| own.0.clone())
    }
}

/// The same image with all layers in this compression. Layers that have it, and those that are not to be distributed, stay
/// as they are. Dropping the future stops the work.
pub(crate) async fn recompress(
    images: &Arc<Images>,
    mut shipment: Shipment,
    wanted: LayerCompression,
    listener: &Listener,
) -> Result<Shipment> {
    let wish = Arc::new(());
    let remake = |layer: &Descriptor| {
        let (images, layer, wish) = (images.clone(), layer.clone(), Arc::downgrade(&wish));
        let reporter = Reporter::new(layer.digest.short(), layer.size, listener.clone());
        async move {
            let work = move || Remaking { images: &images, layer: &layer, reporter, wish }.into(wanted);
            spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
        }
    };
    let at_a_time = available_parallelism().map_or(1, usize::from);
    let others: Vec<_> = shipment.manifest.layers.iter().filter(|layer| differs(layer, wanted)).collect();
    let works: Vec<_> = others.into_iter().map(remake).collect();
    let remade: Vec<_> = stream::iter(works).buffered(at_a_time).try_collect().await?;
    drop(wish);
    if remade.is_empty() {
        return Ok(shipment);
    }
    let mut manifest = shipment.manifest.clone();
    let mut remade = remade.into_iter();
    let mut own = BTreeMap::new();
    for layer in manifest.layers.iter_mut().filter(|layer| differs(layer, wanted)) {
        let Some((descriptor, file)) = remade.next() else { return Err(Error::Cancelled) };
        own.insert(descriptor.digest, file);
        *layer = descriptor;
    }
    manifest.media_type = Some(media_type::OCI_MANIFEST.to_owned());
    manifest.config.media_type = media_type::OCI_CONFIG.to_owned();
    shipment.replace(manifest, Own::new(own))?;
    Ok(shipment)
}

fn differs(layer: &Descriptor, wanted: LayerCompression) -> bool {
    let bound = layer.media_type.contains("nondistributable") || layer.media_type.contains(".foreign");
    !bound && announced(&layer.media_type).is_some_and(|kept| !wanted.is(kept))
}

/// One layer under work.
struct Remaking<'a> {
    images: &'a Images,
    layer: &'a Descriptor,
    reporter: Reporter,
    /// Dead when nobody wants it any more.
    wish: Weak<()>,
}

impl Remaking<'_> {
    fn into(mut self, wanted: LayerCompression) -> Result<(Descriptor, Remade)> {
        let (path, file) = self.images.content.scratch()?;
        let remade = Remade(path);
        let written = BufWriter::with_capacity(BUFFER, HashedFile::new(file));
        let failed = Error::io("write", &remade.0);
        let written = match wanted {
            LayerCompression::Gzip => {
                let mut to = GzBuilder::new().write(written, flate2::Compression::new(GZIP_LEVEL));
                self.copy((&mut to, &remade.0))?;
                to.finish()
            }
            LayerCompression::Zstd => {
                let started = zstd::stream::write::Encoder::new(written, ZSTD_LEVEL);
                let mut to = started.map_err(Error::io("compress", &remade.0))?;
                self.copy((&mut to, &remade.0))?;
                to.finish()
            }
        };
        let written =
            written.and_then(|written| written.into_inner().map_err(io::IntoInnerError::into_error));
        let (digest, size) = written.map_err(failed)?.finish();
        self.reporter.tell(LayerState::Compressed);
        let annotations = self.layer.annotations.clone();
        Ok((Descriptor { digest, size, annotations, ..descriptor(wanted.media_type(), b"") }, remade))
    }

    /// Takes the kept blob, whose bytes must still be what its digest says, through its decoder.
    fn copy(&mut self, (to, made): (&mut impl Write, &Path)) -> Result<()> {
        let Self { images, layer, .. } = *self;
        let (name, path) = (layer.digest.short(), images.content.path(&layer.digest));
        let taken = Arc::new(AtomicU64::new(0));
        let file = images.content.blob(&layer.digest)?;
        let checked = Checked { file, hash: Context::new(&SHA256), taken: taken.clone() };
        let mut source = BufReader::with_capacity(BUFFER, checked);
        let kept = Compression::of(source.fill_buf().map_err(Error::io("read", &path))?);
        let limits = images.settings.limits.of_kept();
        let mut tar = Inflated::new(&name, kept, &mut source, taken.clone(), limits)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = tar.read(&mut buffer);
            let read =
                read.map_err(|error| tar.failure().unwrap_or_else(|| Error::io("read", &path)(error)))?;
            if self.wish.strong_count() == 0 {
                return Err(Error::Cancelled);
            }
            if read == 0 {
                break;
            }
            to.write_all(&buffer[..read]).map_err(Error::io("write", made))?;
            self.reporter.compressing(taken.load(Ordering::Relaxed), layer.size);
        }
        drop(tar);
        // What follows the compressed stream belongs to the blob.
        io::copy(&mut source, &mut io::sink()).map_err(Error::io("read", &path))?;
        let found = from_hash(&source.into_inner().hash.finish());
        if found == layer.digest {
            return Ok(());
        }
        Err(Error::Digest { what: format!("layer {name}"), found, expected: layer.digest })
    }
}

/// A blob that is hashed while it is read.
struct Checked {
    file: File,
    hash: Context,
    taken: Arc<AtomicU64>,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
