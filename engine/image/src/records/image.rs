//! An image as everybody sees it, and as it is recorded.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tare_model::{Digest, Platform, Reference, Timestamp};
use tare_oci::image::ImageConfig;

use crate::document::platform;
use crate::policy::Verified;

/// An image that is complete on this machine.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    /// How it was made and how to run it.
    pub config: Arc<ImageConfig>,
    /// Its names with tags, in order. An image that is one of several platforms has the name of all of them.
    pub tags: Vec<Reference>,
    /// Its names with digests (`repository@sha256:…`), in order.
    pub digests: Vec<Reference>,
    /// Bytes of its unpacked layers together.
    pub size: u64,
    /// Chain ids of its layers, the lowest first.
    pub layers: Vec<Digest>,
    /// Bytes of each unpacked layer, the lowest first.
    pub layer_sizes: Vec<u64>,
    /// The manifest it was unpacked from.
    pub manifest: Digest,
    /// When it came here first.
    pub pulled: Timestamp,
    /// When it got a name last.
    pub tagged: Option<Timestamp>,
    /// The image that it was made from here; `None` for images that came from elsewhere.
    pub parent: Option<Digest>,
}

impl Image {
    /// What it runs on.
    pub fn platform(&self) -> Platform {
        platform::of(&self.config)
    }

    /// All its names.
    pub fn names(&self) -> impl Iterator<Item = &Reference> {
        self.tags.iter().chain(&self.digests)
    }

    /// The chain id that a container's writable layer stands on; `None` for an image without layers.
    pub fn top_layer(&self) -> Option<&Digest> {
        self.layers.last()
    }
}

/// The name under which the store keeps leases on an image.
pub(crate) fn resource(id: &Digest) -> String {
    format!("image/{id}")
}

/// What is stored about an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(with = "shared")]
    pub(crate) config: Arc<ImageConfig>,
    /// Lowest first.
    pub(crate) layers: Vec<Layer>,
    /// The manifests that led to it; one at least.
    pub(crate) sources: Vec<Source>,
    pub(crate) pulled: Timestamp,
    #[serde(default)]
    pub(crate) tagged: Option<Timestamp>,
    /// Removed by force while in use: has no name, is not listed, goes with its last lease.
    #[serde(default)]
    pub(crate) dropped: bool,
    /// The image that it was made from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Digest>,
    /// Signatures that were verified when it came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) verified: Vec<Verified>,
}

/// An unpacked layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layer {
    pub(crate) chain: Digest,
    pub(crate) size: u64,
}

/// A manifest that leads to an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// What the reference named: an index or a manifest.
    pub(crate) top: Digest,
    /// The manifest of the platform; the same as `top` where there is no index.
    pub(crate) manifest: Digest,
    /// Both, the configuration and the compressed layers.
    pub(crate) blobs: Vec<Digest>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) image: Digest,
    /// The digest that the registry has under this name; `None` for names given here.
    #[serde(default)]
    pub(crate) top: Option<Digest>,
    /// The index that the name stands for, of which `image` is what is meant where no platform is named. `None` where that
    /// is `top`, or where the name stands for the one image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<Digest>,
}

impl Target {
    /// A name given here to one image.
    pub(crate) fn of(image: Digest) -> Self {
        Self { image, top: None, index: None }
    }

    /// The document that the name stands for, where it is known.
    pub(crate) fn document(&self) -> Option<Digest> {
        self.index.or(self.top)
    }
}

impl Record {
    /// Whether a manifest of this index led to the image.
    pub(crate) fn is_part_of(&self, index: &Digest) -> bool {
        !self.dropped && self.sources.iter().any(|source| source.top == *index && source.manifest != *index)
    }
}

mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tare_oci::image::ImageConfig;

    pub(super) fn serialize<S: Serializer>(config: &Arc<ImageConfig>, to: S) -> Result<S::Ok, S::Error> {
        config.as_ref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<ImageConfig>, D::Error> {
        ImageConfig::deserialize(from).map(Arc::new)
    }
}
