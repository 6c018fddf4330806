//! Pulling: documents first, then all layers side by side, at last the record.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::StreamExt;
use tare_model::{Digest, Platform, Reference};
use tare_oci::image::{Descriptor, ImageConfig};
use tare_registry::Credentials;
use tare_snapshot::Unpacked;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};

use crate::change::{Change, change};
use crate::claim::Claim;
use crate::document::{chain_ids, check};
use crate::fetch::{self, Found};
use crate::image::{Layer, Record, Source as ImageSource, Target};
use crate::index::Index;
use crate::intake::{Intake, Source};
use crate::layer::{self, Planned};
use crate::pin::Pinned;
use crate::progress::{LayerState, Listener, Progress, Reporter};
use crate::{Error, Images, Result};

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

/// Chunks between the network and the thread that unpacks.
const CHUNKS_AHEAD: usize = 16;

pub(crate) async fn pull(
    images: &Arc<Images>,
    mut request: PullRequest,
    listener: Listener,
) -> Result<Pulled> {
    request.reference = request.reference.or_latest();
    let reference = request.reference.clone();
    let status = |id: Option<String>, text: String| listener(Progress::Status { id, text });
    let found = fetch::manifest(images, &request).await?;
    status(Some(reference.identifier()), format!("Pulling from {}", reference.path()));
    check(&reference.familiar(), &found.manifest, &images.settings.limits)?;
    let (config, config_bytes) = fetch::config(images, &request, &found.manifest).await?;
    let planned = plan(&found.manifest.layers, &config);
    let pinned = pin(images, &found, &planned).await;
    keep_documents(images, &found, config_bytes).await?;
    layers(images, &request, &planned, &listener).await?;
    let pulled = record(images, &reference, found, config, planned).await?;
    drop(pinned);
    status(None, format!("Digest: {}", pulled.digest));
    let name = reference.familiar();
    status(
        None,
        match pulled.up_to_date {
            true => format!("Status: Image is up to date for {name}"),
            false => format!("Status: Downloaded newer image for {name}"),
        },
    );
    Ok(pulled)
}

fn plan(blobs: &[Descriptor], config: &ImageConfig) -> Vec<Planned> {
    let chains = chain_ids(&config.rootfs.diff_ids);
    let parents = std::iter::once(None).chain(chains.iter().copied().map(Some));
    let layers = blobs.iter().zip(&config.rootfs.diff_ids).zip(chains.iter().zip(parents));
    layers
        .map(|((blob, diff), (chain, parent))| Planned {
            blob: blob.clone(),
            diff: *diff,
            chain: *chain,
            parent,
        })
        .collect()
}

/// Keeps everything that the pull finds or makes until its record is written.
async fn pin(images: &Arc<Images>, found: &Found, planned: &[Planned]) -> Pinned {
    let _quiet = images.sweep.read().await;
    let documents = found.documents.iter().map(|(digest, _)| *digest).chain([found.manifest.config.digest]);
    let layers = planned.iter().flat_map(|layer| [layer.chain, layer.blob.digest]);
    images.pins.pin(documents.chain(layers).collect())
}

async fn keep_documents(images: &Arc<Images>, found: &Found, config: Bytes) -> Result<()> {
    let content = images.content.clone();
    let config = (found.manifest.config.digest, config);
    let missing: Vec<_> =
        found.documents.iter().cloned().chain([config]).filter(|(d, _)| !content.has(d)).collect();
    let write = move || missing.iter().try_for_each(|(digest, bytes)| content.write(digest, bytes));
    spawn_blocking(write).await.map_err(|_| Error::Cancelled)?
}

/// What the tasks of one pull share.
struct Work {
    images: Arc<Images>,
    request: PullRequest,
    permits: Semaphore,
}

/// Brings all layers here. The first error stops the others; it is the one that is returned.
async fn layers(
    images: &Arc<Images>,
    request: &PullRequest,
    planned: &[Planned],
    listener: &Listener,
) -> Result<()> {
    let permits = Semaphore::new(images.settings.downloads.max(1));
    let work = Arc::new(Work { images: images.clone(), request: request.clone(), permits });
    let mut tasks = JoinSet::new();
    let mut below = None;
    for layer in planned {
        let reporter = Reporter::new(layer.blob.digest.short(), layer.blob.size, listener.clone());
        let (done, next) = watch::channel(false);
        let task = one_layer(work.clone(), layer.clone(), below.replace(next), reporter);
        tasks.spawn(async move {
            task.await?;
            done.send_replace(true);
            Ok(())
        });
    }
    let mut first = None;
    while let Some(result) = tasks.join_next().await {
        match result.unwrap_or(Err(Error::Cancelled)) {
            Ok(()) => {}
            // A layer whose parent failed only says that it was cancelled; the parent says why.
            Err(Error::Cancelled) if !tasks.is_empty() => {}
            Err(error) => {
                first = Some(error);
                break;
            }
        }
    }
    tasks.shutdown().await;
    first.map_or(Ok(()), Err)
}

async fn one_layer(
    work: Arc<Work>,
    layer: Planned,
    below: Option<watch::Receiver<bool>>,
    reporter: Reporter,
) -> Result<()> {
    let images = &work.images;
    let chain_claim = images.claims.claim(&layer.chain).await;
    if images.snapshots.has(&layer.chain) {
        reporter.tell(LayerState::AlreadyExists);
        return Ok(());
    }
    reporter.tell(LayerState::PullingFsLayer);
    let blob_claim = images.claims.claim(&layer.blob.digest).await;
    let (unpacked, chain_claim) = bring(&work, &layer, &reporter, [chain_claim, blob_claim]).await?;
    if let Some(mut below) = below {
        below.wait_for(|done| *done).await.map_err(|_| Error::Cancelled)?;
    }
    commit(images, unpacked, layer, chain_claim).await?;
    reporter.tell(LayerState::PullComplete);
    Ok(())
}

