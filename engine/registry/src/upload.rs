//! A blob on its way into a registry (distribution-spec, *pushing blobs*): mounted, in one piece, in several, and taken
//! up again where a connection broke.

use std::time::Duration;

use http::header::{HeaderMap, LOCATION, RANGE};
use http::{Method, StatusCode};
use reqwest::{Response, Url};
use tare_model::Reference;
use tare_oci::image::Descriptor;

use crate::ask::parcel::{BlobSource, Content, Parcel};
use crate::ask::redirect::bare;
use crate::ask::{Ask, Errand, Refused, Subject, ask, attempt, retry};
use crate::put::confirm;
use crate::{Credentials, Error, Registry, Result};

/// What is sent at a time where a registry does not take a blob in one piece.
const PIECE: u64 = 16 << 20;
/// The largest piece that a registry can ask for.
const LARGEST_PIECE: u64 = 1 << 30;
/// An attempt that brought this much was worth having: the count of tries begins anew.
const PROGRESS: u64 = 1 << 20;
/// Pieces that are smaller than this are refused (distribution-spec 1.1).
const SMALLEST_PIECE: &str = "oci-chunk-min-length";

/// A blob that is to be brought into a repository.
#[derive(Clone)]
pub struct Upload {
    /// Where to.
    pub reference: Reference,
    /// What.
    pub blob: Descriptor,
    /// A repository of the same registry that may have it.
    pub from: Option<Reference>,
    /// For the registry.
    pub credentials: Option<Credentials>,
    /// Its bytes.
    pub source: BlobSource,
}

/// How a blob got there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// From another repository; nothing was sent.
    Mounted,
    /// Sent.
    Sent,
}

pub(crate) async fn upload(registry: &Registry, upload: &Upload) -> Result<Uploaded> {
    let subject = Subject::Upload(upload.reference.clone(), upload.blob.digest);
    if let Some(from) = &upload.from
        && mount(registry, upload, subject.clone(), from).await?
    {
        return Ok(Uploaded::Mounted);
    }
    let question = Ask::pushing(registry, subject, None, upload.credentials.as_ref());
    let mut sending = Sending {
        registry,
        upload,
        what: question.what(),
        question,
        session: None,
        position: 0,
        piece: None,
        mark: 0,
        tries: 0,
    };
    while !sending.step().await? {}
    Ok(Uploaded::Sent)
}

/// Whether the registry could take the blob from its other repository. It may refuse for any reason of its own.
async fn mount(registry: &Registry, upload: &Upload, subject: Subject, from: &Reference) -> Result<bool> {
    let parcel = Parcel::new(Method::POST, Content::Nothing)
        .with("mount", upload.blob.digest.to_string())
        .with("from", from.path());
    let question = Ask::pushing(registry, subject, Some(from.clone()), upload.credentials.as_ref());
    let question = question.by(Errand::Bring(parcel));
    match ask(registry, &question).await {
        Ok(response) if response.status() == StatusCode::CREATED => {
            confirm(&response, &question.what(), upload.blob.digest).map(|()| true)
        }
        // A session that was opened instead ends by itself.
        Ok(_) => Ok(false),
        Err(error @ (Error::Unreachable { .. } | Error::Stalled { .. } | Error::Redirect { .. })) => {
            Err(error)
        }
        Err(error) => {
            tracing::debug!(%error, "the blob is not mounted");
            Ok(false)
        }
    }
}

struct Sending<'a> {
    registry: &'a Registry,
    upload: &'a Upload,
    question: Ask,
    what: String,
    /// Where the registry wants the next bytes.
    session: Option<Url>,
    /// Bytes that it has.
    position: u64,
    /// Sent in pieces of this size.
    piece: Option<u64>,
    tries: u32,
    /// The position when something broke last.
    mark: u64,
}

