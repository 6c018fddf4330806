//! Further processes in a running container.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use tare_container::{AttachOptions, Error as EngineError, Exec, ExecSpec};
use tare_docker_api::{ExecCreateRequest, ExecInspect, ExecProcess, ExecStartRequest, IdResponse};
use tare_http::{Reply, Request, StatusCode};
use tokio::io::AsyncWriteExt;

use crate::container::size;
use crate::stream::{DetachKeys, Session, content_type, frame_head, hijack};
use crate::version::Version;
use crate::{Error, Result, Rooms, body, check};

/// `POST /containers/{id}/exec`.
pub(crate) async fn create(rooms: Arc<Rooms>, mut request: Request) -> Result<Reply> {
    let wire: ExecCreateRequest = body::json(&mut request).await?;
    let id = rooms.engine.exec_create(request.parameter("id"), spec(&wire)?).await?;
    Ok(Reply::json(StatusCode::CREATED, &IdResponse { id: id.to_string() }))
}

fn spec(wire: &ExecCreateRequest) -> Result<ExecSpec> {
    DetachKeys::parse(&wire.detach_keys)?;
    let command = wire.cmd.clone().unwrap_or_default();
    if command.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    if !wire.working_dir.is_empty() && !wire.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            wire.working_dir
        )));
    }
    let environment = wire.env.clone().unwrap_or_default();
    if let Some(bad) = environment.iter().find(|variable| variable.is_empty() || variable.starts_with('=')) {
        return Err(Error::invalid(format!("invalid environment variable: {bad}")));
    }
    Ok(ExecSpec {
        command,
        environment,
        working_directory: check::given(&wire.working_dir),
        user: check::given(&wire.user),
        tty: wire.tty,
        console_size: wire.console_size.and_then(check::console_size),
        privileged: wire.privileged,
        attach: AttachOptions {
            stdin: wire.attach_stdin,
            stdout: wire.attach_stdout,
            stderr: wire.attach_stderr,
        },
        origin: wire.detach_keys.clone(),
    })
}

/// `POST /exec/{id}/start`: detached, or with the connection handed over.
pub(crate) async fn start(rooms: Arc<Rooms>, mut request: Request) -> Result<Reply> {
    let wire: ExecStartRequest = body::json(&mut request).await?;
    let exec = rooms.engine.exec_inspect(request.parameter("id"))?;
    let console_size = wire.console_size.and_then(check::console_size);
    let options = if wire.detach { AttachOptions::default() } else { exec.spec.attach };
    let content_type = content_type(exec.spec.tty, Version::of(&request));
    match rooms.engine.exec_start(exec.id.as_str(), options, console_size).await {
        Ok(Some(attachment)) => {
            let keys = DetachKeys::parse(&exec.spec.origin)?;
            let session = Session {
                tty: exec.spec.tty,
                stdin: options.stdin,
                keys,
                first: futures_util::stream::empty().boxed(),
            };
            Ok(hijack(&request, content_type, session, attachment))
        }
        Ok(None) if wire.detach => Ok(Reply::empty(StatusCode::OK)),
        Ok(None) => Ok(tell(&request, content_type, Bytes::new())),
        Err(why @ EngineError::Exec { .. }) if !wire.detach => {
            Ok(tell(&request, content_type, complaint(&why.to_string(), exec.spec.tty)))
        }
        Err(other) => Err(other.into()),
    }
}

/// A program that cannot be executed is told in the stream: clients have asked for a stream, and look for the exit code
/// in the session afterwards.
fn complaint(message: &str, tty: bool) -> Bytes {
    let line = format!("{message}\r\n");
    let head = if tty { Vec::new() } else { frame_head(2, line.len()).to_vec() };
    [head, line.into_bytes()].concat().into()
}

fn tell(request: &Request, content_type: &'static str, text: Bytes) -> Reply {
    Reply::hijack(request.wants_upgrade(), content_type, |mut client| async move {
        if client.write_all(&text).await.is_ok() {
            client.finish().await;
        }
    })
}

/// `POST /exec/{id}/resize`.
pub(crate) async fn resize(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let (rows, columns) = size(&request.query)?;
    rooms.engine.exec_resize(request.parameter("id"), rows, columns).await?;
    Ok(Reply::empty(StatusCode::OK))
}

/// `GET /exec/{id}/json`.
pub(crate) async fn inspect(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let exec = rooms.engine.exec_inspect(request.parameter("id"))?;
    Ok(Reply::json(StatusCode::OK, &answer(&exec)))
}

fn answer(exec: &Exec) -> ExecInspect {
    let spec = &exec.spec;
    let (entrypoint, arguments) = spec
        .command
        .split_first()
        .map_or((String::new(), Vec::new()), |(first, rest)| (first.clone(), rest.to_vec()));
    ExecInspect {
        id: exec.id.to_string(),
        running: exec.running,
        exit_code: exec.exit_code.map(i64::from),
        process_config: ExecProcess {
            tty: spec.tty,
            entrypoint,
            arguments,
            privileged: Some(spec.privileged),
            user: spec.user.clone().unwrap_or_default(),
        },
        open_stdin: spec.attach.stdin,
        open_stderr: spec.attach.stderr,
        open_stdout: spec.attach.stdout,
        can_remove: false,
        container_id: exec.container.to_string(),
        detach_keys: Some(spec.origin.clone()),
        pid: exec.pid.unwrap_or(0).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_needs_a_command_and_sound_words() {
        let wire = |json: &str| spec(&serde_json::from_str(json).unwrap());
        assert_eq!(wire("{}").unwrap_err().to_string(), "No exec command specified");
        assert!(wire(r#"{"Cmd":["a"],"WorkingDir":"b"}"#).is_err());
        assert!(wire(r#"{"Cmd":["a"],"DetachKeys":"nonsense"}"#).is_err());
        assert!(wire(r#"{"Cmd":["a"],"Env":["="]}"#).is_err());
        let sound = wire(r#"{"Cmd":"ls","Tty":true,"AttachStdout":true,"ConsoleSize":[24,80],"User":"web"}"#)
            .unwrap();
        assert_eq!(
            (sound.command.len(), sound.console_size, sound.user.as_deref()),
            (1, Some((24, 80)), Some("web"))
        );
    }

    #[test]
    fn a_failure_is_told_in_the_stream() {
        let framed = complaint("no", false);
        assert_eq!(framed[0], 2);
        assert_eq!(usize::from(framed[7]), framed.len() - 8);
        assert_eq!(complaint("no", true), &b"no\r\n"[..]);
    }
}
