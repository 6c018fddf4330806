use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use tare_container::WaitCondition;
use tare_docker_api::{ContainerWait, ContainerWaitError};
use tare_http::{Reply, Request, StatusCode};

use crate::{Error, Result, Rooms, parameter};

/// `POST /containers/{id}/wait`. The head is sent as soon as the wait is registered: `docker run` starts the container when
/// it has seen it, so that no exit is missed. The body comes at the exit.
pub(crate) async fn wait(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let condition = match parameter::text(&request.query, "condition") {
        None | Some("not-running") => WaitCondition::NotRunning,
        Some("next-exit") => WaitCondition::NextExit,
        Some("removed") => WaitCondition::Removed,
        Some(other) => return Err(Error::invalid(format!("invalid condition: \"{other}\""))),
    };
    let end = rooms.engine.wait(request.parameter("id"), condition).await?;
    let body = futures_util::stream::once(async move {
        let result = end.await;
        let error = result.error.map(|message| ContainerWaitError { message });
        let answer = ContainerWait { error, status_code: result.exit_code.into() };
        let mut line = serde_json::to_vec(&answer).unwrap_or_default();
        line.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    Ok(Reply::stream(StatusCode::OK, "application/json", body))
}
