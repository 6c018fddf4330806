//! Removing what no record names.

use std::collections::BTreeSet;
use std::sync::Arc;

use tare_model::Digest;

use crate::change::{Change, change_blocking};
use crate::image::resource;
use crate::{Error, Images, Result};

/// What was removed.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Chain ids, the topmost of an image first.
    pub(crate) layers: Vec<Digest>,
    /// Bytes of layers and blobs.
    pub(crate) bytes: u64,
}

/// Removes dropped images whose last lease has ended, then the layers and blobs that no image needs. Pulls that begin
/// meanwhile wait until it is known what is there.
pub(crate) async fn collect(images: &Arc<Images>) -> Result<Collected> {
    let quiet = images.sweep.clone().write_owned().await;
    let images = images.clone();
    let work = move || {
        let collected = collect_blocking(&images);
        drop(quiet);
        collected
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}

fn collect_blocking(images: &Images) -> Result<Collected> {
    drop_unleased(images)?;
    let (chains, blobs) = {
        let index = images.index();
        (index.chains(), index.blobs())
    };
    let mut collected = layers(images, &chains)?;
    for digest in images.content.list()? {
        if !blobs.contains(&digest) && !images.pins.holds(&digest) {
            collected.bytes += images.content.remove(&digest)?;
        }
    }
    Ok(collected)
}

/// Deletes the records that were dropped by force, one by one: a lease on one does not keep another.
fn drop_unleased(images: &Images) -> Result<()> {
    let dropped: Vec<Digest> = {
        let index = images.index();
        index.records.iter().filter(|(_, record)| record.dropped).map(|(id, _)| *id).collect()
    };
    for id in dropped {
        if images.store.holders(&resource(&id))?.is_empty() {
            change_blocking(images, |_, _| Ok((Change { delete: vec![id], ..Change::default() }, ())))?;
        }
    }
    Ok(())
}

/// Removes the layers that no image needs, nobody has pinned or leased, and nothing stands on.
fn layers(images: &Images, needed: &BTreeSet<Digest>) -> Result<Collected> {
    let snapshots = &images.snapshots;
    let mut doomed: BTreeSet<Digest> = BTreeSet::new();
    for chain in snapshots.layers() {
        let kept = needed.contains(&chain) || images.pins.holds(&chain);
        if !kept && images.store.holders(&format!("snapshot/{chain}"))?.is_empty() {
            doomed.insert(chain);
        }
    }
    let mut collected = Collected::default();
    while let Some(top) = topmost(images, &doomed) {
        doomed.remove(&top);
        let size = snapshots.layer_size(&top).unwrap_or(0);
        match snapshots.remove_layer(&top) {
            Ok(()) => {
                collected.layers.push(top);
                collected.bytes += size;
            }
            // A container stands on it; it is collected after that one is gone.
            Err(error) => tracing::debug!("layer {} stays: {error}", top.short()),
        }
    }
    Ok(collected)
}

/// A layer that no other of the set stands on.
fn topmost(images: &Images, layers: &BTreeSet<Digest>) -> Option<Digest> {
    let parents: BTreeSet<Digest> =
        layers.iter().filter_map(|layer| images.snapshots.parent(layer).ok().flatten()).collect();
    layers.iter().find(|layer| !parents.contains(layer)).copied()
}
