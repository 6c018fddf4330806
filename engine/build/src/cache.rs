//! What steps came to, by their keys. It is in the store and outlives the daemon; leases keep the layers that it names. Images
//! of others can lend theirs.

pub(crate) mod key;
pub(crate) mod lend;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tare_image::{Images, LayerUse};
use tare_model::{Digest, Timestamp};
use tare_oci::image::Descriptor;
use tare_store::{Batch, Store};

use crate::Result;

pub(crate) const TABLE: &str = "build";

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When it was made.
    pub created: Timestamp,
    /// When it was last of use.
    pub used: Timestamp,
    /// The instruction, for lists.
    pub text: String,
    /// The layer it made; none for one that changes the configuration alone.
    pub layer: Option<Layer>,
}

/// A layer as the cache remembers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Layer {
    pub diff: Digest,
    pub chain: Digest,
    pub blob: Descriptor,
    pub size: u64,
}

/// The cache of a store.
#[derive(Clone)]
pub(crate) struct Cache {
    pub store: Arc<Store>,
}

impl Cache {
    /// What a step came to, if its layer is still here.
    pub(crate) async fn find(
        &self,
        images: &Arc<Images>,
        key: &Digest,
    ) -> Result<Option<(Entry, Option<LayerUse>)>> {
        let Some(entry) = self.store.get::<Entry>(TABLE, &key.hex())? else { return Ok(None) };
        let Some(layer) = entry.layer.clone() else { return Ok(Some((entry, None))) };
        let here = images.recall(layer.diff, layer.chain, layer.blob).await;
        Ok(here.map(|layer| (entry, Some(layer))))
    }

    /// Remembers what a step came to, instead of what it came to before.
    pub(crate) fn keep(&self, key: &Digest, entry: &Entry) {
        let mut batch = Batch::default();
        let holder = holder(&key.hex());
        batch.unlease_all(&holder).put(TABLE, &key.hex(), entry);
        if let Some(layer) = &entry.layer {
            batch.lease(&holder, &format!("snapshot/{}", layer.chain));
            batch.lease(&holder, &format!("blob/{}", layer.blob.digest));
        }
        self.store.commit_later(batch);
    }

    /// Notes that an entry was of use.
    pub(crate) fn touch(&self, key: &Digest, entry: &Entry, now: Timestamp) {
        let mut batch = Batch::default();
        batch.only_if(TABLE, &key.hex()).put(TABLE, &key.hex(), &Entry { used: now, ..entry.clone() });
        self.store.commit_later(batch);
    }

    /// Every entry, by key.
    pub(crate) fn list(&self) -> Result<Vec<(String, Entry)>> {
        Ok(self.store.list(TABLE)?)
    }

    /// Forgets entries. What only they kept is garbage then.
    pub(crate) async fn forget(&self, keys: &[String]) -> Result<()> {
        let mut batch = Batch::default();
        for key in keys {
            batch.delete(TABLE, key).unlease_all(&holder(key));
        }
        Ok(self.store.commit(batch).await?)
    }
}

fn holder(key: &str) -> String {
    format!("build/{key}")
}