/// Downloads and unpacks one layer at the same time. The claims go with the thread that does the work, so that nobody
/// else begins while it still runs for a pull that was given up.
async fn bring(
    work: &Arc<Work>,
    layer: &Planned,
    reporter: &Reporter,
    [chain_claim, blob_claim]: [Claim; 2],
) -> Result<(Unpacked, Claim)> {
    if work.permits.available_permits() == 0 {
        reporter.tell(LayerState::Waiting);
    }
    let _permit = work.permits.acquire().await.map_err(|_| Error::Cancelled)?;
    let images = work.images.clone();
    let (source, feeding) = source(work, &layer.blob)?;
    let intake = Intake::new(layer.blob.clone(), images.content.clone(), source, reporter.clone());
    let (layer, limits, blob) = (layer.clone(), images.settings.limits, layer.blob.clone());
    let unpacking = spawn_blocking(move || {
        let unpacked = layer::unpack(intake, &layer, &images.snapshots, limits);
        drop(blob_claim);
        (unpacked, chain_claim)
    });
    if let Some((offset, to)) = feeding {
        feed(work, &blob, offset, to).await;
    }
    if !unpacking.is_finished() {
        reporter.tell(LayerState::Extracting { current: blob.size, total: blob.size });
    }
    let (unpacked, chain_claim) = unpacking.await.map_err(|_| Error::Cancelled)?;
    Ok((unpacked?, chain_claim))
}

type Feeding = (u64, mpsc::Sender<Result<Bytes>>);

/// Where the layer's bytes come from, and where the network's are to be sent.
fn source(work: &Work, blob: &Descriptor) -> Result<(Source, Option<Feeding>)> {
    let content = &work.images.content;
    if content.has(&blob.digest) {
        return Ok((Source::Kept(content.blob(&blob.digest)?), None));
    }
    let partial = content.ingest(blob)?;
    let resumed = std::fs::File::open(&partial.path).map_err(Error::io("open", &partial.path))?;
    let (to, network) = mpsc::channel(CHUNKS_AHEAD);
    let offset = partial.length;
    Ok((Source::Download { partial, resumed, network }, Some((offset, to))))
}

/// Sends the rest of a blob to the thread that unpacks it. That thread reports all errors, this one's too.
async fn feed(work: &Work, blob: &Descriptor, offset: u64, to: mpsc::Sender<Result<Bytes>>) {
    let (registry, credentials) = (&work.images.registry, work.request.credentials.as_ref());
    let mut stream = match registry.blob(&work.request.reference, blob, credentials, offset).await {
        Ok(stream) => stream,
        Err(error) => {
            let _ = to.send(Err(error.into())).await;
            return;
        }
    };
    while let Some(chunk) = stream.next().await {
        let last = chunk.is_err();
        // Nobody listens any more: the unpacking thread has its own error to tell.
        if to.send(chunk.map_err(Error::from)).await.is_err() || last {
            return;
        }
    }
}

async fn commit(images: &Arc<Images>, unpacked: Unpacked, layer: Planned, claim: Claim) -> Result<()> {
    let snapshots = images.snapshots.clone();
    let commit = move || {
        let result = snapshots.commit(unpacked, &layer.chain, layer.parent.as_ref());
        drop(claim);
        result.map_err(|source| Error::Layer { layer: layer.blob.digest.short(), source })
    };
    spawn_blocking(commit).await.map_err(|_| Error::Cancelled)?
}

/// Writes the image's record and names, after everything they speak of is on the disk.
async fn record(
    images: &Arc<Images>,
    reference: &Reference,
    found: Found,
    config: ImageConfig,
    planned: Vec<Planned>,
) -> Result<Pulled> {
    let reference = reference.clone();
    change(images, move |images, index| {
        images.content.sync()?;
        let layers = planned.iter().map(|layer| sized(images, layer.chain)).collect::<Result<_>>()?;
        Ok(recorded(index, &reference, &found, config, layers, &planned))
    })
    .await
}

fn sized(images: &Images, chain: Digest) -> Result<Layer> {
    Ok(Layer { chain, size: images.snapshots.layer_size(&chain)? })
}

/// The records of a pulled image.
fn recorded(
    index: &Index,
    reference: &Reference,
    found: &Found,
    config: ImageConfig,
    layers: Vec<Layer>,
    planned: &[Planned],
) -> (Change, Pulled) {
    let (id, top) = (found.manifest.config.digest, found.top);
    let up_to_date = index.references.get(reference).is_some_and(|target| target.image == id);
    let mut blobs: Vec<Digest> = found.documents.iter().map(|(digest, _)| *digest).collect();
    blobs.push(id);
    blobs.extend(planned.iter().map(|layer| layer.blob.digest));
    let source = ImageSource { top, manifest: found.manifest_digest, blobs };
    let now = SystemTime::now().into();
    let mut record = index.records.get(&id).cloned().unwrap_or_else(|| Record {
        config: Arc::new(config),
        layers,
        sources: Vec::new(),
        pulled: now,
        tagged: None,
        dropped: false,
    });
    record.dropped = false;
    if !up_to_date {
        record.tagged = Some(now);
    }
    if !record.sources.contains(&source) {
        record.sources.push(source);
    }
    let target = Target { image: id, top: Some(top) };
    let mut names = vec![(reference.with_digest(top), target)];
    if reference.digest().is_none() {
        names.push((reference.clone(), target));
    }
    let change = Change { put: vec![(id, record)], name: names, ..Change::default() };
    (change, Pulled { id, digest: top, reference: reference.clone(), up_to_date })
}
