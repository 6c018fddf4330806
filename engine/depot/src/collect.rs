//! Removes what no manifest names.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use tare_model::Digest;

use crate::files::{self, BLOBS, Shelf};
use crate::{Depot, Error, Name, Result};

/// What a collection removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Depot {
    /// Removes blobs that no manifest names and that were brought longer ago than `grace`, which is what a push may take from
    /// its first blob to its manifest. Pushes wait meanwhile.
    pub fn collect(&self, grace: Duration) -> Result<Collected> {
        let _alone = self.sweep.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut needed = BTreeSet::new();
        for name in self.all()? {
            let own = self.needed(&name)?;
            for file in files::names(&self.shelf(&name, Shelf::Blobs))? {
                let Ok(digest) = Digest::from_hex(&file) else { continue };
                let link = self.link(&name, Shelf::Blobs, &digest);
                if own.contains(&digest) || !files::is_older(&link, grace) {
                    needed.insert(digest);
                } else {
                    files::remove(&link)?;
                }
            }
            needed.extend(own);
        }
        self.sweep_content(&needed, grace)
    }

    /// The manifests of a repository and what they name.
    fn needed(&self, name: &Name) -> Result<BTreeSet<Digest>> {
        let mut needed = BTreeSet::new();
        for file in files::names(&self.shelf(name, Shelf::Manifests))? {
            let Ok(digest) = Digest::from_hex(&file) else { continue };
            match self.kept(name, &digest) {
                Ok(kept) => needed.extend(self.named_by(&kept.media_type, &kept.bytes)),
                Err(Error::ManifestUnknown(_)) => {}
                // It may name anything: what cannot be read is no reason to remove something.
                Err(error) => return Err(error),
            }
            needed.insert(digest);
        }
        Ok(needed)
    }

    fn sweep_content(&self, needed: &BTreeSet<Digest>, grace: Duration) -> Result<Collected> {
        let mut collected = Collected::default();
        for file in files::names(&self.root.join(BLOBS))? {
            let Ok(digest) = Digest::from_hex(&file) else { continue };
            let path = self.content(&digest);
            if needed.contains(&digest) || !files::is_older(&path, grace) {
                continue;
            }
            let bytes = fs::metadata(&path).map_or(0, |found| found.len());
            if files::remove(&path)? {
                collected.blobs += 1;
                collected.bytes += bytes;
            }
        }
        Ok(collected)
    }
}
