use std::sync::Arc;

use tare_container::{RemoveOptions, StopOptions, StopTimeout};
use tare_docker_api::ContainerTop;
use tare_http::{Query, Reply, Request, StatusCode};
use tare_model::Signal;

use super::create::container_name;
use crate::{Error, Result, Rooms, check, parameter};

const BODY_LIMIT: usize = 64 << 10;

/// `POST /containers/{id}/start`.
pub(crate) async fn start(rooms: Arc<Rooms>, mut request: Request) -> Result<Reply> {
    let body = request.body(BODY_LIMIT).await?;
    if !matches!(body.trim_ascii(), b"" | b"{}" | b"null") {
        return Err(Error::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        ));
    }
    rooms.engine.start(request.parameter("id")).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{id}/stop`.
pub(crate) async fn stop(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    rooms.engine.stop(request.parameter("id"), stop_options(&request.query)?).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{id}/restart`.
pub(crate) async fn restart(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    rooms.engine.restart(request.parameter("id"), stop_options(&request.query)?).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

fn stop_options(query: &Query) -> Result<StopOptions> {
    let signal = parameter::text(query, "signal").map(check::signal).transpose()?;
    let timeout = parameter::number(query, "t")?.map(StopTimeout::from_seconds);
    Ok(StopOptions { signal, timeout })
}

/// `POST /containers/{id}/kill`.
pub(crate) async fn kill(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let signal = parameter::text(&request.query, "signal").map(check::signal).transpose()?;
    rooms.engine.kill(request.parameter("id"), signal.unwrap_or(Signal::KILL)).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{id}/pause`.
pub(crate) async fn pause(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    rooms.engine.pause(request.parameter("id")).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{id}/unpause`.
pub(crate) async fn unpause(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    rooms.engine.unpause(request.parameter("id")).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{id}/rename`.
pub(crate) async fn rename(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let name = parameter::text(&request.query, "name");
    let name = name.ok_or_else(|| Error::invalid("Neither old nor new names may be empty"))?;
    rooms.engine.rename(request.parameter("id"), container_name(name)?).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `DELETE /containers/{id}`.
pub(crate) async fn remove(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    if parameter::flag(&request.query, "link") {
        return Err(Error::unsupported("links between containers (--link)"));
    }
    let (force, volumes) = (parameter::flag(&request.query, "force"), parameter::flag(&request.query, "v"));
    rooms.engine.remove(request.parameter("id"), RemoveOptions { force, volumes }).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{id}/resize`.
pub(crate) async fn resize(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let (rows, columns) = size(&request.query)?;
    rooms.engine.resize(request.parameter("id"), rows, columns).await?;
    Ok(Reply::empty(StatusCode::OK))
}

/// The size of a terminal, `h` and `w`.
pub(crate) fn size(query: &Query) -> Result<(u16, u16)> {
    Ok((parameter::needed_number(query, "h")?, parameter::needed_number(query, "w")?))
}

/// `GET /containers/{id}/top`.
pub(crate) async fn top(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let arguments = parameter::text(&request.query, "ps_args").unwrap_or("-ef");
    let top = rooms.engine.top(request.parameter("id"), arguments).await?;
    Ok(Reply::json(StatusCode::OK, &ContainerTop { titles: top.titles, processes: top.processes }))
}
