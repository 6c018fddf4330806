//! Making: a layer out of what a container wrote, and an image out of layers.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use tare_model::{Digest, Reference};
use tare_oci::image::{Descriptor, ImageConfig, Manifest, media_type};
use tare_snapshot::PackOptions;
use tokio::task::spawn_blocking;

use crate::change::{Change, change};
use crate::content::sha256;
use crate::document::chain_ids;
use crate::image::{Layer, Source, Target};
use crate::package::{Package, package, package_tar};
use crate::pin::Pinned;
use crate::pull::{arrived, plan};
use crate::shipment::{descriptor, known_manifest};
use crate::{Error, Image, Images, Result};

/// A writable layer that is to become a read-only one.
#[derive(Clone, Debug)]
pub struct LayerRequest {
    /// The writable layer, not mounted or not written to.
    pub key: String,
    /// The chain id of the layer that it stands on.
    pub parent: Option<Digest>,
    /// Whether it is done with: then its tree becomes the layer where it lies, and it is no writable layer afterwards. It
    /// must not be mounted. Otherwise its tree is copied.
    pub take: bool,
    /// How it is packed.
    pub pack: PackOptions,
}

/// A layer that is here packed and unpacked. Nothing of it is removed while this lives; who wants to keep it longer
/// leases `snapshot/<chain>` and `blob/<digest>`.
#[derive(Clone, Debug)]
pub struct LayerUse {
    /// The digest of the uncompressed tar.
    pub diff: Digest,
    /// Of this layer and those below it.
    pub chain: Digest,
    /// The compressed tar.
    pub blob: Descriptor,
    /// Bytes of its files.
    pub size: u64,
    _pinned: Arc<Pinned>,
}

/// An image that is to be made.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// All layers, the lowest first.
    pub layers: Vec<LayerUse>,
    /// Everything but the digests of the layers; the history has as many steps with a layer as there are layers.
    pub config: ImageConfig,
    /// The image that it was made from.
    pub parent: Option<Digest>,
    /// Names with tags that become its own, whatever had them before.
    pub names: Vec<Reference>,
}

pub(crate) async fn layer(images: &Arc<Images>, request: LayerRequest) -> Result<LayerUse> {
    let package = {
        let (images, request) = (images.clone(), request.clone());
        let work = move || package(&images, &request);
        spawn_blocking(work).await.map_err(|_| Error::Cancelled)??
    };
    settle(images, request, package).await
}

/// The layer of a tar that somebody sends, upon nothing.
pub(crate) async fn layer_of_tar(
    images: &Arc<Images>,
    tar: impl io::Read + Send + 'static,
) -> Result<LayerUse> {
    let package = {
        let images = images.clone();
        let work = move || package_tar(&images, tar);
        spawn_blocking(work).await.map_err(|_| Error::Cancelled)??
    };
    let request =
        LayerRequest { key: String::new(), parent: None, take: false, pack: PackOptions::default() };
    settle(images, request, package).await
}

/// Gives a package its place, where nothing removes it until its use ends.
async fn settle(images: &Arc<Images>, request: LayerRequest, package: Package) -> Result<LayerUse> {
    let (diff, digest) = (package.diff, package.blob.digest);
    let chain = request.parent.map_or(diff, |parent| sha256(format!("{parent} {diff}").as_bytes()));
    let pinned = {
        let _quiet = images.sweep.read().await;
        images.pins.pin(vec![chain, digest])
    };
    let claim = images.layer_claims.claim("", &chain).await;
    let images = images.clone();
    let work = move || {
        let placed = place(&images, &request, package, &chain);
        drop(claim);
        let (blob, size) = placed?;
        Ok(LayerUse { diff, chain, blob, size, _pinned: Arc::new(pinned) })
    };
    spawn_blocking(work).await.map_err(|_| Error::Cancelled)?
}

/// Gives blob and tree their places, in this order.
fn place(
    images: &Images,
    request: &LayerRequest,
    mut package: Package,
    chain: &Digest,
) -> Result<(Descriptor, u64)> {
    images.content.adopt(&package.path, &package.blob.digest)?;
    images.content.sync()?;
    let parent = request.parent.as_ref();
    match package.copy.take() {
        Some(copy) => images.snapshots.commit(copy, chain, parent)?,
        None => images.snapshots.take(&request.key, &package.packed, chain, parent)?,
    }
    Ok((package.blob.clone(), images.snapshots.layer_size(chain)?))
}

