use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tare_model::{HasKind, Kind};
use tare_oci::image::media_type;
use tare_registry::{BlobSource, Credentials, Error, Result, Upload, Uploaded};

use crate::fake::{Answer, Fake, Manner};
use crate::{ada, descriptor, impatient, reference, registry, sha256};

const UPLOADS: &str = "/v2/web/blobs/uploads/";
const SESSION: &str = "/v2/web/blobs/uploads/1";

fn content() -> Vec<u8> {
    b"0123456789".repeat(10_000)
}

fn source(bytes: Vec<u8>) -> BlobSource {
    Arc::new(move |offset| {
        let rest = bytes[usize::try_from(offset).unwrap()..].to_vec();
        let chunks: Vec<_> = rest.chunks(7000).map(Bytes::copy_from_slice).map(Ok).collect();
        stream::iter(chunks).boxed()
    })
}

fn what(fake: &Fake, credentials: Option<Credentials>) -> Upload {
    let bytes = content();
    let (reference, blob) = (reference(fake, "web:v1"), descriptor(&bytes));
    Upload { reference, blob, from: None, credentials, source: source(bytes) }
}

async fn upload(fake: &Fake) -> Result<Uploaded> {
    registry().upload(&what(fake, None)).await
}

/// A registry that opens sessions and takes whole blobs.
async fn willing() -> Fake {
    let fake = Fake::start().await;
    fake.always(UPLOADS, Answer::new(202, "").header("Location", SESSION));
    fake.always(SESSION, Answer::new(201, ""));
    fake
}

