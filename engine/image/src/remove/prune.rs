//! Removing every image that nobody needs and that the asker does not want to keep.

use std::collections::BTreeSet;
use std::sync::Arc;

use tare_model::Digest;

use super::Removed;
use crate::records::{Change, change, resource};
use crate::{Error, Image, Images, Result, garbage};

/// What a prune has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names, images and layers.
    pub removed: Vec<Removed>,
    /// Bytes of layers and blobs.
    pub bytes: u64,
}

impl Images {
    /// Removes the images that `doomed` picks and that nobody uses, with the layers and blobs that no other needs. One that
    /// is leased or named between the look and the removal stays.
    pub async fn prune(self: &Arc<Self>, doomed: impl Fn(&Image) -> bool + Send + 'static) -> Result<Pruned> {
        prune(self, doomed).await
    }
}

/// Removes the images that `doomed` picks, as far as nobody leases them.
async fn prune(images: &Arc<Images>, doomed: impl Fn(&Image) -> bool + Send + 'static) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    let mut candidates: Vec<Image> = images.list()?.into_iter().filter(|image| doomed(image)).collect();
    // What was made from others, or has a name together with others, goes before them, which were kept for it.
    loop {
        let (parents, before) = (parents(images), pruned.removed.len());
        let mut waiting = Vec::new();
        for image in candidates {
            let removed =
                if parents.contains(&image.id) { Vec::new() } else { one(images, image.clone()).await? };
            if removed.is_empty() {
                waiting.push(image);
            }
            pruned.removed.extend(removed);
        }
        if pruned.removed.len() == before {
            break;
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
    images.catalog().images().iter().filter_map(|image| image.parent).collect()
}

/// Removes one image with its names and those for other platforms that have no other, unless one of them is in use or it has
/// other names than when it was picked.
async fn one(images: &Arc<Images>, picked: Image) -> Result<Vec<Removed>> {
    let removed = change(images, move |images, catalog| {
        let names = catalog.with_digests(catalog.own_names(&picked.id));
        let same = catalog.image(&picked.id).is_some_and(|image| image.tags == picked.tags);
        let doomed = if names.is_empty() { vec![picked.id] } else { catalog.nameless_without(&names) };
        let mut kept = !same || !doomed.contains(&picked.id);
        for id in &doomed {
            kept |= catalog.has_children(id) || !images.store.holders(&resource(id))?.is_empty();
        }
        if kept {
            return Ok((Change::default(), Vec::new()));
        }
        let untagged = names.iter().map(|name| Removed::Untagged(name.familiar()));
        let words = untagged.chain(doomed.iter().map(|id| Removed::Deleted(id.to_string()))).collect();
        Ok((Change { delete: doomed, unname: names, ..Change::default() }, words))
    });
    match removed.await {
        // Leased between the look and the commit.
        Err(Error::Store(tare_store::Error::Leased { .. })) => Ok(Vec::new()),
        removed => removed,
    }
}
