//! One build: what it was asked for, and for each platform what its stages have come to so far.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use tare_dockerfile::{Dockerfile, Globals, Instruction, Origin, Span, Stages, Word, excerpt};
use tare_image::{Image, LayerUse, PullRequest};
use tare_model::{Digest, Platform, Reference, Timestamp};
use tokio::sync::{OnceCell, watch};

use crate::cache::lend::Lender;
use crate::context::Context;
use crate::error::io;
use crate::files::Files;
use crate::progress::Listener;
use crate::request::{BuildRequest, NamedContext, Reuse, RunSettings};
use crate::run::mounts;
use crate::stage::state::State;
use crate::{Builder, Error, Progress, Result};

/// What a build was asked for, whatever the platform.
pub(crate) struct Build {
    pub builder: Arc<Builder>,
    pub file: Dockerfile,
    /// The Dockerfile's text and name, for messages.
    pub source: String,
    pub name: String,
    pub context: Context,
    pub run: RunSettings,
    pub reuse: Reuse,
    pub from: From,
    /// `SOURCE_DATE_EPOCH`: no time in the image is later.
    pub epoch: Option<i64>,
    /// How many platforms it is for.
    pub platforms: usize,
    listener: Listener,
    /// Bytes that describe the stages so far.
    pub described: AtomicUsize,
    /// What each step has come to, or will, by its key: stages and platforms that have it in common do it once.
    done: Mutex<HashMap<Digest, Arc<OnceCell<Done>>>>,
}

/// What images are fetched with, and what names stand for.
pub(crate) struct From {
    pub credentials: BTreeMap<String, tare_registry::Credentials>,
    pub contexts: BTreeMap<String, NamedContext>,
}

/// When a step was done, and the layer it made.
pub(crate) type Done = (Timestamp, Option<LayerUse>);

/// A build under way for one platform.
pub(crate) struct Job {
    pub build: Arc<Build>,
    pub platform: Platform,
    pub stages: Stages,
    pub globals: Globals,
    /// The stage that is wanted.
    pub target: usize,
    /// What each stage has come to, once it is finished.
    pub finished: Vec<watch::Sender<Option<Arc<State>>>>,
    /// The number of each needed stage's first step, over all platforms.
    pub first: BTreeMap<usize, usize>,
    /// How many steps there are, over all platforms.
    pub total: usize,
    /// The images of `--cache-from`, looked for when the first step is not in the cache.
    pub lenders: OnceCell<Vec<Lender>>,
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
                let root = job.build.builder.engine.snapshots().open_root(top.as_ref())?;
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

/// What a request says of arguments and of the stage that is wanted.
struct Asked {
    args: BTreeMap<String, String>,
    target: Option<String>,
}

impl Build {
    /// Reads the Dockerfile and finds out what has to be done for each platform.
    pub(crate) fn jobs(
        builder: Arc<Builder>,
        mut request: BuildRequest,
        (context, text): (Context, Vec<u8>),
        listener: Listener,
    ) -> Result<Vec<Job>> {
        let name = name(&request);
        let source = String::from_utf8_lossy(&text).into_owned();
        let file =
            tare_dockerfile::parse(&text).map_err(|error| Error::dockerfile(&error, &source, &name))?;
        let mut platforms = std::mem::take(&mut request.platforms);
        if platforms.is_empty() {
            platforms.push(Platform::host());
        }
        let asked = Asked { args: request.args, target: request.target };
        let build = Arc::new(Self {
            builder,
            file,
            source,
            name,
            context,
            run: request.run,
            reuse: request.reuse,
            from: From { credentials: request.credentials, contexts: request.contexts },
            epoch: epoch(asked.args.get("SOURCE_DATE_EPOCH"))?,
            platforms: platforms.len(),
            listener,
            described: AtomicUsize::new(0),
            done: Mutex::default(),
        });
        let (mut jobs, mut next) = (Vec::new(), 1);
        for platform in platforms {
            let job = Job::new(build.clone(), platform, &asked, next)?;
            next = job.total + 1;
            jobs.push(job);
        }
        jobs.iter_mut().for_each(|job| job.total = next - 1);
        jobs.iter().take(1).for_each(Job::warn);
        Ok(jobs)
    }

    /// Where what a step comes to is kept.
    pub(crate) fn done(&self, key: Digest) -> Arc<OnceCell<Done>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
    }
}

impl Job {
    /// Finds out what has to be done for a platform; its first step has the number `first`.
    fn new(build: Arc<Build>, platform: Platform, given: &Asked, first: usize) -> Result<Self> {
        let explain = |error: tare_dockerfile::Error| Error::dockerfile(&error, &build.source, &build.name);
        let given = tare_dockerfile::Given {
            args: given.args.clone(),
            target_platform: platform.clone(),
            build_platform: Platform::host(),
            target_stage: given.target.clone(),
        };
        let globals = Globals::new(&build.file, &given).map_err(explain)?;
        let contexts = build.from.contexts.keys().cloned().collect();
        let stages = Stages::resolve(&build.file, &globals, &contexts).map_err(explain)?;
        let target = stages.target(given.target_stage.as_deref()).map_err(explain)?;
        let (first, total) = numbers(&build.file, &stages, target, first);
        let finished = (0..stages.count()).map(|_| watch::Sender::new(None)).collect();
        let lenders = OnceCell::new();
        Ok(Self { build, platform, stages, globals, target, finished, first, total, lenders })
    }

