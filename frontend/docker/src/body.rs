//! Request bodies: JSON and nothing else.

use tare_docker_api::Document;
use tare_http::Request;

use crate::{Error, Result};

/// Inlined seccomp profiles are the largest thing that a request carries.
const LIMIT: usize = 4 << 20;

/// The document in the body; the default where there is no body.
pub(crate) async fn json<T: Document + Default>(request: &mut Request) -> Result<T> {
    Ok(optional_json(request).await?.unwrap_or_default())
}

/// The document in the body; `None` where there is no body or it is `null`.
///
/// The type is checked because a page in a browser can send anything else across origins without asking first.
pub(crate) async fn optional_json<T: Document>(request: &mut Request) -> Result<Option<T>> {
    if !request.has_body() {
        return Ok(None);
    }
    let content_type = request.header("content-type").unwrap_or_default().to_owned();
    let body = request.body(LIMIT).await?;
    if body.is_empty() {
        return Ok(None);
    }
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Error::invalid(format!(
            "unsupported Content-Type header ({content_type}): must be 'application/json'"
        )));
    }
    T::read_optional(&body).map_err(|error| Error::invalid(format!("invalid JSON: {error}")))
}
