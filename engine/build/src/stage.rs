//! One stage: its base, then its instructions, each taken from the cache or carried out.

pub(crate) mod state;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tare_dockerfile::{
    AddFiles, CopyFiles, Ignore, Instruction, Origin, Run, Scope, Source, Step, Word, parse_trigger,
};
use tare_image::{LayerRequest, LayerUse};
use tare_model::{Digest, Id, Timestamp};
use tare_snapshot::PackOptions;

use crate::cache::key::Key;
use crate::cache::{Entry, Layer};
use crate::copy::{CopySpec, From, Remote, fetch};
use crate::files::mode::Mode;
use crate::job::{Done, Job};
use crate::run::RunStep;
use crate::{Error, Progress, Result, git, now};
use state::{Base, State};

/// The most bytes of a user or group list that are read for `--chown`.
const LISTS: u64 = 4 << 20;

/// Bytes that describe all stages of a build, their environments, labels and histories: a file of some kilobytes could make
/// gigabytes of them.
const DESCRIBED: usize = 64 << 20;

/// A stage under way.
struct Work<'g> {
    job: Arc<Job>,
    state: State,
    scope: Scope<'g>,
    /// The step that is being done.
    step: usize,
    /// How much of the state is counted in the job's [`DESCRIBED`].
    counted: usize,
}

/// Builds a stage and tells those that wait for it.
pub(crate) async fn build(job: Arc<Job>, at: usize) -> Result<()> {
    let stage = &job.build.file.stages[at];
    let step = job.first[&at];
    started(&job, at, step, 1, &format!("FROM {}{}", stage.base, named(&job, at)));
    let based = job.base(at, step).await;
    let (_, mut state) = based.map_err(|error| failed(&job, step, job.at(stage.span, error)))?;
    job.tell(Progress::Done(step, state.position));
    let (layers, steps) = (state.layers.len(), state.history.len());
    let position = (job.stages.bases()[at] != Origin::Scratch).then_some(state.position);
    state.base = Base { layers, steps, position };
    let triggers = state.config.on_build.take().unwrap_or_default();
    let scope = Scope::new(&job.globals, state.env());
    let mut work = Work { job: job.clone(), state, scope, step, counted: 0 };
    if !triggers.is_empty() {
        job.tell(Progress::Triggers(step, triggers.len()));
    }
    for text in triggers {
        let trigger = parse_trigger(&text).map_err(Error::from);
        let done = match trigger {
            Ok(trigger) => work.one(&trigger).await,
            Err(error) => Err(error),
        };
        done.map_err(|error| failed(&job, work.step, job.at(stage.span, error)))?;
    }
    for (number, instruction) in stage.steps.iter().enumerate() {
        work.step = step + 1 + number;
        started(&job, at, work.step, number + 2, &instruction.text);
        let done = work.one(instruction).await;
        done.map_err(|error| failed(&job, work.step, job.at(instruction.span, error)))?;
        job.tell(Progress::Done(work.step, work.state.position));
    }
    job.finished[at].send_replace(Some(Arc::new(work.state)));
    Ok(())
}

fn named(job: &Job, at: usize) -> String {
    job.build.file.stages[at].name.as_ref().map_or_else(String::new, |name| format!(" AS {name}"))
}

fn started(job: &Job, at: usize, step: usize, number: usize, text: &str) {
    let of = job.build.file.stages[at].steps.len() + 1;
    let stage = if job.first.len() > 1 { format!("{} ", job.stages.title(at)) } else { String::new() };
    let platform = if job.build.platforms > 1 { format!("{} ", job.platform) } else { String::new() };
    let title = format!("[{platform}{stage}{number}/{of}] {text}");
    job.tell(Progress::Started { step, total: job.total, title, text: text.to_owned() });
}

fn failed(job: &Job, step: usize, error: Error) -> Error {
    job.tell(Progress::Failed(step, error.to_string()));
    error
}

