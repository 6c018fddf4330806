//! Taking names away, and images with their last one.

mod plan;
mod platform;
mod prune;

use std::sync::Arc;

use tare_model::Digest;

use crate::records::{Change, change, resource};
use crate::{Error, Images, Result, garbage};

use plan::{Doomed, Holder, Holders, Request, plan};
pub use prune::Pruned;

/// One thing that `rmi` did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name was taken away.
    Untagged(String),
    /// An image or a layer is gone: its id or chain id.
    Deleted(String),
}

impl Images {
    /// Takes a name from an image, and removes the image with the layers that no other needs when that was its last
    /// one. An image that is in use ([`Images::keep`]) stays, unless `force` drops its names; its files go when the
    /// last lease has ended. One that another was made from stays without its names; with `prune_parents`, it goes with
    /// the last of those.
    pub async fn remove(
        self: &Arc<Self>,
        name_or_id: &str,
        force: bool,
        prune_parents: bool,
    ) -> Result<Vec<Removed>> {
        self.remove_knowing(name_or_id, force, prune_parents, |_| false).await
    }

    /// [`Images::remove`] where the caller can tell which holders (`container/<id>`) are running at the moment: those
    /// cannot be overridden by force.
    pub async fn remove_knowing(
        self: &Arc<Self>,
        name_or_id: &str,
        force: bool,
        prune_parents: bool,
        running: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<Vec<Removed>> {
        remove(self, name_or_id.to_owned(), force, prune_parents, running).await
    }
}

async fn remove(
    images: &Arc<Images>,
    name: String,
    force: bool,
    prune_parents: bool,
    running: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> Result<Vec<Removed>> {
    let (mut removed, deleted) = change(images, move |images, catalog| {
        let id = catalog.find(&name)?;
        let request = Request { name: &name, id, force };
        let doomed = Doomed::of(catalog, &request);
        let mut holders = Holders::new();
        for id in doomed.images.iter().chain([&id]) {
            holders.insert(*id, holders_of(images, id, &running)?);
        }
        let plan = plan(catalog, &request, doomed, &holders)?;
        let parents = plan.delete.iter().filter_map(|id| catalog.records.get(id)?.parent).collect::<Vec<_>>();
        let deleted = (!plan.delete.is_empty()).then_some(parents);
        Ok((plan.change(catalog), (plan.words(), deleted)))
    })
    .await?;
    if let Some(parents) = deleted {
        for parent in parents.into_iter().filter(|_| prune_parents) {
            let mut next = Some(parent);
            while let Some(parent) = next {
                next = prune_parent(images, parent, &mut removed).await?;
            }
        }
        let collected = garbage::collect(images, Vec::new()).await?;
        removed.extend(collected.layers.iter().map(|chain| Removed::Deleted(chain.to_string())));
    }
    Ok(removed)
}

/// Removes an image that was only kept for what was made from it, and answers which one that was made from.
async fn prune_parent(
    images: &Arc<Images>,
    id: Digest,
    removed: &mut Vec<Removed>,
) -> Result<Option<Digest>> {
    let pruned = change(images, move |images, catalog| {
        let record = catalog.records.get(&id).filter(|record| !record.dropped);
        let needed = || !catalog.names(&id).is_empty() || catalog.has_children(&id);
        let Some(record) = record.filter(|_| !needed()) else { return Ok((Change::default(), None)) };
        if !images.store.holders(&resource(&id))?.is_empty() {
            return Ok((Change::default(), None));
        }
        Ok((Change { delete: vec![id], ..Change::default() }, Some(record.parent)))
    });
    let parent = match pruned.await {
        // Leased between the look and the commit.
        Err(Error::Store(tare_store::Error::Leased { .. })) => None,
        pruned => pruned?,
    };
    removed.extend(parent.map(|_| Removed::Deleted(id.to_string())));
    Ok(parent.flatten())
}

/// Who keeps an image, and whether that is running.
fn holders_of(images: &Images, id: &Digest, running: &impl Fn(&str) -> bool) -> Result<Vec<Holder>> {
    let all = images.store.holders(&resource(id))?.into_iter();
    Ok(all.map(|name| Holder { running: running(&name), name }).collect())
}
