//! Keeping an image, whoever needs it.

use tare_store::Batch;

use super::{IMAGES, resource};
use crate::{Image, Images, Result};

impl Images {
    /// Keeps an image for somebody outside the daemon, until [`Images::release`] of the same holder.
    pub async fn hold(&self, image: &Image, holder: &str) -> Result<()> {
        let mut batch = Batch::default();
        self.keep(&mut batch, holder, image);
        Ok(self.store.commit(batch).await?)
    }

    /// Lets go what a holder was given by [`Images::hold`].
    pub async fn release(&self, holder: &str) -> Result<()> {
        let mut batch = Batch::default();
        batch.unlease_all(holder);
        Ok(self.store.commit(batch).await?)
    }

    /// Adds to `batch` that `holder` uses the image. The commit fails with the store's `Missing` when the image is removed
    /// in between. The holder's `unlease_all` ends it.
    pub fn keep(&self, batch: &mut Batch, holder: &str, image: &Image) {
        let id = image.id.to_string();
        batch.only_if(IMAGES, &id).lease(holder, &resource(&image.id));
    }
}
