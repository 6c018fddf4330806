//! What a registry has under a name, asked without fetching it.

use std::sync::Arc;

use tare_model::{Platform, Reference};
use tare_oci::image::{Descriptor, ImageConfig};
use tare_registry::Credentials;

use crate::document::{self, Document};
use crate::pull::PullRequest;
use crate::{Images, Result, fetch, platform};

/// A manifest or index in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Type, digest and size of the document.
    pub descriptor: Descriptor,
    /// What there are images for; empty for what is no image.
    pub platforms: Vec<Platform>,
}

pub(crate) async fn distribution(
    images: &Arc<Images>,
    reference: &Reference,
    credentials: Option<Credentials>,
) -> Result<Distribution> {
    let reference = reference.clone().or_latest();
    let fetched = images.registry.manifest(&reference, credentials.as_ref()).await?;
    let what = format!("manifest of {}", reference.familiar());
    let platforms = match document::parse(&what, &fetched.descriptor.media_type, &fetched.bytes)? {
        Document::Index(index) => {
            let images = index.manifests.into_iter().filter(|entry| !platform::is_attestation(entry));
            images.filter_map(|entry| entry.platform).collect()
        }
        Document::Manifest(manifest) if document::is_image(&manifest) => {
            let request = PullRequest { reference, platform: None, credentials };
            let (config, _) = fetch::config(images, &request, &manifest).await?;
            vec![of(config)]
        }
        Document::Manifest(_) => Vec::new(),
    };
    Ok(Distribution { descriptor: fetched.descriptor, platforms })
}

fn of(config: ImageConfig) -> Platform {
    let ImageConfig { os, architecture, variant, .. } = config;
    Platform { os, architecture, variant }
}
