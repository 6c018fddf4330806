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
use crate::{Error, Images, Result, garbage, layers, platform};

/// What to pull.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// With neither tag nor digest, `latest` is meant.
    pub reference: Reference,
    /// The machine's own where it is not named.
    pub platform: Option<Platform>,
    /// Instead of one platform all that there are, and what says how they were made.
    pub all_platforms: bool,
    /// For the registry.
    pub credentials: Option<Credentials>,
}

/// What a pull came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image; of several that which the name means where no platform is named.
    pub id: Digest,
    /// What the registry has under the name: an index or a manifest.
    pub digest: Digest,
    /// The name, complete.
    pub reference: Reference,
    /// Whether the name stood for all of it before.
    pub up_to_date: bool,
}

/// Images as their documents describe them, before any layer is here.
struct Described {
    reference: Reference,
    /// One at least.
    images: Vec<Part>,
    attestations: Vec<(Option<Digest>, Found)>,
}

/// One image.
pub(crate) struct Part {
    pub(crate) found: Found,
    pub(crate) config: ImageConfig,
    pub(crate) config_bytes: Bytes,
    pub(crate) layers: Vec<Planned>,
    pub(crate) verified: Option<Verified>,
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
    let layers = described.images.iter().flat_map(|part| &part.layers);
    let blobs: Vec<Digest> = layers.map(|layer| layer.blob.digest).collect();
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
    let offered = fetch::manifests(images, request).await?;
    status(Some(reference.identifier()), format!("Pulling from {}", reference.path()));
    for passed in offered.passed {
        status(Some(passed), "Skipped: it is not for Linux".to_owned());
    }
    let configs = offered.images.iter().map(|found| found.manifest.config.size);
    platform::fit_together(&format!("configurations of {}", reference.familiar()), configs)?;
    let mut parts = Vec::new();
    for found in offered.images {
        check(&reference.familiar(), &found.manifest, &images.settings.limits)?;
        let verified = signature::judge(images, request, &found).await?;
        let (config, config_bytes) = fetch::config(images, request, &found).await?;
        let layers = plan(&found.manifest.layers, &config);
        parts.push(Part { found, config, config_bytes, layers, verified });
    }
    Ok(Described { reference, images: parts, attestations: offered.attestations })
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

/// Keeps everything that the pull finds or makes until its records are written.
async fn pin(images: &Arc<Images>, described: &Described) -> Pinned {
    let _quiet = images.sweep.read().await;
    let attested = described.attestations.iter().flat_map(|(_, found)| found.blobs());
    images.pins.pin(described.images.iter().flat_map(Part::needs).chain(attested).collect())
}

impl Part {
    /// Blobs and layers that the image is made of.
    pub(crate) fn needs(&self) -> Vec<Digest> {
        self.found.blobs().into_iter().chain(self.layers.iter().map(|layer| layer.chain)).collect()
    }
}

async fn bring(
    images: &Arc<Images>,
    request: &PullRequest,
    described: Described,
    listener: &Listener,
) -> Result<Pulled> {
    for part in &described.images {
        if request.all_platforms {
            let platform = platform::of(&part.config);
            listener(Progress::Status { id: None, text: format!("Platform: {platform}") });
        }
        let config = (part.found.manifest.config.digest, part.config_bytes.clone());
        keep_documents(images, part.found.documents.iter().cloned().chain([config])).await?;
        layers::bring(images, request, &part.layers, None, listener).await?;
    }
    for (_, found) in &described.attestations {
        keep_documents(images, found.documents.iter().cloned()).await?;
        for blob in found.manifest.layers.iter().chain([&found.manifest.config]) {
            fetch::keep(images, request, blob).await?;
        }
    }
    record(images, described).await
}

/// Of a pull that failed only what the next one can use stays: nothing, where the image itself was at fault.
async fn clean_up(images: &Arc<Images>, error: &Error, blobs: Vec<Digest>) {
    let useless = matches!(error.kind(), Kind::Corrupt | Kind::InvalidInput | Kind::Exhausted);
    if useless && let Err(error) = garbage::collect(images, blobs).await {
        tracing::warn!("cannot clean up after a pull: {error}");
    }
}

async fn keep_documents(
    images: &Arc<Images>,
    documents: impl Iterator<Item = (Digest, Bytes)>,
) -> Result<()> {
    let content = images.content.clone();
    let missing: Vec<_> = documents.filter(|(digest, _)| !content.has(digest)).collect();
    let write = move || missing.iter().try_for_each(|(digest, bytes)| content.write(digest, bytes));
    spawn_blocking(write).await.map_err(|_| Error::Cancelled)?
}

/// Writes all records and names, after everything they speak of is on the disk.
async fn record(images: &Arc<Images>, described: Described) -> Result<Pulled> {
    change(images, move |images, index| {
        images.content.sync()?;
        let Described { reference, images: parts, attestations } = described;
        let (digest, first) =
            parts.first().map(|part| (part.found.top, part.id())).ok_or(Error::Cancelled)?;
        let target =
            Target { top: Some(digest), ..target(index, &reference, &parts).ok_or(Error::Cancelled)? };
        let id = if parts.len() == 1 { first } else { target.image };
        let before = index.references.get(&reference).map(|known| index.behind(known)).unwrap_or_default();
        let up_to_date = parts.iter().all(|part| before.contains(&part.id()));
        let mut change = Change { put: records(images, index, &parts, &attestations)?, ..Change::default() };
        if !up_to_date {
            change.put.iter_mut().for_each(|(_, record)| record.tagged = Some(SystemTime::now().into()));
        }
        change.name.push((reference.with_digest(digest), target));
        if reference.digest().is_none() {
            change.name.push((reference.clone(), target));
        }
        Ok((change, Pulled { id, digest, reference, up_to_date }))
    })
    .await
}

impl Part {
    pub(crate) fn id(&self) -> Digest {
        self.found.manifest.config.digest
    }
}

/// The records of images that have come, each with the attestations about it; those about none of them go to the first.
pub(crate) fn records(
    images: &Images,
    index: &Index,
    parts: &[Part],
    attestations: &[(Option<Digest>, Found)],
) -> Result<Vec<(Digest, Record)>> {
    let manifests: Vec<Digest> = parts.iter().map(|part| part.found.manifest_digest).collect();
    let mut records: Vec<(Digest, Record)> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let about =
            |about: &Option<Digest>| about.and_then(|about| manifests.iter().position(|m| *m == about));
        let about = attestations.iter().filter(|(digest, _)| about(digest).unwrap_or(0) == at);
        let attested = about.flat_map(|(_, found)| found.blobs());
        let mut layers = Vec::with_capacity(part.layers.len());
        for layer in &part.layers {
            layers.push(Layer { chain: layer.chain, size: images.snapshots.layer_size(&layer.chain)? });
        }
        let (id, found) = (part.id(), &part.found);
        let blobs = found.blobs().into_iter().chain(attested).collect();
        let source = Source { top: found.top, manifest: found.manifest_digest, blobs };
        let known = records.iter().find(|(known, _)| *known == id).map(|(_, record)| record);
        let known = known.or_else(|| index.records.get(&id));
        let mut record = arrived(known, &part.config, layers, source);
        if let Some(verified) = &part.verified {
            let same = |old: &Verified| {
                old.repository == verified.repository && old.fingerprint == verified.fingerprint
            };
            record.verified.retain(|old| !same(old));
            record.verified.push(verified.clone());
        }
        records.retain(|(other, _)| *other != id);
        records.push((id, record));
    }
    Ok(records)
}

