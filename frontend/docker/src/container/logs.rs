use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tare_container::{Container, LogEntry, LogOptions, OutputStream};
use tare_http::{Query, Reply, Request, StatusCode};
use tare_model::Timestamp;

use crate::stream::{content_type, frame_head};
use crate::version::Version;
use crate::{Error, Result, Rooms, parameter};

/// `GET /containers/{id}/logs`.
pub(crate) async fn logs(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let options = options(&request.query)?;
    let container = rooms.engine.inspect(request.parameter("id"))?;
    if container.log_path.is_none() {
        return Err(Error::unsupported("configured logging driver does not support reading"));
    }
    let entries = rooms.engine.logs(container.id.as_str(), options).await?;
    let form =
        Form { tty: container.spec.streams.tty, stamps: parameter::flag(&request.query, "timestamps") };
    let pieces = entries.map(move |entry| entry.map(|entry| form.write(&entry)));
    Ok(Reply::stream(StatusCode::OK, content_type(form.tty, Version::of(&request)), pieces))
}

fn options(query: &Query) -> Result<LogOptions> {
    let (stdout, stderr) = (parameter::flag(query, "stdout"), parameter::flag(query, "stderr"));
    if !stdout && !stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    Ok(LogOptions {
        follow: parameter::flag(query, "follow"),
        stdout,
        stderr,
        since: parameter::moment(query, "since")?,
        until: parameter::moment(query, "until")?,
        tail: parameter::text(query, "tail").and_then(|tail| tail.parse().ok()), // "all", and what is no number, is all
    })
}

/// What was written so far, framed, for an attach that wants to see it first.
pub(super) async fn so_far(
    rooms: &Rooms,
    container: &Container,
    stdout: bool,
    stderr: bool,
) -> Result<impl Stream<Item = Bytes> + use<>> {
    let options = LogOptions { stdout, stderr, ..LogOptions::default() };
    let entries = rooms.engine.logs(container.id.as_str(), options).await?;
    let form = Form { tty: container.spec.streams.tty, stamps: false };
    Ok(entries.filter_map(move |entry| std::future::ready(entry.ok().map(|entry| form.write(&entry)))))
}

/// How entries are written.
#[derive(Clone, Copy)]
struct Form {
    tty: bool,
    stamps: bool,
}

impl Form {
    fn write(self, entry: &LogEntry) -> Bytes {
        let stamp = if self.stamps { stamp(entry.at) } else { String::new() };
        let mut piece = BytesMut::with_capacity(8 + stamp.len() + entry.line.len());
        if !self.tty {
            let stream = if entry.stream == OutputStream::Stdout { 1 } else { 2 };
            piece.extend_from_slice(&frame_head(stream, stamp.len() + entry.line.len()));
        }
        piece.extend_from_slice(stamp.as_bytes());
        piece.extend_from_slice(&entry.line);
        piece.freeze()
    }
}

/// RFC 3339 with all nine digits, so that columns line up, and a space.
fn stamp(at: Timestamp) -> String {
    let whole = Timestamp { nanoseconds: 0, ..at }.to_string();
    format!("{}.{:09}Z ", whole.trim_end_matches('Z'), at.nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> LogEntry {
        let at = Timestamp { seconds: 0, nanoseconds: 1_500_000 };
        LogEntry { stream: OutputStream::Stderr, at, line: Bytes::from_static(b"oops\n") }
    }

    #[test]
    fn lines_are_framed_unless_there_is_a_terminal() {
        assert_eq!(Form { tty: false, stamps: false }.write(&entry()), &b"\x02\0\0\0\0\0\0\x05oops\n"[..]);
        assert_eq!(Form { tty: true, stamps: false }.write(&entry()), &b"oops\n"[..]);
        assert_eq!(
            Form { tty: true, stamps: true }.write(&entry()),
            &b"1970-01-01T00:00:00.001500000Z oops\n"[..]
        );
    }

    #[test]
    fn a_stream_must_be_chosen() {
        assert!(options(&Query::parse("follow=1")).is_err());
        let read = options(&Query::parse("stdout=1&tail=5&since=12&until=0")).unwrap();
        assert_eq!((read.tail, read.since.map(|at| at.seconds), read.until), (Some(5), Some(12), None));
        assert_eq!(options(&Query::parse("stderr=1&tail=all")).unwrap().tail, None);
    }
}
