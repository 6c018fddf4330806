//! Removing every image that nobody needs and that the asker does not want to keep.

use std::collections::BTreeSet;
use std::sync::Arc;

use tare_model::Digest;

use crate::change::{Change, change};
use crate::image::resource;
use crate::remove::Removed;
use crate::{Error, Image, Images, Result, garbage};

/// What a prune has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names, images and layers.
    pub removed: Vec<Removed>,
    /// Bytes of layers and blobs.
    pub bytes: u64,
}

/// Removes the images that `doomed` picks, as far as nobody leases them.
pub(crate) async fn prune(
    images: &Arc<Images>,
    doomed: impl Fn(&Image) -> bool + Send + 'static,
) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    let mut candidates: Vec<Image> = images.list()?.into_iter().filter(|image| doomed(image)).collect();
    // What was made from others goes before them, which were kept for it.
    while !candidates.is_empty() {
        let parents = parents(images);
        let (waiting, free): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|image| parents.contains(&image.id));
        if free.is_empty() {
            break;
        }
        for image in free {
            pruned.removed.extend(one(images, image).await?);
        }
        candidates = waiting;
    }
    let collected = garbage::collect(images, Vec::new()).await?;
    pruned.removed.extend(collected.layers.iter().map(|chain| Removed::Deleted(chain.to_string())));
    pruned.bytes = collected.bytes;
    Ok(pruned)
}

/// The images that others were made from.
fn parents(images: &Images) -> BTreeSet<Digest> {
    images.index().images().iter().filter_map(|image| image.parent).collect()
}

/// Removes one image with its names, unless it is in use or has other names than when it was picked.
async fn one(images: &Arc<Images>, picked: Image) -> Result<Vec<Removed>> {
    let removed = change(images, move |images, index| {
        let names = index.names(&picked.id);
        let same = names.iter().filter(|name| name.digest().is_none()).eq(picked.tags.iter());
        if !same || index.has_children(&picked.id) || !images.store.holders(&resource(&picked.id))?.is_empty()
        {
            return Ok((Change::default(), Vec::new()));
        }
        let untagged = names.iter().map(|name| Removed::Untagged(name.familiar()));
        let words = untagged.chain([Removed::Deleted(picked.id.to_string())]).collect();
        Ok((Change { delete: vec![picked.id], unname: names, ..Change::default() }, words))
    });
    match removed.await {
        // Leased between the look and the commit.
        Err(Error::Store(tare_store::Error::Leased { .. })) => Ok(Vec::new()),
        removed => removed,
    }
}
