//! The layers of an image one by one: where they lie, what they cost, who else has them.

use std::path::PathBuf;

use tare_model::Digest;
use tare_oci::image::Descriptor;

use crate::shipment::{known_descriptor, known_manifest};
use crate::{Error, Image, Images, Result};

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

/// The layers of an image, the lowest first.
pub(crate) fn of(images: &Images, image: &Image) -> Result<Vec<StackedLayer>> {
    let manifest = known_manifest(&images.content, &images.index(), &image.id);
    let all = images.list()?;
    let stacked = images.snapshots.driver().stacks();
    let layers = image.layers.iter().zip(&image.layer_sizes).zip(&image.config.rootfs.diff_ids);
    let one = |(at, ((chain, size), diff)): (usize, ((&Digest, &u64), &Digest))| {
        let others = all.iter().filter(|other| other.id != image.id && other.layers.contains(chain));
        Ok(StackedLayer {
            diff: *diff,
            chain: *chain,
            size: *size,
            blob: manifest.as_ref().and_then(|manifest| manifest.layers.get(at).cloned()),
            tree: (stacked || at + 1 == image.layers.len())
                .then(|| images.snapshots.layer_tree(chain))
                .transpose()?,
            shared: others.map(|other| other.id).collect(),
        })
    };
    layers.enumerate().map(one).collect()
}

/// The bytes of what the image's name stands for in its registry, an index or a manifest, and what they are.
pub(crate) fn document(images: &Images, image: &Image) -> Result<(Descriptor, Vec<u8>)> {
    let missing = || Error::Incomplete { image: image.id.short(), layer: "manifest".to_owned() };
    let descriptor = descriptor(images, image).ok_or_else(missing)?;
    let bytes = images.content.read(&descriptor).ok_or_else(missing)?;
    Ok((descriptor, bytes))
}

/// The manifest of the one platform that is here.
pub(crate) fn own_descriptor(images: &Images, image: &Image) -> Option<Descriptor> {
    known_descriptor(&images.content, &image.manifest)
}

/// What the image's name stands for.
pub(crate) fn descriptor(images: &Images, image: &Image) -> Option<Descriptor> {
    let index = images.index();
    let record = index.records.get(&image.id)?;
    let named = image.tags.iter().find_map(|tag| index.references.get(tag)?.top);
    let first = record.sources.first().map(|source| source.top);
    known_descriptor(&images.content, &named.or(first)?)
}
