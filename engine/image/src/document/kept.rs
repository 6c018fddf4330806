//! Documents that are kept here: manifests, and indexes with those of their manifests that are here with everything that they
//! name.

use std::collections::BTreeSet;

use bytes::Bytes;
use tare_model::Digest;
use tare_oci::image::{Descriptor, Index as OciIndex, Manifest, media_type};
use tare_registry::MANIFEST_LIMIT;

use super::{Document, descriptor};
use crate::content::Content;
use crate::document;
use crate::records::Catalog;

/// What a builder's attestation is about: the digest of another manifest of the same index.
const ABOUT: &str = "vnd.docker.reference.digest";

/// An index and its manifests, each once, in the order of the index.
pub(crate) struct KeptIndex {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Bytes,
    pub(crate) manifests: Vec<KeptManifest>,
}

/// One manifest of an index.
pub(crate) struct KeptManifest {
    /// As the index has it.
    pub(crate) entry: Descriptor,
    /// The manifest where it is here, and is what the index says of it.
    pub(crate) manifest: Option<(Manifest, Bytes)>,
    /// Whether all blobs that it names are here as well.
    pub(crate) whole: bool,
}

impl KeptIndex {
    /// Looks at an index; `None` where it is not here or is none.
    pub(crate) fn of(content: &Content, digest: &Digest) -> Option<Self> {
        let descriptor = known_descriptor(content, digest).filter(|d| document::is_index(&d.media_type))?;
        let bytes = content.read(&descriptor)?;
        let Ok(Document::Index(index)) = document::parse("index", &descriptor.media_type, &bytes) else {
            return None;
        };
        Some(Self { descriptor, bytes: bytes.into(), manifests: manifests(content, index) })
    }

    /// Whether everything that the index names is here.
    pub(crate) fn is_whole(&self) -> bool {
        self.manifests.iter().all(|manifest| manifest.whole)
    }
}

fn manifests(content: &Content, index: OciIndex) -> Vec<KeptManifest> {
    let mut seen = BTreeSet::new();
    let entries = index.manifests.into_iter().filter(|entry| seen.insert(entry.digest));
    let part = |entry: Descriptor| {
        let manifest = named(content, &entry);
        let whole = manifest.as_ref().is_some_and(|(manifest, _)| {
            content.has(&manifest.config.digest) && manifest.layers.iter().all(|l| content.has(&l.digest))
        });
        KeptManifest { entry, manifest, whole }
    };
    entries.map(part).collect()
}

/// The manifest that an entry of an index names.
fn named(content: &Content, entry: &Descriptor) -> Option<(Manifest, Bytes)> {
    let bytes = (entry.size <= MANIFEST_LIMIT).then(|| content.read(entry))??;
    match document::parse("manifest", &entry.media_type, &bytes).ok()? {
        Document::Manifest(manifest) => Some((*manifest, bytes.into())),
        Document::Index(_) => None,
    }
}

impl KeptManifest {
    /// The blobs that the manifest names, and itself.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = Digest> {
        let named =
            self.manifest.iter().flat_map(|(manifest, _)| manifest.layers.iter().chain([&manifest.config]));
        named.map(|blob| blob.digest).chain([self.entry.digest])
    }
}

/// The manifest of the same index that an attestation is about, where it tells.
pub(crate) fn attested(entry: &Descriptor) -> Option<Digest> {
    entry.annotations.get(ABOUT)?.parse().ok()
}

/// The manifest that an image was unpacked from or made with, whether or not all its blobs are still here.
pub(crate) fn known_manifest(content: &Content, catalog: &Catalog, id: &Digest) -> Option<Manifest> {
    let sources = &catalog.records.get(id)?.sources;
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
pub(crate) fn manifest(content: &Content, digest: &Digest) -> Option<(Manifest, Bytes)> {
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
