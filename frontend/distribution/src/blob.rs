//! Blobs as they go out.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use tare_http::{Reply, Request, StatusCode};
use tare_model::Digest;

use crate::routes::{blocking, name, with};
use crate::{Error, Result, Service};

const CHUNK: usize = 1 << 20;

/// The digest in a request's path.
pub(crate) fn digest(request: &Request) -> Result<Digest> {
    let text = request.parameter("digest");
    let invalid = |_| tare_depot::Error::DigestInvalid(text.chars().take(100).collect());
    Ok(text.parse().map_err(invalid)?)
}

/// `GET` and `HEAD /v2/{name}/blobs/{digest}`
pub(crate) async fn get(service: Arc<Service>, request: Request) -> Result<Reply> {
    let (name, digest) = (name(&request)?, digest(&request)?);
    let depot = Arc::clone(&service.depot);
    let blob = blocking(move || depot.blob(&name, &digest)).await?;
    let range = request.header("range").map_or(Ok(None), |text| range(text, blob.size))?;
    let (first, length) = range.unwrap_or((0, blob.size));
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let reply = Reply::stream(status, "application/octet-stream", bytes_of(blob.file, first, length));
    let reply = with(reply, "content-length", length);
    let reply = with(reply, "docker-content-digest", digest);
    let reply = with(reply, "etag", format!("\"{digest}\""));
    let reply = with(reply, "accept-ranges", "bytes");
    let reply = with(reply, "cache-control", "max-age=31536000");
    match range {
        Some(_) => {
            let shown = format!("bytes {first}-{}/{}", first + length.saturating_sub(1), blob.size);
            Ok(with(reply, "content-range", shown))
        }
        None => Ok(reply),
    }
}

/// `DELETE /v2/{name}/blobs/{digest}`
pub(crate) async fn delete(service: Arc<Service>, request: Request) -> Result<Reply> {
    let (name, digest) = (name(&request)?, digest(&request)?);
    blocking(move || service.depot.delete_blob(&name, &digest)).await?;
    Ok(Reply::empty(StatusCode::ACCEPTED))
}

/// First byte and length of a range (RFC 9110, 14.1.2); `None` for forms that may be passed over.
fn range(text: &str, size: u64) -> Result<Option<(u64, u64)>> {
    let Some(spec) = text.trim().strip_prefix("bytes=").filter(|spec| !spec.contains(',')) else {
        return Ok(None);
    };
    let Some((first, last)) = spec.trim().split_once('-') else { return Ok(None) };
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let (first, last) = match (first, last) {
        ("", last) => match number(last) {
            Some(length) => (size.saturating_sub(length), size.saturating_sub(1)),
            None => return Ok(None),
        },
        (first, "") => match number(first) {
            Some(first) => (first, size.saturating_sub(1)),
            None => return Ok(None),
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => (first, last.min(size.saturating_sub(1))),
            _ => return Ok(None),
        },
    };
    if first >= size { Err(Error::Range(size)) } else { Ok(Some((first, last - first + 1))) }
}

/// A part of a file, read as it is taken.
fn bytes_of(file: File, first: u64, length: u64) -> impl stream::Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold((file, first, length), |(mut file, at, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; wanted];
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut buffer)?;
            Ok::<_, std::io::Error>((file, Bytes::from(buffer)))
        });
        let (file, bytes) = read.await.map_err(std::io::Error::other)??;
        let read = bytes.len() as u64;
        Ok(Some((bytes, (file, at + read, left - read))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_blob_or_refused() {
        for (text, expected) in [
            ("bytes=0-0", Some((0, 1))),
            ("bytes=2-", Some((2, 8))),
            ("bytes=-3", Some((7, 3))),
            ("bytes=-99", Some((0, 10))),
            ("bytes=5-99", Some((5, 5))),
            ("bytes=0-1,4-5", None),
            ("bytes=5-2", None),
            ("bytes=a-b", None),
            ("bytes=+1-2", None),
            ("lines=0-1", None),
            ("bytes", None),
        ] {
            assert_eq!(range(text, 10).unwrap(), expected, "{text}");
        }
        assert!(matches!(range("bytes=10-", 10), Err(Error::Range(10))));
        assert!(matches!(range("bytes=0-", 0), Err(Error::Range(0))));
        assert!(matches!(range("bytes=-0", 10), Err(Error::Range(10))));
    }
}