impl Sending<'_> {
    /// Does the next thing; true when the blob is there.
    async fn step(&mut self) -> Result<bool> {
        let Some(session) = self.session.clone() else { return self.begin().await.map(|()| false) };
        let size = self.upload.blob.size;
        let whole = self.position == 0 && self.piece.is_none();
        let result = if whole || self.position == size {
            self.put(&session, size - self.position).await
        } else {
            self.patch(&session).await
        };
        match result {
            Ok(done) => Ok(done),
            Err(refused) => self.recover(&session, refused).await.map(|()| false),
        }
    }

    async fn begin(&mut self) -> Result<()> {
        let response = self.ask(Parcel::new(Method::POST, Content::Nothing)).await?;
        let smallest = number(response.headers(), SMALLEST_PIECE).filter(|n| *n <= LARGEST_PIECE);
        self.piece = self.piece.map(|piece| piece.max(smallest.unwrap_or(0)));
        self.session = Some(self.location(&response)?);
        self.position = 0;
        Ok(())
    }

    /// Sends the rest and closes the session.
    async fn put(&self, session: &Url, length: u64) -> std::result::Result<bool, Refused> {
        let digest = self.upload.blob.digest;
        let parcel = Parcel::new(Method::PUT, self.content(length, false)).to(session);
        let response = self.attempt(parcel.with("digest", digest.to_string())).await?;
        confirm(&response, &self.what, digest).map_err(for_good)?;
        Ok(true)
    }

    /// Sends the next piece.
    async fn patch(&mut self, session: &Url) -> std::result::Result<bool, Refused> {
        let left = self.upload.blob.size - self.position;
        let length = self.piece.unwrap_or(left).min(left);
        let parcel = Parcel::new(Method::PATCH, self.content(length, true)).to(session);
        let response = self.attempt(parcel).await?;
        let sent = self.position + length;
        let got = received(response.headers()).unwrap_or(sent);
        if got > sent || got < self.position {
            let cause = format!("it was sent {sent} bytes and tells of {got}");
            return Err(for_good(Error::Nonsense { what: self.what.clone(), cause }));
        }
        self.session = Some(self.location(&response).map_err(for_good)?);
        self.position = got;
        Ok(false)
    }

    fn content(&self, length: u64, partial: bool) -> Content {
        let (source, offset) = (self.upload.source.clone(), self.position);
        Content::Blob { source, offset, length, partial }
    }

    /// Finds out how to go on after a refusal; the refusal itself comes back where it is one for good.
    async fn recover(&mut self, session: &Url, refused: Refused) -> Result<()> {
        let Refused { error, transient, wanted } = refused;
        if self.piece.is_none() && wants_pieces(&error) {
            self.piece = Some(PIECE);
            self.session = None;
            return Ok(());
        }
        if !transient && !matches!(error, Error::Stalled { .. } | Error::Status { status: 416, .. }) {
            return Err(error);
        }
        self.wait(&error, wanted).await?;
        let parcel = Parcel::new(Method::GET, Content::Nothing).to(session);
        let state = match self.ask(parcel).await {
            Ok(response) => self.location(&response).map(|at| (at, received(response.headers()))),
            Err(error) => Err(error),
        };
        match state {
            Ok((at, Some(got))) if got <= self.upload.blob.size => {
                if got.saturating_sub(self.mark) >= PROGRESS {
                    self.tries = 0;
                }
                (self.mark, self.position, self.session) = (got, got, Some(at));
            }
            // It knows nothing of this session any more.
            _ => self.session = None,
        }
        Ok(())
    }

    async fn wait(&mut self, error: &Error, wanted: Option<Duration>) -> Result<()> {
        let Some(pause) = retry::pause(&self.registry.rules().config, self.tries, wanted) else {
            return Err(error.clone());
        };
        tracing::debug!(%error, position = self.position, "taking up an upload");
        tokio::time::sleep(pause).await;
        self.tries += 1;
        Ok(())
    }

    async fn ask(&self, parcel: Parcel) -> Result<Response> {
        ask(self.registry, &self.question.by(Errand::Bring(parcel))).await
    }

    async fn attempt(&self, parcel: Parcel) -> std::result::Result<Response, Refused> {
        attempt(self.registry, &self.question.by(Errand::Bring(parcel))).await
    }

    /// Where the session goes on: the same host, or the credentials would go elsewhere.
    fn location(&self, response: &Response) -> Result<Url> {
        let from = response.url();
        let header = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let Some(header) = header else {
            let cause = "it does not say where the upload goes on".to_owned();
            return Err(Error::Nonsense { what: self.what.clone(), cause });
        };
        let refused = |target: String, cause| Error::Redirect { url: bare(from), target, cause };
        let to = from.join(header).map_err(|_| refused(String::new(), "its target is no address"))?;
        if to.origin() != from.origin() {
            return Err(refused(bare(&to), "an upload goes on at the host where it began"));
        }
        if !to.username().is_empty() || to.password().is_some() {
            return Err(refused(bare(&to), "its target carries credentials"));
        }
        Ok(to)
    }
}

fn for_good(error: Error) -> Refused {
    Refused { error, transient: false, wanted: None }
}

/// Whether a registry, or the proxy before it, takes no blob of this size at once.
fn wants_pieces(error: &Error) -> bool {
    matches!(error, Error::Status { status: 405 | 411 | 413 | 501, .. })
}

/// Bytes that the registry has of an upload: `Range: 0-<last>`. Of nothing at all it says `0-0` as well.
fn received(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(RANGE)?.to_str().ok()?;
    let (_, last) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
    let last: u64 = last.parse().ok()?;
    if last == 0 { Some(0) } else { last.checked_add(1) }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_a_registry_has_is_read_from_its_range() {
        for (range, expected) in [
            ("0-0", Some(0)),
            ("0-99", Some(100)),
            ("bytes=0-99", Some(100)),
            ("0-18446744073709551615", None),
            ("none", None),
            ("0-x", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, HeaderValue::from_static(range));
            assert_eq!(received(&headers), expected, "{range}");
        }
        assert_eq!(received(&HeaderMap::new()), None);
    }
}
