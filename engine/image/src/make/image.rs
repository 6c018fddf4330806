//! An image out of layers and a configuration.

use std::sync::Arc;
use std::time::SystemTime;

use tare_model::{Digest, Reference};
use tare_oci::image::{ImageConfig, Manifest, media_type};

use super::LayerUse;
use crate::content::sha256;
use crate::document::{chain_ids, descriptor};
use crate::records::{Change, Layer, Source, Target, arrived, change};
use crate::{Error, Image, Images, Result};

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

impl Images {
    /// Makes an image out of layers and a configuration, and gives it its names. It is on the disk when this returns,
    /// whole; before, there is nothing of it that anybody could see.
    pub async fn commit(self: &Arc<Self>, request: CommitRequest) -> Result<Image> {
        commit(self, request).await
    }
}

pub(super) async fn commit(images: &Arc<Images>, request: CommitRequest) -> Result<Image> {
    if let Some(name) = request.names.iter().find(|name| name.digest().is_some()) {
        return Err(Error::TagWithDigest(name.familiar()));
    }
    let made = Made::new(&request)?;
    let _pinned = {
        let _quiet = images.sweep.read().await;
        images.pins.pin(vec![made.id, made.manifest_digest])
    };
    let id = made.id;
    change(images, move |images, catalog| {
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
        let mut record = arrived(catalog.records.get(&made.id), &made.config, layers, source);
        record.parent = record.parent.or(request.parent.filter(|parent| *parent != made.id));
        if !request.names.is_empty() {
            record.tagged = Some(SystemTime::now().into());
        }
        let target = Target::of(made.id);
        let name = request.names.iter().map(|name| (name.clone().or_latest(), target)).collect();
        Ok((Change { put: vec![(made.id, record)], name, ..Change::default() }, ()))
    })
    .await?;
    images.catalog().image(&id).ok_or_else(|| Error::NotFound(id.to_string()))
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
