//! Removing what nobody uses: containers that do not run, images without container.

use std::sync::Arc;

use tare_container::{Event, EventKind};
use tare_docker_api::{ContainerPrune, ImagePrune};
use tare_http::{Reply, Request, StatusCode};
use tare_image::Removed;
use tare_model::Timestamp;

use crate::filter::Filters;
use crate::{Result, Rooms, container, image};

/// `POST /containers/prune`.
pub(crate) async fn containers(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let filters = Filters::of(&request.query, &["label", "label!", "until"])?;
    let until = filters.until()?;
    let doomed = move |one: &tare_container::Container| {
        until.is_none_or(|until| one.created < until) && filters.labels(&container::labels(one))
    };
    let pruned = rooms.engine.prune(doomed).await?;
    let containers_deleted = some(pruned.containers.iter().map(ToString::to_string).collect());
    Ok(Reply::json(StatusCode::OK, &ContainerPrune { containers_deleted, space_reclaimed: pruned.bytes }))
}

/// `POST /images/prune`. Without a filter only those go that have no tag.
pub(crate) async fn images(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let filters = Filters::of(&request.query, &["dangling", "label", "label!", "until"])?;
    let until = filters.until()?;
    let dangling_only = filters.switch("dangling")?.unwrap_or(true);
    let doomed = move |image: &tare_image::Image| {
        let labels = image.config.config.labels.clone().unwrap_or_default();
        let old = |until| image.config.created.unwrap_or(Timestamp::ZERO) < until;
        (!dangling_only || image.tags.is_empty()) && until.is_none_or(old) && filters.labels(&labels)
    };
    let pruned = rooms.images.prune(doomed).await?;
    for gone in &pruned.removed {
        match gone {
            Removed::Untagged(name) => image::publish(&rooms, "untag", name, name),
            Removed::Deleted(id) => image::publish(&rooms, "delete", id, id),
        }
    }
    let event = Event::now(EventKind::Image, "prune", "").with("reclaimed", pruned.bytes.to_string());
    rooms.engine.publish(event);
    let images_deleted = some(pruned.removed.into_iter().map(image::deleted).collect());
    Ok(Reply::json(StatusCode::OK, &ImagePrune { images_deleted, space_reclaimed: pruned.bytes }))
}

/// What went, and `null` where nothing did: clients in other languages than Go see the difference.
pub(crate) fn some<T>(gone: Vec<T>) -> Option<Vec<T>> {
    Some(gone).filter(|gone| !gone.is_empty())
}
