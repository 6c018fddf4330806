use std::sync::Arc;

use tare_container::{CreateOptions, Promise};
use tare_docker_api::{ContainerCreateRequest, ContainerCreateResponse};
use tare_http::{Reply, Request, StatusCode};
use tare_model::{Name, Platform};

use crate::{Error, Result, Rooms, body, check, parameter};

/// `POST /containers/create`.
pub(crate) async fn create(rooms: Arc<Rooms>, mut request: Request) -> Result<Reply> {
    let name = parameter::text(&request.query, "name").map(container_name).transpose()?;
    let platform = parameter::text(&request.query, "platform").map(str::parse::<Platform>).transpose();
    let platform = platform.map_err(|why| Error::invalid(why.to_string()))?;
    let wire: Option<ContainerCreateRequest> = body::optional_json(&mut request).await?;
    let wire = wire.ok_or_else(|| Error::invalid("config cannot be empty in order to create a container"))?;
    let checked = check::container(&wire, &rooms.engine.config().defaults.log)?;
    // A word of Tare's own command line, which starts it at once.
    let promise =
        if parameter::flag(&request.query, "starts") { Promise::WithStart } else { Promise::WithId };
    // A missing image is what makes a client pull; one of another platform is missing to it.
    let created = rooms.engine.create(CreateOptions { name, platform, promise }, checked.spec).await?;
    let warnings = checked.warnings.into_iter().chain(created.warnings).collect();
    Ok(Reply::json(StatusCode::CREATED, &ContainerCreateResponse { id: created.id.to_string(), warnings }))
}

/// A container's name. Clients may write it with the slash that `inspect` shows.
pub(crate) fn container_name(text: &str) -> Result<Name> {
    let refused = |_| {
        Error::invalid(format!("Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"))
    };
    text.strip_prefix('/').unwrap_or(text).parse().map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_the_slash_that_inspect_shows() {
        assert_eq!(container_name("/web").unwrap().as_str(), "web");
        for bad in ["a/b", "//a", "a", "-a", ""] {
            let message = container_name(bad).unwrap_err().to_string();
            assert!(message.starts_with("Invalid container name ("), "{message}");
        }
    }
}
