//! An index that is kept here, and which of the manifests that it names are here with everything that they name.

use std::collections::BTreeSet;

use bytes::Bytes;
use tare_model::Digest;
use tare_oci::image::{Descriptor, Index as OciIndex, Manifest};
use tare_registry::MANIFEST_LIMIT;

use crate::content::Content;
use crate::document::{self, Document};
use crate::shipment::known_descriptor;

/// What a builder's attestation is about: the digest of another manifest of the same index.
const ABOUT: &str = "vnd.docker.reference.digest";

/// An index and its manifests, each once, in the order of the index.
pub(crate) struct Parts {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Bytes,
    pub(crate) parts: Vec<Part>,
}

/// One manifest of an index.
pub(crate) struct Part {
    /// As the index has it.
    pub(crate) entry: Descriptor,
    /// The manifest where it is here, and is what the index says of it.
    pub(crate) manifest: Option<(Manifest, Bytes)>,
    /// Whether all blobs that it names are here as well.
    pub(crate) whole: bool,
}

impl Parts {
    /// Looks at an index; `None` where it is not here or is none.
    pub(crate) fn of(content: &Content, digest: &Digest) -> Option<Self> {
        let descriptor = known_descriptor(content, digest).filter(|d| document::is_index(&d.media_type))?;
        let bytes = content.read(&descriptor)?;
        let Ok(Document::Index(index)) = document::parse("index", &descriptor.media_type, &bytes) else {
            return None;
        };
        Some(Self { descriptor, bytes: bytes.into(), parts: parts(content, index) })
    }

    /// Whether everything that the index names is here.
    pub(crate) fn is_whole(&self) -> bool {
        self.parts.iter().all(|part| part.whole)
    }
}

fn parts(content: &Content, index: OciIndex) -> Vec<Part> {
    let mut seen = BTreeSet::new();
    let entries = index.manifests.into_iter().filter(|entry| seen.insert(entry.digest));
    let part = |entry: Descriptor| {
        let manifest = manifest(content, &entry);
        let whole = manifest.as_ref().is_some_and(|(manifest, _)| {
            content.has(&manifest.config.digest) && manifest.layers.iter().all(|l| content.has(&l.digest))
        });
        Part { entry, manifest, whole }
    };
    entries.map(part).collect()
}

/// The manifest that an entry of an index names.
fn manifest(content: &Content, entry: &Descriptor) -> Option<(Manifest, Bytes)> {
    let bytes = (entry.size <= MANIFEST_LIMIT).then(|| content.read(entry))??;
    match document::parse("manifest", &entry.media_type, &bytes).ok()? {
        Document::Manifest(manifest) => Some((*manifest, bytes.into())),
        Document::Index(_) => None,
    }
}

impl Part {
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
