//! What a registry has under a name, asked without fetching it.

use std::sync::Arc;

use tare_model::{Platform, Reference};
use tare_oci::image::Descriptor;
use tare_registry::Credentials;

use super::{PullRequest, fetch};
use crate::document::{Document, Found, platform};
use crate::{Images, Result, document};

/// A manifest or index in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Type, digest and size of the document.
    pub descriptor: Descriptor,
    /// What there are images for; empty for what is no image.
    pub platforms: Vec<Platform>,
}

impl Images {
    /// What a registry has under a name; nothing is fetched but its description.
    pub async fn distribution(
        self: &Arc<Self>,
        reference: &Reference,
        credentials: Option<Credentials>,
    ) -> Result<Distribution> {
        let reference = reference.clone().or_latest();
        let fetched = self.registry.manifest(&reference, credentials.as_ref()).await?;
        let what = format!("manifest of {}", reference.familiar());
        let platforms = match document::parse(&what, &fetched.descriptor.media_type, &fetched.bytes)? {
            Document::Index(index) => {
                let images = index.manifests.into_iter().filter(|entry| !platform::is_attestation(entry));
                images.filter_map(|entry| entry.platform).collect()
            }
            Document::Manifest(manifest) if document::is_image(&manifest) => {
                let request = PullRequest { reference, platform: None, all_platforms: false, credentials };
                let found = Found::alone(fetched.descriptor.digest, *manifest, fetched.bytes);
                let (config, _) = fetch::config(self, &request, &found).await?;
                vec![platform::of(&config)]
            }
            Document::Manifest(_) => Vec::new(),
        };
        Ok(Distribution { descriptor: fetched.descriptor, platforms })
    }
}
