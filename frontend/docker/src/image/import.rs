use std::sync::Arc;

use tare_docker_api::ProgressMessage;
use tare_http::{Reply, Request};
use tare_image::{ImportRequest, Progress};
use tare_oci::image::ExecutionConfig;
use tare_registry::shown as shown_address;

use super::publish;
use super::work::Work;
use crate::container::image_name;
use crate::{Result, Rooms, change, parameter};

/// `POST /images/create` with `fromSrc`: a tar of a whole tree, which is the body or lies at an address.
pub(super) async fn import(rooms: Arc<Rooms>, mut request: Request) -> Result<Reply> {
    let query = &request.query;
    let source = parameter::text(query, "fromSrc").unwrap_or("-").to_owned();
    let mut config = ExecutionConfig::default();
    change::apply(&mut config, query.all("changes"))?;
    let name = image_name(query)?;
    let message = parameter::text(query, "message");
    let message = message.map_or_else(|| format!("Imported from {}", shown_address(&source)), str::to_owned);
    let wanted = ImportRequest {
        config,
        comment: message,
        names: name.clone().into_iter().collect(),
        platform: parameter::platform(query)?,
    };
    let body = request.body_stream();
    let images = Arc::clone(&rooms.images);
    let work = Work::begin(|listener| async move {
        if source == "-" {
            return images.import(body, wanted).await;
        }
        let address = address(&source);
        let text = format!("Downloading from {}", shown_address(&address));
        listener(Progress::Status { id: None, text });
        images.import_from(&address, wanted).await
    });
    work.reply(move |image| {
        let id = image.id.to_string();
        let name = name.map(|name| name.familiar());
        name.iter().for_each(|name| publish(&rooms, "tag", &id, name));
        publish(&rooms, "import", &id, name.as_ref().unwrap_or(&id));
        vec![ProgressMessage { status: id, ..ProgressMessage::default() }]
    })
    .await
}

/// As for dockerd, an address without a scheme is one of plain HTTP.
fn address(source: &str) -> String {
    if source.contains("://") { source.to_owned() } else { format!("http://{source}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_scheme_is_completed() {
        assert_eq!(address("example.com/a.tar"), "http://example.com/a.tar");
        assert_eq!(address("https://example.com/a.tar"), "https://example.com/a.tar");
    }
}
