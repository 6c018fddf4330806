//! Loading: the archive is taken apart and hashed as it arrives, its documents are checked, then each image is unpacked
//! like one that was pulled.

mod ahead;
mod archive;
mod names;
mod offer;
mod proof;

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

use crate::garbage::Pinned;
use crate::layer::{self, Budget, Origin, Planned};
use crate::progress::{Listener, Progress};
use crate::records::{Arrival, Change, change, records, target};
use crate::thread::in_a_thread;
use crate::{Error, Images, Result, garbage};

use ahead::Ahead;
use archive::{Archive, Surroundings};
use offer::{Offer, Source};
use proof::prove;

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

impl Images {
    /// Takes in the images of an archive: one of Docker's, of any age since 1.10, or an OCI layout, plain or compressed by
    /// gzip or zstd. Dropping the future stops the work.
    pub async fn load(
        self: &Arc<Self>,
        archive: BoxStream<'static, io::Result<Bytes>>,
        platform: Option<Platform>,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Vec<Loaded>> {
        load(self, archive, platform, Arc::new(progress)).await
    }
}

async fn load(
    images: &Arc<Images>,
    archive: BoxStream<'static, io::Result<Bytes>>,
    platform: Option<Platform>,
    listener: Listener,
) -> Result<Vec<Loaded>> {
    let (alive, mut ended) = mpsc::channel(1);
    let loaded = match take_apart(images, archive, listener, alive).await {
        Ok(archive) => {
            let archive = Arc::new(archive);
            let loaded = take_all(images, &archive, platform).await;
            // It may have trees that nobody wanted.
            let _ = spawn_blocking(move || drop(archive)).await;
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
    archive: &Arc<Archive>,
    platform: Option<Platform>,
) -> Result<Vec<Loaded>> {
    let mut loaded = Vec::new();
    for offer in offers(images, archive.clone(), platform).await? {
        loaded.push(take(images, archive, offer).await?);
    }
    Ok(loaded)
}

/// Hands what arrives to a thread that takes it apart.
async fn take_apart(
    images: &Arc<Images>,
    mut archive: BoxStream<'static, io::Result<Bytes>>,
    listener: Listener,
    alive: mpsc::Sender<()>,
) -> Result<Archive> {
    let (to, from) = mpsc::channel(AHEAD);
    let threads = images.lanes.downloads.load(Ordering::Relaxed);
    let budget = Arc::new(Budget::new(images.settings.limits));
    let ahead = Ahead::start(&images.snapshots, budget.clone(), threads, &alive)?;
    let unpacked = images.catalog().records.values().flat_map(|r| r.config.rootfs.diff_ids.clone()).collect();
    let images = images.clone();
    let taking = in_a_thread("load", move || {
        Archive::take_apart(&Surroundings { images: &images, listener: &listener, unpacked }, ahead, from)
    })?;
    while let Some(chunk) = archive.next().await {
        budget.took(chunk.as_ref().map_or(0, Bytes::len));
        // Nobody listens any more: that thread has its own error to tell.
        if to.send(chunk).await.is_err() {
            break;
        }
    }
    drop(to);
    taking.await.map_err(|_| Error::Cancelled)?
}

async fn offers(
    images: &Arc<Images>,
    archive: Arc<Archive>,
    platform: Option<Platform>,
) -> Result<Vec<Offer>> {
    let images = images.clone();
    let work = move || {
        let (content, limits) = (&images.content, &images.settings.limits);
        Source { archive: &archive, content, limits, platform: platform.as_ref() }.offers()
    };
    spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}

/// Takes one image in, for all its platforms. Of one that is no good nothing stays.
async fn take(images: &Arc<Images>, archive: &Arc<Archive>, offer: Offer) -> Result<Loaded> {
    let pinned = pin(images, &offer).await;
    let result = bring(images, archive, Arc::new(offer)).await;
    drop(pinned);
    if result.is_err()
        && let Err(error) = garbage::collect(images, Vec::new()).await
    {
        tracing::warn!("cannot clean up after a load: {error}");
    }
    result
}

/// Keeps everything that the image needs until its records are written.
async fn pin(images: &Arc<Images>, offer: &Offer) -> Pinned {
    let _quiet = images.sweep.read().await;
    let attested = offer.attestations.iter().flat_map(|(_, found)| found.blobs());
    images.pins.pin(offer.arrivals.iter().flat_map(Arrival::needs).chain(attested).collect())
}

async fn bring(images: &Arc<Images>, archive: &Arc<Archive>, offer: Arc<Offer>) -> Result<Loaded> {
    keep(images, archive, &offer).await?;
    let origin = Origin::Arrived(archive.clone());
    let listener = Arc::new(|_| {}) as Listener;
    for arrival in &offer.arrivals {
        layer::bring(images, &origin, &arrival.layers, &listener).await?;
    }
    record(images, offer).await
}

/// Gives the image's blobs their place among the others.
async fn keep(images: &Arc<Images>, archive: &Arc<Archive>, offer: &Arc<Offer>) -> Result<()> {
    let (images, archive, offer) = (images.clone(), archive.clone(), offer.clone());
    let work = move || {
        let content = &images.content;
        let adopt = |digest: &Digest, layer: Option<&Planned>| {
            let missing = || Error::Archive(format!("blob {digest} is not in it"));
            let file = archive.with_digest(digest).ok_or_else(missing)?;
            if let Some(layer) = layer.filter(|layer| images.snapshots.has(&layer.chain)) {
                prove(&file.path, &file.magic, layer, images.settings.limits)?;
            }
            content.adopt(&file.path, digest)
        };
        let write = |digest: &Digest, bytes: &[u8]| match content.has(digest) {
            true => Ok(()),
            false => content.write(digest, bytes),
        };
        for arrival in &offer.arrivals {
            for layer in arrival.layers.iter().filter(|layer| !content.has(&layer.blob.digest)) {
                adopt(&layer.blob.digest, Some(layer))?;
            }
            write(&arrival.id(), &arrival.config_bytes)?;
        }
        for (_, found) in &offer.attestations {
            let named = found.manifest.layers.iter().chain([&found.manifest.config]);
            for blob in named.filter(|blob| !content.has(&blob.digest)) {
                adopt(&blob.digest, None)?;
            }
        }
        let found = offer.arrivals.iter().map(|arrival| &arrival.found);
        let found = found.chain(offer.attestations.iter().map(|(_, found)| found));
        for (digest, bytes) in found.flat_map(|found| &found.documents) {
            write(digest, bytes)?;
        }
        Ok(())
    };
    spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}

/// Writes records and names, after everything they speak of is on the disk.
async fn record(images: &Arc<Images>, offer: Arc<Offer>) -> Result<Loaded> {
    change(images, move |images, catalog| {
        images.content.sync()?;
        let Offer { names, arrivals, attestations } = &*offer;
        let mut change =
            Change { put: records(images, catalog, arrivals, attestations)?, ..Change::default() };
        if !names.is_empty() {
            change.put.iter_mut().for_each(|(_, record)| record.tagged = Some(SystemTime::now().into()));
        }
        for name in names {
            change.name.push((name.clone(), target(catalog, name, arrivals).ok_or(Error::Cancelled)?));
        }
        let first = arrivals.first().ok_or(Error::Cancelled)?.id();
        let id = change.name.first().map_or(first, |(_, target)| target.image);
        Ok((change, Loaded { id, names: names.clone() }))
    })
    .await
}
