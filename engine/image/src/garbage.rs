//! Removing what no record names.

mod pin;
mod reconcile;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use tare_model::Digest;

use crate::records::{Change, change_blocking, resource};
use crate::{Error, Images, Result};

pub(crate) use pin::{Pinned, Pins};
pub use reconcile::Swept;

/// What was removed.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Chain ids, the topmost of an image first.
    pub(crate) layers: Vec<Digest>,
    /// Bytes of layers and blobs.
    pub(crate) bytes: u64,
}

impl Images {
    /// Removes what no image, no lease and no work under way needs; the bytes that were freed.
    pub async fn sweep(self: &Arc<Self>) -> Result<u64> {
        Ok(collect(self, Vec::new()).await?.bytes)
    }
}

/// Removes dropped images whose last lease has ended, then the layers and blobs that no image needs. Pulls that begin
/// meanwhile wait until it is known what is there. Of the `abandoned` blobs also what was downloaded so far goes.
pub(crate) async fn collect(images: &Arc<Images>, abandoned: Vec<Digest>) -> Result<Collected> {
    let quiet = images.sweep.clone().write_owned().await;
    let images = images.clone();
    let work = move || {
        let collected = collect_blocking(&images, &abandoned);
        drop(quiet);
        collected
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}

fn collect_blocking(images: &Images, abandoned: &[Digest]) -> Result<Collected> {
    let unwanted = abandoned.iter().filter(|digest| !images.pins.holds(digest));
    unwanted.for_each(|digest| images.content.discard_partial(digest));
    drop_unleased(images)?;
    let (chains, blobs) = {
        let catalog = images.catalog();
        (catalog.chains(), catalog.blobs())
    };
    let mut collected = layers(images, &chains)?;
    for digest in images.content.list()? {
        let kept = blobs.contains(&digest) || images.pins.holds(&digest);
        if !kept && images.store.holders(&format!("blob/{digest}"))?.is_empty() {
            collected.bytes += images.content.remove(&digest)?;
        }
    }
    Ok(collected)
}

/// Deletes the records that were dropped by force, one by one: a lease on one does not keep another.
fn drop_unleased(images: &Images) -> Result<()> {
    let dropped: Vec<Digest> = {
        let catalog = images.catalog();
        catalog.records.iter().filter(|(_, record)| record.dropped).map(|(id, _)| *id).collect()
    };
    for id in dropped {
        if images.store.holders(&resource(&id))?.is_empty() {
            let _ =
                change_blocking(images, |_, _| Ok((Change { delete: vec![id], ..Change::default() }, ())))?;
        }
    }
    Ok(())
}

/// Removes the layers that no image needs, nobody has pinned or leased, and nothing stands on.
fn layers(images: &Images, needed: &BTreeSet<Digest>) -> Result<Collected> {
    let mut doomed = Vec::new();
    for chain in images.snapshots.layers() {
        let kept = needed.contains(&chain) || images.pins.holds(&chain);
        if !kept && images.store.holders(&format!("snapshot/{chain}"))?.is_empty() {
            doomed.push(chain);
        }
    }
    doomed.sort_by_cached_key(|chain| Reverse(depth(images, chain)));
    let mut collected = Collected::default();
    for chain in doomed {
        let size = images.snapshots.layer_stored(&chain).unwrap_or(0);
        match images.snapshots.remove_layer(&chain) {
            Ok(()) => {
                collected.layers.push(chain);
                collected.bytes += size;
            }
            // A container stands on it; it is collected after that one is gone.
            Err(error) => tracing::debug!("layer {} stays: {error}", chain.short()),
        }
    }
    Ok(collected)
}

/// How many layers a layer stands on: who stands on others goes first.
fn depth(images: &Images, chain: &Digest) -> usize {
    std::iter::successors(Some(*chain), |chain| images.snapshots.parent(chain).ok().flatten()).count()
}
