//! Pulling: documents first, then all layers side by side, at last the record.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tare_model::{Digest, HasKind, Kind, Platform, Reference};
use tare_oci::image::{Descriptor, ImageConfig};
use tare_registry::Credentials;
use tokio::task::spawn_blocking;

use crate::change::{Change, change};
use crate::document::{chain_ids, check};
use crate::fetch::{self, Found};
use crate::image::{Layer, Record, Source, Target};
use crate::index::Index;
use crate::layer::Planned;
use crate::pin::Pinned;
use crate::progress::{Listener, Progress};
use crate::signature::{self, Verified};
use crate::{Error, Images, Result, garbage, layers};

/// What to pull.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// With neither tag nor digest, `latest` is meant.
    pub reference: Reference,
    /// The machine's own where it is not named.
    pub platform: Option<Platform>,
    /// For the registry.
    pub credentials: Option<Credentials>,
}

/// What a pull came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image.
    pub id: Digest,
    /// What the registry has under the name: an index or a manifest.
    pub digest: Digest,
    /// The name, complete.
    pub reference: Reference,
    /// Whether the name stood for this image before.
    pub up_to_date: bool,
}

/// An image as its documents describe it, before any layer is here.
struct Described {
    reference: Reference,
    found: Found,
    config: ImageConfig,
    config_bytes: Bytes,
    layers: Vec<Planned>,
    verified: Option<Verified>,
}

pub(crate) async fn pull(
    images: &Arc<Images>,
    mut request: PullRequest,
    listener: Listener,
) -> Result<Pulled> {
    request.reference = request.reference.or_latest();
    let status = |id: Option<String>, text: String| listener(Progress::Status { id, text });
    let described = describe(images, &request, &status).await?;
    let pinned = pin(images, &described).await;
    let blobs: Vec<Digest> = described.layers.iter().map(|layer| layer.blob.digest).collect();
    let pulled = bring(images, &request, described, &listener).await;
    drop(pinned);
    let pulled = match pulled {
        Ok(pulled) => pulled,
        Err(error) => {
            clean_up(images, &error, blobs).await;
            return Err(error);
        }
    };
    status(None, format!("Digest: {}", pulled.digest));
    let news = if pulled.up_to_date { "Image is up to date" } else { "Downloaded newer image" };
    status(None, format!("Status: {news} for {}", pulled.reference.familiar()));
    Ok(pulled)
}

