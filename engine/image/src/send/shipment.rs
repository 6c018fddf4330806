//! An image as it leaves the house: its manifest, and the blobs it names, all of them here.

use std::sync::Arc;

use bytes::Bytes;
use tare_model::Digest;
use tare_oci::image::{Descriptor, Manifest, media_type};
use tokio::task::spawn_blocking;

use super::recompress::Own;
use crate::content::Content;
use crate::document::{KeptIndex, KeptManifest, descriptor, manifest};
use crate::garbage::Pinned;
use crate::records::{Catalog, Record, Source};
use crate::{Error, Images, Result};

/// What is sent. Nothing of it is removed while it lives.
pub(crate) struct Shipment {
    pub(crate) manifest: Manifest,
    /// Of the manifest's bytes.
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Bytes,
    /// Blobs that were made for it alone.
    pub(crate) own: Own,
    _pinned: Pinned,
}

impl Shipment {
    /// Sends another manifest of the same image, whose blobs are these and those that are kept.
    pub(crate) fn replace(&mut self, manifest: Manifest, own: Own) -> Result<()> {
        self.bytes = written(&manifest)?;
        self.descriptor = descriptor(media_type::OCI_MANIFEST, &self.bytes);
        (self.manifest, self.own) = (manifest, own);
        Ok(())
    }
}

/// Packs an image, in the form in which it came under the digest `top` where there were several.
pub(crate) async fn pack(images: &Arc<Images>, id: Digest, top: Option<Digest>) -> Result<Shipment> {
    let pinned = {
        let _quiet = images.sweep.read().await;
        images.pins.pin(needed(&images.catalog(), &id))
    };
    let images = images.clone();
    let work = move || {
        let (manifest, bytes) = choose(&images.content, &images.catalog(), &id, top)?;
        let kind = manifest.media_type.clone().unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned());
        let descriptor = descriptor(&kind, &bytes);
        Ok(Shipment { manifest, descriptor, bytes, own: Own::default(), _pinned: pinned })
    };
    spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}

/// An index that is sent with everything that it names. Nothing of it is removed while it lives.
pub(crate) struct Whole {
    pub(crate) index: KeptIndex,
    _pinned: Pinned,
}

/// Looks at an index that is here, whether or not all it names is here as well.
pub(crate) async fn pack_index(images: &Arc<Images>, index: Digest) -> Result<Option<Whole>> {
    let quiet = images.sweep.clone().read_owned().await;
    let images = images.clone();
    let work = move || {
        let kept = KeptIndex::of(&images.content, &index)?;
        let needed = kept.manifests.iter().flat_map(KeptManifest::blobs).chain([index]).collect();
        let pinned = images.pins.pin(needed);
        drop(quiet);
        Some(Whole { index: kept, _pinned: pinned })
    };
    spawn_blocking(work).await.map_err(|_| Error::Cancelled)
}

/// Every blob that may be sent for an image: its own, and those of images that share a layer with it.
fn needed(catalog: &Catalog, id: &Digest) -> Vec<Digest> {
    let Some(record) = catalog.records.get(id) else { return Vec::new() };
    let shares = |other: &&Record| other.layers.iter().any(|layer| record.layers.contains(layer));
    let related = catalog.records.values().filter(shares).chain([record]);
    related.flat_map(|record| &record.sources).flat_map(|source| source.blobs.clone()).collect()
}

fn choose(
    content: &Content,
    catalog: &Catalog,
    id: &Digest,
    top: Option<Digest>,
) -> Result<(Manifest, Bytes)> {
    let record = catalog.records.get(id).ok_or_else(|| Error::NotFound(id.to_string()))?;
    let mut sources: Vec<&Source> = record.sources.iter().collect();
    sources.sort_by_key(|source| Some(source.top) != top);
    let known: Vec<_> = sources.iter().filter_map(|source| manifest(content, &source.manifest)).collect();
    let whole = |manifest: &Manifest| manifest.layers.iter().all(|layer| content.has(&layer.digest));
    if let Some(found) = known.iter().find(|(manifest, _)| whole(manifest)) {
        return Ok(found.clone());
    }
    let Some((manifest, _)) = known.into_iter().next() else {
        return Err(Error::Incomplete { image: id.short(), layer: "manifest".to_owned() });
    };
    with_other_forms(content, catalog, record, manifest, id)
}

/// The same image with layers in the form in which another image brought them: a layer that was here unpacked already
/// was not fetched a second time.
fn with_other_forms(
    content: &Content,
    catalog: &Catalog,
    record: &Record,
    mut manifest: Manifest,
    id: &Digest,
) -> Result<(Manifest, Bytes)> {
    for (layer, unpacked) in manifest.layers.iter_mut().zip(&record.layers) {
        if !content.has(&layer.digest) {
            let other = other_form(content, catalog, &unpacked.chain);
            let missing = || Error::Incomplete { image: id.short(), layer: layer.digest.short() };
            *layer = other.ok_or_else(missing)?;
        }
    }
    manifest.media_type = Some(media_type::OCI_MANIFEST.to_owned());
    manifest.config.media_type = media_type::OCI_CONFIG.to_owned();
    let bytes = written(&manifest)?;
    Ok((manifest, bytes))
}

fn written(manifest: &Manifest) -> Result<Bytes> {
    let bytes = serde_json::to_vec(manifest);
    Ok(bytes.map_err(|e| Error::Document { what: "manifest".to_owned(), cause: e.to_string() })?.into())
}

fn other_form(content: &Content, catalog: &Catalog, chain: &Digest) -> Option<Descriptor> {
    catalog.records.values().find_map(|record| {
        let at = record.layers.iter().position(|layer| layer.chain == *chain)?;
        record.sources.iter().find_map(|source| {
            let (manifest, _) = manifest(content, &source.manifest)?;
            manifest.layers.into_iter().nth(at).filter(|layer| content.has(&layer.digest))
        })
    })
}
