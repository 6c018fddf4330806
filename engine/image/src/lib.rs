//! # image: names for trees of files, fetched once and checked byte by byte
//!
//! - **Owns**: the content store (`content/blobs/sha256/<hex>`, `content/ingest/<hex>` for what is still coming), the image
//!   records and their names.
//! - **In**: references, credentials and a wanted platform; a policy that says who must have signed what; names and ids of images; archives of images; writable layers
//!   that are to become images.
//! - **Out**: images with their configuration and the chain ids of their layers, all of them unpacked; the same images
//!   to registries and as archives, byte for byte as they came; progress in Docker's words.
//! - **Leans on**: registry for bytes, snapshot for trees, store for records and leases; sys, oci, model.
//! - **Never**: believes a digest, a size, a media type or a `diff_id` that it has not checked, writes where a name in an
//!   archive says, or knows what a container is: a lease `image/<id>` keeps an image, whoever holds it.
//! - **Invariant**: what a record names is there: blobs are durable before snapshots, snapshots before the record. What
//!   no record names may be removed at any time, except while a pull has it pinned.
//!
//! Where to read, a folder each:
//!
//! ```text
//! records             names and images: what a name means, every change of it
//! content, document   blobs on the disk; what manifests, indexes and configurations say
//! pull, load          what comes in, from a registry or as an archive (wrapping: what that is compressed by)
//! layer               the way of both from compressed bytes to trees
//! make                what is made here: layers, images, indexes
//! send                what goes out, to a registry or as an archive
//! look                what can be told of what is here: history, usage, verify, …
//! policy              who must have signed what
//! remove, garbage     names and images taken away; then what no record names
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
mod wrapping;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tare_model::{Digest, Platform, Reference};
use tare_oci::image::Descriptor;
use tare_registry::{Credentials, Registry};
use tare_snapshot::{Difference, Snapshots};
use tare_store::{Batch, Store};

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
pub use send::{PushRequest, Pushed};
pub use settings::{Limits, Settings};
pub use wrapping::{Arriving, Unwrapped, is_wrapped, unwrapped};

