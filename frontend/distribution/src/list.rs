//! Lists: repositories, tags, referrers.

use std::sync::Arc;

use serde_json::{Value, json};
use tare_depot::Page;
use tare_http::{Query, Reply, Request, StatusCode};
use tare_oci::image::media_type;

use crate::routes::{blocking, name, with};
use crate::{Error, Result, Service, blob};

/// Names in an answer when nobody says how many, and at most.
const MOST: usize = 1000;

/// `GET /v2/_catalog`
pub(crate) async fn catalog(service: Arc<Service>, request: Request) -> Result<Reply> {
    let (last, limit) = page_of(&request.query)?;
    let page = blocking(move || service.depot.repositories_after(last.as_deref(), limit)).await?;
    let reply = Reply::json(StatusCode::OK, &json!({"repositories": page.names}));
    Ok(linked(reply, "/v2/_catalog", &page, limit))
}

/// `GET /v2/{name}/tags/list`
pub(crate) async fn tags(service: Arc<Service>, request: Request) -> Result<Reply> {
    let (name, (last, limit)) = (name(&request)?, page_of(&request.query)?);
    let of = name.clone();
    let page = blocking(move || service.depot.tags(&of, last.as_deref(), limit)).await?;
    let reply = Reply::json(StatusCode::OK, &json!({"name": name.as_str(), "tags": page.names}));
    Ok(linked(reply, &format!("/v2/{name}/tags/list"), &page, limit))
}

/// `GET /v2/{name}/referrers/{digest}`: an index, empty where nothing refers to the digest.
pub(crate) async fn referrers(service: Arc<Service>, request: Request) -> Result<Reply> {
    let (name, subject) = (name(&request)?, blob::digest(&request)?);
    let path = format!("/v2/{name}/referrers/{subject}");
    let last = request.query.get("last").map(str::to_owned);
    let page = blocking(move || service.depot.referrers(&name, &subject, last.as_deref())).await?;
    let tare_depot::Referrers { descriptors: mut found, more } = page;
    let wanted = request.query.get("artifactType").filter(|kind| !kind.is_empty());
    if let Some(wanted) = wanted {
        found.retain(|descriptor| descriptor.get("artifactType").and_then(Value::as_str) == Some(wanted));
    }
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": found});
    let reply = with(Reply::json(StatusCode::OK, &index), "content-type", media_type::OCI_INDEX);
    let of = wanted.map(|wanted| format!("artifactType={wanted}&")).unwrap_or_default();
    let reply = match more {
        Some(last) => with(reply, "link", format!("<{path}?{of}last={last}>; rel=\"next\"")),
        None => reply,
    };
    Ok(if wanted.is_some() { with(reply, "oci-filters-applied", "artifactType") } else { reply })
}

fn page_of(query: &Query) -> Result<(Option<String>, usize)> {
    let limit = match query.get("n").filter(|text| !text.is_empty()) {
        Some(text) => text.parse::<usize>().map_err(|_| Error::PageInvalid)?.min(MOST),
        None => MOST,
    };
    Ok((query.get("last").filter(|last| !last.is_empty()).map(str::to_owned), limit))
}

/// With the address of the next page, where there is one (RFC 8288).
fn linked(reply: Reply, path: &str, page: &Page, limit: usize) -> Reply {
    match page.names.last().filter(|_| page.more) {
        Some(last) => with(reply, "link", format!("<{path}?n={limit}&last={last}>; rel=\"next\"")),
        None => reply,
    }
}