fn said(fake: &Fake) -> Vec<String> {
    fake.asked()
        .iter()
        .map(|asked| format!("{} {}", asked.method, asked.path.split('?').next().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_blob_is_sent_in_one_piece_with_its_digest() {
    let fake = willing().await;
    fake.once(UPLOADS, Answer::new(202, "").header("Location", format!("{}?state=x%2Fy", fake.url(SESSION))));
    assert_eq!(upload(&fake).await.unwrap(), Uploaded::Sent);
    assert_eq!(said(&fake), [format!("POST {UPLOADS}"), format!("PUT {SESSION}")]);
    let sent = &fake.asked()[1];
    assert!(sent.body.as_bytes() == content());
    let digest = sha256(&content()).to_string().replace(':', "%3A");
    assert_eq!(sent.path, format!("{SESSION}?state=x%2Fy&digest={digest}"));
}

#[tokio::test]
async fn an_empty_blob_is_sent_too() {
    let fake = willing().await;
    let blob = descriptor(b"");
    let empty = Upload { blob, source: source(Vec::new()), ..what(&fake, None) };
    assert_eq!(registry().upload(&empty).await.unwrap(), Uploaded::Sent);
}

#[tokio::test]
async fn whether_a_blob_is_there_is_asked_without_fetching_it() {
    let fake = Fake::start().await;
    let digest = sha256(b"x");
    fake.once(&format!("/v2/web/blobs/{digest}"), Answer::new(200, ""));
    let (registry, reference) = (registry(), reference(&fake, "web:v1"));
    assert!(registry.has_blob(&reference, &digest, None).await.unwrap());
    assert!(!registry.has_blob(&reference, &digest, None).await.unwrap());
    assert!(fake.asked().iter().all(|asked| asked.method == "HEAD"));
}

#[tokio::test]
async fn a_blob_of_another_repository_is_mounted() {
    let fake = willing().await;
    fake.once(UPLOADS, Answer::new(201, ""));
    let from = Some(reference(&fake, "library/base"));
    let mounted = registry().upload(&Upload { from, ..what(&fake, None) }).await.unwrap();
    assert_eq!((mounted, fake.asked().len()), (Uploaded::Mounted, 1));
    let digest = sha256(&content()).to_string().replace(':', "%3A");
    assert_eq!(fake.asked()[0].path, format!("{UPLOADS}?mount={digest}&from=library%2Fbase"));
}

#[tokio::test]
async fn what_cannot_be_mounted_is_sent() {
    for refusal in [Answer::new(202, "").header("Location", SESSION), Answer::refusal(403, "DENIED", "no")] {
        let fake = willing().await;
        fake.once(UPLOADS, refusal);
        let from = Some(reference(&fake, "library/base"));
        let sent = registry().upload(&Upload { from, ..what(&fake, None) }).await.unwrap();
        assert_eq!((sent, fake.count(SESSION)), (Uploaded::Sent, 1));
    }
}

#[tokio::test]
async fn a_registry_that_wants_pieces_gets_pieces() {
    let fake = willing().await;
    fake.once(SESSION, Answer::new(413, ""));
    fake.once(
        SESSION,
        Answer::new(202, "").header("Location", "/v2/web/blobs/uploads/2?p=1").header("Range", "0-99999"),
    );
    fake.always("/v2/web/blobs/uploads/2", Answer::new(201, ""));
    upload(&fake).await.unwrap();
    let asked = fake.asked();
    let methods: Vec<_> = asked.iter().map(|asked| asked.method.as_str()).collect();
    assert_eq!(methods, ["POST", "PUT", "POST", "PATCH", "PUT"]);
    assert_eq!(asked[3].headers["content-range"], "0-99999");
    assert!(asked[3].body.as_bytes() == content() && asked[4].body.is_empty());
    assert!(asked[4].path.starts_with("/v2/web/blobs/uploads/2?p=1&digest=sha256"));
}

#[tokio::test]
async fn an_upload_that_broke_off_goes_on_where_the_registry_says() {
    let fake = willing().await;
    fake.once(SESSION, Answer::new(0, "").manner(Manner::HangUp));
    fake.once(SESSION, Answer::new(204, "").header("Location", SESSION).header("Range", "0-39999"));
    fake.once(SESSION, Answer::new(202, "").header("Location", SESSION).header("Range", "0-99999"));
    assert_eq!(upload(&fake).await.unwrap(), Uploaded::Sent);
    let asked = fake.asked();
    let methods: Vec<_> = asked.iter().map(|asked| asked.method.as_str()).collect();
    assert_eq!(methods, ["POST", "PUT", "GET", "PATCH", "PUT"]);
    assert_eq!(asked[3].headers["content-range"], "40000-99999");
    assert!(asked[3].body.as_bytes() == &content()[40_000..]);
}

#[tokio::test]
async fn a_session_that_the_registry_has_forgotten_begins_anew() {
    let fake = willing().await;
    fake.once(SESSION, Answer::new(503, ""));
    fake.once(SESSION, Answer::refusal(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown"));
    assert_eq!(upload(&fake).await.unwrap(), Uploaded::Sent);
    let methods: Vec<_> = fake.asked().iter().map(|asked| asked.method.clone()).collect();
    assert_eq!(methods, ["POST", "PUT", "GET", "POST", "PUT"]);
}

#[tokio::test]
async fn a_registry_that_breaks_every_upload_is_an_error_in_the_end() {
    let fake = willing().await;
    fake.always(SESSION, Answer::new(0, "").manner(Manner::HangUp));
    let error = upload(&fake).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(fake.count(SESSION) < 20, "{}", fake.count(SESSION));
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_an_error_in_time() {
    let fake = willing().await;
    fake.always(SESSION, Answer::new(201, "x").manner(Manner::Silent));
    // The end of an upload has ten times as long.
    let error = impatient(Duration::from_millis(200)).upload(&what(&fake, None)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
}

#[tokio::test]
async fn an_upload_goes_on_at_the_same_host_only() {
    let (fake, other) = (Fake::start().await, willing().await);
    for location in
        [other.url(SESSION), format!("http://ada@{}{SESSION}", fake.address), "ftp://x/".to_owned()]
    {
        fake.always(UPLOADS, Answer::new(202, "").header("Location", &location));
        let error = upload(&fake).await.unwrap_err();
        assert!(matches!(error, Error::Redirect { .. }), "{location}: {error}");
    }
    fake.always(UPLOADS, Answer::new(202, ""));
    assert!(matches!(upload(&fake).await.unwrap_err(), Error::Nonsense { .. }));
    fake.always(UPLOADS, Answer::new(307, "").header("Location", other.url(UPLOADS)));
    assert!(matches!(upload(&fake).await.unwrap_err(), Error::Redirect { .. }));
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn a_registry_that_got_something_else_is_not_believed() {
    let fake = willing().await;
    fake.always(SESSION, Answer::new(201, "").header("Docker-Content-Digest", sha256(b"else")));
    let error = upload(&fake).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    fake.always(SESSION, Answer::refusal(400, "DIGEST_INVALID", "provided digest did not match"));
    let error = upload(&fake).await.unwrap_err();
    assert!(error.to_string().ends_with("status 400: provided digest did not match"), "{error}");
}

#[tokio::test]
async fn content_that_cannot_be_read_is_our_own_fault() {
    let fake = willing().await;
    let source: BlobSource = Arc::new(|_| stream::iter([Err(std::io::Error::other("bad sector"))]).boxed());
    let error = registry().upload(&Upload { source, ..what(&fake, None) }).await.unwrap_err();
    assert!(matches!(&error, Error::Source { cause, .. } if cause == "bad sector"), "{error}");
}

#[tokio::test]
async fn a_token_for_pushing_is_fetched_and_used_for_every_step() {
    let fake = willing().await;
    let challenge = format!("Bearer realm=\"{}\",service=\"reg\"", fake.url("/token"));
    fake.once(UPLOADS, Answer::new(401, "").header("WWW-Authenticate", challenge));
    fake.always("/token", Answer::new(200, r#"{"token":"abc","expires_in":300}"#));
    let registry = registry();
    registry.upload(&what(&fake, Some(ada()))).await.unwrap();
    let token = fake.asked()[1].clone();
    assert_eq!(token.path, "/token?service=reg&scope=repository%3Aweb%3Apull%2Cpush&account=ada");
    assert_eq!((&*fake.asked()[3].headers["authorization"], fake.count("/token")), ("Bearer abc", 1));
}

#[tokio::test]
async fn a_mount_asks_for_both_repositories() {
    let fake = willing().await;
    let challenge = format!("Bearer realm=\"{}\",service=\"reg\"", fake.url("/token"));
    fake.once(UPLOADS, Answer::new(401, "").header("WWW-Authenticate", challenge));
    fake.once(UPLOADS, Answer::new(201, ""));
    fake.always("/token", Answer::new(200, r#"{"token":"abc"}"#));
    let from = Some(reference(&fake, "base"));
    registry().upload(&Upload { from, ..what(&fake, None) }).await.unwrap();
    let scopes = "scope=repository%3Aweb%3Apull%2Cpush&scope=repository%3Abase%3Apull";
    assert!(fake.asked()[1].path.contains(scopes), "{:?}", fake.asked()[1]);
}

#[tokio::test]
async fn refusals_of_a_push_have_their_own_words() {
    for (answer, kind, words) in [
        (
            Answer::refusal(401, "UNAUTHORIZED", "authentication required"),
            Kind::Unauthorized,
            "unauthorized: authentication required",
        ),
        (Answer::refusal(403, "DENIED", "not yours"), Kind::Forbidden, "push access denied for "),
        (Answer::refusal(404, "NAME_UNKNOWN", "no such repository"), Kind::NotFound, "repository "),
    ] {
        let fake = Fake::start().await;
        fake.always(UPLOADS, answer);
        let error = upload(&fake).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with(words), "{error}");
        assert_eq!(fake.asked().len(), 1, "{error}");
    }
}

#[tokio::test]
async fn a_manifest_gets_its_name_and_must_arrive_as_it_is() {
    let fake = Fake::start().await;
    let (path, bytes) = ("/v2/web/manifests/v1", Bytes::from_static(b"{\"schemaVersion\":2}"));
    fake.once(path, Answer::new(503, ""));
    fake.once(path, Answer::new(201, "").header("Docker-Content-Digest", sha256(&bytes)));
    fake.always(path, Answer::new(201, "").header("Docker-Content-Digest", sha256(b"else")));
    let (registry, name) = (registry(), reference(&fake, "web:v1"));
    let digest = registry.put_manifest(&name, media_type::OCI_MANIFEST, bytes.clone(), None).await.unwrap();
    assert_eq!(digest, sha256(&bytes));
    let asked = &fake.asked()[1];
    assert_eq!((&*asked.method, &*asked.headers["content-type"]), ("PUT", media_type::OCI_MANIFEST));
    assert_eq!(asked.body.as_bytes(), &bytes[..]);
    let error = registry.put_manifest(&name, media_type::OCI_MANIFEST, bytes, None).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
}
