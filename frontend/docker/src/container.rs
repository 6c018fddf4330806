//! Containers: one file a verb that is more than a call.

mod attach;
mod create;
mod difference;
mod filter;
mod inspect;
mod life;
mod list;
mod logs;
mod ports;
mod status;
mod wait;

pub(crate) use attach::attach;
pub(crate) use create::create;
pub(crate) use difference::{changes, commit, export, image_name};
pub(crate) use inspect::inspect;
pub(crate) use life::{kill, pause, remove, rename, resize, restart, size, start, stop, top, unpause};
pub(crate) use list::{list, sizes, summary};
pub(crate) use logs::logs;
pub(crate) use ports::endpoint_of;
pub(crate) use wait::wait;

use std::collections::BTreeMap;

use tare_container::Container;
use tare_docker_api::{ContainerCreateRequest, Document};

/// The labels of the image with the container's own over them.
pub(crate) fn labels(container: &Container) -> BTreeMap<String, String> {
    let mut labels = container.image.config.labels.clone().unwrap_or_default();
    labels.extend(container.spec.labels.clone());
    labels
}

/// The create body as it was given; the default for a container that another front end made.
fn origin(container: &Container) -> ContainerCreateRequest {
    ContainerCreateRequest::read(container.spec.origin.as_bytes()).unwrap_or_default()
}