use content::Content;
use garbage::Pins;
use layer::Claims;
use policy::signature;
use records::Index;
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
    index: RwLock<Index>,
    /// Held while records are changed, from looking at the index to the end of the commit.
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
        let index = Index::load(&store)?;
        Ok(Arc::new(Self {
            content,
            store,
            snapshots,
            registry,
            settings,
            lanes: Lanes::new(settings.downloads, settings.uploads),
            policy: RwLock::default(),
            index: RwLock::new(index),
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

    /// Whether the policy lets an image that is here be run under this name or id; [`Error::Refused`] tells why not.
    pub fn permit(&self, name: &str, image: &Image) -> Result<()> {
        signature::permit(self, name, image)
    }

    /// Fetches an image, unpacks its layers and gives it its name. Dropping the future stops the work; what has come
    /// so far is taken up by the next pull.
    pub async fn pull(
        self: &Arc<Self>,
        request: PullRequest,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Pulled> {
        pull::pull(self, request, Arc::new(progress)).await
    }

    /// [`Images::pull`] of every tag that the reference's repository has.
    pub async fn pull_all(
        self: &Arc<Self>,
        request: PullRequest,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Vec<Pulled>> {
        pull::pull_all(self, request, Arc::new(progress)).await
    }

    /// What a registry has under a name; nothing is fetched but its description.
    pub async fn distribution(
        self: &Arc<Self>,
        reference: &Reference,
        credentials: Option<Credentials>,
    ) -> Result<Distribution> {
        pull::distribution(self, reference, credentials).await
    }

    /// Brings the image with this name to its registry, byte by byte as it is kept here; all tags of the repository where
    /// none is named. Layers that the registry has are not sent. Dropping the future stops the work.
    pub async fn push(
        self: &Arc<Self>,
        request: PushRequest,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Vec<Pushed>> {
        send::push(self, request, Arc::new(progress)).await
    }

    /// The images with these names as an archive that `docker load` and readers of OCI layouts take; a repository without
    /// tag means all its tags. What is wrong with a name is said here, what goes wrong later cuts the stream.
    pub async fn save(
        self: &Arc<Self>,
        names: &[String],
        platform: Option<&Platform>,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>> {
        send::save(self, names, platform).await
    }

    /// Takes in the images of an archive: one of Docker's, of any age since 1.10, or an OCI layout, plain or compressed by
    /// gzip or zstd. Dropping the future stops the work.
    pub async fn load(
        self: &Arc<Self>,
        archive: BoxStream<'static, io::Result<Bytes>>,
        platform: Option<Platform>,
        progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Vec<Loaded>> {
        load::load(self, archive, platform, Arc::new(progress)).await
    }

    /// Makes a layer out of what was written upon another one: its tar is hashed and compressed in one pass, and blob and
    /// tree are on the disk when this returns. Dropping the future stops nothing that has begun; what it made is garbage.
    pub async fn commit_layer(self: &Arc<Self>, request: LayerRequest) -> Result<LayerUse> {
        make::layer(self, request).await
    }

    /// Makes an image of one layer out of a tar of a whole tree, plain or compressed by gzip or zstd. Dropping the future
    /// stops the work.
    pub async fn import(
        self: &Arc<Self>,
        archive: BoxStream<'static, io::Result<Bytes>>,
        request: ImportRequest,
    ) -> Result<Image> {
        make::import(self, archive, request).await
    }

    /// [`Images::import`] of the archive at an http or https address, fetched without credentials.
    pub async fn import_from(self: &Arc<Self>, address: &str, request: ImportRequest) -> Result<Image> {
        make::import_from(self, address, request).await
    }

    /// The layers of an image, for images that are made upon it.
    pub async fn layers_of(self: &Arc<Self>, image: &Image) -> Result<Vec<LayerUse>> {
        make::layers_of(self, image).await
    }

    /// A layer's archive as it is kept: compressed as its descriptor says.
    pub fn open_layer(&self, layer: &LayerUse) -> Result<std::fs::File> {
        self.content.blob(&layer.blob.digest)
    }

    /// A layer that [`Images::commit_layer`] made earlier; `None` where blob or tree are gone.
    pub async fn recall(self: &Arc<Self>, diff: Digest, chain: Digest, blob: Descriptor) -> Option<LayerUse> {
        make::recall(self, diff, chain, blob).await
    }

    /// Makes an image out of layers and a configuration, and gives it its names. It is on the disk when this returns,
    /// whole; before, there is nothing of it that anybody could see.
    pub async fn commit(self: &Arc<Self>, request: CommitRequest) -> Result<Image> {
        make::commit(self, request).await
    }

    /// Makes an OCI index of images that are here, each for another platform, and gives it its names; its descriptor. It is
    /// there whole when this returns; before, the names mean what they meant.
    pub async fn make_index(self: &Arc<Self>, request: IndexRequest) -> Result<Descriptor> {
        make::make_index(self, request).await
    }

    /// The image with this name, `repository@digest`, id or beginning of an id.
    pub fn resolve(&self, name_or_id: &str) -> Result<Image> {
        self.resolve_for(name_or_id, None)
    }

    /// [`Images::resolve`] for a platform, where one is wanted, of those that the name stands for; [`Error::Platform`] where
    /// none of them is for it.
    pub fn resolve_for(&self, name_or_id: &str, platform: Option<&Platform>) -> Result<Image> {
        let index = self.index();
        let id = index.find_for(name_or_id, platform)?;
        index.image(&id).ok_or_else(|| Error::NotFound(name_or_id.to_owned()))
    }

    /// The ids of the images that a name stands for: one, or one for each platform that is here.
    pub fn platforms(&self, name_or_id: &str) -> Result<Vec<Digest>> {
        let index = self.index();
        let id = index.find(name_or_id)?;
        Ok(index.target(name_or_id, &id).map_or_else(|| vec![id], |target| index.behind(target)))
    }

    /// Whether a name or an id means this image, alone or with those for other platforms.
    pub fn stands_for(&self, name_or_id: &str, image: &Digest) -> bool {
        self.platforms(name_or_id).is_ok_and(|images| images.contains(image))
    }

    /// Every image, the newest first; not those that only have a name together with one for another platform.
    pub fn list(&self) -> Result<Vec<Image>> {
        Ok(self.index().heads())
    }

    /// How an image came to be, the last step first.
    pub fn history(&self, image: &Image) -> Vec<HistoryEntry> {
        look::history::of(image)
    }

    /// Gives an image another name; the name is taken from the image that had it.
    pub async fn tag(self: &Arc<Self>, source: &str, target: &Reference) -> Result<Image> {
        records::tag(self, source, target).await
    }

    /// Takes a name from an image, and removes the image with the layers that no other needs when that was its last
    /// one. An image that is in use ([`Images::keep`]) stays, unless `force` drops its names; its files go when the
    /// last lease has ended. One that another was made from stays without its names; with `prune_parents`, it goes with
    /// the last of those.
    pub async fn remove(
        self: &Arc<Self>,
        name_or_id: &str,
        force: bool,
        prune_parents: bool,
    ) -> Result<Vec<Removed>> {
        self.remove_knowing(name_or_id, force, prune_parents, |_| false).await
    }

    /// [`Images::remove`] where the caller can tell which holders (`container/<id>`) are running at the moment: those
    /// cannot be overridden by force.
    pub async fn remove_knowing(
        self: &Arc<Self>,
        name_or_id: &str,
        force: bool,
        prune_parents: bool,
        running: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<Vec<Removed>> {
        remove::remove(self, name_or_id.to_owned(), force, prune_parents, running).await
    }

    /// Removes the image for one platform of those that a name stands for; the name goes with the last of them.
    pub async fn remove_platform(
        self: &Arc<Self>,
        name_or_id: &str,
        platform: Platform,
        force: bool,
        running: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<Vec<Removed>> {
        remove::withdraw(self, name_or_id.to_owned(), platform, force, running).await
    }

    /// Removes the images that `doomed` picks and that nobody uses, with the layers and blobs that no other needs. One that
    /// is leased or named between the look and the removal stays.
    pub async fn prune(self: &Arc<Self>, doomed: impl Fn(&Image) -> bool + Send + 'static) -> Result<Pruned> {
        remove::prune(self, doomed).await
    }

    /// The layers of an image, the lowest first: where they lie, what they cost and who else has them.
    pub fn stack(&self, image: &Image) -> Result<Vec<StackedLayer>> {
        look::layers::of(self, image)
    }

    /// What a name or an id stands for in a registry: an index or a manifest, byte for byte.
    pub fn document(&self, name_or_id: &str) -> Result<(Descriptor, Vec<u8>)> {
        look::manifests::document(self, name_or_id)
    }

    /// The descriptor of [`Images::document`]; `None` where the document is gone.
    pub fn descriptor(&self, name_or_id: &str) -> Option<Descriptor> {
        look::manifests::descriptor(self, name_or_id)
    }

    /// The manifests that a name or an id stands for: one for each platform, and what says how they were made.
    pub fn manifests(&self, name_or_id: &str) -> Result<Vec<ManifestUse>> {
        look::manifests::of(self, name_or_id)
    }

    /// What becomes of one image's files to be the other's.
    pub async fn compare(self: &Arc<Self>, from: &Image, to: &Image) -> Result<Vec<Difference>> {
        let (images, from, to) = (self.clone(), from.top_layer().copied(), to.top_layer().copied());
        let work = move || {
            let roots =
                (images.snapshots.open_root(from.as_ref())?, images.snapshots.open_root(to.as_ref())?);
            Ok(roots.0.compare(&roots.1)?)
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
    }

    /// Rereads every blob and every layer that images need and tells of each how it is. With `repair`, blobs that came from
    /// a registry are fetched again, and layers are made as their archives say. Safe while everything else goes on.
    pub async fn verify(
        self: &Arc<Self>,
        repair: bool,
        tell: impl Fn(Verified) + Send + Sync + 'static,
    ) -> Result<()> {
        look::verify(self, repair, tell).await
    }

    /// Keeps an image for somebody outside the daemon, until [`Images::release`] of the same holder.
    pub async fn hold(&self, image: &Image, holder: &str) -> Result<()> {
        let mut batch = Batch::default();
        self.keep(&mut batch, holder, image);
        Ok(self.store.commit(batch).await?)
    }

    /// Lets go what a holder was given by [`Images::hold`].
    pub async fn release(&self, holder: &str) -> Result<()> {
        let mut batch = Batch::default();
        batch.unlease_all(holder);
        Ok(self.store.commit(batch).await?)
    }

    /// What images take up on the disk.
    pub async fn usage(self: &Arc<Self>) -> Result<Usage> {
        look::usage(self).await
    }

    /// Adds to `batch` that `holder` uses the image. The commit fails with the store's `Missing` when the image is removed
    /// in between. The holder's `unlease_all` ends it.
    pub fn keep(&self, batch: &mut Batch, holder: &str, image: &Image) {
        let id = image.id.to_string();
        batch.only_if(records::IMAGES, &id).lease(holder, &records::resource(&image.id));
    }

    /// Makes disk and records agree, at the start of a daemon: drops what no image needs, keeps a bounded number of
    /// partial downloads, forgets images whose layers are gone.
    pub async fn reconcile(self: &Arc<Self>) -> Result<Swept> {
        garbage::reconcile(self).await
    }

    /// Removes what no image, no lease and no work under way needs; the bytes that were freed.
    pub async fn sweep(self: &Arc<Self>) -> Result<u64> {
        Ok(garbage::collect(self, Vec::new()).await?.bytes)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}
