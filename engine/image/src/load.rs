//! Loading: the archive is taken apart and hashed as it arrives, its documents are checked, then each image is unpacked
//! like one that was pulled.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tare_model::{Digest, Platform, Reference};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::ahead::Ahead;
use crate::change::{Change, change};
use crate::image::{Layer, Source as Origin, Target};
use crate::layer::Planned;
use crate::offer::{Offer, Source};
use crate::pin::Pinned;
use crate::progress::Listener;
use crate::proof::prove;
use crate::pull::{PullRequest, arrived, plan};
use crate::shelf::{Bench, Shelf};
use crate::{Error, Images, Result, garbage, layers};

/// Chunks between the client and the thread that takes the archive apart.
const AHEAD: usize = 16;

/// An image that came out of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: Digest,
    /// Its names in the archive; they are its names now, whatever had them before.
    pub names: BTreeSet<Reference>,
}

pub(crate) async fn load(
    images: &Arc<Images>,
    archive: BoxStream<'static, io::Result<Bytes>>,
    platform: Option<Platform>,
    listener: Listener,
) -> Result<Vec<Loaded>> {
    let (alive, mut ended) = mpsc::channel(1);
    let loaded = match shelve(images, archive, listener, alive).await {
        Ok(shelf) => {
            let shelf = Arc::new(shelf);
            let loaded = take_all(images, &shelf, platform).await;
            // It may have trees that nobody wanted.
            let _ = spawn_blocking(move || drop(shelf)).await;
            loaded
        }
        Err(error) => Err(error),
    };
    // Nothing is ever sent: this returns when the last thread that unpacks has let go.
    let _: Option<()> = ended.recv().await;
    loaded
}

async fn take_all(
    images: &Arc<Images>,
    shelf: &Arc<Shelf>,
    platform: Option<Platform>,
) -> Result<Vec<Loaded>> {
    let mut loaded = Vec::new();
    for offer in offers(images, shelf.clone(), platform).await? {
        loaded.push(take(images, shelf, offer).await?);
    }
    Ok(loaded)
}

/// Hands what arrives to a thread that takes it apart.
async fn shelve(
    images: &Arc<Images>,
    mut archive: BoxStream<'static, io::Result<Bytes>>,
    listener: Listener,
    alive: mpsc::Sender<()>,
) -> Result<Shelf> {
    let (to, from) = mpsc::channel(AHEAD);
    let threads = images.lanes.downloads.load(Ordering::Relaxed);
    let ahead = Ahead::start(&images.snapshots, images.settings.limits, threads, &alive)?;
    let unpacked = images.index().records.values().flat_map(|r| r.config.rootfs.diff_ids.clone()).collect();
    let images = images.clone();
    let shelving = spawn_blocking(move || {
        Shelf::fill(&Bench { images: &images, listener: &listener, unpacked }, ahead, from)
    });
    while let Some(chunk) = archive.next().await {
        // Nobody listens any more: that thread has its own error to tell.
        if to.send(chunk).await.is_err() {
            break;
        }
    }
    drop(to);
    shelving.await.map_err(|_| Error::Cancelled)?
}

async fn offers(images: &Arc<Images>, shelf: Arc<Shelf>, platform: Option<Platform>) -> Result<Vec<Offer>> {
    let images = images.clone();
    let work = move || {
        let (content, limits) = (&images.content, &images.settings.limits);
        Source { shelf: &shelf, content, limits, platform: platform.as_ref() }.offers()
    };
    spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}

/// Takes one image in. Of one that is no good nothing stays.
async fn take(images: &Arc<Images>, shelf: &Arc<Shelf>, offer: Offer) -> Result<Loaded> {
    let planned = plan(&offer.found.manifest.layers, &offer.config);
    let pinned = pin(images, &offer, &planned).await;
    let offer = Arc::new(offer);
    let result = bring(images, shelf, &offer, planned).await;
    drop(pinned);
    if result.is_err()
        && let Err(error) = garbage::collect(images, Vec::new()).await
    {
        tracing::warn!("cannot clean up after a load: {error}");
    }
    result
}

