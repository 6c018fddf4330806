//! Pulling: documents first, then all layers side by side, at last the record. What a registry has can be asked without.

mod distribution;
pub(crate) mod fetch;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tare_model::{Digest, HasKind, Kind, Platform, Reference};
use tare_registry::Credentials;
use tokio::task::spawn_blocking;

use crate::document::{Found, check, platform};
use crate::garbage::Pinned;
use crate::layer::{self, Origin, Remote};
use crate::policy::signature;
use crate::progress::{Listener, Progress};
use crate::records::{Arrival, Change, Target, change, plan, records, target};
use crate::{Error, Images, Result, garbage};

pub use distribution::Distribution;

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
    images: Vec<Arrival>,
    attestations: Vec<(Option<Digest>, Found)>,
}

impl Images {
    /// Fetches an image, unpacks its layers and gives it its name. Dropping the future stops the work; what has come
    /// so far is taken up by the next pull.
    pub async fn pull(
        self: &Arc<Self>,
        request: PullRequest,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Pulled> {
        let listener: Listener = Arc::new(progress);
        let pulled = pull(self, request, &listener).await?;
        tell(&listener, pulled.up_to_date, &pulled.reference.familiar());
        Ok(pulled)
    }

    /// [`Images::pull`] of every tag that the reference's repository has.
    pub async fn pull_all(
        self: &Arc<Self>,
        request: PullRequest,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Vec<Pulled>> {
        pull_all(self, request, Arc::new(progress)).await
    }
}

/// What all of it came to.
fn tell(listener: &Listener, up_to_date: bool, name: &str) {
    let news = if up_to_date { "Image is up to date" } else { "Downloaded newer image" };
    listener(Progress::Status { id: None, text: format!("Status: {news} for {name}") });
}

async fn pull(images: &Arc<Images>, mut request: PullRequest, listener: &Listener) -> Result<Pulled> {
    request.reference = request.reference.or_latest();
    let status = |id: Option<String>, text: String| listener(Progress::Status { id, text });
    let described = describe(images, &request, &status).await?;
    let pinned = pin(images, &described).await;
    let layers = described.images.iter().flat_map(|arrival| &arrival.layers);
    let blobs: Vec<Digest> = layers.map(|layer| layer.blob.digest).collect();
    let pulled = bring(images, &request, described, listener).await;
    drop(pinned);
    let pulled = match pulled {
        Ok(pulled) => pulled,
        Err(error) => {
            clean_up(images, &error, blobs).await;
            return Err(error);
        }
    };
    status(None, format!("Digest: {}", pulled.digest));
    Ok(pulled)
}

/// All tags of a repository, one after the other; they share most of their layers. What is no image for this machine is
/// passed over and said, the first other error ends it.
async fn pull_all(images: &Arc<Images>, request: PullRequest, listener: Listener) -> Result<Vec<Pulled>> {
    let tags = images.registry.tags(&request.reference, request.credentials.as_ref()).await?;
    let mut pulled = Vec::new();
    let mut passed = None;
    for tag in &tags {
        let reference = request.reference.repository().with_tag(tag)?;
        match pull(images, PullRequest { reference, ..request.clone() }, &listener).await {
            Ok(one) => pulled.push(one),
            Err(error @ (Error::NotAnImage { .. } | Error::NoMatch(_) | Error::Platform { .. })) => {
                listener(Progress::Status { id: Some(tag.clone()), text: format!("Skipped: {error}") });
                passed = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    let name = request.reference.repository().familiar();
    match passed {
        Some(error) if pulled.is_empty() => Err(error),
        _ if pulled.is_empty() => Err(Error::NoTags(name)),
        _ => {
            tell(&listener, pulled.iter().all(|one| one.up_to_date), &name);
            Ok(pulled)
        }
    }
}

async fn describe(
    images: &Arc<Images>,
    request: &PullRequest,
    status: &impl Fn(Option<String>, String),
) -> Result<Described> {
    let reference = request.reference.clone();
    let offered = fetch::manifests(images, request).await?;
    let id = if reference.digest().is_some() { reference.familiar() } else { reference.identifier() };
    status(Some(id), format!("Pulling from {}", reference.path()));
    for passed in offered.passed {
        status(Some(passed), "Skipped: it is not for Linux".to_owned());
    }
    let configs = offered.images.iter().map(|found| found.manifest.config.size);
    platform::fit_together(&format!("configurations of {}", reference.familiar()), configs)?;
    let mut arrivals = Vec::new();
    for found in offered.images {
        check(&reference.familiar(), &found.manifest, &images.settings.limits)?;
        let verified = signature::judge(images, request, &found).await?;
        let (config, config_bytes) = fetch::config(images, request, &found).await?;
        let layers = plan(&found.manifest.layers, &config);
        arrivals.push(Arrival { found, config, config_bytes, layers, verified });
    }
    Ok(Described { reference, images: arrivals, attestations: offered.attestations })
}

/// Keeps everything that the pull finds or makes until its records are written.
async fn pin(images: &Arc<Images>, described: &Described) -> Pinned {
    let _quiet = images.sweep.read().await;
    let attested = described.attestations.iter().flat_map(|(_, found)| found.blobs());
    images.pins.pin(described.images.iter().flat_map(Arrival::needs).chain(attested).collect())
}

async fn bring(
    images: &Arc<Images>,
    request: &PullRequest,
    described: Described,
    listener: &Listener,
) -> Result<Pulled> {
    let remote = Remote { reference: request.reference.clone(), credentials: request.credentials.clone() };
    let origin = Origin::Registry(remote);
    for arrival in &described.images {
        if request.all_platforms {
            let platform = platform::of(&arrival.config);
            listener(Progress::Status { id: None, text: format!("Platform: {platform}") });
        }
        let config = (arrival.found.manifest.config.digest, arrival.config_bytes.clone());
        keep_documents(images, arrival.found.documents.iter().cloned().chain([config])).await?;
        layer::bring(images, &origin, &arrival.layers, listener).await?;
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
    change(images, move |images, catalog| {
        images.content.sync()?;
        let Described { reference, images: arrivals, attestations } = described;
        let (digest, first) =
            arrivals.first().map(|arrival| (arrival.found.top, arrival.id())).ok_or(Error::Cancelled)?;
        let target =
            Target { top: Some(digest), ..target(catalog, &reference, &arrivals).ok_or(Error::Cancelled)? };
        let id = if arrivals.len() == 1 { first } else { target.image };
        let before =
            catalog.references.get(&reference).map(|known| catalog.behind(known)).unwrap_or_default();
        let up_to_date = arrivals.iter().all(|arrival| before.contains(&arrival.id()));
        let mut change =
            Change { put: records(images, catalog, &arrivals, &attestations)?, ..Change::default() };
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