impl Work<'_> {
    async fn one(&mut self, step: &Step) -> Result<()> {
        let instruction = self.scope.expand(step)?;
        match &instruction {
            Instruction::Run(run) => self.run(run).await?,
            Instruction::Copy(copy) => {
                let spec = self.copy_spec(copy)?;
                self.copy(spec, copy.from.as_ref(), "COPY").await?;
            }
            Instruction::Add(add) => {
                let spec = self.add_spec(add)?;
                self.copy(spec, None, "ADD").await?;
            }
            Instruction::Workdir(path) => {
                let path = self.state.absolute(path);
                self.state.apply(&instruction, &[])?;
                let told = self.state.told(&instruction, &step.text);
                self.workdir(&path, &told).await?;
            }
            other => {
                self.scope.admit(other);
                self.state.apply(other, self.scope.env())?;
                self.note(self.state.told(other, &step.text)).await?;
            }
        }
        self.count()
    }

    /// Counts what the state has grown by.
    fn count(&mut self) -> Result<()> {
        let grown = self.state.weight.saturating_sub(std::mem::replace(&mut self.counted, self.state.weight));
        if self.job.build.described.fetch_add(grown, Ordering::Relaxed) + grown <= DESCRIBED {
            return Ok(());
        }
        Err(Error::Limit(format!(
            "environment, labels and history of the stages grow beyond {DESCRIBED} bytes: keep large texts in files"
        )))
    }

    /// An instruction that makes no layer. That it was met before gives it its time, so that the same file gives the same
    /// image again.
    async fn note(&mut self, text: String) -> Result<()> {
        let mut key = Key::new("note");
        key.add(self.state.position.to_string()).add(&text);
        key.add(serde_json::to_vec(&self.state.config).unwrap_or_default());
        key.maybe(self.job.build.epoch.map(i64::to_be_bytes));
        let key = key.finish();
        let work = async {
            let known = self.known(&key, &text).await?.map(|(created, _)| created);
            Ok((known.unwrap_or_else(|| self.keep(&key, &text, None)), None))
        };
        let (created, _) = self.once(key, work.boxed()).await?;
        self.state.passed(text, created, None);
        Ok(())
    }

    async fn run(&mut self, run: &Run<String>) -> Result<()> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let step = RunStep {
            job: &self.job,
            step: self.step,
            state: &self.state,
            run,
            args: self.scope.args().map(owned).collect(),
            proxies: self.scope.proxies().map(owned).collect(),
        };
        let (key, created_by) = (step.key().await?, step.created_by());
        let work = async {
            let known = match step.is_told_whole() {
                true => self.known(&key, &created_by).await?,
                false => self.find(&key).await?,
            };
            if let Some((created, Some(layer))) = known {
                return Ok((created, Some(layer)));
            }
            let layer = step.execute().await?;
            Ok((self.keep(&key, &created_by, Some(&layer)), Some(layer)))
        };
        let (created, layer) = self.once(key, work.boxed()).await?;
        self.state.passed(created_by, created, layer);
        Ok(())
    }

    async fn copy(&mut self, spec: CopySpec, from: Option<&Word>, keyword: &str) -> Result<()> {
        let (spec, job) = (Arc::new(spec), self.job.clone());
        let fetched = fetch::all(&job, &spec.remote).await?;
        let tree = if spec.sources.is_empty() { None } else { Some(job.tree(from).await?) };
        let selecting = spec.clone();
        let (selection, fetched) = crate::blocking(move || {
            let mut from = Vec::new();
            if let Some((tree, what)) = tree {
                let (files, sources) = (tree.files(&job, what)?, selecting.sources.clone());
                from.push(From { files, sources, unpack: selecting.unpack, commit: None });
            }
            for one in &fetched {
                from.push(one.from()?);
            }
            Ok((selecting.select(from)?, fetched))
        })
        .await?;
        let mut key = Key::new("copy");
        key.maybe(self.state.top().map(|top| top.to_string())).add(selection.digest.to_string());
        spec.describe(&mut key);
        key.maybe(self.job.build.epoch.map(i64::to_be_bytes));
        let key = key.finish();
        let text = spec.told(keyword, &selection);
        let work = async {
            if let Some((created, Some(layer))) = self.known(&key, &text).await? {
                return Ok((created, Some(layer)));
            }
            let owner = self.owner(spec.chown.as_deref()).await?;
            let snapshots = self.job.build.builder.engine.snapshots().clone();
            let copy = move |root: std::os::fd::OwnedFd| {
                spec.copy(&snapshots, std::os::fd::AsFd::as_fd(&root), &selection, owner)
            };
            let layer = self.layer(copy).await?;
            Ok((self.keep(&key, &text, Some(&layer)), Some(layer)))
        };
        let (created, layer) = self.once(key, work.boxed()).await?;
        drop(fetched);
        self.state.passed(text, created, layer);
        Ok(())
    }

    /// WORKDIR makes the directory where it is missing.
    async fn workdir(&mut self, path: &Path, text: &str) -> Result<()> {
        let mut key = Key::new("workdir");
        key.maybe(self.state.top().map(|top| top.to_string())).add(path.as_os_str().as_encoded_bytes());
        key.maybe(self.job.build.epoch.map(i64::to_be_bytes));
        let key = key.finish();
        let work = async {
            if let Some(known) = self.known(&key, text).await? {
                return Ok(known);
            }
            let layer = self.make_directory(path).await?;
            Ok((self.keep(&key, text, layer.as_ref()), layer))
        };
        let (created, layer) = self.once(key, work.boxed()).await?;
        self.state.passed(text.to_owned(), created, layer);
        Ok(())
    }

    async fn make_directory(&self, path: &Path) -> Result<Option<LayerUse>> {
        let (top, snapshots) = (self.state.top(), self.job.build.builder.engine.snapshots().clone());
        let wanted = path.to_owned();
        let there = crate::blocking(move || {
            let root = snapshots.open_root(top.as_ref())?;
            Ok(root.as_fd().is_some_and(|root| crate::files::place::is_directory(root, &wanted)))
        });
        if there.await? {
            return Ok(None);
        }
        let path = path.to_owned();
        let make = move |root: std::os::fd::OwnedFd| {
            let owner = crate::files::place::Owner::Is { uid: 0, gid: 0 };
            crate::files::place::make_directories(std::os::fd::AsFd::as_fd(&root), &path, owner).map(drop)
        };
        self.layer(make).await.map(Some)
    }

    /// Makes a layer of what `work` writes into the tree.
    async fn layer(
        &self,
        work: impl FnOnce(std::os::fd::OwnedFd) -> Result<()> + Send + 'static,
    ) -> Result<LayerUse> {
        layer(&self.job, self.state.top(), work).await
    }

    /// Who `--chown` means, by the lists of the stage itself.
    async fn owner(&self, chown: Option<&str>) -> Result<Option<(u32, u32)>> {
        let Some(chown) = chown.map(str::to_owned) else { return Ok(None) };
        let (top, snapshots) = (self.state.top(), self.job.build.builder.engine.snapshots().clone());
        crate::blocking(move || {
            let root = snapshots.open_root(top.as_ref())?;
            let read = |path: &str| root.read_file(Path::new(path), LISTS).map(Option::unwrap_or_default);
            Ok(Some(tare_container::resolve_owner(&chown, &read("/etc/passwd")?, &read("/etc/group")?)?))
        })
        .await
    }

    /// Does a step, unless another stage or platform of this build has done the same or is about to: then what that comes to.
    async fn once(&self, key: Digest, work: BoxFuture<'_, Result<Done>>) -> Result<Done> {
        let mut first = false;
        let cell = self.job.build.done(key);
        let done = cell.get_or_try_init(|| {
            first = true;
            work
        });
        let done = done.await?.clone();
        if !first {
            self.job.tell(Progress::Cached(self.step));
        }
        Ok(done)
    }

    /// When a step was done and what layer it made: by this machine, or by who made an image that lends its steps.
    async fn known(&self, key: &Digest, told: &str) -> Result<Option<Done>> {
        if let Some(found) = self.find(key).await? {
            return Ok(Some(found));
        }
        let lent = self.job.lent(&self.state, told).await?;
        if lent.is_some() {
            self.job.tell(Progress::Cached(self.step));
        }
        Ok(lent)
    }

    async fn find(&self, key: &Digest) -> Result<Option<Done>> {
        let builder = &self.job.build.builder;
        if self.job.build.reuse.no_cache {
            return Ok(None);
        }
        let Some((entry, layer)) = builder.cache.find(builder.engine.images(), key).await? else {
            return Ok(None);
        };
        builder.cache.touch(key, &entry, now());
        self.job.tell(Progress::Cached(self.step));
        Ok(Some((entry.created, layer)))
    }

    /// Remembers a step that was just done; when that was.
    fn keep(&self, key: &Digest, text: &str, layer: Option<&LayerUse>) -> Timestamp {
        let epoch = self.job.build.epoch.map(|seconds| Timestamp { seconds, nanoseconds: 0 });
        let created = epoch.unwrap_or_else(now);
        let layer = layer.map(|layer| Layer {
            diff: layer.diff,
            chain: layer.chain,
            blob: layer.blob.clone(),
            size: layer.size,
        });
        let entry = Entry { created, used: now(), text: text.to_owned(), layer };
        self.job.build.builder.cache.keep(key, &entry);
        created
    }

    fn copy_spec(&self, copy: &CopyFiles<String>) -> Result<CopySpec> {
        let (sources, texts) = split(&copy.sources);
        Ok(CopySpec {
            sources,
            remote: Vec::new(),
            texts,
            destination: self.state.absolute(&copy.destination),
            to_directory: is_directory(&copy.destination),
            chown: copy.chown.clone(),
            chmod: copy.chmod.as_deref().map(Mode::parse).transpose()?,
            exclude: copy.exclude.clone(),
            excluded: Ignore::of(copy.exclude.iter().map(String::as_str))?,
            parents: copy.parents,
            keep_owners: copy.from.is_some(),
            unpack: false,
        })
    }

    fn add_spec(&self, add: &AddFiles<String>) -> Result<CopySpec> {
        let (all, texts) = split(&add.sources);
        let (remote, sources): (Vec<String>, Vec<String>) = all.into_iter().partition(|one| is_remote(one));
        if add.checksum.is_some() && (remote.len() != 1 || !sources.is_empty()) {
            return Err(Error::Request(
                "ADD --checksum is for one address, and for no local file".to_owned(),
            ));
        }
        let remote = remote.into_iter().map(|address| self::remote(add, address)).collect::<Result<_>>()?;
        Ok(CopySpec {
            sources,
            remote,
            texts,
            destination: self.state.absolute(&add.destination),
            to_directory: is_directory(&add.destination),
            chown: add.chown.clone(),
            chmod: add.chmod.as_deref().map(Mode::parse).transpose()?,
            exclude: add.exclude.clone(),
            excluded: Ignore::of(add.exclude.iter().map(String::as_str))?,
            parents: false,
            keep_owners: false,
            unpack: add.unpack.unwrap_or(true),
        })
    }
}

