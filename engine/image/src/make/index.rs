//! Making an index: images of several platforms that are here, under one name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tare_model::{Digest, Platform, Reference};
use tare_oci::image::{Descriptor, Index as OciIndex, media_type};

use crate::document::{descriptor, platform};
use crate::records::{Change, Source, Target, change};
use crate::send::{Shipment, pack};
use crate::{Error, Images, Result};

/// Images of several platforms that are to stand under one name.
#[derive(Clone, Debug, Default)]
pub struct IndexRequest {
    /// Ids of images that are here, each for a platform of its own; in the order of the index.
    pub images: Vec<Digest>,
    /// Names with tags that become the index's own, whatever had them before.
    pub names: Vec<Reference>,
}

impl Images {
    /// Makes an OCI index of images that are here, each for another platform, and gives it its names; its descriptor. It is
    /// there whole when this returns; before, the names mean what they meant.
    pub async fn make_index(self: &Arc<Self>, request: IndexRequest) -> Result<Descriptor> {
        make_index(self, request).await
    }
}

async fn make_index(images: &Arc<Images>, request: IndexRequest) -> Result<Descriptor> {
    if let Some(name) = request.names.iter().find(|name| name.digest().is_some()) {
        return Err(Error::TagWithDigest(name.familiar()));
    }
    let mut parts: Vec<(Digest, Platform, Shipment)> = Vec::new();
    for id in request.images {
        let record = images.catalog().records.get(&id).map(|record| record.config.clone());
        let platform = platform::of(&*record.ok_or_else(|| Error::NotFound(id.to_string()))?);
        match parts.iter().find(|(_, other, _)| *other == platform) {
            Some((other, ..)) if *other == id => {}
            Some(_) => return Err(Error::Index(format!("two of the images are for {platform}"))),
            None => parts.push((id, platform, pack(images, id, None).await?)),
        }
    }
    let index = OciIndex {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: parts.iter().map(|(_, platform, shipment)| entry(platform, shipment)).collect(),
        annotations: BTreeMap::new(),
    };
    let bytes = serde_json::to_vec(&index).map_err(|e| Error::Index(e.to_string()))?;
    let made = descriptor(media_type::OCI_INDEX, &bytes);
    let pinned = {
        let _quiet = images.sweep.read().await;
        let manifests = parts.iter().map(|(.., shipment)| shipment.descriptor.digest);
        images.pins.pin(manifests.chain([made.digest]).collect())
    };
    record(images, made.digest, bytes, parts, request.names).await?;
    drop(pinned);
    Ok(made)
}

fn entry(platform: &Platform, shipment: &Shipment) -> Descriptor {
    Descriptor { platform: Some(platform.clone()), ..shipment.descriptor.clone() }
}

/// Keeps the index and manifests that were made anew, then writes all records and names at once.
async fn record(
    images: &Arc<Images>,
    top: Digest,
    bytes: Vec<u8>,
    parts: Vec<(Digest, Platform, Shipment)>,
    names: Vec<Reference>,
) -> Result<()> {
    let Some((first, ..)) = parts.first() else {
        return Err(Error::Index("there is no image for it".to_owned()));
    };
    let offers = parts.iter().map(|(id, platform, _)| (platform.clone(), *id));
    let head = platform::best(offers, &Platform::host()).unwrap_or(*first);
    change(images, move |images, catalog| {
        let manifests = parts.iter().map(|(.., shipment)| (shipment.descriptor.digest, &shipment.bytes[..]));
        for (digest, bytes) in manifests.chain([(top, &bytes[..])]) {
            if !images.content.has(&digest) {
                images.content.write(&digest, bytes)?;
            }
        }
        images.content.sync()?;
        let mut change = Change::default();
        for (id, _, shipment) in &parts {
            let record = catalog.records.get(id).ok_or_else(|| Error::NotFound(id.to_string()))?;
            let mut record = record.clone();
            let (manifest, named) = (shipment.descriptor.digest, &shipment.manifest);
            let blobs = named.layers.iter().chain([&named.config]).map(|blob| blob.digest);
            let blobs = [top, manifest].into_iter().chain(blobs).collect();
            let source = Source { top, manifest, blobs };
            if !record.sources.contains(&source) {
                record.sources.push(source);
            }
            (record.tagged, record.dropped) = (Some(SystemTime::now().into()), false);
            change.put.push((*id, record));
        }
        let target = Target { index: Some(top), ..Target::of(head) };
        change.name = names.into_iter().map(|name| (name.or_latest(), target)).collect();
        Ok((change, ()))
    })
    .await
}