/// All tags of a repository, one after the other; they share most of their layers. What is no image for this machine is
/// passed over and said, the first other error ends it.
pub(crate) async fn pull_all(
    images: &Arc<Images>,
    request: PullRequest,
    listener: Listener,
) -> Result<Vec<Pulled>> {
    let tags = images.registry.tags(&request.reference, request.credentials.as_ref()).await?;
    let mut pulled = Vec::new();
    let mut passed = None;
    for tag in &tags {
        let reference = request.reference.repository().with_tag(tag)?;
        match pull(images, PullRequest { reference, ..request.clone() }, listener.clone()).await {
            Ok(one) => pulled.push(one),
            Err(error @ (Error::NotAnImage { .. } | Error::NoMatch(_) | Error::Platform { .. })) => {
                listener(Progress::Status { id: Some(tag.clone()), text: format!("Skipped: {error}") });
                passed = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match passed {
        Some(error) if pulled.is_empty() => Err(error),
        _ if pulled.is_empty() => Err(Error::NoTags(request.reference.repository().familiar())),
        _ => Ok(pulled),
    }
}

async fn describe(
    images: &Arc<Images>,
    request: &PullRequest,
    status: &impl Fn(Option<String>, String),
) -> Result<Described> {
    let reference = request.reference.clone();
    let found = fetch::manifest(images, request).await?;
    status(Some(reference.identifier()), format!("Pulling from {}", reference.path()));
    check(&reference.familiar(), &found.manifest, &images.settings.limits)?;
    let verified = signature::judge(images, request, &found).await?;
    let (config, config_bytes) = fetch::config(images, request, &found.manifest).await?;
    let layers = plan(&found.manifest.layers, &config);
    Ok(Described { reference, found, config, config_bytes, layers, verified })
}

/// The layers of an image, lowest first.
pub(crate) fn plan(blobs: &[Descriptor], config: &ImageConfig) -> Vec<Planned> {
    let chains = chain_ids(&config.rootfs.diff_ids);
    let parents = std::iter::once(None).chain(chains.iter().copied().map(Some));
    let layers = blobs.iter().cloned().zip(&config.rootfs.diff_ids).zip(chains.iter().zip(parents));
    layers
        .map(|((blob, diff), (chain, parent))| Planned { blob, diff: *diff, chain: *chain, parent })
        .collect()
}

/// Keeps everything that the pull finds or makes until its record is written.
async fn pin(images: &Arc<Images>, described: &Described) -> Pinned {
    let _quiet = images.sweep.read().await;
    let documents = described.found.documents.iter().map(|(digest, _)| *digest);
    let layers = described.layers.iter().flat_map(|layer| [layer.chain, layer.blob.digest]);
    images.pins.pin(documents.chain([described.found.manifest.config.digest]).chain(layers).collect())
}

async fn bring(
    images: &Arc<Images>,
    request: &PullRequest,
    described: Described,
    listener: &Listener,
) -> Result<Pulled> {
    keep_documents(images, &described).await?;
    layers::bring(images, request, &described.layers, None, listener).await?;
    record(images, described).await
}

/// Of a pull that failed only what the next one can use stays: nothing, where the image itself was at fault.
async fn clean_up(images: &Arc<Images>, error: &Error, blobs: Vec<Digest>) {
    let useless = matches!(error.kind(), Kind::Corrupt | Kind::InvalidInput | Kind::Exhausted);
    if useless && let Err(error) = garbage::collect(images, blobs).await {
        tracing::warn!("cannot clean up after a pull: {error}");
    }
}

async fn keep_documents(images: &Arc<Images>, described: &Described) -> Result<()> {
    let content = images.content.clone();
    let config = (described.found.manifest.config.digest, described.config_bytes.clone());
    let documents = described.found.documents.iter().cloned().chain([config]);
    let missing: Vec<_> = documents.filter(|(digest, _)| !content.has(digest)).collect();
    let write = move || missing.iter().try_for_each(|(digest, bytes)| content.write(digest, bytes));
    spawn_blocking(write).await.map_err(|_| Error::Cancelled)?
}

/// Writes the image's record and names, after everything they speak of is on the disk.
async fn record(images: &Arc<Images>, described: Described) -> Result<Pulled> {
    change(images, move |images, index| {
        images.content.sync()?;
        let sizes = described.layers.iter().map(|layer| images.snapshots.layer_size(&layer.chain));
        let sizes: Vec<u64> = sizes.collect::<std::result::Result<_, _>>()?;
        Ok(recorded(index, described, &sizes))
    })
    .await
}

/// The record of an image that has come here, whether it was here before or not.
pub(crate) fn arrived(
    known: Option<&Record>,
    config: ImageConfig,
    layers: Vec<Layer>,
    source: Source,
) -> Record {
    let mut record = known.cloned().unwrap_or_else(|| Record {
        config: Arc::new(config),
        layers,
        sources: Vec::new(),
        pulled: SystemTime::now().into(),
        tagged: None,
        dropped: false,
        parent: None,
        verified: Vec::new(),
    });
    record.dropped = false;
    if !record.sources.contains(&source) {
        record.sources.push(source);
    }
    record
}

/// The records of a pulled image.
fn recorded(index: &Index, described: Described, sizes: &[u64]) -> (Change, Pulled) {
    let Described { reference, found, config, layers, verified, .. } = described;
    let (id, top) = (found.manifest.config.digest, found.top);
    let up_to_date = index.references.get(&reference).is_some_and(|target| target.image == id);
    let documents = found.documents.iter().map(|(digest, _)| *digest);
    let blobs = documents.chain([id]).chain(layers.iter().map(|layer| layer.blob.digest)).collect();
    let source = Source { top, manifest: found.manifest_digest, blobs };
    let sized = layers.iter().zip(sizes).map(|(layer, size)| Layer { chain: layer.chain, size: *size });
    let mut record = arrived(index.records.get(&id), config, sized.collect(), source);
    if let Some(verified) = verified {
        let same =
            |old: &Verified| old.repository == verified.repository && old.fingerprint == verified.fingerprint;
        record.verified.retain(|old| !same(old));
        record.verified.push(verified);
    }
    if !up_to_date {
        record.tagged = Some(SystemTime::now().into());
    }
    let target = Target { image: id, top: Some(top) };
    let mut name = vec![(reference.with_digest(top), target)];
    if reference.digest().is_none() {
        name.push((reference.clone(), target));
    }
    let change = Change { put: vec![(id, record)], name, ..Change::default() };
    (change, Pulled { id, digest: top, reference, up_to_date })
}
