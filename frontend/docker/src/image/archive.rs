//! Images as archives: `save` and `load`.

use std::sync::Arc;

use tare_docker_api::ProgressMessage;
use tare_http::{Reply, Request, StatusCode};
use tare_image::Loaded;

use super::publish;
use super::work::Work;
use crate::{Error, Result, Rooms, parameter};

/// `GET /images/get`.
pub(crate) async fn save(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let names: Vec<String> =
        request.query.all("names").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Error::invalid("the parameter names is missing"));
    }
    saved(&rooms, &request, &names).await
}

/// `GET /images/{name}/get`.
pub(crate) async fn save_one(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    saved(&rooms, &request, &[request.parameter("name").to_owned()]).await
}

async fn saved(rooms: &Rooms, request: &Request, names: &[String]) -> Result<Reply> {
    let platform = parameter::platform(&request.query)?;
    let archive = rooms.images.save(names, platform.as_ref(), None).await?;
    for name in names {
        if let Ok(image) = rooms.images.resolve(name) {
            publish(rooms, "save", &image.id.to_string(), name);
        }
    }
    Ok(Reply::stream(StatusCode::OK, "application/x-tar", archive))
}

/// `POST /images/load`.
pub(crate) async fn load(rooms: Arc<Rooms>, mut request: Request) -> Result<Reply> {
    let platform = parameter::platform(&request.query)?;
    let quiet = parameter::flag(&request.query, "quiet");
    let archive = request.body_stream();
    let images = Arc::clone(&rooms.images);
    let work = Work::begin(|listener| async move {
        images
            .load(archive, platform, move |progress| {
                if !quiet {
                    listener(progress)
                }
            })
            .await
    });
    work.reply(move |loaded| {
        for one in &loaded {
            let name = one.names.first().map_or_else(|| one.id.to_string(), |name| name.familiar());
            publish(&rooms, "load", &one.id.to_string(), &name);
        }
        loaded.iter().flat_map(lines).collect()
    })
    .await
}

/// Docker's words for an image that came, one line a name.
fn lines(loaded: &Loaded) -> Vec<ProgressMessage> {
    let line = |stream: String| ProgressMessage { stream, ..ProgressMessage::default() };
    if loaded.names.is_empty() {
        return vec![line(format!("Loaded image ID: {}\n", loaded.id))];
    }
    loaded.names.iter().map(|name| line(format!("Loaded image: {}\n", name.familiar()))).collect()
}
