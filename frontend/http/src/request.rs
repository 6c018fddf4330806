use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::{Extensions, HeaderMap, Method, request::Parts};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use tokio::sync::mpsc;

use crate::query::Query;
use crate::{Error, Result};

/// How long a whole body that a handler waits for may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
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
}

impl Request {
    /// With `slashes`, one at the end of the path is passed over.
    pub(crate) fn new(head: Parts, body: Option<Incoming>, slashes: bool) -> Result<Self> {
        let raw = head.uri.path();
        let raw = raw.strip_suffix('/').filter(|rest| slashes && !rest.is_empty()).unwrap_or(raw);
        Ok(Self {
            path: crate::path::clean(raw)?,
            query: Query::parse(head.uri.query().unwrap_or_default()),
            method: head.method,
            headers: head.headers,
            extensions: Extensions::new(),
            parameters: Vec::new(),
            body,
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

    /// The body as it comes, piece by piece, however long it takes. Pieces are taken from the client as they are taken
    /// from the stream; a client that goes away ends it with an error. When the stream is dropped early, some of the rest
    /// is still read and thrown away.
    pub fn body_stream(&mut self) -> BoxStream<'static, io::Result<Bytes>> {
        let Some(body) = self.body.take() else {
            return stream::empty().boxed();
        };
        let (to, from) = mpsc::channel(PIECES_AHEAD);
        tokio::spawn(pump(body, to));
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

async fn pump(mut body: Incoming, to: mpsc::Sender<io::Result<Bytes>>) {
    while let Some(frame) = body.frame().await {
        let piece = match frame.map(Frame::into_data) {
            Ok(Ok(data)) => Ok(data),
            Ok(Err(_trailers)) => continue,
            Err(failed) => Err(io::Error::other(format!("the request body cannot be read: {failed}"))),
        };
        if to.send(piece).await.is_err() {
            // As for every body: a client that is cut off while it sends never reads why.
            let _ = tokio::time::timeout(BODY_TIMEOUT, collect(body, 0)).await;
            return;
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
