//! Pushing: layers side by side, then the configuration, at last the manifest under its name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use tare_model::{Digest, Platform, Reference};
use tare_oci::image::Descriptor;
use tare_registry::{BlobSource, Credentials, Upload, Uploaded};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::change::{Change, change};
use crate::image::Target;
use crate::index::Index;
use crate::progress::{LayerState, Listener, Progress, Reporter};
use crate::shipment::{Shipment, pack};
use crate::{Error, Images, Result, reading};

/// What to push.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// With neither tag nor digest, all tags of the repository are meant.
    pub reference: Reference,
    /// Refuses an image of another platform.
    pub platform: Option<Platform>,
    /// For the registry.
    pub credentials: Option<Credentials>,
}

/// A manifest that the registry has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its tag, or its digest where it was pushed without one.
    pub tag: String,
    /// Of the manifest.
    pub digest: Digest,
    /// Bytes of the manifest.
    pub size: u64,
}

pub(crate) async fn push(
    images: &Arc<Images>,
    request: PushRequest,
    listener: Listener,
) -> Result<Vec<Pushed>> {
    let wanted = wanted(&images.index(), &request.reference)?;
    let mut pushed = Vec::new();
    for (reference, target) in wanted {
        fits(images, &request, &target)?;
        pushed.push(push_one(images, &request, &reference, target, &listener).await?);
    }
    Ok(pushed)
}

/// The names that are meant, and what they stand for.
fn wanted(index: &Index, reference: &Reference) -> Result<Vec<(Reference, Target)>> {
    let all = reference.tag().is_none() && reference.digest().is_none();
    let name = reference.digest().map_or_else(|| reference.clone(), |digest| reference.with_digest(digest));
    let meant = |known: &Reference| {
        if all { known.tag().is_some() && known.repository() == name } else { *known == name }
    };
    let found: Vec<_> = index.references.iter().filter(|(known, _)| meant(known)).collect();
    if found.is_empty() {
        return Err(Error::NotHere(reference.familiar()));
    }
    Ok(found.into_iter().map(|(reference, target)| (reference.clone(), *target)).collect())
}

fn fits(images: &Images, request: &PushRequest, target: &Target) -> Result<()> {
    let Some(wanted) = &request.platform else { return Ok(()) };
    let image =
        images.index().image(&target.image).ok_or_else(|| Error::NotFound(target.image.to_string()))?;
    if image.platform().satisfies(wanted) {
        return Ok(());
    }
    let reference = request.reference.familiar();
    Err(Error::Platform { reference, wanted: wanted.to_string(), actual: image.platform().to_string() })
}

async fn push_one(
    images: &Arc<Images>,
    request: &PushRequest,
    reference: &Reference,
    target: Target,
    listener: &Listener,
) -> Result<Pushed> {
    let status = |text: String| listener(Progress::Status { id: None, text });
    let shipment = pack(images, target.image, target.top).await?;
    status(format!("The push refers to repository [{}]", full_name(reference)));
    let work = Work {
        images: images.clone(),
        reference: reference.clone(),
        credentials: request.credentials.clone(),
        permits: Arc::new(Semaphore::new(images.lanes.uploads.load(Ordering::Relaxed))),
    };
    layers(&work, &shipment, listener).await?;
    let config = &shipment.manifest.config;
    work.bring(config, &Reporter::new(config.digest.short(), config.size, Arc::new(|_| {}))).await?;
    let (kind, bytes) = (&shipment.descriptor.media_type, shipment.bytes.clone());
    let credentials = request.credentials.as_ref();
    let digest = images.registry.put_manifest(reference, kind, bytes, credentials).await?;
    name(images, reference.clone(), target.image, digest).await?;
    let (tag, size) = (reference.identifier(), shipment.descriptor.size);
    status(format!("{tag}: digest: {digest} size: {size}"));
    let pushed = Pushed { tag, digest, size };
    listener(Progress::Pushed(pushed.clone()));
    Ok(pushed)
}

