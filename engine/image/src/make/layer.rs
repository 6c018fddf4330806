//! A layer out of what a container wrote, or out of a tar that somebody sends.

use std::io;
use std::sync::Arc;

use tare_model::Digest;
use tare_oci::image::Descriptor;
use tare_snapshot::PackOptions;
use tokio::task::spawn_blocking;

use super::package::{Package, package, package_tar};
use crate::content::sha256;
use crate::document::known_manifest;
use crate::garbage::Pinned;
use crate::records::plan;
use crate::thread::in_a_thread;
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

impl Images {
    /// Makes a layer out of what was written upon another one: its tar is hashed and compressed in one pass, and blob and
    /// tree are on the disk when this returns. Dropping the future stops nothing that has begun; what it made is garbage.
    pub async fn commit_layer(self: &Arc<Self>, request: LayerRequest) -> Result<LayerUse> {
        layer(self, request).await
    }

    /// The layers of an image, for images that are made upon it.
    pub async fn layers_of(self: &Arc<Self>, image: &Image) -> Result<Vec<LayerUse>> {
        let incomplete = || Error::Incomplete { image: image.id.short(), layer: "manifest".to_owned() };
        let manifest = known_manifest(&self.content, &self.catalog(), &image.id).ok_or_else(incomplete)?;
        let planned = plan(&manifest.layers, &image.config);
        if planned.len() != image.layers.len() {
            return Err(incomplete());
        }
        let _quiet = self.sweep.read().await;
        let mut layers = Vec::with_capacity(planned.len());
        for layer in planned {
            let pinned = Arc::new(self.pins.pin(vec![layer.chain, layer.blob.digest]));
            let size = self.snapshots.layer_size(&layer.chain)?;
            let (diff, chain, blob) = (layer.diff, layer.chain, layer.blob);
            layers.push(LayerUse { diff, chain, blob, size, _pinned: pinned });
        }
        Ok(layers)
    }

    /// A layer's archive as it is kept: compressed as its descriptor says.
    pub fn open_layer(&self, layer: &LayerUse) -> Result<std::fs::File> {
        self.content.blob(&layer.blob.digest)
    }

    /// A layer that [`Images::commit_layer`] made earlier; `None` where blob or tree are gone.
    pub async fn recall(self: &Arc<Self>, diff: Digest, chain: Digest, blob: Descriptor) -> Option<LayerUse> {
        let _quiet = self.sweep.read().await;
        let pinned = Arc::new(self.pins.pin(vec![chain, blob.digest]));
        let size = self.snapshots.layer_size(&chain).ok()?;
        self.content.has(&blob.digest).then_some(LayerUse { diff, chain, blob, size, _pinned: pinned })
    }
}

async fn layer(images: &Arc<Images>, request: LayerRequest) -> Result<LayerUse> {
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
        in_a_thread("import", work)?.await.map_err(|_| Error::Cancelled)??
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
