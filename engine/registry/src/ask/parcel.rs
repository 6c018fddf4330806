//! A request that brings something along: a session that is to be opened, a piece of a blob, a manifest.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::Method;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use reqwest::{Body, Response, Url};

use super::redirect::{Answer, bare, failure};
use crate::client::endpoint::authority_of;
use crate::client::root_cause;
use crate::{Error, Registry, Result};

/// Gives the bytes of a blob from an offset to its end, as often as it is asked.
pub type BlobSource = Arc<dyn Fn(u64) -> BoxStream<'static, io::Result<Bytes>> + Send + Sync>;

/// After the last byte a registry hashes what it got and may move it to where it is kept.
const PATIENCE_AT_THE_END: u32 = 10;

/// What is brought along, and where to.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) method: Method,
    /// The address that the registry has named; else that of the subject.
    pub(crate) url: Option<Url>,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) content: Content,
}

/// The body.
#[derive(Clone)]
pub(crate) enum Content {
    Nothing,
    Document {
        kind: String,
        bytes: Bytes,
    },
    /// `length` bytes of a blob from `offset` on; `partial` where more come before or after them.
    Blob {
        source: BlobSource,
        offset: u64,
        length: u64,
        partial: bool,
    },
}

impl Parcel {
    pub(crate) fn new(method: Method, content: Content) -> Self {
        Self { method, url: None, query: Vec::new(), content }
    }

    pub(crate) fn to(self, url: &Url) -> Self {
        Self { url: Some(url.clone()), ..self }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Document { kind, .. } => write!(f, "Document({kind})"),
            Self::Blob { offset, length, .. } => write!(f, "Blob({length} from {offset})"),
        }
    }
}

/// Sends it. A redirect is not followed: what is sent is meant for this host.
pub(crate) async fn bring(
    registry: &Registry,
    what: &str,
    usual: Url,
    parcel: &Parcel,
    authorization: Option<HeaderValue>,
) -> Result<Answer> {
    let mut url = parcel.url.clone().unwrap_or(usual);
    if !parcel.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&parcel.query);
    }
    let mut request = registry.rules().http_for_uploads(&url)?.request(parcel.method.clone(), url.clone());
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let watch = Arc::new(Watch::default());
    let request = with_content(request, &parcel.content, &watch);
    let response = watched(registry, what, &url, request, &parcel.content, &watch).await?;
    if response.status().is_redirection() {
        let cause = "what is pushed goes to the registry itself only";
        return Err(Error::Redirect { url: bare(&url), target: "elsewhere".to_owned(), cause });
    }
    Ok(Answer { response, at_home: true })
}

/// How far a body is.
#[derive(Default)]
struct Watch {
    handed_on: AtomicU64,
    unreadable: std::sync::Mutex<Option<String>>,
}

fn with_content(
    request: reqwest::RequestBuilder,
    content: &Content,
    watch: &Arc<Watch>,
) -> reqwest::RequestBuilder {
    match content {
        Content::Nothing => request.header(CONTENT_LENGTH, 0),
        Content::Document { kind, bytes } => request.header(CONTENT_TYPE, kind).body(bytes.clone()),
        Content::Blob { source, offset, length, partial } => {
            let mut request =
                request.header(CONTENT_TYPE, "application/octet-stream").header(CONTENT_LENGTH, *length);
            if *partial && *length > 0 {
                request = request.header(CONTENT_RANGE, format!("{offset}-{}", offset + length - 1));
            }
            request.body(Body::wrap_stream(measured(source(*offset), *length, watch.clone())))
        }
    }
}

/// At most `length` bytes, counted.
fn measured(
    stream: BoxStream<'static, io::Result<Bytes>>,
    length: u64,
    watch: Arc<Watch>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    futures_util::stream::unfold((stream, length), move |(mut stream, left)| {
        let watch = watch.clone();
        async move {
            if left == 0 {
                return None;
            }
            let mut chunk = stream.next().await?;
            if let Ok(bytes) = &mut chunk {
                bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
            }
            let handed = chunk.as_ref().map_or(left, |bytes| bytes.len() as u64);
            watch.handed_on.fetch_add(handed, Ordering::Relaxed);
            if let Err(error) = &chunk {
                *watch.unreadable.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                    Some(error.to_string());
            }
            Some((chunk, (stream, left - handed)))
        }
    })
}

/// Waits for the answer as long as bytes go out, and a while after the last one.
async fn watched(
    registry: &Registry,
    what: &str,
    url: &Url,
    request: reqwest::RequestBuilder,
    content: &Content,
    watch: &Watch,
) -> Result<Response> {
    let patience = registry.rules().config.read_timeout;
    let mut sending = std::pin::pin!(request.send());
    let (mut seen, mut quiet) = (0, 0);
    loop {
        tokio::select! {
            result = &mut sending => return result.map_err(|error| broken(registry, what, url, &error, watch)),
            () = tokio::time::sleep(patience) => {
                let now = watch.handed_on.load(Ordering::Relaxed);
                quiet = if now == seen { quiet + 1 } else { 0 };
                seen = now;
                let ended = matches!(content, Content::Blob { length, .. } if now >= *length);
                let allowed = if ended { PATIENCE_AT_THE_END } else { 1 };
                if quiet >= allowed {
                    return Err(stalled(what, patience * allowed));
                }
            }
        }
    }
}

fn stalled(what: &str, waited: Duration) -> Error {
    Error::Stalled { what: what.to_owned(), seconds: waited.as_secs() }
}

fn broken(registry: &Registry, what: &str, url: &Url, error: &reqwest::Error, watch: &Watch) -> Error {
    let unreadable = watch.unreadable.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    match unreadable {
        Some(cause) => Error::Source { what: what.to_owned(), cause },
        None if error.is_connect() => failure(registry, what, url, error),
        None => Error::Interrupted {
            what: format!("{what} to {}", authority_of(url).unwrap_or_default()),
            received: watch.handed_on.load(Ordering::Relaxed),
            expected: 0,
            cause: root_cause(error),
        },
    }
}
