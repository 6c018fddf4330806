//! The files of an image archive: Docker's `manifest.json`, and the OCI layout (image-spec, *image-layout*). Pure.

use serde::{Deserialize, Serialize};
use tare_model::Digest;

/// Docker's list of the images in an archive.
pub(crate) const DOCKER: &str = "manifest.json";
/// OCI's list of them.
pub(crate) const INDEX: &str = "index.json";
/// What marks an OCI layout.
pub(crate) const MARK: &str = "oci-layout";
/// The content of that mark.
pub(crate) const MARKED: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The annotation with the complete name of an image, which is what containerd writes.
pub(crate) const FULL_NAME: &str = "io.containerd.image.name";
/// OCI's annotation: a tag, or the name that its writer was given.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// One image in `manifest.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerImage {
    /// The path of its configuration.
    pub(crate) config: String,
    /// `null` for an image without names.
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    /// Paths, lowest first; `null` for an image without layers.
    #[serde(default)]
    pub(crate) layers: Option<Vec<String>>,
}

/// Where a layout keeps a blob.
pub(crate) fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
