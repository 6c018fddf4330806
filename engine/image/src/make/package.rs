//! What a container wrote on its one way out: packed, hashed, compressed, and where the tree itself stays with the container,
//! unpacked again at the same time. Blocking.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, ScopedJoinHandle};

use aws_lc_rs::digest::{Context, SHA256};
use flate2::{Compression, GzBuilder};
use tare_model::Digest;
use tare_oci::image::{Descriptor, media_type};
use tare_snapshot::{Packed, Unpacked};

use super::LayerRequest;
use crate::content::{HashedFile, discard, from_hash};
use crate::document::descriptor;
use crate::layer::bounds;
use crate::layer::relay::{self, BUFFER, Outlet, Relay};
use crate::{Error, Images, Result};

/// Buffers between packing and compressing.
const AHEAD: usize = 8;
/// The fast end of deflate: a layer is made once and often never sent, and whoever builds waits for it.
const LEVEL: u32 = 1;

/// A layer that is packed and has no place yet. Dropped without one, its file goes.
pub(crate) struct Package {
    pub(crate) diff: Digest,
    pub(crate) blob: Descriptor,
    /// The file with the compressed tar.
    pub(crate) path: PathBuf,
    pub(crate) packed: Packed,
    /// A copy of the tree, unless the container's own becomes the layer.
    pub(crate) copy: Option<Unpacked>,
}

impl Drop for Package {
    fn drop(&mut self) {
        discard(&self.path);
    }
}

/// Packs one writable layer. The file is complete and its digest known; nothing is durable yet.
pub(crate) fn package(images: &Images, request: &LayerRequest) -> Result<Package> {
    let (snapshots, key) = (&images.snapshots, &request.key);
    let name: String = key.chars().take(12).collect();
    let package = from(images, &name, !request.take, |out| Ok(snapshots.pack(key, out, &request.pack)?))?;
    // Of a container that was removed meanwhile some files may be missing.
    snapshots.upper(key)?;
    Ok(package)
}

/// Makes a layer of a tar that somebody sends.
pub(crate) fn package_tar(images: &Images, mut tar: impl io::Read) -> Result<Package> {
    let copy = |out: &mut Out| match io::copy(&mut tar, out) {
        Ok(_) => Ok(Packed::default()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Error::Cancelled),
        Err(error) => Err(Error::Archive(error.to_string())),
    };
    from(images, "of the archive", true, copy)
}

fn from(
    images: &Images,
    name: &str,
    copied: bool,
    pack: impl FnOnce(&mut Out) -> Result<Packed>,
) -> Result<Package> {
    let (path, file) = images.content.scratch()?;
    packed(images, name, copied, pack, (&path, file)).inspect_err(|_| discard(&path))
}

fn packed(
    images: &Images,
    name: &str,
    copied: bool,
    pack: impl FnOnce(&mut Out) -> Result<Packed>,
    (path, file): (&std::path::Path, File),
) -> Result<Package> {
    let snapshots = &images.snapshots;
    let (mut out, compressing, unpacking) = Out::new(copied);
    let (packed, compressed, copy) = thread::scope(|scope| {
        let compressed = scope.spawn(move || compress(&compressing, file));
        let limits = bounds(images.settings.limits);
        let copy = unpacking.map(|mut tar| scope.spawn(move || snapshots.unpack(&mut tar, &limits)));
        let packed = pack(&mut out);
        let diff = packed.is_ok().then(|| out.finish());
        // The others see the end of the stream.
        drop(out);
        (packed.map(|packed| (packed, diff)), joined(compressed), copy.map(joined))
    });
    // Whoever stopped first is at the root of the others' complaints. Compressing ends well with whatever it was given, and
    // packing knows whether it was others who gave up; unpacking only sees an archive that is cut off.
    let (digest, size) = compressed?.map_err(Error::io("write", path))?;
    let gave_up = |error: &Error| match error {
        Error::Cancelled => true,
        Error::Snapshot(tare_snapshot::Error::Read(cause)) => cause.kind() == io::ErrorKind::BrokenPipe,
        _ => false,
    };
    let packed = match packed {
        Err(error) if !gave_up(&error) => return Err(error),
        packed => packed,
    };
    let copy = copy.transpose()?.transpose();
    let copy = copy.map_err(|source| Error::Layer { layer: name.to_owned(), source })?;
    let (packed, diff) = packed?;
    let diff = diff.flatten().ok_or(Error::Cancelled)?;
    let blob = Descriptor { digest, size, ..descriptor(media_type::OCI_LAYER_GZIP, b"") };
    Ok(Package { diff, blob, path: path.to_owned(), packed, copy })
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> Result<T> {
    thread.join().map_err(|_| Error::Cancelled)
}

/// Where the tar goes: counted into a hash, then to those who work on it.
struct Out {
    buffer: Vec<u8>,
    hash: Context,
    compress: SyncSender<Vec<u8>>,
    unpack: Option<Outlet>,
}

impl Out {
    fn new(copied: bool) -> (Self, Receiver<Vec<u8>>, Option<Relay>) {
        let (compress, compressing) = sync_channel(AHEAD);
        let (unpack, unpacking) = copied.then(relay::relay).unzip();
        let (buffer, hash) = (Vec::with_capacity(BUFFER), Context::new(&SHA256));
        (Self { buffer, hash, compress, unpack }, compressing, unpacking)
    }

    fn send(&mut self) -> io::Result<()> {
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(BUFFER));
        self.hash.update(&full);
        let unpacked = self.unpack.as_ref().is_none_or(|to| to.send(full.clone()));
        if unpacked && self.compress.send(full).is_ok() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::BrokenPipe, "who takes the layer has given up"))
    }

    /// Sends the rest; the digest of everything, unless somebody wanted no more.
    fn finish(&mut self) -> Option<Digest> {
        self.send().ok()?;
        Some(from_hash(&self.hash.clone().finish()))
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(BUFFER - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..length]);
        if self.buffer.len() == BUFFER {
            self.send()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses into `file`; digest and length of what it wrote. The header of gzip has no time and no name (RFC 1952).
fn compress(from: &Receiver<Vec<u8>>, file: File) -> io::Result<(Digest, u64)> {
    let buffered = BufWriter::with_capacity(BUFFER, HashedFile::new(file));
    let mut encoder = GzBuilder::new().write(buffered, Compression::new(LEVEL));
    for chunk in from {
        encoder.write_all(&chunk)?;
    }
    Ok(encoder.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?.finish())
}
