//! Blobs as they come in (distribution-spec, *pushing blobs*).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tare_depot::{Depot, Name};
use tare_http::{Query, Reply, Request, StatusCode};
use tare_model::Digest;

use crate::routes::{blocking, name, with};
use crate::{Error, Result, Service};

/// How long a client may send nothing. What has come is kept, and can be taken up.
const SILENCE: Duration = Duration::from_secs(60);
/// What is gathered before it is written. A slow client waits without a thread.
const GATHERED: usize = 1 << 20;

/// `POST /v2/{name}/blobs/uploads/`: mounts, takes all of a blob at once, or opens an upload.
pub(crate) async fn begin(service: Arc<Service>, mut request: Request) -> Result<Reply> {
    let name = name(&request)?;
    let depot = Arc::clone(&service.depot);
    if let (Some(digest), Some(from)) = (digest(&request.query, "mount")?, request.query.get("from")) {
        let (from, to): (Name, Name) = (from.parse()?, name.clone());
        let there = Arc::clone(&depot);
        if blocking(move || there.mount(&to, &digest, &from)).await? {
            return Ok(created(&name, &digest));
        }
    }
    let whole = digest(&request.query, "digest")?;
    let (there, to) = (Arc::clone(&depot), name.clone());
    let id = blocking(move || there.begin(&to)).await?;
    match whole {
        None => Ok(session(StatusCode::ACCEPTED, &name, &id, 0)),
        Some(digest) => {
            let to = Upload { depot, name, id };
            let received = to.receive(request.body_stream(), 0).await;
            let finished = match received {
                Ok(length) => to.finish(length, digest).await,
                Err(error) => Err(error),
            };
            // Nobody knows its name, so nobody can take it up.
            if finished.is_err() {
                let _ = to.abort().await;
            }
            finished.map(|()| created(&to.name, &digest))
        }
    }
}

/// `GET /v2/{name}/blobs/uploads/{id}`: where it goes on.
pub(crate) async fn status(service: Arc<Service>, request: Request) -> Result<Reply> {
    let to = Upload::of(&service, &request)?;
    let length = to.length().await?;
    Ok(session(StatusCode::NO_CONTENT, &to.name, &to.id, length))
}

/// `PATCH /v2/{name}/blobs/uploads/{id}`: the next piece.
pub(crate) async fn piece(service: Arc<Service>, mut request: Request) -> Result<Reply> {
    let to = Upload::of(&service, &request)?;
    let (have, range) = (to.length().await?, content_range(&request)?);
    if let Some(refused) = out_of_order(&to, have, range) {
        return Ok(refused);
    }
    let length = to.receive(request.body_stream(), have).await?;
    if range.is_some_and(|(_, announced)| length - have != announced) {
        return Err(Error::Header("the piece has another length than its Content-Range says"));
    }
    Ok(session(StatusCode::ACCEPTED, &to.name, &to.id, length))
}

/// `PUT /v2/{name}/blobs/uploads/{id}?digest=`: the last piece, which may be all or nothing of it.
pub(crate) async fn finish(service: Arc<Service>, mut request: Request) -> Result<Reply> {
    let to = Upload::of(&service, &request)?;
    let missing =
        || Error::Depot(tare_depot::Error::DigestInvalid("the parameter digest is missing".to_owned()));
    let digest = digest(&request.query, "digest")?.ok_or_else(missing)?;
    let have = to.length().await?;
    let range = content_range(&request)?.filter(|_| request.has_body());
    if let Some(refused) = out_of_order(&to, have, range) {
        return Ok(refused);
    }
    let length = to.receive(request.body_stream(), have).await?;
    to.finish(length, digest).await?;
    Ok(created(&to.name, &digest))
}

