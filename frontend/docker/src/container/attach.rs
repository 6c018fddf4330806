use std::sync::Arc;

use futures_util::StreamExt;
use tare_container::{AttachOptions, Status};
use tare_http::{Reply, Request, StatusCode};
use tare_model::Kind;

use super::logs::so_far;
use crate::stream::{DetachKeys, Session, content_type, hijack};
use crate::version::Version;
use crate::{Error, Result, Rooms, parameter};

/// `POST /containers/{id}/attach`. The attachment stands before the head is sent: what the program writes after a start that
/// follows is not lost.
pub(crate) async fn attach(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let query = &request.query;
    let keys = DetachKeys::parse(query.get("detachKeys").unwrap_or_default())?;
    let container = rooms.engine.inspect(request.parameter("id"))?;
    let id = container.id.as_str();
    let busy = |state: &str, advice: &str| {
        Err(Error::Room { message: format!("container {id} is {state}, {advice}"), kind: Kind::Conflict })
    };
    match container.state.status {
        Status::Paused => return busy("paused", "unpause the container before attach"),
        Status::Restarting => return busy("restarting", "wait until the container is running"),
        _ => {}
    }
    let (stdout, stderr) = (parameter::flag(query, "stdout"), parameter::flag(query, "stderr"));
    let options = AttachOptions { stdin: parameter::flag(query, "stdin"), stdout, stderr };
    let tty = container.spec.streams.tty;
    let content_type = content_type(tty, Version::of(&request));
    let earlier = if parameter::flag(query, "logs") {
        Some(so_far(&rooms, &container, stdout, stderr).await?)
    } else {
        None
    };
    if !parameter::flag(query, "stream") {
        let pieces = futures_util::stream::iter(earlier).flatten().map(Ok::<_, std::convert::Infallible>);
        return Ok(Reply::stream(StatusCode::OK, content_type, pieces));
    }
    let attachment = rooms.engine.attach(id, options).await?;
    let first = futures_util::stream::iter(earlier).flatten().boxed();
    let session = Session { tty, stdin: options.stdin && container.spec.streams.open_stdin, keys, first };
    Ok(hijack(&request, content_type, session, attachment))
}