/// Makes a layer upon `parent` of what `work` writes into the tree.
pub(crate) async fn layer(
    job: &Job,
    parent: Option<Digest>,
    work: impl FnOnce(std::os::fd::OwnedFd) -> Result<()> + Send + 'static,
) -> Result<LayerUse> {
    let engine = job.build.builder.engine.clone();
    let key = fresh_key()?;
    let snapshots = engine.snapshots().clone();
    let writable = Writable { snapshots: snapshots.clone(), key: key.clone() };
    let name = key.clone();
    let writable = crate::blocking(move || {
        snapshots.prepare(&name, parent.as_ref())?;
        work(snapshots.open_to_write(&name)?)?;
        Ok(writable)
    })
    .await?;
    let pack = PackOptions { latest: job.build.epoch, mounted: Vec::new() };
    let layer = engine.images().commit_layer(LayerRequest { key, parent, take: true, pack }).await?;
    drop(writable);
    Ok(layer)
}

fn split(sources: &[Source<String>]) -> (Vec<String>, Vec<(String, String)>) {
    let (mut paths, mut texts) = (Vec::new(), Vec::new());
    for source in sources {
        match source {
            Source::Path(path) => paths.push(path.clone()),
            Source::Heredoc(text) => texts.push((text.name.clone(), text.body.clone())),
        }
    }
    (paths, texts)
}

