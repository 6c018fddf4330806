//! What a push asks and says beside its blobs.

use bytes::Bytes;
use http::Method;
use reqwest::Response;
use tare_model::{Digest, Reference};

use crate::ask::parcel::{Content, Parcel};
use crate::ask::{Ask, Errand, Subject, ask};
use crate::manifest::{DECLARED, sha256};
use crate::{Credentials, Error, Registry, Result};

pub(crate) async fn has_blob(
    registry: &Registry,
    reference: &Reference,
    digest: &Digest,
    credentials: Option<&Credentials>,
) -> Result<bool> {
    let subject = Subject::Blob(reference.clone(), *digest);
    let question = Ask::pushing(registry, subject, None, credentials).by(Errand::Head);
    match ask(registry, &question).await {
        Ok(_) => Ok(true),
        Err(Error::BlobUnknown { .. } | Error::RepositoryUnknown { .. } | Error::NotFound { .. }) => {
            Ok(false)
        }
        // One that answers no such question is sent the blob.
        Err(Error::Status { status: 400..=499, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) async fn manifest(
    registry: &Registry,
    reference: &Reference,
    media_type: &str,
    bytes: Bytes,
    credentials: Option<&Credentials>,
) -> Result<Digest> {
    let digest = sha256(&bytes);
    let name = match (reference.tag(), reference.digest()) {
        (None, None) => reference.with_digest(digest),
        _ => reference.clone(),
    };
    let question = Ask::pushing(registry, Subject::Manifest(name), None, credentials);
    let content = Content::Document { kind: media_type.to_owned(), bytes };
    let question = question.by(Errand::Bring(Parcel::new(Method::PUT, content)));
    let response = ask(registry, &question).await?;
    confirm(&response, &question.what(), digest)?;
    Ok(digest)
}

/// What the registry says that it has got must be what it was sent.
pub(crate) fn confirm(response: &Response, what: &str, sent: Digest) -> Result<()> {
    let header = response.headers().get(DECLARED);
    match header.and_then(|value| value.to_str().ok()?.parse::<Digest>().ok()) {
        Some(found) if found != sent => {
            Err(Error::Digest { what: format!("{what} in the registry"), found, expected: sent })
        }
        _ => Ok(()),
    }
}
