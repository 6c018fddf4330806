//! An image as it leaves the house: its manifest, and the blobs it names, all of them here.

use std::sync::Arc;

use bytes::Bytes;
use tare_model::Digest;
use tare_oci::image::{Descriptor, Manifest, media_type};
use tare_registry::MANIFEST_LIMIT;
use tokio::task::spawn_blocking;

use crate::content::{Content, sha256};
use crate::document::{self, Document};
use crate::image::{Record, Source};
use crate::index::Index;
use crate::parts::{Part, Parts};
use crate::pin::Pinned;
use crate::{Error, Images, Result};

/// What is sent. Nothing of it is removed while it lives.
pub(crate) struct Shipment {
    pub(crate) manifest: Manifest,
    /// Of the manifest's bytes.
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Bytes,
    _pinned: Pinned,
}

/// Packs an image, in the form in which it came under the digest `top` where there were several.
pub(crate) async fn pack(images: &Arc<Images>, id: Digest, top: Option<Digest>) -> Result<Shipment> {
    let pinned = {
        let _quiet = images.sweep.read().await;
        images.pins.pin(needed(&images.index(), &id))
    };
    let images = images.clone();
    let work = move || {
        let (manifest, bytes) = choose(&images.content, &images.index(), &id, top)?;
        let kind = manifest.media_type.clone().unwrap_or_else(|| media_type::OCI_MANIFEST.to_owned());
        let descriptor = descriptor(&kind, &bytes);
        Ok(Shipment { manifest, descriptor, bytes, _pinned: pinned })
    };
    spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}

/// An index that is sent with everything that it names. Nothing of it is removed while it lives.
pub(crate) struct Whole {
    pub(crate) parts: Parts,
    _pinned: Pinned,
}

/// Looks at an index that is here, whether or not all it names is here as well.
pub(crate) async fn pack_index(images: &Arc<Images>, index: Digest) -> Result<Option<Whole>> {
    let quiet = images.sweep.clone().read_owned().await;
    let images = images.clone();
    let work = move || {
        let parts = Parts::of(&images.content, &index)?;
        let needed = parts.parts.iter().flat_map(Part::blobs).chain([index]).collect();
        let pinned = images.pins.pin(needed);
        drop(quiet);
        Some(Whole { parts, _pinned: pinned })
    };
    spawn_blocking(work).await.map_err(|_| Error::Cancelled)
}

/// The descriptor of a small document.
pub(crate) fn descriptor(kind: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: kind.to_owned(),
        digest: sha256(bytes),
        size: bytes.len() as u64,
        platform: None,
        annotations: std::collections::BTreeMap::new(),
        urls: Vec::new(),
    }
}

/// Every blob that may be sent for an image: its own, and those of images that share a layer with it.
fn needed(index: &Index, id: &Digest) -> Vec<Digest> {
    let Some(record) = index.records.get(id) else { return Vec::new() };
    let shares = |other: &&Record| other.layers.iter().any(|layer| record.layers.contains(layer));
    let related = index.records.values().filter(shares).chain([record]);
    related.flat_map(|record| &record.sources).flat_map(|source| source.blobs.clone()).collect()
}

fn choose(content: &Content, index: &Index, id: &Digest, top: Option<Digest>) -> Result<(Manifest, Bytes)> {
    let record = index.records.get(id).ok_or_else(|| Error::NotFound(id.to_string()))?;
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
    with_other_forms(content, index, record, manifest, id)
}

/// The manifest that an image was unpacked from or made with, whether or not all its blobs are still here.
pub(crate) fn known_manifest(content: &Content, index: &Index, id: &Digest) -> Option<Manifest> {
    let sources = &index.records.get(id)?.sources;
    let mut known: Vec<Manifest> =
        sources.iter().filter_map(|source| Some(manifest(content, &source.manifest)?.0)).collect();
    known.sort_by_key(|manifest| manifest.layers.iter().filter(|layer| !content.has(&layer.digest)).count());
    known.into_iter().next()
}

/// The descriptor of a manifest or an index that is kept here.
pub(crate) fn known_descriptor(content: &Content, digest: &Digest) -> Option<Descriptor> {
    let bytes = small(content, digest)?;
    let fields: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    let kind = match fields.get("mediaType").and_then(serde_json::Value::as_str) {
        Some(kind) => kind,
        None if fields.get("manifests").is_some() => media_type::OCI_INDEX,
        None => media_type::OCI_MANIFEST,
    };
    Some(Descriptor { digest: *digest, ..descriptor(kind, &bytes) })
}

/// A document kept here, checked again.
fn small(content: &Content, digest: &Digest) -> Option<Vec<u8>> {
    let size = std::fs::metadata(content.path(digest)).ok()?.len();
    let mut wanted = descriptor("", b"");
    (wanted.digest, wanted.size) = (*digest, size);
    (size <= MANIFEST_LIMIT).then(|| content.read(&wanted))?
}

/// A manifest kept here.
fn manifest(content: &Content, digest: &Digest) -> Option<(Manifest, Bytes)> {
    let bytes = small(content, digest)?;
    let kind = kind_of(&bytes);
    match document::parse("manifest", &kind, &bytes).ok()? {
        Document::Manifest(manifest) => {
            Some((Manifest { media_type: Some(kind), ..*manifest }, Bytes::from(bytes)))
        }
        Document::Index(_) => None,
    }
}

/// The type that a manifest names; one that names none is OCI's.
fn kind_of(bytes: &[u8]) -> String {
    let fields: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    let named = fields.as_ref().and_then(|fields| fields.get("mediaType")?.as_str());
    named.unwrap_or(media_type::OCI_MANIFEST).to_owned()
}

/// The same image with layers in the form in which another image brought them: a layer that was here unpacked already
/// was not fetched a second time.
fn with_other_forms(
    content: &Content,
    index: &Index,
    record: &Record,
    mut manifest: Manifest,
    id: &Digest,
) -> Result<(Manifest, Bytes)> {
    for (layer, unpacked) in manifest.layers.iter_mut().zip(&record.layers) {
        if !content.has(&layer.digest) {
            let other = other_form(content, index, &unpacked.chain);
            let missing = || Error::Incomplete { image: id.short(), layer: layer.digest.short() };
            *layer = other.ok_or_else(missing)?;
        }
    }
    manifest.media_type = Some(media_type::OCI_MANIFEST.to_owned());
    manifest.config.media_type = media_type::OCI_CONFIG.to_owned();
    let bytes = serde_json::to_vec(&manifest)
        .map_err(|e| Error::Document { what: "manifest".to_owned(), cause: e.to_string() })?;
    Ok((manifest, bytes.into()))
}

fn other_form(content: &Content, index: &Index, chain: &Digest) -> Option<Descriptor> {
    index.records.values().find_map(|record| {
        let at = record.layers.iter().position(|layer| layer.chain == *chain)?;
        record.sources.iter().find_map(|source| {
            let (manifest, _) = manifest(content, &source.manifest)?;
            manifest.layers.into_iter().nth(at).filter(|layer| content.has(&layer.digest))
        })
    })
}
