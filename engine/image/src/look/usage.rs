//! What images take up on the disk, each byte counted once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tare_model::Digest;

use crate::{Error, Image, Images, Result};

/// What all images take up together.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Bytes of all unpacked layers and all blobs, those included that no image needs (any more).
    pub total: u64,
    /// Each image's part.
    pub images: Vec<ImageUsage>,
}

/// What one image takes up.
#[derive(Clone, Debug)]
pub struct ImageUsage {
    /// The image.
    pub image: Image,
    /// Bytes of its unpacked layers and of its blobs, compressed layers included, for all platforms that are here.
    pub size: u64,
    /// Bytes among them that another image has too.
    pub shared: u64,
    /// Who uses it: `container/<id>`.
    pub holders: Vec<String>,
}

impl Images {
    /// What images take up on the disk.
    pub async fn usage(self: &Arc<Self>) -> Result<Usage> {
        let images = self.clone();
        tokio::task::spawn_blocking(move || measure(&images)).await.map_err(|_| Error::Cancelled)?
    }
}

/// What an image needs, with those for other platforms under its names.
struct Needs {
    image: Image,
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
    holders: Vec<String>,
}

fn needs(images: &Images) -> Result<Vec<Needs>> {
    let families: Vec<_> = {
        let catalog = images.catalog();
        let of = |image: Image| {
            let ids = catalog.family(&image.id);
            let records: Vec<_> = ids.iter().filter_map(|id| catalog.records.get(id)).collect();
            let sources = records.iter().flat_map(|record| &record.sources);
            let blobs: BTreeSet<Digest> = sources.flat_map(|source| &source.blobs).copied().collect();
            let layers: BTreeSet<Digest> =
                records.iter().flat_map(|record| &record.layers).map(|layer| layer.chain).collect();
            (image, ids, blobs, layers)
        };
        catalog.heads().into_iter().map(of).collect()
    };
    let mut all = Vec::with_capacity(families.len());
    for (image, ids, blobs, layers) in families {
        let mut holders = Vec::new();
        for id in &ids {
            holders.extend(images.store.holders(&crate::records::resource(id))?);
        }
        all.push(Needs { image, blobs, layers, holders });
    }
    Ok(all)
}

fn measure(images: &Images) -> Result<Usage> {
    let needs = needs(images)?;
    let blobs: BTreeMap<Digest, u64> =
        images.content.list()?.into_iter().map(|digest| (digest, images.content.size(&digest))).collect();
    let layers: BTreeMap<Digest, u64> = images
        .snapshots
        .layers()
        .into_iter()
        .map(|chain| (chain, images.snapshots.layer_stored(&chain).unwrap_or(0)))
        .collect();
    let users = |wanted: &dyn Fn(&Needs) -> bool| needs.iter().filter(|image| wanted(image)).take(2).count();
    let mut usage = Usage { total: blobs.values().chain(layers.values()).sum(), images: Vec::new() };
    for needed in &needs {
        let of_blobs = needed.blobs.iter().map(|blob| {
            let bytes = blobs.get(blob).copied().unwrap_or(0);
            (bytes, users(&|other| other.blobs.contains(blob)) > 1)
        });
        let of_layers = needed.layers.iter().map(|chain| {
            let bytes = layers.get(chain).copied().unwrap_or(0);
            (bytes, users(&|other| other.layers.contains(chain)) > 1)
        });
        let pieces: Vec<(u64, bool)> = of_blobs.chain(of_layers).collect();
        usage.images.push(ImageUsage {
            image: needed.image.clone(),
            size: pieces.iter().map(|(bytes, _)| bytes).sum(),
            shared: pieces.iter().filter(|(_, shared)| *shared).map(|(bytes, _)| bytes).sum(),
            holders: needed.holders.clone(),
        });
    }
    Ok(usage)
}
