use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use serde::Serialize;

use crate::stream::Upgraded;

type BoxError = Box<dyn StdError + Send + Sync>;
type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;
/// The body that hyper sends.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
/// What to do with a connection that was handed over.
pub(crate) type Takeover = Box<dyn FnOnce(Upgraded) -> BoxFuture + Send>;

/// What a handler answers.
pub struct Reply {
    /// The status; 101 or 200 where the connection is handed over.
    pub status: StatusCode,
    /// Headers beside those that HTTP itself needs.
    pub headers: HeaderMap,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    Whole(Bytes),
    Stream(BoxStream<'static, Result<Bytes, BoxError>>),
    Takeover(Takeover),
}

impl Reply {
    /// A status and nothing else.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), content: Content::Whole(Bytes::new()) }
    }

    /// A whole body.
    pub fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let reply = Self { content: Content::Whole(body.into()), ..Self::empty(status) };
        reply.with(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    /// A JSON document with a line end behind it.
    pub fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(mut body) => {
                body.push(b'\n');
                Self::bytes(status, "application/json", body)
            }
            Err(unwritable) => {
                Self::bytes(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", unwritable.to_string())
            }
        }
    }

    /// A body that comes piece by piece. The head is sent at once, and each piece when it is there. An error cuts the
    /// connection, so that the client sees an unfinished body and not a short one.
    pub fn stream<S, E>(status: StatusCode, content_type: &'static str, pieces: S) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let pieces = pieces.map(|piece| piece.map_err(Into::into)).boxed();
        let reply = Self { content: Content::Stream(pieces), ..Self::empty(status) };
        reply.with(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    /// Hands the connection over: the head is sent, and from then on all bytes are the handler's.
    ///
    /// With `Upgrade: tcp` in the request (`upgrade`), the head is `101 UPGRADED` (RFC 9110, 7.8). Without, it is a plain `200 OK`
    /// with neither length nor chunks: HTTP has no such thing in this direction, but old clients of such protocols expect it, and
    /// a client that only reads sees a body that ends with the connection.
    pub fn hijack<F, T>(upgrade: bool, content_type: &'static str, handler: F) -> Self
    where
        F: FnOnce(Upgraded) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let status = if upgrade { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::OK };
        let takeover: Takeover = Box::new(move |connection| Box::pin(handler(connection)));
        let reply = Self { content: Content::Takeover(takeover), ..Self::empty(status) };
        let reply = reply.with(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if upgrade {
            reply
                .with(header::CONNECTION, HeaderValue::from_static("Upgrade"))
                .with(header::UPGRADE, HeaderValue::from_static("tcp"))
        } else {
            reply
        }
    }

    /// The reply with a header more.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The body, where it is whole: for tests of handlers.
    pub fn whole_body(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Whole(body) => Some(body),
            _ => None,
        }
    }
}

/// The head of a handed-over connection as it goes over the wire.
pub(crate) fn takeover_head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let reason = if status == StatusCode::SWITCHING_PROTOCOLS { "UPGRADED" } else { "OK" };
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in headers {
        head.extend(title_case(name.as_str()));
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// `content-type` → `Content-Type`, as hyper writes them too.
fn title_case(name: &str) -> impl Iterator<Item = u8> {
    let mut starts = true;
    name.bytes().map(move |byte| {
        let written = if starts { byte.to_ascii_uppercase() } else { byte };
        starts = byte == b'-';
        written
    })
}

/// The response for hyper; `None` where there is none because the connection is handed over.
pub(crate) fn into_response(
    status: StatusCode,
    headers: HeaderMap,
    content: Content,
) -> Option<Response<Body>> {
    let body = match content {
        Content::Whole(body) => Full::new(body).map_err(|never| match never {}).boxed_unsync(),
        Content::Stream(pieces) => StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync(),
        Content::Takeover(_) => return None,
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Some(response)
}
