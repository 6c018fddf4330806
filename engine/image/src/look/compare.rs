//! What becomes of one image's files to be another's.

use std::sync::Arc;

use tare_snapshot::Difference;

use crate::{Error, Image, Images, Result};

impl Images {
    /// What becomes of one image's files to be the other's.
    pub async fn compare(self: &Arc<Self>, from: &Image, to: &Image) -> Result<Vec<Difference>> {
        let (images, from, to) = (self.clone(), from.top_layer().copied(), to.top_layer().copied());
        let work = move || {
            let roots =
                (images.snapshots.open_root(from.as_ref())?, images.snapshots.open_root(to.as_ref())?);
            Ok(roots.0.compare(&roots.1)?)
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
    }
}
