//! One build: what it was asked for, and what its stages have come to so far.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tare_dockerfile::{Dockerfile, Globals, Origin, Span, Stages, Word, excerpt};
use tare_image::{Image, PullRequest};
use tare_model::{Digest, Platform, Reference};
use tokio::sync::{OnceCell, watch};

use crate::context::Context;
use crate::error::io;
use crate::files::Files;
use crate::lend::Lender;
use crate::progress::Listener;
use crate::request::{BuildRequest, NamedContext, Reuse, RunSettings};
use crate::state::State;
use crate::{Builder, Error, Progress, Result, mounts};

/// A build under way.
pub(crate) struct Job {
    pub builder: Arc<Builder>,
    pub file: Dockerfile,
    /// The Dockerfile's text and name, for messages.
    pub source: String,
    pub name: String,
    pub stages: Stages,
    pub globals: Globals,
    pub context: Context,
    pub run: RunSettings,
    pub reuse: Reuse,
    pub rest: Rest,
    /// `SOURCE_DATE_EPOCH`: no time in the image is later.
    pub epoch: Option<i64>,
    /// The images of `--cache-from`, looked for when the first step is not in the cache.
    pub lenders: OnceCell<Vec<Lender>>,
    listener: Listener,
}

/// What else decides about stages.
pub(crate) struct Rest {
    pub platform: Platform,
    pub credentials: BTreeMap<String, tare_registry::Credentials>,
    pub contexts: BTreeMap<String, NamedContext>,
    /// What each stage has come to, once it is finished.
    pub finished: Vec<watch::Sender<Option<Arc<State>>>>,
    /// The number of each stage's first step, and how many steps there are.
    pub first: BTreeMap<usize, usize>,
    pub total: usize,
    /// Bytes that describe the stages so far.
    pub described: AtomicUsize,
}

/// Files that COPY or a mount takes from.
pub(crate) enum Tree {
    /// Plain files on the disk, which nobody writes to.
    Directory(PathBuf),
    /// Layers, which `_state` keeps.
    Layers { top: Option<Digest>, _state: Arc<State> },
}

impl Tree {
    /// Opens it. Blocking.
    pub(crate) fn files(&self, job: &Job, what: String) -> Result<Files> {
        let root = match self {
            Self::Directory(path) => Some(open_directory(path)?),
            Self::Layers { top, .. } => {
                let root = job.builder.engine.snapshots().open_root(top.as_ref())?;
                let cloned = root.as_fd().map(|root| root.try_clone_to_owned()).transpose();
                cloned.map_err(io("open a stage's files"))?
            }
        };
        Ok(Files { root, what })
    }
}

pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDONLY
        | rustix::fs::OFlags::DIRECTORY
        | rustix::fs::OFlags::NOFOLLOW
        | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(io(format!("open {}", path.display())))
}

impl Job {
    /// Reads the Dockerfile and finds out what has to be done.
    pub(crate) fn new(
        builder: Arc<Builder>,
        mut request: BuildRequest,
        (context, text): (Context, Vec<u8>),
        listener: Listener,
    ) -> Result<(Self, usize)> {
        let name = name(&request);
        let source = String::from_utf8_lossy(&text).into_owned();
        let explain = |error: tare_dockerfile::Error| Error::dockerfile(&error, &source, &name);
        let file = tare_dockerfile::parse(&text).map_err(explain)?;
        let platform = request.platform.take().unwrap_or_else(Platform::host);
        let given = tare_dockerfile::Given {
            args: std::mem::take(&mut request.args),
            target_platform: platform.clone(),
            build_platform: Platform::host(),
            target_stage: request.target.clone(),
        };
        let epoch = epoch(given.args.get("SOURCE_DATE_EPOCH"))?;
        let globals = Globals::new(&file, &given).map_err(explain)?;
        let contexts = request.contexts.keys().cloned().collect();
        let stages = Stages::resolve(&file, &globals, &contexts).map_err(explain)?;
        let target = stages.target(request.target.as_deref()).map_err(explain)?;
        let (first, total) = numbers(&file, &stages, target);
        let finished = (0..stages.count()).map(|_| watch::Sender::new(None)).collect();
        let (credentials, contexts) = (request.credentials, request.contexts);
        let described = AtomicUsize::new(0);
        let rest = Rest { platform, credentials, contexts, finished, first, total, described };
        let (run, reuse) = (request.run, request.reuse);
        let lenders = OnceCell::new();
        let job = Self {
            builder,
            file,
            source,
            name,
            stages,
            globals,
            context,
            run,
            reuse,
            rest,
            epoch,
            lenders,
            listener,
        };
        job.warn();
        Ok((job, target))
    }

    fn warn(&self) {
        for warning in &self.file.warnings {
            let line = warning.span.line;
            self.tell(Progress::Warning(format!("{} ({}:{line})", warning.message, self.name)));
        }
        let unasked = self.globals.unasked(&self.file);
        if !unasked.is_empty() {
            let message = format!("One or more build-args [{}] were not consumed", unasked.join(" "));
            self.tell(Progress::Warning(message));
        }
    }

    pub(crate) fn tell(&self, progress: Progress) {
        (self.listener)(progress);
    }

    /// An error with the place that it came from.
    pub(crate) fn at(&self, span: Span, reason: Error) -> Error {
        if matches!(reason, Error::Step { .. } | Error::Cancelled) {
            return reason;
        }
        match excerpt(&self.source, &self.name, span) {
            shown if shown.is_empty() => reason,
            excerpt => Error::Step { reason: Box::new(reason), excerpt },
        }
    }

