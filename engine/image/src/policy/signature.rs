//! Signatures of images in cosign's form: a manifest under the tag `sha256-<hex>.sig`, or one that refers to the image's
//! (distribution-spec 1.1), whose layers are payloads of "simple signing" with their signatures as annotations.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tare_model::{Digest, HasKind, Kind, Reference, Timestamp};
use tare_oci::image::Descriptor;

use super::{Signed, Verdict};
use crate::document::{Document, Found};
use crate::pull::{PullRequest, fetch};
use crate::{Error, Images, Result, document};

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const TYPE: &str = "cosign container image signature";
/// A payload has some hundred bytes.
const PAYLOAD_LIMIT: u64 = 64 << 10;
/// The signature of one, as text.
const SIGNATURE_LIMIT: usize = 16 << 10;
/// Signatures of one image that are looked at.
const MOST: usize = 64;

/// That an image was signed, as it was seen when it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verified {
    /// `registry/repository` that it came from.
    pub(crate) repository: String,
    /// Of the key.
    pub(crate) fingerprint: String,
    pub(crate) at: Timestamp,
}

/// The signed document ("simple signing").
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    identity: Identity,
    image: Signee,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference", default)]
    reference: String,
}

#[derive(Deserialize)]
struct Signee {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

pub(super) fn name(reference: &Reference) -> String {
    format!("{}/{}", reference.domain(), reference.path())
}

pub(super) fn refused(reference: &Reference, why: impl Into<String>) -> Error {
    Error::Refused { reference: reference.familiar(), why: why.into() }
}

/// Judges what a pull has found, before anything of it is fetched. What was verified comes back, to be recorded.
pub(crate) async fn judge(
    images: &Arc<Images>,
    request: &PullRequest,
    found: &Found,
) -> Result<Option<Verified>> {
    let policy = images.policy();
    let signed = match policy.of(&request.reference) {
        Verdict::Accept => return Ok(None),
        Verdict::Reject => return Err(refused(&request.reference, "it does not accept this repository")),
        Verdict::Signed(signed) => signed,
    };
    // Who signs an index signs every manifest in it, as it holds their digests.
    let mut digests = vec![found.top];
    if found.manifest_digest != found.top {
        digests.push(found.manifest_digest);
    }
    let mut seen = 0;
    for digest in &digests {
        for signature in of(images, request, digest).await? {
            seen += 1;
            let fingerprint = match fits(images, request, signed, digest, &signature).await {
                Ok(fingerprint) => fingerprint,
                Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::NotFound) => None,
                Err(error) => return Err(error),
            };
            if let Some(fingerprint) = fingerprint {
                let (repository, at) = (name(&request.reference), std::time::SystemTime::now().into());
                return Ok(Some(Verified { repository, fingerprint, at }));
            }
        }
    }
    let why = match seen {
        0 => "it wants a signature, and there is none".to_owned(),
        _ => {
            format!("none of its {seen} signatures is one of the wanted keys for this image under this name")
        }
    };
    Err(refused(&request.reference, why))
}

/// All signatures of a manifest that the registry has.
async fn of(images: &Arc<Images>, request: &PullRequest, digest: &Digest) -> Result<Vec<Descriptor>> {
    let credentials = request.credentials.as_ref();
    let by_tag = request.reference.repository().with_tag(&format!("sha256-{}.sig", digest.hex()))?;
    let referrers = images.registry.referrers(&request.reference, digest, credentials).await?;
    let is_signature = |kind: &Option<String>| kind.as_deref().is_none_or(|kind| kind == ARTIFACT);
    let referring = referrers.into_iter().filter(|found| is_signature(&found.artifact_type));
    let referring =
        referring.take(MOST).map(|found| request.reference.repository().with_digest(found.digest));
    let mut signatures = Vec::new();
    for reference in std::iter::once(by_tag).chain(referring) {
        let fetched = match images.registry.manifest(&reference, credentials).await {
            Ok(fetched) => fetched,
            Err(error) if error.kind() == Kind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        let parsed = document::parse("signature", &fetched.descriptor.media_type, &fetched.bytes);
        if let Ok(Document::Manifest(manifest)) = parsed {
            let found = manifest.layers.into_iter().filter(|layer| layer.media_type == PAYLOAD);
            signatures.extend(found.map(slim).take(MOST - signatures.len()));
        }
        if signatures.len() == MOST {
            break;
        }
    }
    Ok(signatures)
}

/// A signature with nothing that is not looked at.
fn slim(mut layer: Descriptor) -> Descriptor {
    layer.annotations.retain(|name, text| name == SIGNATURE && text.len() <= SIGNATURE_LIMIT);
    layer.urls.clear();
    layer
}

/// The fingerprint of the key that made a signature, if it is a wanted one and signs this image under this name.
async fn fits(
    images: &Arc<Images>,
    request: &PullRequest,
    wanted: &Signed,
    digest: &Digest,
    signature: &Descriptor,
) -> Result<Option<String>> {
    let made = signature.annotations.get(SIGNATURE).and_then(|text| STANDARD.decode(text).ok());
    let Some(made) = made.filter(|_| signature.size <= PAYLOAD_LIMIT) else { return Ok(None) };
    let payload = fetch::blob(images, request, signature, "payload of a signature").await?;
    let Some(key) = wanted.keys.iter().find(|key| key.signed(&payload, &made)) else { return Ok(None) };
    let Ok(Payload { critical }) = serde_json::from_slice(&payload) else { return Ok(None) };
    let fits = critical.kind == TYPE
        && critical.image.digest == *digest
        && (wanted.any_name || names(&critical.identity.reference, &request.reference));
    Ok(fits.then(|| key.fingerprint()))
}

/// Whether a signature was made for this repository. Docker's own has two names.
fn names(signed: &str, reference: &Reference) -> bool {
    let signed = signed
        .strip_prefix("index.docker.io/")
        .map_or_else(|| signed.to_owned(), |rest| format!("docker.io/{rest}"));
    signed.parse::<Reference>().is_ok_and(|signed| name(&signed) == name(reference))
}
