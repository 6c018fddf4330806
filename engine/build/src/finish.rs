//! The end of a build: the image with its names, and what was asked for beside or instead of it.

mod squash;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tare_container::written;
use tare_image::{CommitRequest, IndexRequest, LayerCompression, PushRequest};
use tare_model::{Digest, Reference};

use crate::error::io as failed;
use crate::job::Job;
use crate::progress::{Built, Exported, Made};
use crate::request::Export;
use crate::stage::state::State;
use crate::{Error, Progress, Result};
use squash::squash;

/// What becomes of the last stage.
pub(crate) struct Wanted {
    pub names: Vec<Reference>,
    pub labels: BTreeMap<String, String>,
    pub exports: Vec<Export>,
    /// Whether each image gets one layer upon its base.
    pub squash: bool,
}

pub(crate) async fn finish(jobs: &[Arc<Job>], wanted: Wanted) -> Result<Built> {
    let Some(first) = jobs.first() else { return Err(Error::Cancelled) };
    let states = jobs.iter().map(|job| job.finished[job.target].borrow().clone().ok_or(Error::Cancelled));
    let mut states = states.collect::<Result<Vec<_>>>()?;
    if wanted.squash {
        for (job, state) in jobs.iter().zip(&mut states) {
            *state = Arc::new(squash(job, state).await?);
        }
    }
    let names: Vec<_> = wanted.names.into_iter().map(Reference::or_latest).collect();
    // Whoever wants the files alone wants no image.
    let only_files = !wanted.exports.is_empty() && wanted.exports.iter().all(|one| *one == Export::Files);
    let made = match only_files {
        true => None,
        false => Some(commit(first, &states, &names, &wanted.labels).await?),
    };
    let mut exported = Vec::new();
    for (index, export) in wanted.exports.into_iter().enumerate() {
        match (export, &made) {
            (Export::Files, _) => exported.push(Exported { index, pieces: files(first, states.clone())? }),
            (Export::Archive(compression), Some(made)) => {
                let mut of: Vec<String> = names.iter().map(Reference::familiar).collect();
                if of.is_empty() {
                    of.push(made.id.to_string());
                }
                let pieces = first.build.builder.engine.images().save(&of, None, compression).await?;
                exported.push(Exported { index, pieces });
            }
            (Export::Push(compression), Some(_)) => push(first, &names, compression).await?,
            (Export::Image | Export::Archive(_) | Export::Push(_), _) => {}
        }
    }
    let names = names.iter().map(Reference::familiar).collect();
    Ok(Built { made, names, exported })
}

/// Makes the image, or one for each platform and the index of them, which gets the names.
async fn commit(
    job: &Job,
    states: &[Arc<State>],
    names: &[Reference],
    labels: &BTreeMap<String, String>,
) -> Result<Made> {
    let images = job.build.builder.engine.images();
    let several = states.len() > 1;
    let mut made = Vec::new();
    for state in states {
        let config = state.image_config(labels, job.build.epoch);
        let names = if several { Vec::new() } else { names.to_vec() };
        let request = CommitRequest { layers: state.layers.clone(), config, parent: None::<Digest>, names };
        made.push(images.commit(request).await?);
    }
    if let [only] = &made[..] {
        return Ok(Made { id: only.id, digest: only.manifest, is_index: false });
    }
    let request = IndexRequest { images: made.iter().map(|image| image.id).collect(), names: names.to_vec() };
    let index = images.make_index(request).await?;
    Ok(Made { id: index.digest, digest: index.digest, is_index: true })
}

async fn push(job: &Arc<Job>, names: &[Reference], compression: Option<LayerCompression>) -> Result<()> {
    if names.is_empty() {
        return Err(Error::Request(
            "an image without a name cannot be pushed: add -t REGISTRY/NAME".to_owned(),
        ));
    }
    for name in names {
        let credentials = job.build.from.credentials.get(name.domain()).cloned();
        let (job, after) = (job.clone(), job.total + 1);
        let request = PushRequest { reference: name.clone(), platform: None, compression, credentials };
        let images = job.build.builder.engine.images().clone();
        images.push(request, move |progress| job.tell(Progress::Pull(after, progress))).await?;
    }
    Ok(())
}

/// The files of the last stage as a tar, piece by piece as they are taken; of several platforms each in a directory of its
/// own, `linux_amd64`, as buildx names them.
fn files(job: &Arc<Job>, states: Vec<Arc<State>>) -> Result<BoxStream<'static, io::Result<Bytes>>> {
    let snapshots = job.build.builder.engine.snapshots().clone();
    let write = move |to: &mut dyn Write| {
        let several = states.len() > 1;
        let folder = |state: &State| match several {
            true => state.platform.to_string().replace('/', "_"),
            false => String::new(),
        };
        let exported = states.iter().try_for_each(|state| {
            snapshots.open_root(state.top().as_ref())?.export_below(&folder(state), to)
        });
        exported.and_then(|()| tare_snapshot::end_export(to)).map_err(io::Error::other)
    };
    written(write).map_err(failed("start a thread"))
}
