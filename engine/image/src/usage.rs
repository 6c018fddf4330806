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
    /// Bytes of its unpacked layers and of its blobs, compressed layers included.
    pub size: u64,
    /// Bytes among them that another image has too.
    pub shared: u64,
    /// Who uses it: `container/<id>`.
    pub holders: Vec<String>,
}

pub(crate) async fn usage(images: &Arc<Images>) -> Result<Usage> {
    let images = images.clone();
    tokio::task::spawn_blocking(move || measure(&images)).await.map_err(|_| Error::Cancelled)?
}

fn measure(images: &Images) -> Result<Usage> {
    let (list, parts) = {
        let index = images.index();
        let list = index.images();
        let blobs = |id: &Digest| {
            let sources = index.records.get(id).into_iter().flat_map(|record| &record.sources);
            sources.flat_map(|source| &source.blobs).copied().collect::<BTreeSet<_>>()
        };
        let parts: Vec<_> = list.iter().map(|image| blobs(&image.id)).collect();
        (list, parts)
    };
    let blobs: BTreeMap<Digest, u64> =
        images.content.list()?.into_iter().map(|digest| (digest, images.content.size(&digest))).collect();
    let layers: BTreeMap<Digest, u64> = images
        .snapshots
        .layers()
        .into_iter()
        .map(|chain| (chain, images.snapshots.layer_stored(&chain).unwrap_or(0)))
        .collect();
    let users = |wanted: &dyn Fn(usize) -> bool| (0..list.len()).filter(|at| wanted(*at)).take(2).count();
    let mut usage = Usage { total: blobs.values().chain(layers.values()).sum(), images: Vec::new() };
    for (at, image) in list.iter().enumerate() {
        let of_blobs = parts[at].iter().map(|blob| {
            let bytes = blobs.get(blob).copied().unwrap_or(0);
            (bytes, users(&|other| parts[other].contains(blob)) > 1)
        });
        let chains: BTreeSet<&Digest> = image.layers.iter().collect();
        let of_layers = chains.into_iter().map(|chain| {
            let bytes = layers.get(chain).copied().unwrap_or(0);
            (bytes, users(&|other| list[other].layers.contains(chain)) > 1)
        });
        let pieces: Vec<(u64, bool)> = of_blobs.chain(of_layers).collect();
        usage.images.push(ImageUsage {
            image: image.clone(),
            size: pieces.iter().map(|(bytes, _)| bytes).sum(),
            shared: pieces.iter().filter(|(_, shared)| *shared).map(|(bytes, _)| bytes).sum(),
            holders: images.store.holders(&crate::image::resource(&image.id))?,
        });
    }
    Ok(usage)
}
