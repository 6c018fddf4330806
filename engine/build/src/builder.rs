use std::sync::{Arc, Mutex};
use std::time::Instant;

use tare_container::Engine;
use tare_registry::{Named, Registry};
use tare_store::Store;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cache::Cache;
use crate::context::Context;
use crate::copy::fetch;
use crate::job::{Build, Job};
use crate::progress::{Built, Listener};
use crate::request::{BuildRequest, Entitlements, Source};
use crate::run::keep::Keeps;
use crate::scratch::Scratch;
use crate::{Error, Result, finish, git, stage};

/// The argument by which a context by git keeps its `.git`, as BuildKit calls it.
const KEEP_GIT: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";
/// How many steps run at a time, over all builds.
const STEPS: usize = 8;

/// Builds images. One a daemon.
pub struct Builder {
    pub(crate) engine: Arc<Engine>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) cache: Cache,
    pub(crate) keeps: Keeps,
    pub(crate) on_disk: Scratch,
    pub(crate) in_memory: Scratch,
    pub(crate) steps: Semaphore,
    /// What the daemon lets builds do.
    pub(crate) granted: Entitlements,
    /// When the size of the cache was looked at last.
    pub(crate) bounded: Mutex<Option<Instant>>,
}

impl Builder {
    /// Opens the builder of a daemon, and removes what builds of an earlier one left. Blocking.
    pub fn open(
        engine: Arc<Engine>,
        store: Arc<Store>,
        registry: Arc<Registry>,
        granted: Entitlements,
    ) -> Result<Arc<Self>> {
        let config = engine.config();
        let home = config.data_root.join("build");
        let keeps = Keeps::open(home.join("mounts"), store.clone())?;
        let (on_disk, in_memory) = (Scratch::open(home.join("tmp"))?, Scratch::in_memory(&config.exec_root)?);
        let steps = Semaphore::new(STEPS);
        Ok(Arc::new(Self {
            engine,
            registry,
            cache: Cache { store },
            keeps,
            on_disk,
            in_memory,
            steps,
            granted,
            bounded: Mutex::default(),
        }))
    }

    /// Builds an image and gives it its names. `listener` is told what happens. Dropping the future ends the build: its
    /// containers are killed, and nothing of it stays but finished steps in the cache.
    ///
    /// # Errors
    /// [`Error::Step`] with the place in the Dockerfile.
    pub async fn build(self: &Arc<Self>, mut request: BuildRequest, listener: Listener) -> Result<Built> {
        let mut context = self.context(&mut request).await?;
        let name = crate::job::name(&request);
        let (context, text) = crate::blocking(move || {
            let text = context.settle(&name, tare_dockerfile::LARGEST as u64)?;
            Ok((context, text))
        })
        .await?;
        let (names, labels) = (std::mem::take(&mut request.names), std::mem::take(&mut request.labels));
        let (exports, squash) = (std::mem::take(&mut request.exports), request.squash);
        let unsure = request.reuse.cache_from.is_empty();
        let jobs = Build::jobs(self.clone(), request, (context, text), listener)?;
        let jobs: Vec<_> = jobs.into_iter().map(Arc::new).collect();
        // What an image lends need not be run here.
        if unsure {
            let checked = jobs.clone();
            crate::blocking(move || checked.iter().try_for_each(|job| job.check())).await?;
        }
        stages(&jobs).await?;
        let built = finish::finish(&jobs, finish::Wanted { names, labels, exports, squash }).await?;
        let builder = self.clone();
        tokio::spawn(async move {
            if let Err(error) = builder.bound().await {
                tracing::warn!("cannot keep the build cache within bounds: {error}");
            }
        });
        Ok(built)
    }
}

impl Builder {
    /// The files of a build, from wherever they come.
    async fn context(&self, request: &mut BuildRequest) -> Result<Context> {
        let snapshots = self.engine.snapshots();
        let (address, beside) = match std::mem::take(&mut request.source) {
            Source::Address { address, beside } => (address, beside),
            here => return Context::take(snapshots, here).await,
        };
        let beside = beside.map_or(Source::Nothing, |archive| Source::Archive { archive, reserved: true });
        let beside = Context::take(snapshots, beside).await?;
        if !git::is_git(&address) {
            let (source, names) = fetch::source(&self.registry, &address).await?;
            return Ok(Context::take(snapshots, source).await?.beside(beside, names));
        }
        let keep = request.args.get(KEEP_GIT).is_some_and(|value| matches!(value.as_str(), "1" | "true"));
        let agent = request.run.ssh.get("default").cloned();
        let fetch = git::Fetch { address: git::Address::parse(&address)?, named: Named::Here, keep, agent };
        let checkout = git::checkout(self, fetch).await?;
        let names = checkout.names;
        Ok(Context::of_repository(checkout).beside(beside, names))
    }
}

/// Builds every stage that the targets need, side by side where they do not wait for each other.
async fn stages(jobs: &[Arc<Job>]) -> Result<()> {
    let mut tasks = JoinSet::new();
    for job in jobs {
        for at in job.stages.order(job.target) {
            tasks.spawn(stage::build(job.clone(), at));
        }
    }
    let mut result = Ok(());
    while let Some(done) = tasks.join_next().await {
        result = done.unwrap_or(Err(Error::Cancelled));
        if result.is_err() {
            break;
        }
    }
    tasks.shutdown().await;
    result
}
