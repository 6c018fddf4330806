//! Pushing: layers side by side, then the configuration, at last the manifest under its name; of an index everything that it
//! names before it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use tare_model::{Digest, Platform, Reference};
use tare_oci::image::{Descriptor, Manifest};
use tare_registry::{BlobSource, Credentials, Upload, Uploaded};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::recompress::{LayerCompression, Own, recompress};
use super::shipment::{Shipment, Whole, pack, pack_index};
use crate::content::stream;
use crate::progress::{LayerState, Listener, Progress, Reporter};
use crate::records::{Catalog, Change, Target, change};
use crate::{Error, Images, Result};

/// What to push.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// With neither tag nor digest, all tags of the repository are meant.
    pub reference: Reference,
    /// The one platform that is pushed of a name that stands for several; refuses an image of another one.
    pub platform: Option<Platform>,
    /// How layers are to be compressed that are kept in another way; as they are kept where it is not said.
    pub compression: Option<LayerCompression>,
    /// For the registry.
    pub credentials: Option<Credentials>,
}

/// A manifest or an index that the registry has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its tag, or its digest where it was pushed without one.
    pub tag: String,
    /// Of the manifest or index.
    pub digest: Digest,
    /// Bytes of it.
    pub size: u64,
}

impl Images {
    /// Brings the image with this name to its registry, byte by byte as it is kept here unless it is asked for otherwise; all tags of the repository where
    /// none is named. Layers that the registry has are not sent. Dropping the future stops the work.
    pub async fn push(
        self: &Arc<Self>,
        request: PushRequest,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Vec<Pushed>> {
        push(self, request, Arc::new(progress)).await
    }
}

async fn push(images: &Arc<Images>, request: PushRequest, listener: Listener) -> Result<Vec<Pushed>> {
    let wanted = wanted(&images.catalog(), &request.reference)?;
    let text = format!("The push refers to repository [{}]", full_name(&request.reference));
    listener(Progress::Status { id: None, text });
    let mut pushed = Vec::new();
    for (reference, target) in wanted {
        let cargo = cargo(images, &request, (&reference, &target), &listener).await?;
        pushed.push(push_one(images, &request, &reference, (target, cargo), &listener).await?);
    }
    Ok(pushed)
}

/// What is sent under one name.
enum Cargo {
    /// One image.
    Image(Digest, Shipment),
    /// One image of an index that is not here with everything that it names.
    Part(Digest, Shipment, Descriptor),
    /// Everything that an index names.
    Index(Whole),
}

/// Decides. An index that is here whole is sent as it came; of another one the image is sent that the name means.
async fn cargo(
    images: &Arc<Images>,
    request: &PushRequest,
    (reference, target): (&Reference, &Target),
    listener: &Listener,
) -> Result<Cargo> {
    let (id, index) = {
        let catalog = images.catalog();
        (catalog.find_for(&reference.familiar(), request.platform.as_ref())?, catalog.index_of(target))
    };
    let parts = match (index, &request.platform) {
        (Some(top), None) => pack_index(images, top).await?,
        _ => None,
    };
    match parts {
        Some(whole) if whole.index.is_whole() => match request.compression {
            Some(_) => Err(Error::CompressedIndex(reference.familiar())),
            None => Ok(Cargo::Index(whole)),
        },
        parts => {
            let mut shipment = pack(images, id, target.document()).await?;
            if let Some(compression) = request.compression {
                shipment = recompress(images, shipment, compression, listener).await?;
            }
            Ok(match parts {
                Some(whole) => Cargo::Part(id, shipment, whole.index.descriptor.clone()),
                None => Cargo::Image(id, shipment),
            })
        }
    }
}

/// The names that are meant, and what they stand for.
fn wanted(catalog: &Catalog, reference: &Reference) -> Result<Vec<(Reference, Target)>> {
    let all = reference.tag().is_none() && reference.digest().is_none();
    let name = reference.digest().map_or_else(|| reference.clone(), |digest| reference.with_digest(digest));
    let meant = |known: &Reference| {
        if all { known.tag().is_some() && known.repository() == name } else { *known == name }
    };
    let found: Vec<_> = catalog.references.iter().filter(|(known, _)| meant(known)).collect();
    if found.is_empty() {
        let repository = reference.repository();
        let others = catalog.references.keys().any(|known| known.repository() == repository);
        return Err(match others {
            true => Error::TagNotHere(reference.familiar()),
            false => Error::NotHere(repository.familiar()),
        });
    }
    Ok(found.into_iter().map(|(reference, target)| (reference.clone(), *target)).collect())
}

async fn push_one(
    images: &Arc<Images>,
    request: &PushRequest,
    reference: &Reference,
    (target, cargo): (Target, Cargo),
    listener: &Listener,
) -> Result<Pushed> {
    let status = |text: String| listener(Progress::Status { id: None, text });
    let work = Work {
        images: images.clone(),
        reference: reference.clone(),
        credentials: request.credentials.clone(),
        permits: Arc::new(Semaphore::new(images.lanes.uploads.load(Ordering::Relaxed))),
        own: match &cargo {
            Cargo::Image(_, shipment) | Cargo::Part(_, shipment, _) => shipment.own.clone(),
            Cargo::Index(_) => Own::default(),
        },
    };
    let document = match &cargo {
        Cargo::Image(_, shipment) | Cargo::Part(_, shipment, _) => {
            work.blobs(&[&shipment.manifest], listener).await?;
            (&shipment.descriptor, shipment.bytes.clone())
        }
        Cargo::Index(whole) => {
            work.children(whole, listener).await?;
            (&whole.index.descriptor, whole.index.bytes.clone())
        }
    };
    let (Descriptor { media_type, size, .. }, bytes) = document;
    let credentials = request.credentials.as_ref();
    let digest = images.registry.put_manifest(reference, media_type, bytes, credentials).await?;
    let image = match &cargo {
        Cargo::Image(id, _) | Cargo::Part(id, ..) => *id,
        Cargo::Index(_) => target.image,
    };
    name(images, reference.clone(), (target, image), digest).await?;
    let tag = reference.identifier();
    status(format!("{tag}: digest: {digest} size: {size}"));
    let pushed = Pushed { tag, digest, size: *size };
    listener(Progress::Pushed(pushed.clone()));
    if let Cargo::Part(_, shipment, index) = cargo {
        let (index, manifest) = (Box::new(index), Box::new(shipment.descriptor.clone()));
        listener(Progress::PushedOneOf { index, manifest });
    }
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
    /// Blobs that are not among those that are kept.
    own: Own,
}

impl Work {
    /// Brings everything that an index names to the registry.
    async fn children(&self, whole: &Whole, listener: &Listener) -> Result<()> {
        let manifests: Vec<_> =
            whole.index.manifests.iter().filter_map(|part| part.manifest.as_ref()).collect();
        self.blobs(&manifests.iter().map(|(manifest, _)| manifest).collect::<Vec<_>>(), listener).await?;
        for part in &whole.index.manifests {
            let Some((_, bytes)) = &part.manifest else { continue };
            let (name, kind) = (self.reference.with_digest(part.entry.digest), &part.entry.media_type);
            let credentials = self.credentials.as_ref();
            self.images.registry.put_manifest(&name, kind, bytes.clone(), credentials).await?;
        }
        Ok(())
    }

