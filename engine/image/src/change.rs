//! A change of records: first on disk, then at hand.

use std::sync::{Arc, PoisonError};

use tare_model::{Digest, Reference};
use tare_store::Batch;

use crate::image::{Record, Target, resource};
use crate::index::{IMAGES, Index, REFERENCES};
use crate::{Error, Images, Result};

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

    fn apply(self, index: &mut Index) {
        for id in &self.delete {
            index.records.remove(id);
        }
        for reference in &self.unname {
            index.references.remove(reference);
        }
        index.records.extend(self.put);
        index.references.extend(self.name);
    }
}

/// Plans a change upon the records as they are, with no other change in between, and makes it.
pub(crate) async fn change<T: Send + 'static>(
    images: &Arc<Images>,
    plan: impl FnOnce(&Images, &Index) -> Result<(Change, T)> + Send + 'static,
) -> Result<T> {
    let images = Arc::clone(images);
    let work = move || change_blocking(&images, plan);
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}

/// [`change`] for threads that may block.
pub(crate) fn change_blocking<T>(
    images: &Images,
    plan: impl FnOnce(&Images, &Index) -> Result<(Change, T)>,
) -> Result<T> {
    let _alone = images.writing.lock().unwrap_or_else(PoisonError::into_inner);
    let (change, answer) = plan(images, &images.index())?;
    images.store.commit_blocking(change.batch())?;
    change.apply(&mut images.index.write().unwrap_or_else(PoisonError::into_inner));
    Ok(answer)
}
