//! All layers of an image side by side: each downloaded and unpacked at the same time, committed after its parent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::StreamExt;
use tare_model::{HasKind, Kind};
use tare_oci::image::Descriptor;
use tare_snapshot::Unpacked;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};

use super::intake::{Intake, Source};
use super::{Budget, Claim, Opened, Origin, Planned, Remote, announced, unpack};
use crate::progress::{LayerState, Listener, Reporter};
use crate::thread::in_a_thread;
use crate::{Error, Images, Result};

/// Chunks between the network and the thread that unpacks.
const CHUNKS_AHEAD: usize = 16;

/// What the tasks of one image share.
struct Work {
    images: Arc<Images>,
    origin: Origin,
    budget: Arc<Budget>,
    permits: Semaphore,
    /// Held by every thread of them.
    alive: mpsc::Sender<()>,
}

/// An unpacked layer that waits for its parent. Dropped, its tree is removed where that may take a while, and only then
/// it is nobody's.
struct Ready(Option<Held>);

/// In the order in which they are let go.
struct Held {
    unpacked: Unpacked,
    _claim: Claim,
    _alive: mpsc::Sender<()>,
}

impl Drop for Ready {
    fn drop(&mut self) {
        let held = self.0.take();
        if let (Some(held), Ok(runtime)) = (held, Handle::try_current()) {
            runtime.spawn_blocking(move || drop(held));
        }
    }
}

/// Brings all layers here. The first error stops the others and is returned when none of them runs any more.
pub(crate) async fn bring(
    images: &Arc<Images>,
    origin: &Origin,
    planned: &[Planned],
    listener: &Listener,
) -> Result<()> {
    let permits = Semaphore::new(images.lanes.downloads.load(Ordering::Relaxed));
    let (alive, mut ended) = mpsc::channel(1);
    let limits = images.settings.limits;
    let budget = origin.arrived().map_or_else(|| Arc::new(Budget::new(limits)), |arrived| arrived.budget());
    let work = Arc::new(Work { images: images.clone(), origin: origin.clone(), budget, permits, alive });
    let mut tasks = JoinSet::new();
    let mut below = None;
    let mut named = BTreeSet::new();
    for layer in planned {
        let first = named.insert(layer.blob.digest);
        let reporter = Reporter::new(layer.blob.digest.short(), layer.blob.size, listener.clone());
        let (done, next) = watch::channel(false);
        let task = one(work.clone(), (layer.clone(), first), below.replace(next), reporter);
        tasks.spawn(async move {
            task.await?;
            done.send_replace(true);
            Ok(())
        });
    }
    drop(work);
    let result = first_error(&mut tasks).await;
    tasks.shutdown().await;
    // Nothing is ever sent: this returns when the last thread has let go.
    ended.recv().await;
    result
}

async fn first_error(tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    while let Some(result) = tasks.join_next().await {
        match result.unwrap_or(Err(Error::Cancelled)) {
            // A layer whose parent failed only says that it was cancelled; the parent says why.
            Err(Error::Cancelled) if !tasks.is_empty() => {}
            result => result?,
        }
    }
    Ok(())
}

/// Brings one layer, whose blob may be the `first` with its digest in this image.
async fn one(
    work: Arc<Work>,
    (layer, first): (Planned, bool),
    below: Option<watch::Receiver<bool>>,
    reporter: Reporter,
) -> Result<()> {
    let images = &work.images;
    let domain = work.origin.domain();
    let chain_claim = images.layer_claims.claim(domain, &layer.chain).await;
    if images.snapshots.has(&layer.chain) {
        reporter.tell(LayerState::AlreadyExists);
        return Ok(());
    }
    reporter.tell(LayerState::PullingFsLayer);
    let blob_claim = images.blob_claims.claim(domain, &layer.blob.digest).await;
    let resumed = images.content.has_partial(&layer.blob.digest);
    let mut ready = unpack(&work, (&layer, first), &reporter, [chain_claim, blob_claim]).await;
    // What an earlier download left may be at fault, and was removed with this error: then all of it is fetched once more.
    if resumed && matches!(&ready, Err(error) if error.kind() == Kind::Corrupt) {
        let chain_claim = images.layer_claims.claim(domain, &layer.chain).await;
        let blob_claim = images.blob_claims.claim(domain, &layer.blob.digest).await;
        ready = unpack(&work, (&layer, first), &reporter, [chain_claim, blob_claim]).await;
    }
    let ready = ready?;
    if let Some(mut below) = below {
        below.wait_for(|done| *done).await.map_err(|_| Error::Cancelled)?;
    }
    commit(images, ready, layer).await?;
    reporter.tell(LayerState::PullComplete);
    Ok(())
}