/// `DELETE /v2/{name}/blobs/uploads/{id}`
pub(crate) async fn abort(service: Arc<Service>, request: Request) -> Result<Reply> {
    Upload::of(&service, &request)?.abort().await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// An upload that a request is about.
struct Upload {
    depot: Arc<Depot>,
    name: Name,
    id: String,
}

impl Upload {
    fn of(service: &Service, request: &Request) -> Result<Self> {
        let (depot, id) = (Arc::clone(&service.depot), request.parameter("id").to_owned());
        Ok(Self { depot, name: name(request)?, id })
    }

    fn parts(&self) -> (Arc<Depot>, Name, String) {
        (Arc::clone(&self.depot), self.name.clone(), self.id.clone())
    }

    async fn length(&self) -> Result<u64> {
        let (depot, name, id) = self.parts();
        blocking(move || depot.status(&name, &id)).await
    }

    /// Writes a body as it comes; returns how much of the blob is there then.
    async fn receive(&self, mut body: BoxStream<'static, std::io::Result<Bytes>>, have: u64) -> Result<u64> {
        let mut at = have;
        loop {
            let (piece, over) = gather(&mut body).await;
            if !piece.is_empty() {
                let (depot, name, id) = self.parts();
                let piece = std::iter::once(Ok(piece));
                at = blocking(move || depot.append(&name, &id, Some(at), piece)).await?;
            }
            match over {
                None => {}
                Some(ended) => return ended.map(|()| at),
            }
        }
    }

    async fn finish(&self, at: u64, digest: Digest) -> Result<()> {
        let (depot, name, id) = self.parts();
        blocking(move || depot.finish(&name, &id, Some(at), &digest, std::iter::empty())).await
    }

    async fn abort(&self) -> Result<()> {
        let (depot, name, id) = self.parts();
        blocking(move || depot.abort(&name, &id)).await
    }
}

/// The next bytes, and how the body ended where it did. They are copied: what comes is cut out of buffers of the connection, and
/// a client that sends byte by byte would have us keep one for each.
async fn gather(body: &mut BoxStream<'static, std::io::Result<Bytes>>) -> (Bytes, Option<Result<()>>) {
    let mut gathered = BytesMut::new();
    let over = loop {
        if gathered.len() >= GATHERED {
            break None;
        }
        match tokio::time::timeout(SILENCE, body.next()).await {
            Ok(Some(Ok(piece))) => gathered.extend_from_slice(&piece),
            Ok(None) => break Some(Ok(())),
            Ok(Some(Err(error))) => {
                break Some(Err(tare_depot::Error::Interrupted(error.to_string()).into()));
            }
            Err(_) => break Some(Err(Error::Stalled)),
        }
    };
    (gathered.freeze(), over)
}

fn digest(query: &Query, key: &str) -> Result<Option<Digest>> {
    let Some(text) = query.get(key).filter(|text| !text.is_empty()) else { return Ok(None) };
    let invalid = |_| tare_depot::Error::DigestInvalid(text.chars().take(100).collect());
    Ok(Some(text.parse().map_err(invalid)?))
}

/// First byte and length of a piece: `0-99`, without a unit (distribution-spec), or with one.
fn content_range(request: &Request) -> Result<Option<(u64, u64)>> {
    let Some(text) = request.header("content-range") else { return Ok(None) };
    let text = text.trim().trim_start_matches("bytes").trim_start().split('/').next().unwrap_or_default();
    let parsed = text.split_once('-').and_then(|(first, last)| {
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        Some((first, last.checked_sub(first)?.checked_add(1)?))
    });
    let senseless = Error::Header("the Content-Range makes no sense: FIRST-LAST is wanted");
    parsed.map(Some).ok_or(senseless)
}

/// The refusal of a piece that does not begin where the one before it ended; it says where that is.
fn out_of_order(to: &Upload, have: u64, range: Option<(u64, u64)>) -> Option<Reply> {
    let (begins, _) = range.filter(|(first, _)| *first != have)?;
    let refused = Error::from(tare_depot::Error::OutOfOrder { begins, have }).reply();
    Some(located(refused, &to.name, &to.id, have))
}

fn session(status: StatusCode, name: &Name, id: &str, length: u64) -> Reply {
    located(Reply::empty(status), name, id, length)
}

fn located(reply: Reply, name: &Name, id: &str, length: u64) -> Reply {
    let reply = with(reply, "location", format!("/v2/{name}/blobs/uploads/{id}"));
    // Of nothing it is 0-0 as well: so it has always been, and clients read it so.
    let reply = with(reply, "range", format!("0-{}", length.saturating_sub(1)));
    with(reply, "docker-upload-uuid", id)
}

fn created(name: &Name, digest: &Digest) -> Reply {
    let reply = with(Reply::empty(StatusCode::CREATED), "location", format!("/v2/{name}/blobs/{digest}"));
    with(reply, "docker-content-digest", digest)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::stream;

    use super::*;

    /// A byte that keeps a whole buffer.
    struct Pinned(Arc<AtomicUsize>);

    impl AsRef<[u8]> for Pinned {
        fn as_ref(&self) -> &[u8] {
            b"x"
        }
    }

    impl Drop for Pinned {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_body_of_single_bytes_is_kept_as_bytes_and_not_as_buffers() {
        let kept = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&kept);
        let pieces = stream::iter(0..GATHERED + 10).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from_owner(Pinned(Arc::clone(&counted))))
        });
        let mut body = pieces.boxed();
        let (gathered, over) = gather(&mut body).await;
        assert_eq!((gathered.len(), over.is_none(), kept.load(Ordering::Relaxed)), (GATHERED, true, 0));
        let (gathered, over) = gather(&mut body).await;
        assert!(gathered.len() == 10 && matches!(over, Some(Ok(()))));
    }
}