    /// What `from` means: the context where nothing is said. Waits for a stage to be finished.
    pub(crate) async fn tree(self: &Arc<Self>, from: Option<&Word>) -> Result<(Tree, String)> {
        let what = mounts::called(from);
        let Some(from) = from else {
            let missing = || Error::Request("the build has no context to take files from".to_owned());
            return Ok((Tree::Directory(self.context.path().ok_or_else(missing)?), what));
        };
        let layers = |state: Arc<State>| Tree::Layers { top: state.top(), _state: state };
        let tree = match self.stages.origin(from)? {
            Origin::Scratch => layers(Arc::new(State::scratch(self.rest.platform.clone()))),
            Origin::Stage(number) => layers(self.finished(number).await?),
            Origin::Image(name) => layers(Arc::new(self.image(&name, 0, &self.rest.platform).await?.1)),
            Origin::Context(name) => match self.rest.contexts.get(&name) {
                Some(NamedContext::Image(image)) => {
                    layers(Arc::new(self.image(image, 0, &self.rest.platform).await?.1))
                }
                Some(NamedContext::Directory(directory)) => Tree::Directory(self.directory(directory)?),
                None => return Err(Error::Request(format!("there is no build context {name}"))),
            },
        };
        Ok((tree, what))
    }

    fn directory(&self, name: &str) -> Result<PathBuf> {
        let missing = || Error::Request(format!("the files of the build context {name} did not come"));
        self.context.named(name).filter(|path| path.is_dir()).ok_or_else(missing)
    }

    async fn finished(&self, number: usize) -> Result<Arc<State>> {
        let mut stage = self.rest.finished[number].subscribe();
        let state = stage.wait_for(Option::is_some).await.map_err(|_| Error::Cancelled)?;
        state.clone().ok_or(Error::Cancelled)
    }

    /// What a stage begins with, and the image that this is.
    pub(crate) async fn base(self: &Arc<Self>, at: usize, step: usize) -> Result<(Option<Image>, State)> {
        let wanted = self.stages.platform(at).filter(|text| !text.is_empty());
        let wanted = wanted.map(str::parse::<Platform>).transpose();
        let wanted = wanted.map_err(|why| Error::Request(format!("FROM --platform: {why}")))?;
        let platform = wanted.unwrap_or_else(|| self.rest.platform.clone());
        Ok(match &self.stages.bases()[at] {
            Origin::Scratch => (None, State::scratch(platform)),
            Origin::Stage(number) => {
                let state = (*self.finished(*number).await?).clone();
                (None, State { own_command: false, ..state })
            }
            Origin::Image(name) => {
                let (image, state) = self.image(name, step, &platform).await?;
                (Some(image), state)
            }
            Origin::Context(name) => match self.rest.contexts.get(name) {
                Some(NamedContext::Image(image)) => {
                    let (image, state) = self.image(image, step, &platform).await?;
                    (Some(image), state)
                }
                _ => {
                    let message = format!("FROM {name}: a directory is no base; use COPY --from={name}");
                    return Err(Error::Request(message));
                }
            },
        })
    }

    /// An image that is here, or is fetched; one that may not be run may not be built upon either.
    pub(crate) async fn image(&self, name: &str, step: usize, platform: &Platform) -> Result<(Image, State)> {
        let images = self.builder.engine.images();
        let here = images.resolve_for(name, Some(platform)).ok();
        let image = match here.filter(|_| !self.reuse.pull || name.parse::<Digest>().is_ok()) {
            Some(image) => image,
            None => {
                let reference: Reference =
                    name.parse().map_err(|why| Error::Request(format!("FROM {name}: {why}")))?;
                let credentials = self.rest.credentials.get(reference.domain()).cloned();
                let (listener, platform) = (self.listener.clone(), Some(platform.clone()));
                let request = PullRequest { reference, platform, all_platforms: false, credentials };
                let pulled =
                    images.pull(request, move |progress| listener(Progress::Pull(step, progress))).await?;
                images.resolve(&pulled.id.to_string())?
            }
        };
        images.permit(name, &image)?;
        let layers = images.layers_of(&image).await?;
        let state = State::image(&image, layers);
        Ok((image, state))
    }
}

/// What the Dockerfile is called.
pub(crate) fn name(request: &BuildRequest) -> String {
    if request.dockerfile.is_empty() { "Dockerfile".to_owned() } else { request.dockerfile.clone() }
}

fn epoch(text: Option<&String>) -> Result<Option<i64>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let seconds = text.parse::<i64>().ok().filter(|seconds| *seconds >= 0);
    let refused =
        || Error::Request(format!("SOURCE_DATE_EPOCH=\"{text}\" is no number of seconds since 1970"));
    seconds.map(Some).ok_or_else(refused)
}

/// The number of each needed stage's first step, and how many steps there are: FROM counts as one.
fn numbers(file: &Dockerfile, stages: &Stages, target: usize) -> (BTreeMap<usize, usize>, usize) {
    let mut needed = stages.order(target);
    needed.sort_unstable();
    let (mut first, mut next) = (BTreeMap::new(), 1);
    for at in needed {
        first.insert(at, next);
        next += 1 + file.stages[at].steps.len();
    }
    (first, next - 1)
}