/// The layers of an image that is here.
pub(crate) async fn layers_of(images: &Arc<Images>, image: &Image) -> Result<Vec<LayerUse>> {
    let incomplete = || Error::Incomplete { image: image.id.short(), layer: "manifest".to_owned() };
    let manifest = known_manifest(&images.content, &images.index(), &image.id).ok_or_else(incomplete)?;
    let planned = plan(&manifest.layers, &image.config);
    if planned.len() != image.layers.len() {
        return Err(incomplete());
    }
    let _quiet = images.sweep.read().await;
    let mut layers = Vec::with_capacity(planned.len());
    for layer in planned {
        let pinned = Arc::new(images.pins.pin(vec![layer.chain, layer.blob.digest]));
        let size = images.snapshots.layer_size(&layer.chain)?;
        let (diff, chain, blob) = (layer.diff, layer.chain, layer.blob);
        layers.push(LayerUse { diff, chain, blob, size, _pinned: pinned });
    }
    Ok(layers)
}

/// A layer that was made earlier, if it is still here whole.
pub(crate) async fn recall(
    images: &Arc<Images>,
    diff: Digest,
    chain: Digest,
    blob: Descriptor,
) -> Option<LayerUse> {
    let _quiet = images.sweep.read().await;
    let pinned = Arc::new(images.pins.pin(vec![chain, blob.digest]));
    let size = images.snapshots.layer_size(&chain).ok()?;
    images.content.has(&blob.digest).then_some(LayerUse { diff, chain, blob, size, _pinned: pinned })
}

pub(crate) async fn commit(images: &Arc<Images>, request: CommitRequest) -> Result<Image> {
    if let Some(name) = request.names.iter().find(|name| name.digest().is_some()) {
        return Err(Error::TagWithDigest(name.familiar()));
    }
    let made = Made::new(&request)?;
    let _pinned = {
        let _quiet = images.sweep.read().await;
        images.pins.pin(vec![made.id, made.manifest_digest])
    };
    let id = made.id;
    change(images, move |images, index| {
        let documents = [(made.id, &made.config_bytes), (made.manifest_digest, &made.manifest_bytes)];
        // A build that has changed nothing makes the image that is here.
        let missing = documents.iter().filter(|(digest, _)| !images.content.has(digest));
        missing.into_iter().try_for_each(|(digest, bytes)| images.content.write(digest, bytes))?;
        images.content.sync()?;
        let layers =
            request.layers.iter().map(|layer| Layer { chain: layer.chain, size: layer.size }).collect();
        let blobs = request.layers.iter().map(|layer| layer.blob.digest);
        let blobs = [made.manifest_digest, made.id].into_iter().chain(blobs).collect();
        let source = Source { top: made.manifest_digest, manifest: made.manifest_digest, blobs };
        let mut record = arrived(index.records.get(&made.id), &made.config, layers, source);
        record.parent = record.parent.or(request.parent.filter(|parent| *parent != made.id));
        if !request.names.is_empty() {
            record.tagged = Some(SystemTime::now().into());
        }
        let target = Target::of(made.id);
        let name = request.names.iter().map(|name| (name.clone().or_latest(), target)).collect();
        Ok((Change { put: vec![(made.id, record)], name, ..Change::default() }, ()))
    })
    .await?;
    images.index().image(&id).ok_or_else(|| Error::NotFound(id.to_string()))
}

/// The documents of a new image.
struct Made {
    id: Digest,
    config: ImageConfig,
    config_bytes: Vec<u8>,
    manifest_digest: Digest,
    manifest_bytes: Vec<u8>,
}

impl Made {
    fn new(request: &CommitRequest) -> Result<Self> {
        let broken = |what: &str, cause: String| Error::Document { what: what.to_owned(), cause };
        let mut config = request.config.clone();
        config.rootfs.kind = "layers".to_owned();
        config.rootfs.diff_ids = request.layers.iter().map(|layer| layer.diff).collect();
        let chains = chain_ids(&config.rootfs.diff_ids);
        if request.layers.iter().zip(&chains).any(|(layer, chain)| layer.chain != *chain) {
            let cause = "its layers do not stand upon each other".to_owned();
            return Err(broken("configuration of a new image", cause));
        }
        let json = |what: &str, cause: serde_json::Error| broken(what, cause.to_string());
        let config_bytes =
            serde_json::to_vec(&config).map_err(|error| json("configuration of a new image", error))?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config: descriptor(media_type::OCI_CONFIG, &config_bytes),
            layers: request.layers.iter().map(|layer| layer.blob.clone()).collect(),
            annotations: std::collections::BTreeMap::new(),
        };
        let manifest_bytes =
            serde_json::to_vec(&manifest).map_err(|error| json("manifest of a new image", error))?;
        let (id, manifest_digest) = (manifest.config.digest, sha256(&manifest_bytes));
        Ok(Self { id, config, config_bytes, manifest_digest, manifest_bytes })
    }
}
