//! One layer, from compressed bytes to an unpacked tree, in a thread that may block and one of its own.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;

use tare_model::Digest;
use tare_snapshot::{Snapshots, Unpacked};

use super::intake::Intake;
use super::relay::{self, Outlet};
use super::{Budget, Compression, Inflated, Planned, announced};
use crate::settings::Limits;
use crate::{Error, Result};

/// Takes a layer in, unpacks it and checks size and both digests. What comes back is not committed yet: dropping it
/// removes the tree.
pub(crate) fn unpack(
    mut intake: Intake,
    layer: &Planned,
    snapshots: &Snapshots,
    budget: &Budget,
) -> Result<Unpacked> {
    match through(&mut intake, layer, snapshots, budget) {
        Ok(unpacked) => intake.finish().map(|()| unpacked),
        Err(error) => Err(intake.blame(error)),
    }
}

fn through(intake: &mut Intake, layer: &Planned, snapshots: &Snapshots, budget: &Budget) -> Result<Unpacked> {
    let name = intake.layer();
    let magic = intake.magic().map_err(|e| Error::Inflate { layer: name.clone(), cause: e.to_string() })?;
    let compression = compression(&name, &layer.blob.media_type, &magic)?;
    let taken = intake.taken();
    let (unpacked, found) = inflated((&name, compression), intake, taken, budget, snapshots)?;
    if found != layer.diff {
        let what = format!("layer {name} (unpacked)");
        return Err(Error::Digest { what, found, expected: layer.diff });
    }
    Ok(unpacked)
}

/// Inflates and counts in threads of their own what is unpacked here; the tree, and the digest of the tar. `taken` counts the
/// bytes that were read from `source`.
pub(crate) fn inflated(
    (name, compression): (&str, Compression),
    source: impl BufRead + Send,
    taken: Arc<AtomicU64>,
    budget: &Budget,
    snapshots: &Snapshots,
) -> Result<(Unpacked, Digest)> {
    let limits = budget.limits;
    let (to, count, mut tar) = relay::counted();
    let (unpacked, digest, whole) = thread::scope(|scope| {
        // The stream ends when this thread lets its end go.
        let inflating = scope.spawn(move || {
            let to = to;
            inflate(Inflated::new(name, compression, source, taken, limits)?.within(budget), name, &to)
        });
        let counting = scope.spawn(count);
        let unpacked = snapshots.unpack(&mut tar, &bounds(limits));
        // After an error the rest is not wanted, and the other threads see that.
        drop(tar);
        (unpacked, counting.join(), inflating.join())
    });
    let (digest, whole) = (digest.map_err(|_| Error::Cancelled)?, whole.map_err(|_| Error::Cancelled)??);
    let unpacked = unpacked.map_err(|source| Error::Layer { layer: name.to_owned(), source })?;
    if whole { Ok((unpacked, digest)) } else { Err(Error::Cancelled) }
}

/// Decodes into the relay; false when the unpacking thread wanted no more.
fn inflate(mut inflated: Inflated<'_>, name: &str, to: &Outlet) -> Result<bool> {
    to.send_all(&mut inflated).map_err(|error| {
        let cause = error.to_string();
        inflated.failure().unwrap_or_else(|| Error::Inflate { layer: name.to_owned(), cause })
    })
}

pub(crate) fn bounds(limits: Limits) -> tare_snapshot::Limits {
    let Limits { layer_bytes: bytes, layer_entries: entries, .. } = limits;
    tare_snapshot::Limits { bytes, entries, ..Default::default() }
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
