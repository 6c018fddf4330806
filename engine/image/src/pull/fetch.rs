//! The documents of an image: from a name to a checked manifest and configuration.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tare_model::{Digest, Platform};
use tare_oci::image::{Descriptor, ImageConfig, Index as OciIndex, Manifest};
use tare_registry::FetchedManifest;

use super::PullRequest;
use crate::content::sha256;
use crate::document::{Document, Found, Offered, attested, platform};
use crate::settings::CONFIG_LIMIT;
use crate::{Error, Images, Result, document};

/// Asks the registry for the manifests that suit the request.
pub(crate) async fn manifests(images: &Arc<Images>, request: &PullRequest) -> Result<Offered> {
    let reference = &request.reference;
    let name = reference.familiar();
    let fetched = images.registry.manifest(reference, request.credentials.as_ref()).await?;
    let top = fetched.descriptor.digest;
    match parse(&name, &fetched)? {
        Document::Manifest(manifest) => {
            let found = Found::alone(top, *manifest, fetched.bytes);
            Ok(Offered { images: vec![found], ..Offered::default() })
        }
        Document::Index(index) if request.all_platforms => {
            all(images, request, (top, fetched.bytes), &index).await
        }
        Document::Index(index) => {
            let wanted = request.platform.clone().unwrap_or_else(Platform::host);
            let entry = platform::choose(&name, &index, &wanted)?;
            let found = Found::inside((top, fetched.bytes), entry, inner(images, entry, request).await?);
            Ok(Offered { images: vec![found], ..Offered::default() })
        }
    }
}

/// Everything that an index names, but for images of other operating systems.
async fn all(
    images: &Arc<Images>,
    request: &PullRequest,
    index: (Digest, Bytes),
    entries: &OciIndex,
) -> Result<Offered> {
    let name = request.reference.familiar();
    let mut offered = Offered::default();
    for entry in platform::each(&name, entries)? {
        let attestation = platform::is_attestation(entry);
        let other = entry.platform.as_ref().filter(|platform| platform.os != "linux" && !attestation);
        if let Some(other) = other {
            offered.passed.push(other.to_string());
            continue;
        }
        let found = Found::inside(index.clone(), entry, inner(images, entry, request).await?);
        match attestation {
            true => offered.attestations.push((attested(entry), found)),
            false => offered.images.push(found),
        }
    }
    if offered.images.is_empty() { Err(Error::NoMatch("linux".to_owned())) } else { Ok(offered) }
}

/// The manifest that an entry of an index names.
async fn inner(images: &Arc<Images>, entry: &Descriptor, request: &PullRequest) -> Result<(Manifest, Bytes)> {
    let reference = request.reference.with_digest(entry.digest);
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
    found: &Found,
) -> Result<(ImageConfig, Bytes)> {
    let (name, manifest) = (request.reference.familiar(), &found.manifest);
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
    // Of several platforms each must be what the index says, as they are told apart by it.
    let promised = found.platform.as_ref().filter(|_| request.all_platforms);
    fits(request.platform.as_ref().or(promised), &name, &config)?;
    Ok((config, bytes))
}

/// Keeps a blob that is no layer of ours, of any length.
pub(crate) async fn keep(images: &Arc<Images>, request: &PullRequest, blob: &Descriptor) -> Result<()> {
    if images.content.has(&blob.digest) {
        return Ok(());
    }
    let stream = images.registry.blob(&request.reference, blob, request.credentials.as_ref(), 0).await?;
    images.content.receive(&blob.digest, stream.map(|chunk| chunk.map_err(Error::from))).await
}

/// A small blob as a whole, whose size the caller has judged. `what` it is, for the error of one that is another.
pub(crate) async fn blob(
    images: &Arc<Images>,
    request: &PullRequest,
    blob: &Descriptor,
    what: &str,
) -> Result<Bytes> {
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
fn fits(wanted: Option<&Platform>, name: &str, config: &ImageConfig) -> Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let actual = platform::of(config);
    if actual.satisfies(wanted) {
        return Ok(());
    }
    Err(Error::Platform {
        reference: name.to_owned(),
        wanted: wanted.to_string(),
        actual: actual.to_string(),
    })
}
