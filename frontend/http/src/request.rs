use std::fmt::Display;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::{Extensions, HeaderMap, Method, request::Parts};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::listener::Manner;
use crate::query::Query;
use crate::{Error, Result};

/// How long a whole body that a handler waits for may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes a second that a body brings at least, where slow clients are not borne with.
const SLOWEST: u64 = 1 << 10;
/// Pieces of a body between the client and who takes them.
const PIECES_AHEAD: usize = 16;
/// Bytes over a handler's limit that are read without being kept.
const DISCARDED_MAX: usize = 16 << 20;

/// A request whose path is clean and whose place in the route table is found.
#[derive(Debug)]
pub struct Request {
    /// GET, POST, …
    pub method: Method,
    /// Decoded, beginning with a slash, without empty, `.` and `..` segments.
    pub path: String,
    /// What stands behind the question mark.
    pub query: Query,
    /// As the client sent them.
    pub headers: HeaderMap,
    /// What a front end notes while it works on the request.
    pub extensions: Extensions,
    pub(crate) parameters: Vec<(&'static str, String)>,
    body: Option<Incoming>,
    patience: Option<Duration>,
}

impl Request {
    pub(crate) fn new(head: Parts, body: Option<Incoming>, manner: Manner) -> Result<Self> {
        let raw = head.uri.path();
        let raw = raw.strip_suffix('/').filter(|rest| manner.slashes && !rest.is_empty()).unwrap_or(raw);
        Ok(Self {
            path: crate::path::clean(raw)?,
            query: Query::parse(head.uri.query().unwrap_or_default()),
            method: head.method,
            headers: head.headers,
            extensions: Extensions::new(),
            parameters: Vec::new(),
            body,
            patience: manner.patience,
        })
    }

    /// The part of the path that the pattern calls by this name; empty where the pattern has none such.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the client asks for the connection to be handed over (`Connection: Upgrade` with `Upgrade: …`).
    pub fn wants_upgrade(&self) -> bool {
        let connection = self.header("connection").unwrap_or_default();
        connection.split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
            && self.headers.contains_key("upgrade")
    }

    /// Whether a body follows the head.
    pub fn has_body(&self) -> bool {
        self.body.as_ref().is_some_and(|body| !body.is_end_stream())
    }

    /// The whole body, at most `limit` bytes, within a minute.
    pub async fn body(&mut self, limit: usize) -> Result<Bytes> {
        let Some(body) = self.body.take() else {
            return Ok(Bytes::new());
        };
        let collected = tokio::time::timeout(BODY_TIMEOUT, collect(body, limit));
        collected.await.unwrap_or(Err(Error::BodyTimeout))
    }

    /// The body as it comes, piece by piece, however long it takes, at the speed that the listener asks for. Pieces are taken from the client as they are taken
    /// from the stream; a client that goes away ends it with an error. When the stream is dropped early, some of the rest
    /// is still read and thrown away.
    pub fn body_stream(&mut self) -> BoxStream<'static, io::Result<Bytes>> {
        let Some(body) = self.body.take() else {
            return stream::empty().boxed();
        };
        let (to, from) = mpsc::channel(PIECES_AHEAD);
        tokio::spawn(pump(body, Pace::new(self.patience), to));
        stream::unfold(from, |mut from| async { Some((from.recv().await?, from)) }).boxed()
    }

    /// A request made by hand, for tests of handlers and routes.
    pub fn test(method: Method, target: &str) -> Result<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Self {
            method,
            path: crate::path::clean(path)?,
            query: Query::parse(query),
            headers: HeaderMap::new(),
            extensions: Extensions::new(),
            parameters: Vec::new(),
            body: None,
            patience: None,
        })
    }
}

/// A handler that refuses a request by its address alone never reads the body. It is read here, and thrown away, while the
/// reply goes out: a client that is cut off while it sends never reads why.
impl Drop for Request {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        if let (Some(body), Ok(runtime)) = (unread, tokio::runtime::Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(BODY_TIMEOUT, collect(body, 0)));
        }
    }
}

async fn pump(mut body: Incoming, mut pace: Pace, to: mpsc::Sender<io::Result<Bytes>>) {
    while let Some(frame) = pace.frame(&mut body).await {
        let piece = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(_trailers)) => continue,
            Err(failed) => {
                let _ = to.send(Err(failed)).await; // who asked for the body may have gone
                return;
            }
        };
        if to.send(piece).await.is_err() {
            // As for every body: a client that is cut off while it sends never reads why.
            let _ = tokio::time::timeout(BODY_TIMEOUT, collect(body, 0)).await;
            return;
        }
    }
}

/// How fast a body comes, over the time in which it is waited for.
struct Pace {
    patience: Duration,
    waited: Duration,
    brought: usize,
}

impl Pace {
    fn new(patience: Option<Duration>) -> Self {
        Self { patience: patience.unwrap_or(Duration::MAX), waited: Duration::ZERO, brought: 0 }
    }

    /// The next piece; an error where what came within the client's time is too little.
    async fn frame<B>(&mut self, body: &mut B) -> Option<io::Result<Frame<Bytes>>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Display,
    {
        loop {
            let began = Instant::now();
            let left = self.patience.saturating_sub(self.waited);
            if let Ok(frame) = tokio::time::timeout(left, body.frame()).await {
                let frame = frame?;
                self.waited += began.elapsed();
                self.brought += frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
                let unreadable = |e| io::Error::other(format!("the request body cannot be read: {e}"));
                return Some(frame.map_err(unreadable));
            }
            if (self.brought as u64) < self.patience.as_secs().saturating_mul(SLOWEST) {
                return Some(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the request body comes too slowly",
                )));
            }
            (self.waited, self.brought) = (Duration::ZERO, 0);
        }
    }
}

/// What is over the limit is still read for a while and thrown away: a client that is cut off while it sends never reads
/// why.
async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    let mut over = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|failed| Error::Body(failed.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if over == 0 && whole.len() + data.len() <= limit {
            whole.extend_from_slice(&data);
            continue;
        }
        over += data.len();
        if over > DISCARDED_MAX {
            break;
        }
    }
    if over == 0 { Ok(whole.freeze()) } else { Err(Error::BodyTooLarge(limit)) }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;

    /// What becomes of a body of which `size` bytes come each second, for ten minutes.
    async fn brought(size: usize, patience: Option<Duration>) -> io::Result<usize> {
        let pieces = stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            (n < 600).then(|| (Ok::<_, io::Error>(Frame::data(Bytes::from(vec![0; size]))), n + 1))
        });
        let (mut body, mut pace, mut total) = (StreamBody::new(pieces.boxed()), Pace::new(patience), 0);
        while let Some(frame) = pace.frame(&mut body).await {
            total += frame?.data_ref().map_or(0, Bytes::len);
            // The disk's time is not the client's.
            tokio::time::sleep(Duration::from_secs(50)).await;
        }
        Ok(total)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_given_up_where_strangers_send_it() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(brought(100, minute).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(brought(2000, minute).await.unwrap(), 1_200_000);
        assert_eq!(brought(100, None).await.unwrap(), 60_000);
    }
}