/// Downloads and unpacks one layer at the same time. The claims go with the thread that does the work, so that nobody
/// else begins while it still runs for a pull that was given up.
async fn unpack(
    work: &Arc<Work>,
    (layer, first): (&Planned, bool),
    reporter: &Reporter,
    [chain_claim, blob_claim]: [Claim; 2],
) -> Result<Ready> {
    if let Some(unpacked) = unpacked_already(work, layer).await {
        return Ok(Ready(Some(Held { unpacked, _claim: chain_claim, _alive: work.alive.clone() })));
    }
    if work.permits.available_permits() == 0 {
        reporter.tell(LayerState::Waiting);
    }
    let _permit = work.permits.acquire().await.map_err(|_| Error::Cancelled)?;
    let images = work.images.clone();
    let (source, feeding) = source(work, &layer.blob)?;
    let mut intake = Intake::new(layer.blob.clone(), images.content.clone(), source, reporter.clone());
    let counted = work.origin.arrived().is_some_and(|arrived| arrived.has(&layer.blob.digest));
    if first && !counted {
        intake = intake.counted(work.budget.clone());
    }
    let (layer, budget, blob) = (layer.clone(), work.budget.clone(), layer.blob.clone());
    let alive = work.alive.clone();
    let mut unpacking = in_a_thread("layer", move || {
        let unpacked = unpack::unpack(intake, &layer, &images.snapshots, &budget)?;
        drop(blob_claim);
        Ok(Ready(Some(Held { unpacked, _claim: chain_claim, _alive: alive })))
    })?;
    if let Some(feeding) = feeding {
        feed(&work.images, &blob, feeding).await;
    }
    if let Ok(done) = unpacking.try_recv() {
        return done;
    }
    reporter.tell(LayerState::Extracting { current: blob.size, total: blob.size });
    unpacking.await.map_err(|_| Error::Cancelled)?
}

/// The tree that was made of a layer while its archive arrived. None where there is none or it is no good: what is wrong with
/// it is found once more, and told of the layer.
async fn unpacked_already(work: &Work, layer: &Planned) -> Option<Unpacked> {
    let opening = work.origin.arrived()?.opened(&layer.blob.digest)?;
    let Opened { unpacked, diff, compression } = opening.await.ok()?.ok()?;
    let as_announced = announced(&layer.blob.media_type).is_none_or(|announced| announced == compression);
    (as_announced && diff.unwrap_or(layer.blob.digest) == layer.diff).then_some(unpacked)
}

/// Bytes that a registry is to be asked for.
struct Feeding<'a> {
    remote: &'a Remote,
    /// The first of them.
    offset: u64,
    to: mpsc::Sender<Result<Bytes>>,
}

/// Where the layer's bytes come from, and where the network's are to be sent.
fn source<'a>(work: &'a Work, blob: &Descriptor) -> Result<(Source, Option<Feeding<'a>>)> {
    let content = &work.images.content;
    let remote = match &work.origin {
        Origin::Registry(remote) if !content.has(&blob.digest) => remote,
        _ => return Ok((Source::Kept(content.blob(&blob.digest)?), None)),
    };
    let partial = content.ingest(blob)?;
    let resumed = std::fs::File::open(&partial.path).map_err(Error::io("open", &partial.path))?;
    let (to, network) = mpsc::channel(CHUNKS_AHEAD);
    let offset = partial.length;
    Ok((Source::Download { partial, resumed, network }, Some(Feeding { remote, offset, to })))
}

/// Sends the rest of a blob to the thread that unpacks it. That thread reports all errors, this one's too.
async fn feed(images: &Images, blob: &Descriptor, Feeding { remote, offset, to }: Feeding<'_>) {
    let credentials = remote.credentials.as_ref();
    let mut stream = match images.registry.blob(&remote.reference, blob, credentials, offset).await {
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

async fn commit(images: &Arc<Images>, mut ready: Ready, layer: Planned) -> Result<()> {
    let images = images.clone();
    let commit = move || {
        let Some(Held { unpacked, _claim, _alive }) = ready.0.take() else { return Err(Error::Cancelled) };
        let result = images.snapshots.commit(unpacked, &layer.chain, layer.parent.as_ref());
        result.map_err(|source| Error::Layer { layer: layer.blob.digest.short(), source })
    };
    spawn_blocking(commit).await.map_err(|_| Error::Cancelled)?
}