/// What a name stands for once these images have come: of the index that it stood for before also what was here. It means the
/// image for this machine, else the first that came now; none where none came.
pub(crate) fn target(index: &Index, reference: &Reference, parts: &[Part]) -> Option<Target> {
    let of_index = parts.iter().find_map(|part| part.found.index());
    let known =
        index.references.get(reference).filter(|known| of_index.is_some() && known.document() == of_index);
    let known = known.map(|known| index.behind(known)).unwrap_or_default();
    let mut offers: Vec<(Platform, Digest)> =
        parts.iter().map(|part| (platform::of(&part.config), part.id())).collect();
    let of = |id: &Digest| Some((platform::of(&index.records.get(id)?.config), *id));
    offers.extend(known.iter().filter_map(of));
    let first = offers.first().map(|(_, id)| *id);
    let image = platform::best(offers, &Platform::host()).or(first)?;
    Some(Target { index: of_index, ..Target::of(image) })
}

/// The record of an image that has come here, whether it was here before or not.
pub(crate) fn arrived(
    known: Option<&Record>,
    config: &ImageConfig,
    layers: Vec<Layer>,
    source: Source,
) -> Record {
    let mut record = known.cloned().unwrap_or_else(|| Record {
        config: Arc::new(config.clone()),
        layers,
        sources: Vec::new(),
        pulled: SystemTime::now().into(),
        tagged: None,
        dropped: false,
        parent: None,
        verified: Vec::new(),
    });
    record.dropped = false;
    match record.sources.iter_mut().find(|old| old.top == source.top && old.manifest == source.manifest) {
        // What else came with it then is still here.
        Some(old) => {
            let more = source.blobs.into_iter().filter(|blob| !old.blobs.contains(blob)).collect::<Vec<_>>();
            old.blobs.extend(more);
        }
        None => record.sources.push(source),
    }
    record
}
