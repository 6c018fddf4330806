//! Images from registries that are honest, that lie, and from a real one.
#![allow(clippy::unwrap_used)]

mod archive;
mod bad;
mod early;
#[allow(dead_code, reason = "shared with the registry's tests, which need all of it")]
#[path = "../../../registry/tests/it/fake.rs"]
mod fake;
mod good;
mod life;
mod making;
mod real;
mod sample;
mod several;
mod signed;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake::Fake;
use tare_image::{Image, Images, Limits, Progress, PullRequest, Pulled, Result, Settings};
use tare_model::Reference;
use tare_registry::{Config, Registry};
use tare_snapshot::Snapshots;
use tare_store::Store;
use tempfile::TempDir;

/// A data root of its own.
struct Room {
    images: Arc<Images>,
    snapshots: Arc<Snapshots>,
    store: Arc<Store>,
    told: Arc<Mutex<Vec<Progress>>>,
    root: TempDir,
}

impl Room {
    async fn open() -> Self {
        Self::open_in(TempDir::new().unwrap(), Settings::default()).await
    }

    async fn with_limits(limits: Limits) -> Self {
        Self::open_in(TempDir::new().unwrap(), Settings { limits, ..Settings::default() }).await
    }

    /// Gives up soon. Only for who falls silent on purpose: a machine that has much else to do may be silent for as long.
    async fn impatient() -> Self {
        let config = Config { read_timeout: Duration::from_secs(1), retries: 0, ..Config::default() };
        Self::open_with(TempDir::new().unwrap(), Settings::default(), config).await
    }

    async fn open_in(root: TempDir, settings: Settings) -> Self {
        let quick = Config { retries: 1, first_wait: Duration::from_millis(5), ..Config::default() };
        Self::open_with(root, settings, quick).await
    }

    async fn open_with(root: TempDir, settings: Settings, config: Config) -> Self {
        let store = Store::open(&root.path().join("store")).unwrap();
        let snapshots = Snapshots::open(&root.path().join("snapshots"), store.clone()).unwrap();
        let content = root.path().join("content");
        let registry = Registry::new(config).unwrap();
        let images =
            Images::open_with(&content, store.clone(), snapshots.clone(), registry, settings).await.unwrap();
        Self { images, snapshots, store, told: Arc::default(), root }
    }

    /// What a restart of the daemon does.
    async fn again(self) -> Self {
        let Self { images, snapshots, store, root, .. } = self;
        drop((images, snapshots, store));
        Self::open_in(root, Settings::default()).await
    }

    async fn pull(&self, reference: &Reference) -> Result<Pulled> {
        self.request(PullRequest {
            reference: reference.clone(),
            platform: None,
            all_platforms: false,
            credentials: None,
        })
        .await
    }

    async fn request(&self, request: PullRequest) -> Result<Pulled> {
        let told = self.told.clone();
        self.images.pull(request, move |progress| told.lock().unwrap().push(progress)).await
    }

    /// What was told of a layer, each word once.
    fn words(&self, layer: &str) -> Vec<&'static str> {
        let mut words: Vec<_> = self
            .told
            .lock()
            .unwrap()
            .iter()
            .filter_map(|progress| match progress {
                Progress::Layer { id, state } if id == layer => Some(state.as_str()),
                _ => None,
            })
            .collect();
        words.dedup();
        words
    }

    fn file(&self, image: &Image, path: &str) -> Option<Vec<u8>> {
        self.snapshots.open_root(image.top_layer()).unwrap().read_file(Path::new(path), 1 << 20).unwrap()
    }

    /// Everything on the disk but the database: what a failed pull must not leave behind.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for directory in ["content/blobs/sha256", "content/ingest", "snapshots/layers"] {
            let entries = std::fs::read_dir(self.root.path().join(directory)).unwrap();
            found.extend(entries.map(|entry| entry.unwrap().path()));
        }
        let temporary = self.root.path().join("snapshots/tmp");
        for session in std::fs::read_dir(temporary).unwrap() {
            found.extend(
                std::fs::read_dir(session.unwrap().path()).unwrap().map(|entry| entry.unwrap().path()),
            );
        }
        found
    }
}

/// Waits until a path is asked for, and a moment for what is done with the answer.
async fn asked_for(fake: &Fake, path: &str) {
    while fake.count(path) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn reference(fake: &Fake, rest: &str) -> Reference {
    format!("{}/{rest}", fake.address).parse().unwrap()
}
