//! The documents of an image: from a name to a checked manifest and configuration.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tare_model::{Digest, Platform, Reference};
use tare_oci::image::{Descriptor, ImageConfig, Manifest};
use tare_registry::FetchedManifest;

use crate::config::CONFIG_LIMIT;
use crate::content::sha256;
use crate::document::{self, Document};
use crate::pull::PullRequest;
use crate::{Error, Images, Result, platform};

/// The manifest of the wanted platform, and the documents that led to it.
#[derive(Debug)]
pub(crate) struct Found {
    /// What the name stands for in the registry.
    pub(crate) top: Digest,
    pub(crate) manifest_digest: Digest,
    pub(crate) manifest: Manifest,
    /// Index and manifest as they came, to be kept.
    pub(crate) documents: Vec<(Digest, Bytes)>,
}

/// Asks the registry for the manifest that suits the platform.
pub(crate) async fn manifest(images: &Arc<Images>, request: &PullRequest) -> Result<Found> {
    let reference = &request.reference;
    let name = reference.familiar();
    let fetched = images.registry.manifest(reference, request.credentials.as_ref()).await?;
    let top = fetched.descriptor.digest;
    match parse(&name, &fetched)? {
        Document::Manifest(manifest) => Ok(Found {
            top,
            manifest_digest: top,
            manifest: *manifest,
            documents: vec![(top, fetched.bytes)],
        }),
        Document::Index(index) => {
            let wanted = request.platform.clone().unwrap_or_else(Platform::host);
            let entry = platform::choose(&name, &index, &wanted)?;
            let (manifest, bytes) = inner(images, reference, entry, request).await?;
            let documents = vec![(top, fetched.bytes), (entry.digest, bytes)];
            Ok(Found { top, manifest_digest: entry.digest, manifest, documents })
        }
    }
}

/// The manifest that an entry of an index names.
async fn inner(
    images: &Arc<Images>,
    reference: &Reference,
    entry: &Descriptor,
    request: &PullRequest,
) -> Result<(Manifest, Bytes)> {
    let reference = reference.with_digest(entry.digest);
    let fetched = images.registry.manifest(&reference, request.credentials.as_ref()).await?;
    let (found, expected) = (fetched.descriptor.size, entry.size);
    if found != expected {
        return Err(Error::Size { what: format!("manifest {}", reference.familiar()), found, expected });
    }
    match parse(&reference.familiar(), &fetched)? {
        Document::Manifest(manifest) => Ok((*manifest, fetched.bytes)),
        Document::Index(_) => Err(Error::NestedIndex(reference.familiar())),
    }
}

fn parse(name: &str, fetched: &FetchedManifest) -> Result<Document> {
    document::parse(&format!("manifest of {name}"), &fetched.descriptor.media_type, &fetched.bytes)
}

/// The image configuration that a manifest names, from here or from the registry.
pub(crate) async fn config(
    images: &Arc<Images>,
    request: &PullRequest,
    manifest: &Manifest,
) -> Result<(ImageConfig, Bytes)> {
    let name = request.reference.familiar();
    let what = format!("configuration of {name}");
    if manifest.config.size > CONFIG_LIMIT {
        let cause = format!("it has {} bytes, more than {CONFIG_LIMIT}", manifest.config.size);
        return Err(Error::Document { what, cause });
    }
    let bytes = match images.content.read(&manifest.config) {
        Some(bytes) => bytes.into(),
        None => blob(images, request, &manifest.config, &what).await?,
    };
    let config = document::config(&what, &bytes, manifest.layers.len())?;
    fits(request, &name, &config)?;
    Ok((config, bytes))
}

/// A small blob as a whole.
async fn blob(images: &Arc<Images>, request: &PullRequest, blob: &Descriptor, what: &str) -> Result<Bytes> {
    let credentials = request.credentials.as_ref();
    let mut stream = images.registry.blob(&request.reference, blob, credentials, 0).await?;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    let found = sha256(&bytes);
    if found != blob.digest {
        return Err(Error::Digest { what: what.to_owned(), found, expected: blob.digest });
    }
    Ok(bytes.freeze())
}

/// Whether the image is for the platform that was asked for in so many words.
fn fits(request: &PullRequest, name: &str, config: &ImageConfig) -> Result<()> {
    let Some(wanted) = &request.platform else { return Ok(()) };
    let actual = Platform {
        os: if config.os.is_empty() { "linux".to_owned() } else { config.os.clone() },
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
    };
    if actual.satisfies(wanted) {
        return Ok(());
    }
    Err(Error::Platform {
        reference: name.to_owned(),
        wanted: wanted.to_string(),
        actual: actual.to_string(),
    })
}
