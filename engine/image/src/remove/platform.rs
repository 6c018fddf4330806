//! Taking one platform out from under the names that stand for several.

use std::sync::Arc;

use tare_model::{Digest, Platform};

use super::plan::{Request, check_by_id};
use super::{Removed, holders_of, remove};
use crate::records::{Catalog, Change, Record, Target, change};
use crate::{Error, Images, Result, garbage};

impl Images {
    /// Removes the image for one platform of those that a name stands for; the name goes with the last of them.
    pub async fn remove_platform(
        self: &Arc<Self>,
        name_or_id: &str,
        platform: Platform,
        force: bool,
        running: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<Vec<Removed>> {
        withdraw(self, name_or_id.to_owned(), platform, force, running).await
    }
}

/// Takes the image for one platform out from under the names that stand for several. Where it is the last one, its name goes.
async fn withdraw(
    images: &Arc<Images>,
    name: String,
    platform: Platform,
    force: bool,
    running: impl Fn(&str) -> bool + Send + Sync + 'static,
) -> Result<Vec<Removed>> {
    let last = {
        let catalog = images.catalog();
        catalog.find_for(&name, Some(&platform))?;
        let target = catalog.target(&name, &catalog.find(&name)?);
        target.is_none_or(|target| catalog.behind(target).len() == 1)
    };
    if last {
        return remove(images, name, force, true, running).await;
    }
    let id = change(images, move |images, catalog| {
        let id = catalog.find_for(&name, Some(&platform))?;
        let holders = holders_of(images, &id, &running)?;
        check_by_id(&Request { name: &name, id, force }, &[], &holders.iter().collect::<Vec<_>>())?;
        let mut change = without(catalog, &id)?;
        match catalog.records.get(&id).filter(|_| !holders.is_empty()) {
            Some(record) => change.put.push((id, Record { dropped: true, ..record.clone() })),
            None => change.delete.push(id),
        }
        Ok((change, id))
    })
    .await?;
    let collected = garbage::collect(images, Vec::new()).await?;
    let layers = collected.layers.iter().map(ToString::to_string);
    Ok(std::iter::once(id.to_string()).chain(layers).map(Removed::Deleted).collect())
}

/// Gives the names that mean an image to another platform's that they stand for, and takes the digests away that stand for
/// it alone. A tag that does is in the way.
fn without(catalog: &Catalog, id: &Digest) -> Result<Change> {
    let mut change = Change::default();
    for (reference, target) in catalog.references.iter().filter(|(_, target)| target.image == *id) {
        let others: Vec<Digest> = catalog.behind(target).into_iter().filter(|other| other != id).collect();
        match catalog.best(&others, &Platform::host()).or(others.first().copied()) {
            Some(image) => change.name.push((reference.clone(), Target { image, ..*target })),
            None if reference.digest().is_some() => change.unname.push(reference.clone()),
            None => {
                let why = format!("it has the name {} as well", reference.familiar());
                return Err(Error::InUse { image: id.short(), force: "cannot be forced", why });
            }
        }
    }
    Ok(change)
}