    fn warn(&self) {
        let build = &self.build;
        for warning in &build.file.warnings {
            let line = warning.span.line;
            self.tell(Progress::Warning(format!("{} ({}:{line})", warning.message, build.name)));
        }
        let unasked = self.globals.unasked(&build.file);
        if !unasked.is_empty() {
            let message = format!("One or more build-args [{}] were not consumed", unasked.join(" "));
            self.tell(Progress::Warning(message));
        }
    }

    /// An error where a RUN that is needed could not run here, for want of an emulator. Blocking.
    pub(crate) fn check(&self) -> Result<()> {
        let mut platforms: BTreeMap<usize, Platform> = BTreeMap::new();
        for at in self.stages.order(self.target) {
            let below = match self.stages.bases()[at] {
                Origin::Stage(number) => platforms.get(&number).cloned(),
                _ => None,
            };
            let platform = self.platform_of(at)?.or(below).unwrap_or_else(|| self.platform.clone());
            let mut steps = self.build.file.stages[at].steps.iter();
            if let Some(run) = steps.find(|step| matches!(step.instruction, Instruction::Run(_))) {
                crate::foreign::check(&platform).map_err(|error| self.at(run.span, error))?;
            }
            platforms.insert(at, platform);
        }
        Ok(())
    }

    /// What FROM says of the platform.
    fn platform_of(&self, at: usize) -> Result<Option<Platform>> {
        let wanted = self.stages.platform(at).filter(|text| !text.is_empty());
        let wanted = wanted.map(str::parse::<Platform>).transpose();
        wanted.map_err(|why| Error::Request(format!("FROM --platform: {why}")))
    }

    pub(crate) fn tell(&self, progress: Progress) {
        (self.build.listener)(progress);
    }

    /// An error with the place that it came from.
    pub(crate) fn at(&self, span: Span, reason: Error) -> Error {
        if matches!(reason, Error::Step { .. } | Error::Cancelled) {
            return reason;
        }
        match excerpt(&self.build.source, &self.build.name, span) {
            shown if shown.is_empty() => reason,
            excerpt => Error::Step { reason: Box::new(reason), excerpt },
        }
    }

    /// What `from` means: the context where nothing is said. Waits for a stage to be finished.
    pub(crate) async fn tree(self: &Arc<Self>, from: Option<&Word>) -> Result<(Tree, String)> {
        let what = mounts::called(from);
        let Some(from) = from else {
            let missing = || Error::Request("the build has no context to take files from".to_owned());
            return Ok((Tree::Directory(self.build.context.path().ok_or_else(missing)?), what));
        };
        let layers = |state: Arc<State>| Tree::Layers { top: state.top(), _state: state };
        let tree = match self.stages.origin(from)? {
            Origin::Scratch => layers(Arc::new(State::scratch(self.platform.clone()))),
            Origin::Stage(number) => layers(self.finished(number).await?),
            Origin::Image(name) => layers(Arc::new(self.image(&name, 0, &self.platform).await?.1)),
            Origin::Context(name) => match self.build.from.contexts.get(&name) {
                Some(NamedContext::Image(image)) => {
                    layers(Arc::new(self.image(image, 0, &self.platform).await?.1))
                }
                Some(NamedContext::Directory(directory)) => Tree::Directory(self.directory(directory)?),
                None => return Err(Error::Request(format!("there is no build context {name}"))),
            },
        };
        Ok((tree, what))
    }

    fn directory(&self, name: &str) -> Result<PathBuf> {
        let missing = || Error::Request(format!("the files of the build context {name} did not come"));
        self.build.context.named(name).filter(|path| path.is_dir()).ok_or_else(missing)
    }

    async fn finished(&self, number: usize) -> Result<Arc<State>> {
        let mut stage = self.finished[number].subscribe();
        let state = stage.wait_for(Option::is_some).await.map_err(|_| Error::Cancelled)?;
        state.clone().ok_or(Error::Cancelled)
    }

    /// What a stage begins with, and the image that this is.
    pub(crate) async fn base(self: &Arc<Self>, at: usize, step: usize) -> Result<(Option<Image>, State)> {
        let platform = self.platform_of(at)?.unwrap_or_else(|| self.platform.clone());
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
            Origin::Context(name) => match self.build.from.contexts.get(name) {
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
        let images = self.build.builder.engine.images();
        let here = images.resolve_for(name, Some(platform)).ok();
        let image = match here.filter(|_| !self.build.reuse.pull || name.parse::<Digest>().is_ok()) {
            Some(image) => image,
            None => {
                let reference: Reference =
                    name.parse().map_err(|why| Error::Request(format!("FROM {name}: {why}")))?;
                let credentials = self.build.from.credentials.get(reference.domain()).cloned();
                let (listener, platform) = (self.build.listener.clone(), Some(platform.clone()));
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

/// The number of each needed stage's first step, beginning with `next`, and the last number: FROM counts as one.
fn numbers(
    file: &Dockerfile,
    stages: &Stages,
    target: usize,
    mut next: usize,
) -> (BTreeMap<usize, usize>, usize) {
    let mut needed = stages.order(target);
    needed.sort_unstable();
    let mut first = BTreeMap::new();
    for at in needed {
        first.insert(at, next);
        next += 1 + file.stages[at].steps.len();
    }
    (first, next - 1)
}