/// As Docker shows where something goes: nothing left out.
fn full_name(reference: &Reference) -> String {
    format!("{}/{}", reference.domain(), reference.path())
}

/// What the tasks of one push share.
#[derive(Clone)]
struct Work {
    images: Arc<Images>,
    reference: Reference,
    credentials: Option<Credentials>,
    permits: Arc<Semaphore>,
}

/// Brings all layers to the registry, each once. The first error stops the others.
async fn layers(work: &Work, shipment: &Shipment, listener: &Listener) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut tasks = JoinSet::new();
    for layer in shipment.manifest.layers.iter().filter(|layer| seen.insert(layer.digest)) {
        let reporter = Reporter::new(layer.digest.short(), layer.size, listener.clone());
        reporter.tell(LayerState::Preparing);
        let (work, layer) = (work.clone(), layer.clone());
        tasks.spawn(async move {
            if work.permits.available_permits() == 0 {
                reporter.tell(LayerState::Waiting);
            }
            let _permit = work.permits.acquire().await.map_err(|_| Error::Cancelled)?;
            work.bring(&layer, &reporter).await
        });
    }
    while let Some(result) = tasks.join_next().await {
        if let Err(error) = result.unwrap_or(Err(Error::Cancelled)) {
            tasks.shutdown().await;
            return Err(error);
        }
    }
    Ok(())
}

impl Work {
    /// Brings one blob to the registry, unless it is there.
    async fn bring(&self, blob: &Descriptor, reporter: &Reporter) -> Result<()> {
        let registry = &self.images.registry;
        if registry.has_blob(&self.reference, &blob.digest, self.credentials.as_ref()).await? {
            reporter.tell(LayerState::LayerAlreadyExists);
            return Ok(());
        }
        let from = other_home(&self.images.index(), &self.reference, &blob.digest);
        let upload = Upload {
            reference: self.reference.clone(),
            blob: blob.clone(),
            from: from.clone(),
            credentials: self.credentials.clone(),
            source: self.source(blob, reporter),
        };
        match (registry.upload(&upload).await?, from) {
            (Uploaded::Mounted, Some(from)) => (reporter.listener)(Progress::Status {
                id: Some(reporter.id.clone()),
                text: format!("Mounted from {}", from.path()),
            }),
            _ => reporter.tell(LayerState::Pushed),
        }
        Ok(())
    }

    fn source(&self, blob: &Descriptor, reporter: &Reporter) -> BlobSource {
        let (path, total) = (self.images.content.path(&blob.digest), blob.size);
        let reporter = reporter.clone();
        Arc::new(move |offset| {
            let (mut reporter, mut current) = (reporter.clone(), offset);
            let told = move |chunk: &std::io::Result<bytes::Bytes>| {
                current += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
                reporter.pushing(current, total);
            };
            reading::read(path.clone(), offset).inspect(told).boxed()
        })
    }
}

/// Another repository of the same registry that is known to have a blob, because it came from there or was sent there.
fn other_home(index: &Index, reference: &Reference, blob: &Digest) -> Option<Reference> {
    let near = |other: &Reference| other.domain() == reference.domain() && other.path() != reference.path();
    let has = |target: &Target| {
        let record = index.records.get(&target.image);
        record.is_some_and(|record| record.sources.iter().any(|source| source.blobs.contains(blob)))
    };
    let mut known = index.references.iter().filter(|(other, target)| target.top.is_some() && near(other));
    known.find(|(_, target)| has(target)).map(|(other, _)| other.repository())
}

/// Remembers under which digest the registry has it, unless the name means another image by now.
async fn name(images: &Arc<Images>, reference: Reference, image: Digest, digest: Digest) -> Result<()> {
    change(images, move |_, index| {
        let target = Target { image, top: Some(digest) };
        let mut name = vec![(reference.with_digest(digest), target)];
        if index.references.get(&reference).is_some_and(|known| known.image == image) {
            name.push((reference, target));
        }
        let name = if index.records.contains_key(&image) { name } else { Vec::new() };
        Ok((Change { name, ..Change::default() }, ()))
    })
    .await
}