    /// Brings the layers of manifests to the registry, each once, then their configurations. The first error stops the others.
    async fn blobs(&self, manifests: &[&Manifest], listener: &Listener) -> Result<()> {
        let mut seen = BTreeSet::new();
        let mut tasks = JoinSet::new();
        let layers = manifests.iter().flat_map(|manifest| &manifest.layers);
        for layer in layers.filter(|layer| seen.insert(layer.digest)) {
            let reporter = Reporter::new(layer.digest.short(), layer.size, listener.clone());
            reporter.tell(LayerState::Preparing);
            let (work, layer) = (self.clone(), layer.clone());
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
        for config in manifests.iter().map(|manifest| &manifest.config) {
            let quiet = Reporter::new(config.digest.short(), config.size, Arc::new(|_| {}));
            self.bring(config, &quiet).await?;
        }
        Ok(())
    }

    /// Brings one blob to the registry, unless it is there.
    async fn bring(&self, blob: &Descriptor, reporter: &Reporter) -> Result<()> {
        let registry = &self.images.registry;
        if registry.has_blob(&self.reference, &blob.digest, self.credentials.as_ref()).await? {
            reporter.tell(LayerState::LayerAlreadyExists);
            return Ok(());
        }
        let from = other_home(&self.images.catalog(), &self.reference, &blob.digest);
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
        let path = self.own.path(&self.images.content, &blob.digest);
        let total = blob.size;
        let reporter = reporter.clone();
        Arc::new(move |offset| {
            let (mut reporter, mut current) = (reporter.clone(), offset);
            let told = move |chunk: &std::io::Result<bytes::Bytes>| {
                current += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
                reporter.pushing(current, total);
            };
            stream::read(path.clone(), offset).inspect(told).boxed()
        })
    }
}

/// Another repository of the same registry that is known to have a blob, because it came from there or was sent there.
fn other_home(catalog: &Catalog, reference: &Reference, blob: &Digest) -> Option<Reference> {
    let near = |other: &Reference| other.domain() == reference.domain() && other.path() != reference.path();
    let has = |target: &Target| {
        let record = catalog.records.get(&target.image);
        record.is_some_and(|record| record.sources.iter().any(|source| source.blobs.contains(blob)))
    };
    let mut known = catalog.references.iter().filter(|(other, target)| target.top.is_some() && near(other));
    known.find(|(_, target)| has(target)).map(|(other, _)| other.repository())
}

/// Remembers under which digest the registry has it, unless the name means something else by now. What it stands for here
/// stays, also where only a part of that was sent.
async fn name(
    images: &Arc<Images>,
    reference: Reference,
    (target, image): (Target, Digest),
    digest: Digest,
) -> Result<()> {
    change(images, move |_, catalog| {
        let stands_for = catalog.index_of(&target);
        let sent = Target { image, top: Some(digest), index: stands_for.filter(|top| *top == digest) };
        let mut name = vec![(reference.with_digest(digest), sent)];
        if catalog.references.get(&reference).is_some_and(|known| *known == target) {
            name.push((reference, Target { top: Some(digest), index: stands_for, ..target }));
        }
        let name = if catalog.records.contains_key(&image) { name } else { Vec::new() };
        Ok((Change { name, ..Change::default() }, ()))
    })
    .await
}