fn remote(add: &AddFiles<String>, address: String) -> Result<Remote> {
    let refused = |why: String| Error::Request(format!("ADD --checksum: {why}"));
    if git::is_git(&address) {
        let commit = add.checksum.as_deref().map(|text| {
            let hex = text.len() >= 7 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let commit = hex.then(|| text.to_ascii_lowercase());
            commit.ok_or_else(|| {
                refused(format!("{text:?} is no commit: seven hexadecimal digits or more are wanted"))
            })
        });
        return Ok(Remote::Repository { address, commit: commit.transpose()?, keep: add.keep_git_dir });
    }
    let checksum = add.checksum.as_deref().map(str::parse::<Digest>).transpose();
    let checksum = checksum.map_err(|why| refused(why.to_string()))?;
    Ok(Remote::File { address, checksum, unpack: add.unpack == Some(true) })
}

fn is_directory(destination: &str) -> bool {
    destination.ends_with('/') || matches!(destination, "." | "..") || destination.ends_with("/.")
}

fn is_remote(source: &str) -> bool {
    source.starts_with("http://")
        || source.starts_with("https://")
        || git::is_git(source) && source.contains([':', '@'])
}

/// A writable layer that goes with this value, unless it has become a read-only one.
struct Writable {
    snapshots: Arc<tare_snapshot::Snapshots>,
    key: String,
}

impl Drop for Writable {
    fn drop(&mut self) {
        let (snapshots, key) = (self.snapshots.clone(), std::mem::take(&mut self.key));
        let remove = move || match snapshots.remove(&key) {
            Ok(()) | Err(tare_snapshot::Error::NoWritable(_)) => {}
            Err(error) => tracing::warn!("left for the next start to remove: {error}"),
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

fn fresh_key() -> Result<String> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(crate::error::io("get random bytes"))?;
    Ok(Id::from_random(bytes).to_string())
}
