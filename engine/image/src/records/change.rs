//! A change of records: first on disk, then at hand.

use std::sync::{Arc, PoisonError};

use tare_model::{Digest, Reference};
use tare_store::Batch;

use super::catalog::REFERENCES;
use super::{Catalog, IMAGES, Record, Target, resource};
use crate::{Error, Images, Result, garbage};

/// What becomes of images and names, all of it or nothing.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) put: Vec<(Digest, Record)>,
    /// Removed, provided that nobody has a lease on them at the moment of the commit.
    pub(crate) delete: Vec<Digest>,
    pub(crate) name: Vec<(Reference, Target)>,
    pub(crate) unname: Vec<Reference>,
}

impl Change {
    fn batch(&self) -> Batch {
        let mut batch = Batch::default();
        for id in &self.delete {
            batch.unless_leased(&resource(id)).delete(IMAGES, &id.to_string());
        }
        for (id, record) in &self.put {
            batch.put(IMAGES, &id.to_string(), record);
        }
        for reference in &self.unname {
            batch.delete(REFERENCES, &reference.to_string());
        }
        for (reference, target) in &self.name {
            batch.put(REFERENCES, &reference.to_string(), target);
        }
        batch
    }

    fn apply(self, catalog: &mut Catalog) {
        for id in &self.delete {
            catalog.records.remove(id);
        }
        for reference in &self.unname {
            catalog.references.remove(reference);
        }
        catalog.records.extend(self.put);
        catalog.references.extend(self.name);
    }
}

/// Plans a change upon the records as they are, with no other change in between, and makes it.
pub(crate) async fn change<T: Send + 'static>(
    images: &Arc<Images>,
    plan: impl FnOnce(&Images, &Catalog) -> Result<(Change, T)> + Send + 'static,
) -> Result<T> {
    let shared = Arc::clone(images);
    let work = move || change_blocking(&shared, plan);
    let (answer, left) = tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)??;
    if left && let Err(error) = garbage::collect(images, Vec::new()).await {
        tracing::warn!("cannot clean up after images that went with a name: {error}");
    }
    Ok(answer)
}

/// [`change`] for threads that may block; also whether images went with a name that means something else now.
pub(crate) fn change_blocking<T>(
    images: &Images,
    plan: impl FnOnce(&Images, &Catalog) -> Result<(Change, T)>,
) -> Result<(T, bool)> {
    let _alone = images.writing.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut change, answer) = plan(images, &images.catalog())?;
    let planned = change.delete.len();
    for id in left_over(&change, &images.catalog()) {
        if images.store.holders(&resource(&id))?.is_empty() {
            change.delete.push(id);
        }
    }
    match images.store.commit_blocking(change.batch()) {
        // One of those was leased between the look and the commit: then they stay.
        Err(tare_store::Error::Leased { .. }) if change.delete.len() > planned => {
            change.delete.truncate(planned);
            images.store.commit_blocking(change.batch())?;
        }
        committed => committed?,
    };
    let left = change.delete.len() > planned;
    change.apply(&mut images.catalog.write().unwrap_or_else(PoisonError::into_inner));
    Ok((answer, left))
}

/// The images for other platforms that have no name any more because theirs is given to something else: unlike the one that
/// the name meant, nobody sees them.
fn left_over(change: &Change, catalog: &Catalog) -> Vec<Digest> {
    let moved = change
        .name
        .iter()
        .filter(|(reference, target)| catalog.references.get(reference).is_some_and(|old| old != target));
    let moved: Vec<Reference> = moved.map(|(reference, _)| reference.clone()).collect();
    let stays = |id: &Digest| {
        let part = |target: &Target| {
            let document = target.document();
            target.image == *id
                || document.is_some_and(|d| catalog.records.get(id).is_some_and(|r| r.is_part_of(&d)))
        };
        moved.iter().any(|reference| catalog.references[reference].image == *id)
            || change.name.iter().any(|(_, target)| part(target))
            || change.put.iter().any(|(put, _)| put == id)
            || change.delete.contains(id)
            || catalog.has_children(id)
    };
    catalog.nameless_without(&moved).into_iter().filter(|id| !stays(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Source;
    use crate::records::tests::{catalog, digest};

    #[test]
    fn images_for_other_platforms_go_with_a_name_that_is_given_away() {
        let mut catalog = catalog(&[("web:1", 1), ("", 2), ("new:1", 3)]);
        for id in [1, 2] {
            let source = Source { top: digest(9), manifest: digest(id + 10), blobs: Vec::new() };
            catalog.records.get_mut(&digest(id)).unwrap().sources = vec![source];
        }
        let name: Reference = "web:1".parse().unwrap();
        catalog.references.get_mut(&name).unwrap().index = Some(digest(9));
        let given = |target| Change { name: vec![(name.clone(), target)], ..Change::default() };
        let other = Target::of(digest(3));
        assert_eq!(left_over(&given(other), &catalog), [digest(2)]);
        // To another platform of the same index, or to the image itself.
        let same = Target { index: Some(digest(9)), ..Target::of(digest(2)) };
        assert_eq!(left_over(&given(same), &catalog), []);
        assert_eq!(left_over(&given(Target::of(digest(2))), &catalog), []);
        catalog.references.insert("kept:1".parse().unwrap(), same);
        assert_eq!(left_over(&given(other), &catalog), []);
    }
}
