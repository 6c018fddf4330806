//! One layer, from compressed bytes to an unpacked tree, in a thread that may block and one of its own.

use std::sync::mpsc::SyncSender;
use std::thread;

use tare_model::Digest;
use tare_oci::image::Descriptor;
use tare_snapshot::{Snapshots, Unpacked};

use crate::config::Limits;
use crate::inflate::{Compression, Inflated, announced};
use crate::intake::Intake;
use crate::{Error, Result, relay};

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
    let magic = intake.magic().map_err(|e| Error::Inflate { layer: name.clone(), cause: e.to_string() })?;
    let compression = compression(&name, &layer.blob.media_type, &magic)?;
    let (to, mut tar) = relay::relay();
    let (unpacked, found, inflated) = thread::scope(|scope| {
        let name = &name;
        // The stream ends when this thread lets its end go.
        let inflating = scope.spawn(move || {
            let to = to;
            inflate(name, compression, intake, limits, &to)
        });
        let unpacked = snapshots.unpack(&mut tar, &bounds(limits));
        // After an error the rest is not wanted, and the other thread sees that.
        (unpacked, tar.digest(), inflating.join())
    });
    let whole = inflated.map_err(|_| Error::Cancelled)??;
    let unpacked = unpacked.map_err(|source| Error::Layer { layer: name.clone(), source })?;
    if !whole {
        return Err(Error::Cancelled);
    }
    if found != layer.diff {
        let what = format!("layer {name} (unpacked)");
        return Err(Error::Digest { what, found, expected: layer.diff });
    }
    Ok(unpacked)
}

/// Decodes the layer into the relay; false when the unpacking thread wanted no more.
fn inflate(
    name: &str,
    compression: Compression,
    intake: &mut Intake,
    limits: Limits,
    to: &SyncSender<Vec<u8>>,
) -> Result<bool> {
    let taken = intake.taken();
    let mut inflated = Inflated::new(name, compression, intake, taken, limits)?;
    relay::send_all(&mut inflated, to).map_err(|error| {
        let cause = error.to_string();
        inflated.failure().unwrap_or_else(|| Error::Inflate { layer: name.to_owned(), cause })
    })
}

pub(crate) fn bounds(limits: Limits) -> tare_snapshot::Limits {
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
