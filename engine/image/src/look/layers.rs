//! The layers of an image one by one: where they lie, what they cost, who else has them.

use std::path::PathBuf;

use tare_model::Digest;
use tare_oci::image::Descriptor;

use crate::document::known_manifest;
use crate::{Image, Images, Result};

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackedLayer {
    /// Of the uncompressed tar.
    pub diff: Digest,
    /// Of this layer and those below it.
    pub chain: Digest,
    /// Bytes of its files.
    pub size: u64,
    /// The compressed tar; absent where no manifest tells.
    pub blob: Option<Descriptor>,
    /// Its tree: what it adds to the layers below. Where trees are whole, only the topmost layer has one.
    pub tree: Option<PathBuf>,
    /// The other images that have it.
    pub shared: Vec<Digest>,
}

impl Images {
    /// The layers of an image, the lowest first: where they lie, what they cost and who else has them.
    pub fn stack(&self, image: &Image) -> Result<Vec<StackedLayer>> {
        let manifest = known_manifest(&self.content, &self.catalog(), &image.id);
        let all = self.catalog().images();
        let stacked = self.snapshots.driver().stacks();
        let layers = image.layers.iter().zip(&image.layer_sizes).zip(&image.config.rootfs.diff_ids);
        let one = |(at, ((chain, size), diff)): (usize, ((&Digest, &u64), &Digest))| {
            let others = all.iter().filter(|other| other.id != image.id && other.layers.contains(chain));
            Ok(StackedLayer {
                diff: *diff,
                chain: *chain,
                size: *size,
                blob: manifest.as_ref().and_then(|manifest| manifest.layers.get(at).cloned()),
                tree: (stacked || at + 1 == image.layers.len())
                    .then(|| self.snapshots.layer_tree(chain))
                    .transpose()?,
                shared: others.map(|other| other.id).collect(),
            })
        };
        layers.enumerate().map(one).collect()
    }
}
