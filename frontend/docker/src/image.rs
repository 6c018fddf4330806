//! Images: what there is, where it comes from and how it goes.

mod archive;
mod import;
mod list;
mod manifests;
mod progress;
mod pull;
mod push;
mod remote;
mod told;
mod wire;
mod work;

use std::sync::Arc;

use tare_container::{Event, EventKind, Status};
use tare_docker_api::{GraphDriver, ImageDeleted};
use tare_http::{Reply, Request, StatusCode};
use tare_image::Removed;
use tare_model::Reference;

pub(crate) use archive::{load, save, save_one};
pub(crate) use list::list;
pub(crate) use progress::{line as progress_line, message as progress_message};
pub(crate) use pull::pull;
pub(crate) use push::push;
pub(crate) use remote::{distribution, search};
pub(crate) use wire::summary;

use crate::version::{Change, Version};
use crate::{Error, Result, Rooms, parameter};

/// `GET /images/{name}/json`.
pub(crate) async fn inspect(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let name = request.parameter("name");
    let (platform, manifests) =
        (parameter::platform(&request.query)?, parameter::flag(&request.query, "manifests"));
    if platform.is_some() && manifests {
        return Err(Error::invalid("conflicting options: manifests and platform options cannot both be set"));
    }
    let image = rooms.images.resolve_for(name, platform.as_ref())?;
    let version = Version::of(&request);
    let mut answer = wire::inspect(&image, version);
    answer.descriptor = match platform {
        _ if !version.has(Change::Descriptors) => None,
        None => manifests::descriptor(&rooms, name),
        Some(_) => manifests::descriptor_of(&rooms, name, &image),
    };
    let driver = rooms.engine.snapshots().driver().name().to_owned();
    answer.graph_driver = GraphDriver { data: manifests::places(&rooms, &image), name: driver };
    answer.manifests = manifests.then(|| manifests::manifests(&rooms, name));
    // One that is gone is no image any more that could be looked at.
    let parent = image.parent.filter(|parent| rooms.images.resolve(&parent.to_string()).is_ok());
    answer.parent = parent.map(|parent| parent.to_string()).unwrap_or_default();
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// `GET /images/{name}/history`.
pub(crate) async fn history(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let platform = parameter::platform(&request.query)?;
    let image = rooms.images.resolve_for(request.parameter("name"), platform.as_ref())?;
    let steps = rooms.images.history(&image);
    Ok(Reply::json(StatusCode::OK, &steps.iter().map(wire::history).collect::<Vec<_>>()))
}

/// `POST /images/{name}/tag`.
pub(crate) async fn tag(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let target = target(&request)?;
    let image = rooms.images.tag(request.parameter("name"), &target).await?;
    publish(&rooms, "tag", &image.id.to_string(), &target.familiar());
    Ok(Reply::empty(StatusCode::CREATED))
}

/// The name that `repo` and `tag` are together.
pub(crate) fn target(request: &Request) -> Result<Reference> {
    let repository = parameter::text(&request.query, "repo").unwrap_or_default();
    let target: Reference =
        repository.parse().map_err(|why: tare_model::ReferenceError| Error::invalid(why.to_string()))?;
    match parameter::text(&request.query, "tag") {
        Some(tag) => target.with_tag(tag).map_err(|why| Error::invalid(why.to_string())),
        None => Ok(target.or_latest()),
    }
}

/// `DELETE /images/{name}`.
pub(crate) async fn remove(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let query = &request.query;
    let (force, prune) = (parameter::flag(query, "force"), !parameter::flag(query, "noprune"));
    let engine = Arc::clone(&rooms.engine);
    let running = move |holder: &str| {
        let found = holder.strip_prefix("container/").and_then(|id| engine.inspect(id).ok());
        found.is_some_and(|container| {
            container.state.status.is_alive() || container.state.status == Status::Restarting
        })
    };
    let name = request.parameter("name");
    let id = rooms.images.resolve(name)?.id.to_string();
    let platforms = parameter::platforms(query)?;
    let mut removed = Vec::new();
    if platforms.is_empty() {
        removed = rooms.images.remove_knowing(name, force, prune, running).await?;
    } else {
        for platform in platforms {
            let running = running.clone();
            removed.extend(rooms.images.remove_platform(name, platform, force, running).await?);
        }
    }
    for gone in &removed {
        match gone {
            Removed::Untagged(name) => publish(&rooms, "untag", &id, name),
            Removed::Deleted(deleted) => publish(&rooms, "delete", deleted, deleted),
        }
    }
    Ok(Reply::json(StatusCode::OK, &removed.into_iter().map(deleted).collect::<Vec<_>>()))
}

pub(crate) fn deleted(removed: Removed) -> ImageDeleted {
    match removed {
        Removed::Untagged(untagged) => ImageDeleted { untagged, ..ImageDeleted::default() },
        Removed::Deleted(deleted) => ImageDeleted { deleted, ..ImageDeleted::default() },
    }
}

/// Tells who listens; the labels of an image that is still here go along, as they are filtered by.
pub(crate) fn publish(rooms: &Rooms, action: &str, actor: &str, name: &str) {
    let mut event = Event::now(EventKind::Image, action, actor);
    if let Ok(image) = rooms.images.resolve(actor) {
        event.attributes.extend(image.config.config.labels.clone().unwrap_or_default());
    }
    rooms.engine.publish(event.with("name", name));
}
