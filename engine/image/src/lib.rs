//! # image: names for trees of files, fetched once and checked byte by byte
//!
//! - **Owns**: the content store (`content/blobs/sha256/<hex>`, `content/ingest/<hex>` for what is still coming), the image
//!   records and their names.
//! - **In**: references, credentials and a wanted platform; a policy that says who must have signed what; names and ids of
//!   images; archives of images; writable layers that are to become images.
//! - **Out**: images with their configuration and the chain ids of their layers, all of them unpacked; the same images
//!   to registries and as archives, byte for byte as they came unless another compression is asked for; progress in Docker's words.
//! - **Leans on**: registry for bytes, snapshot for trees, store for records and leases; sys, oci, model.
//! - **Never**: believes a digest, a size, a media type or a `diff_id` that it has not checked, writes where a name in an
//!   archive says, or knows what a container is: a lease `image/<id>` keeps an image, whoever holds it.
//! - **Invariant**: what a record names is there: blobs are durable before snapshots, snapshots before the record. What
//!   no record names may be removed at any time, except while work under way has it pinned.
//!
//! Where to read, a folder each, with what [`Images`] can do:
//!
//! ```text
//! records             what names mean, and every change of that: resolve, list, tag, hold, keep, …
//! content, document   blobs on the disk; what manifests, indexes and configurations say
//! pull, load          what comes in, from a registry or as an archive (wrapping: what that is compressed by)
//! layer               the way of both from compressed bytes to trees
//! make                what is made here: commit_layer, commit, import, make_index
//! send                what goes out, to a registry or as an archive: push, save
//! look                what can be told of what is here: history, stack, manifests, compare, usage, verify
//! policy              who must have signed what: permit
//! remove, garbage     names and images taken away, prune; then what no record names: sweep, reconcile
//! ```

mod content;
mod document;
mod error;
mod garbage;
mod layer;
mod load;
mod look;
mod make;
mod policy;
mod progress;
mod pull;
mod records;
mod remove;
mod send;
mod settings;
mod thread;
mod wrapping;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use tare_registry::Registry;
use tare_snapshot::Snapshots;
use tare_store::Store;

pub use error::{Error, Result};
pub use garbage::Swept;
pub use load::Loaded;
pub use look::{HistoryEntry, ImageUsage, ManifestKind, ManifestUse, StackedLayer, Usage, Verified, What};
pub use make::{CommitRequest, ImportRequest, IndexRequest, LayerRequest, LayerUse};
pub use policy::Policy;
pub use progress::{LayerState, Progress};
pub use pull::{Distribution, PullRequest, Pulled};
pub use records::Image;
pub use remove::{Pruned, Removed};
pub use send::{LayerCompression, PushRequest, Pushed};
pub use settings::{Limits, Settings};
pub use wrapping::{Arriving, Unwrapped, is_wrapped, unwrapped};

use content::Content;
use garbage::Pins;
use layer::Claims;
use records::Catalog;
use settings::Lanes;

/// All images of a data root.
pub struct Images {
    content: Content,
    store: Arc<Store>,
    snapshots: Arc<Snapshots>,
    registry: Arc<Registry>,
    settings: Settings,
    lanes: Lanes,
    policy: RwLock<Arc<Policy>>,
    /// What the store holds, kept at hand: resolving an image is part of every start.
    catalog: RwLock<Catalog>,
    /// Held while records are changed, from looking at the catalog to the end of the commit.
    writing: Mutex<()>,
    /// By registry, and by chain id or digest of a blob: of an uncompressed lowest layer both are the same.
    layer_claims: Claims,
    blob_claims: Claims,
    pins: Pins,
    /// Written to while garbage is removed, read while a pull pins what it wants to find.
    sweep: Arc<tokio::sync::RwLock<()>>,
}

impl Images {
    /// Opens the images below `root` (`<data-root>/content`, made where it is missing) with the default settings.
    pub async fn open(
        root: &Path,
        store: Arc<Store>,
        snapshots: Arc<Snapshots>,
        registry: Arc<Registry>,
    ) -> Result<Arc<Self>> {
        Self::open_with(root, store, snapshots, registry, Settings::default()).await
    }

    /// [`Images::open`] with settings of one's own.
    pub async fn open_with(
        root: &Path,
        store: Arc<Store>,
        snapshots: Arc<Snapshots>,
        registry: Arc<Registry>,
        settings: Settings,
    ) -> Result<Arc<Self>> {
        let content = Content::open(root)?;
        let catalog = Catalog::load(&store)?;
        Ok(Arc::new(Self {
            content,
            store,
            snapshots,
            registry,
            settings,
            lanes: Lanes::new(settings.downloads, settings.uploads),
            policy: RwLock::default(),
            catalog: RwLock::new(catalog),
            writing: Mutex::new(()),
            layer_claims: Claims::default(),
            blob_claims: Claims::default(),
            pins: Pins::default(),
            sweep: Arc::default(),
        }))
    }

    /// How many layers of one pull and of one push are under way at a time from now on; one at least.
    pub fn set_lanes(&self, downloads: usize, uploads: usize) {
        self.lanes.set(downloads, uploads);
    }

    /// What is wanted of images from now on, when they are pulled and when they are run.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }
}
