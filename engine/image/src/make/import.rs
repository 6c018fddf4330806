//! An image of one layer, out of a tar of a whole tree: what `export` writes, wherever it comes from.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tare_model::{Platform, Reference};
use tare_oci::image::{ExecutionConfig, History, ImageConfig, RootFs};
use tare_registry::Named;
use tokio::sync::mpsc;

use super::CommitRequest;
use super::image::commit;
use super::layer::layer_of_tar;
use crate::thread::in_a_thread;
use crate::wrapping::decoded;
use crate::{Error, Image, Images, Result};

/// Chunks between the client and the thread that takes the archive apart.
const AHEAD: usize = 16;

/// How an imported tree is described.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// How it is run.
    pub config: ExecutionConfig,
    /// A remark for its history.
    pub comment: String,
    /// Its names.
    pub names: Vec<Reference>,
    /// What it runs on; the machine's own where it is not named.
    pub platform: Option<Platform>,
}

impl Images {
    /// Makes an image of one layer out of a tar of a whole tree, plain or compressed by gzip or zstd. Dropping the future
    /// stops the work.
    pub async fn import(
        self: &Arc<Self>,
        archive: BoxStream<'static, io::Result<Bytes>>,
        request: ImportRequest,
    ) -> Result<Image> {
        import(self, archive, request).await
    }

    /// [`Images::import`] of the archive at an http or https address, fetched without credentials.
    pub async fn import_from(self: &Arc<Self>, address: &str, request: ImportRequest) -> Result<Image> {
        import_from(self, address, request).await
    }
}

/// [`import`] of what lies at an address. Nobody vouches for it, and it passes the same checks as what a client sends.
async fn import_from(images: &Arc<Images>, address: &str, request: ImportRequest) -> Result<Image> {
    let download = images.registry.download(address, Named::Here).await?;
    import(images, download.body, request).await
}

async fn import(
    images: &Arc<Images>,
    mut archive: BoxStream<'static, io::Result<Bytes>>,
    request: ImportRequest,
) -> Result<Image> {
    let (to, from) = mpsc::channel(AHEAD);
    let limits = images.settings.limits;
    // The first bytes tell how it is compressed, and are waited for.
    let opening = in_a_thread("import", move || decoded(from, &limits))?;
    let taking = async {
        let tar = opening.await.map_err(|_| Error::Cancelled)??;
        layer_of_tar(images, tar).await
    };
    let feeding = async move {
        while let Some(chunk) = archive.next().await {
            // Nobody listens any more: the other side has its own error to tell.
            if to.send(chunk).await.is_err() {
                break;
            }
        }
    };
    let (layer, ()) = tokio::join!(taking, feeding);
    let platform = request.platform.unwrap_or_else(Platform::host);
    let created = Some(SystemTime::now().into());
    let step = History { created, comment: request.comment, ..History::default() };
    let config = ImageConfig {
        created,
        author: String::new(),
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        config: request.config,
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
        history: vec![step],
    };
    commit(images, CommitRequest { layers: vec![layer?], config, parent: None, names: request.names }).await
}
