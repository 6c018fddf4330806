use std::sync::Arc;

use tare_docker_api::ProgressMessage;
use tare_http::{Reply, Request};
use tare_image::ImportRequest;
use tare_oci::image::ExecutionConfig;

use super::publish;
use super::work::Work;
use crate::container::image_name;
use crate::{Error, Result, Rooms, change, parameter};

/// `POST /images/create` with `fromSrc=-`: the body is a tar of a whole tree.
pub(super) async fn import(rooms: Arc<Rooms>, mut request: Request) -> Result<Reply> {
    let query = &request.query;
    if parameter::text(query, "fromSrc") != Some("-") {
        return Err(Error::unsupported(
            "importing an image from a URL; download the archive and import it from a file or standard input",
        ));
    }
    let mut config = ExecutionConfig::default();
    change::apply(&mut config, query.all("changes"))?;
    let name = image_name(query)?;
    let message = parameter::text(query, "message").unwrap_or("Imported from -").to_owned();
    let wanted = ImportRequest {
        config,
        comment: message,
        names: name.clone().into_iter().collect(),
        platform: parameter::platform(query)?,
    };
    let archive = request.body_stream();
    let images = Arc::clone(&rooms.images);
    let work = Work::begin(|_| async move { images.import(archive, wanted).await });
    work.reply(move |image| {
        let id = image.id.to_string();
        publish(&rooms, "import", &id, &name.map_or_else(|| id.clone(), |name| name.familiar()));
        vec![ProgressMessage { status: id, ..ProgressMessage::default() }]
    })
    .await
}
