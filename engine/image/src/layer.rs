//! One layer, from compressed bytes to an unpacked tree, in a thread that may block.

use std::io::{self, BufReader};

use tare_model::Digest;
use tare_oci::image::Descriptor;
use tare_snapshot::{Snapshots, Unpacked};

use crate::config::Limits;
use crate::inflate::{Compression, Inflated, announced};
use crate::intake::Intake;
use crate::{Error, Result};

/// Large enough that hashing and inflating run in long strides.
const BUFFER: usize = 256 << 10;

/// A layer of a manifest, and what its configuration says of it.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) blob: Descriptor,
    /// The digest of the uncompressed tar.
    pub(crate) diff: Digest,
    pub(crate) chain: Digest,
    pub(crate) parent: Option<Digest>,
}

/// Takes a layer in, unpacks it and checks size and both digests. What comes back is not committed yet: dropping it
/// removes the tree.
pub(crate) fn unpack(
    mut intake: Intake,
    layer: &Planned,
    snapshots: &Snapshots,
    limits: Limits,
) -> Result<Unpacked> {
    match through(&mut intake, layer, snapshots, limits) {
        Ok(unpacked) => intake.finish().map(|()| unpacked),
        Err(error) => Err(intake.blame(error)),
    }
}

fn through(intake: &mut Intake, layer: &Planned, snapshots: &Snapshots, limits: Limits) -> Result<Unpacked> {
    let name = intake.layer();
    let inflate = |e: io::Error| Error::Inflate { layer: name.clone(), cause: e.to_string() };
    let magic = intake.magic().map_err(inflate)?;
    let compression = compression(&name, &layer.blob.media_type, &magic)?;
    let taken = intake.taken();
    let mut tar = BufReader::with_capacity(BUFFER, Inflated::new(&name, compression, intake, taken, limits)?);
    let bounds = bounds(limits);
    let unpacked = snapshots.unpack(&mut tar, &bounds).map_err(|source| {
        tar.get_mut().failure().unwrap_or_else(|| Error::Layer { layer: name.clone(), source })
    })?;
    // What follows the end of the archive belongs to the digest as well.
    io::copy(&mut tar, &mut io::sink()).map_err(|e| tar.get_mut().failure().unwrap_or_else(|| inflate(e)))?;
    let found = tar.into_inner().digest();
    if found != layer.diff {
        return Err(Error::Digest { what: format!("layer {name} (unpacked)"), found, expected: layer.diff });
    }
    Ok(unpacked)
}

fn bounds(limits: Limits) -> tare_snapshot::Limits {
    tare_snapshot::Limits { bytes: limits.layer_bytes, entries: limits.layer_entries }
}

/// The compression by the first bytes, which must be the announced one.
fn compression(layer: &str, kind: &str, magic: &[u8]) -> Result<Compression> {
    let found = Compression::of(magic);
    match announced(kind) {
        Some(announced) if announced != found => Err(Error::Compression {
            layer: layer.to_owned(),
            announced: announced.as_str(),
            found: found.as_str(),
        }),
        _ => Ok(found),
    }
}
