//! A container as a difference to its image: `commit`, `diff` and `export`.

use std::sync::Arc;

use tare_container::{CommitOptions, Container, Event, EventKind};
use tare_docker_api::{ContainerConfig, FileChange, IdResponse};
use tare_http::{Query, Reply, Request, StatusCode};
use tare_model::Reference;
use tare_oci::image::ExecutionConfig;

use super::inspect;
use crate::{Error, Result, Rooms, body, change, parameter};

/// `POST /commit`.
pub(crate) async fn commit(rooms: Arc<Rooms>, mut request: Request) -> Result<Reply> {
    let given: Option<ContainerConfig> = body::optional_json(&mut request).await?;
    let query = &request.query;
    let name = parameter::text(query, "container")
        .ok_or_else(|| Error::invalid("the parameter container is missing"))?;
    let names: Vec<Reference> = image_name(query)?.into_iter().collect();
    let container = rooms.engine.inspect(name)?;
    let text = |name| parameter::text(query, name).unwrap_or_default().to_owned();
    let options = CommitOptions {
        config: config(&container, given, query)?,
        author: text("author"),
        comment: text("comment"),
        pause: parameter::text(query, "pause").is_none() || parameter::flag(query, "pause"),
        names: names.clone(),
    };
    let comment = options.comment.clone();
    let image = rooms.engine.commit(container.id.as_str(), options).await?;
    let (id, reference) = (image.id.to_string(), names.first().map(Reference::familiar).unwrap_or_default());
    crate::image::publish(&rooms, "create", &id, &id);
    names.iter().for_each(|name| crate::image::publish(&rooms, "tag", &id, &name.familiar()));
    let mut event = Event::now(EventKind::Container, "commit", container.id.as_str())
        .with("image", container.spec.image.clone())
        .with("name", container.name.as_str());
    for (key, value) in [("comment", comment), ("imageID", id.clone()), ("imageRef", reference)] {
        event = event.with(key, value);
    }
    rooms.engine.publish(event);
    Ok(Reply::json(StatusCode::CREATED, &IdResponse { id }))
}

/// The name that `repo` and `tag` make; none where there is no `repo`.
pub(crate) fn image_name(query: &Query) -> Result<Option<Reference>> {
    let Some(repository) = parameter::text(query, "repo") else { return Ok(None) };
    let invalid = |why: tare_model::ReferenceError| Error::invalid(why.to_string());
    let mut name: Reference = repository.parse().map_err(invalid)?;
    if name.digest().is_some() {
        return Err(Error::invalid("cannot use digest reference"));
    }
    if let Some(tag) = parameter::text(query, "tag") {
        name = name.with_tag(tag).map_err(invalid)?;
    }
    Ok(Some(name.or_latest()))
}

/// The body's configuration where there is one, changed, over the container's own.
fn config(container: &Container, given: Option<ContainerConfig>, query: &Query) -> Result<ExecutionConfig> {
    let own = inspect::effective_config(container);
    let mut config = execution(&match given {
        Some(given) if given != ContainerConfig::default() => inspect::over(given, &execution(&own)),
        _ => own,
    });
    let image = &container.image.config;
    config.healthcheck = config.healthcheck.or_else(|| image.healthcheck.clone());
    config.shell = config.shell.or_else(|| image.shell.clone());
    change::apply(&mut config, query.all("changes"))?;
    Ok(config)
}

/// Both documents have the same names for the same things.
fn execution(config: &ContainerConfig) -> ExecutionConfig {
    serde_json::to_value(config).and_then(serde_json::from_value).unwrap_or_default()
}

/// `GET /containers/{id}/changes`.
pub(crate) async fn changes(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let changes = rooms.engine.changes(request.parameter("id")).await?;
    let wire = changes.iter().map(|change| FileChange {
        path: change.path.to_string_lossy().into_owned(),
        kind: change.kind as u8,
    });
    Ok(Reply::json(StatusCode::OK, &wire.collect::<Vec<_>>()))
}

/// `GET /containers/{id}/export`.
pub(crate) async fn export(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let container = rooms.engine.inspect(request.parameter("id"))?;
    let archive = rooms.engine.export(container.id.as_str()).await?;
    let event = Event::now(EventKind::Container, "export", container.id.as_str())
        .with("image", container.spec.image.clone())
        .with("name", container.name.as_str());
    rooms.engine.publish(event);
    Ok(Reply::stream(StatusCode::OK, "application/x-tar", archive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_and_tag_make_a_name() {
        let read = |query: &str| image_name(&Query::parse(query)).map(|name| name.map(|n| n.familiar()));
        assert_eq!(read("").unwrap(), None);
        assert_eq!(read("repo=a&tag=b").unwrap().unwrap(), "a:b");
        assert_eq!(read("repo=127.0.0.1:5000/a").unwrap().unwrap(), "127.0.0.1:5000/a:latest");
        let digest = format!("repo=a@sha256:{}", "ab".repeat(32));
        for bad in ["repo=A", "repo=a&tag=%20", &digest] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
