//! `GET /system/df`: what takes up the disk.

use std::sync::Arc;

use tare_docker_api::{CacheUsage, ContainerSummary, DiskUsage, ImageSummary, Volume, VolumeUsage};
use tare_http::{Reply, Request, StatusCode};

use crate::version::Version;
use crate::{Error, Result, Rooms, container, image, volume};

const KINDS: [&str; 4] = ["container", "image", "volume", "build-cache"];

/// `GET /system/df`.
pub(crate) async fn disk_usage(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let kinds: Vec<&str> = request.query.all("type").collect();
    if let Some(unknown) = kinds.iter().find(|kind| !KINDS.contains(kind)) {
        return Err(Error::invalid(format!("unknown object type: {unknown}")));
    }
    let wanted = |kind: &str| kinds.is_empty() || kinds.contains(&kind);
    let mut usage = DiskUsage::default();
    if wanted("image") {
        let (total, images) = images(&rooms, Version::of(&request)).await?;
        (usage.layers_size, usage.images) = (total, Some(images));
    }
    if wanted("container") {
        usage.containers = Some(containers(&rooms).await);
    }
    if wanted("volume") {
        usage.volumes = Some(volumes(&rooms).await?);
    }
    if wanted("build-cache") {
        usage.build_cache = Some(build_cache(&rooms).await?);
    }
    Ok(Reply::json(StatusCode::OK, &usage))
}

/// All bytes together, and each image's with the compressed layers, which are on the disk as well.
async fn images(rooms: &Rooms, version: Version) -> Result<(i64, Vec<ImageSummary>)> {
    let usage = rooms.images.usage().await?;
    let summary = |one: &tare_image::ImageUsage| ImageSummary {
        size: signed(one.size),
        shared_size: signed(one.shared),
        containers: signed(
            one.holders.iter().filter(|holder| holder.starts_with("container/")).count() as u64
        ),
        ..image::summary(&one.image, version)
    };
    Ok((signed(usage.total), usage.images.iter().map(summary).collect()))
}

async fn containers(rooms: &Rooms) -> Vec<ContainerSummary> {
    let mut summaries = Vec::new();
    for one in rooms.engine.list() {
        let mut summary = container::summary(rooms, &one);
        (summary.size_rw, summary.size_root_fs) = container::sizes(rooms, &one).await;
        summaries.push(summary);
    }
    summaries
}

async fn volumes(rooms: &Rooms) -> Result<Vec<Volume>> {
    let mut volumes = Vec::new();
    for one in rooms.volumes.list()? {
        let ref_count = signed(rooms.volumes.holders(&one.name)?.len() as u64);
        let size = match rooms.volumes.usage(&one).await {
            Ok(bytes) => signed(bytes),
            // Removed since it was listed.
            Err(_) if rooms.volumes.get(one.name.as_str()).is_err() => continue,
            Err(error) => {
                tracing::warn!(volume = %one.name, "cannot measure it: {error}");
                -1
            }
        };
        let usage_data = Some(VolumeUsage { ref_count, size });
        volumes.push(Volume { usage_data, ..volume::wire(rooms, &one) });
    }
    Ok(volumes)
}

/// What a step left is a layer, which is among all layers' bytes: it is shared, so that nobody adds it to them once more.
async fn build_cache(rooms: &Rooms) -> Result<Vec<CacheUsage>> {
    let usage = |one: tare_build::Cached| CacheUsage {
        id: one.id,
        kind: if one.is_mount { "exec.cachemount" } else { "regular" }.to_owned(),
        description: one.text,
        in_use: one.in_use,
        shared: !one.is_mount,
        size: signed(one.bytes),
        created_at: one.created.to_string(),
        last_used_at: Some(one.used.to_string()),
        ..CacheUsage::default()
    };
    Ok(rooms.builder.cached().await?.into_iter().map(usage).collect())
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