/// Keeps everything that the image needs until its record is written.
async fn pin(images: &Arc<Images>, offer: &Offer, planned: &[Planned]) -> Pinned {
    let _quiet = images.sweep.read().await;
    let documents = offer.found.documents.iter().map(|(digest, _)| *digest);
    let layers = planned.iter().flat_map(|layer| [layer.chain, layer.blob.digest]);
    images.pins.pin(documents.chain([offer.found.manifest.config.digest]).chain(layers).collect())
}

async fn bring(
    images: &Arc<Images>,
    shelf: &Arc<Shelf>,
    offer: &Arc<Offer>,
    planned: Vec<Planned>,
) -> Result<Loaded> {
    keep(images, shelf, offer, planned.clone()).await?;
    let reference = offer.names.first().cloned().map_or_else(nameless, Ok)?;
    // Every blob is here by now, so that the registry of this name is not asked.
    let request = PullRequest { reference, platform: None, credentials: None };
    let listener = Arc::new(|_| {}) as Listener;
    layers::bring(images, &request, &planned, Some(shelf), &listener).await?;
    record(images, offer.clone(), planned).await
}

/// Stands where a name is wanted and there is none: it is never shown and never asked for.
fn nameless() -> Result<Reference> {
    Ok("localhost/archive".parse::<Reference>()?)
}

/// Gives the image's blobs their place among the others.
async fn keep(
    images: &Arc<Images>,
    shelf: &Arc<Shelf>,
    offer: &Arc<Offer>,
    planned: Vec<Planned>,
) -> Result<()> {
    let (images, shelf, offer) = (images.clone(), shelf.clone(), offer.clone());
    let work = move || {
        let content = &images.content;
        for layer in planned.iter().filter(|layer| !content.has(&layer.blob.digest)) {
            let digest = &layer.blob.digest;
            let missing = || Error::Archive(format!("blob {digest} is not in it"));
            let file = shelf.with_digest(digest).ok_or_else(missing)?;
            if images.snapshots.has(&layer.chain) {
                prove(&file.path, &file.magic, layer, images.settings.limits)?;
            }
            content.adopt(&file.path, digest)?;
        }
        let config = (offer.found.manifest.config.digest, offer.config_bytes.clone());
        for (digest, bytes) in offer.found.documents.iter().chain([&config]) {
            if !content.has(digest) {
                content.write(digest, bytes)?;
            }
        }
        Ok(())
    };
    spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}

/// Writes the image's record and names, after everything they speak of is on the disk.
async fn record(images: &Arc<Images>, offer: Arc<Offer>, planned: Vec<Planned>) -> Result<Loaded> {
    change(images, move |images, index| {
        images.content.sync()?;
        let Offer { names, found, config, .. } = &*offer;
        let id = found.manifest.config.digest;
        let layer = |layer: &Planned| {
            let size = images.snapshots.layer_size(&layer.chain)?;
            Ok(Layer { chain: layer.chain, size })
        };
        let layers = planned.iter().map(layer).collect::<Result<_>>()?;
        let documents = found.documents.iter().map(|(digest, _)| *digest);
        let blobs = documents.chain([id]).chain(planned.iter().map(|layer| layer.blob.digest)).collect();
        let origin = Origin { top: found.top, manifest: found.manifest_digest, blobs };
        let mut record = arrived(index.records.get(&id), config.clone(), layers, origin);
        if !names.is_empty() {
            record.tagged = Some(SystemTime::now().into());
        }
        let name = names.iter().map(|name| (name.clone(), Target { image: id, top: None })).collect();
        Ok((
            Change { put: vec![(id, record)], name, ..Change::default() },
            Loaded { id, names: names.clone() },
        ))
    })
    .await
}
