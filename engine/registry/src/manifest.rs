use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use std::collections::BTreeMap;
use tare_model::{Digest, Reference};
use tare_oci::image::{Descriptor, media_type};

use crate::ask::{Ask, Subject, ask, body};
use crate::{Credentials, Error, Registry, Result};

/// The largest manifest or index that is read, in bytes: what the distribution project's registry accepts.
pub const MANIFEST_LIMIT: u64 = 4 << 20;

const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";
/// The header that names the digest of what an answer is about.
pub(crate) const DECLARED: &str = "docker-content-digest";

/// A manifest or an index, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedManifest {
    /// Type, digest and size of `bytes`.
    pub descriptor: Descriptor,
    /// The document itself.
    pub bytes: Bytes,
}

pub(crate) async fn fetch(
    registry: &Registry,
    reference: &Reference,
    credentials: Option<&Credentials>,
) -> Result<FetchedManifest> {
    let subject = Subject::Manifest(reference.clone());
    let mut last = None;
    for mut question in Ask::everywhere(registry, reference, &subject, credentials) {
        question.accept = Some(ACCEPT);
        match fetch_from(registry, reference, &question).await {
            Ok(fetched) => return Ok(fetched),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::Config(format!("{} has no address", reference.domain()))))
}

async fn fetch_from(registry: &Registry, reference: &Reference, question: &Ask) -> Result<FetchedManifest> {
    let response = ask(registry, question).await?;
    let headers = response.headers().clone();
    let bytes = body::read(response, MANIFEST_LIMIT, &question.what()).await?;
    let digest = verify(reference, &headers, &bytes)?;
    let media_type = type_of(reference, &headers, &bytes)?;
    let size = bytes.len() as u64;
    let descriptor = Descriptor {
        media_type,
        digest,
        size,
        platform: None,
        annotations: BTreeMap::new(),
        urls: Vec::new(),
    };
    Ok(FetchedManifest { descriptor, bytes })
}

/// The digest of the bytes, which must be the one asked for, or else the one declared.
fn verify(reference: &Reference, headers: &HeaderMap, bytes: &[u8]) -> Result<Digest> {
    let found = sha256(bytes);
    let declared = headers.get(DECLARED).and_then(|v| v.to_str().ok()?.parse().ok());
    match reference.digest().or(declared) {
        Some(expected) if expected != found => {
            Err(Error::Digest { what: format!("manifest {}", reference.familiar()), found, expected })
        }
        _ => Ok(found),
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let mut array = [0; 32];
    array.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Digest::from_bytes(array)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(default)]
    media_type: Option<String>,
}

/// The type in the header, which must agree with the one in the document (CVE-2021-41190). A server that knows no
/// types leaves it to the document.
fn type_of(reference: &Reference, headers: &HeaderMap, bytes: &[u8]) -> Result<String> {
    let nonsense =
        |cause: String| Error::Nonsense { what: format!("manifest {}", reference.familiar()), cause };
    let header = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let header = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let typed: Typed =
        serde_json::from_slice(bytes).map_err(|e| nonsense(format!("it is not JSON of a manifest: {e}")))?;
    if header.starts_with(SCHEMA_1) {
        return Err(Error::OldManifest { reference: reference.familiar(), media_type: header });
    }
    let generic =
        matches!(header.as_str(), "" | "application/json" | "text/plain" | "application/octet-stream");
    match typed.media_type {
        Some(inner) if generic || inner == header => Ok(inner),
        Some(inner) => Err(nonsense(format!("its type is {header} outside and {inner} inside"))),
        None if generic => Ok(media_type::OCI_MANIFEST.to_owned()),
        None => Ok(header),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn typed(header: Option<&str>, document: &str) -> Result<String> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(header).unwrap());
        }
        type_of(&"a/b:c".parse().unwrap(), &headers, document.as_bytes())
    }

    #[test]
    fn outside_and_inside_must_name_the_same_type() {
        let inner = format!(r#"{{"mediaType":"{}"}}"#, media_type::OCI_INDEX);
        assert_eq!(typed(Some(media_type::OCI_INDEX), &inner).unwrap(), media_type::OCI_INDEX);
        assert_eq!(typed(Some(media_type::OCI_INDEX), "{}").unwrap(), media_type::OCI_INDEX);
        assert_eq!(typed(Some("application/json; charset=utf-8"), &inner).unwrap(), media_type::OCI_INDEX);
        assert_eq!(typed(None, &inner).unwrap(), media_type::OCI_INDEX);
        assert!(matches!(typed(Some(media_type::OCI_MANIFEST), &inner), Err(Error::Nonsense { .. })));
        assert!(matches!(typed(None, "[not json"), Err(Error::Nonsense { .. })));
        let old = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        assert!(matches!(typed(Some(old), "{}"), Err(Error::OldManifest { .. })));
    }
}
