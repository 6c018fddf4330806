//! Manifests, in and out.

use std::sync::Arc;

use tare_depot::{MANIFEST_LIMIT, Wanted};
use tare_http::{Reply, Request, StatusCode};

use crate::routes::{blocking, name, with};
use crate::{Error, Result, Service};

fn wanted(request: &Request) -> Result<Wanted> {
    Ok(request.parameter("reference").parse()?)
}

/// `GET` and `HEAD /v2/{name}/manifests/{reference}`
pub(crate) async fn get(service: Arc<Service>, request: Request) -> Result<Reply> {
    let (name, wanted) = (name(&request)?, wanted(&request)?);
    let kept = blocking(move || service.depot.manifest(&name, &wanted)).await?;
    let length = kept.bytes.len();
    let reply = Reply::bytes(StatusCode::OK, "application/octet-stream", kept.bytes);
    let reply = with(reply, "content-type", kept.media_type);
    let reply = with(reply, "content-length", length);
    let reply = with(reply, "etag", format!("\"{}\"", kept.digest));
    Ok(with(reply, "docker-content-digest", kept.digest))
}

/// `PUT /v2/{name}/manifests/{reference}`
pub(crate) async fn put(service: Arc<Service>, mut request: Request) -> Result<Reply> {
    let (name, wanted) = (name(&request)?, wanted(&request)?);
    let kind = request.header("content-type").unwrap_or_default().to_owned();
    let body = request.body(MANIFEST_LIMIT).await.map_err(|error| match error {
        tare_http::Error::BodyTooLarge(limit) => Error::TooLarge(limit),
        tare_http::Error::BodyTimeout => Error::Stalled,
        other => Error::Depot(tare_depot::Error::Interrupted(other.to_string())),
    })?;
    let to = name.clone();
    let put = blocking(move || service.depot.put_manifest(&to, &wanted, &kind, &body)).await?;
    let location = format!("/v2/{name}/manifests/{}", put.digest);
    let reply = with(Reply::empty(StatusCode::CREATED), "location", location);
    let reply = with(reply, "docker-content-digest", put.digest);
    match put.subject {
        Some(subject) => Ok(with(reply, "oci-subject", subject)),
        None => Ok(reply),
    }
}

/// `DELETE /v2/{name}/manifests/{reference}`
pub(crate) async fn delete(service: Arc<Service>, request: Request) -> Result<Reply> {
    let (name, wanted) = (name(&request)?, wanted(&request)?);
    blocking(move || service.depot.delete_manifest(&name, &wanted)).await?;
    Ok(Reply::empty(StatusCode::ACCEPTED))
}
