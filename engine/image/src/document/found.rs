//! A manifest, and the documents that led to it, wherever they were looked for.

use bytes::Bytes;
use tare_model::{Digest, Platform};
use tare_oci::image::{Descriptor, Manifest};

/// A manifest, and the documents that led to it.
#[derive(Debug)]
pub(crate) struct Found {
    /// What the name stands for in the registry.
    pub(crate) top: Digest,
    pub(crate) manifest_digest: Digest,
    pub(crate) manifest: Manifest,
    /// Index and manifest as they came, to be kept.
    pub(crate) documents: Vec<(Digest, Bytes)>,
    /// What it is for, where an index says so.
    pub(crate) platform: Option<Platform>,
}

impl Found {
    /// Where there is no index.
    pub(crate) fn alone(digest: Digest, manifest: Manifest, bytes: Bytes) -> Self {
        let documents = vec![(digest, bytes)];
        Self { top: digest, manifest_digest: digest, manifest, documents, platform: None }
    }

    /// The manifest that an entry of an index names.
    pub(crate) fn inside(
        (top, index): (Digest, Bytes),
        entry: &Descriptor,
        (manifest, bytes): (Manifest, Bytes),
    ) -> Self {
        let documents = vec![(top, index), (entry.digest, bytes)];
        Self { top, manifest_digest: entry.digest, manifest, documents, platform: entry.platform.clone() }
    }

    /// The index that led to it, if one did.
    pub(crate) fn index(&self) -> Option<Digest> {
        (self.manifest_digest != self.top).then_some(self.top)
    }

    /// Everything that it counts on.
    pub(crate) fn blobs(&self) -> Vec<Digest> {
        let named = self.manifest.layers.iter().chain([&self.manifest.config]).map(|blob| blob.digest);
        self.documents.iter().map(|(digest, _)| *digest).chain(named).collect()
    }
}

/// What a name offers of what was asked for.
#[derive(Debug, Default)]
pub(crate) struct Offered {
    pub(crate) images: Vec<Found>,
    /// What says how images were made, each with the digest of the manifest that it is about where it tells.
    pub(crate) attestations: Vec<(Option<Digest>, Found)>,
    /// Entries of an index that are for no platform of ours.
    pub(crate) passed: Vec<String>,
}
