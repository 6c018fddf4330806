use std::time::Duration;

use tare_model::{HasKind, Kind};
use tare_oci::image::media_type;
use tare_registry::{Config, Error, MANIFEST_LIMIT};

use crate::fake::{Answer, Fake, Manner};
use crate::{ada, impatient, reference, registry, registry_with, sha256};

const PATH: &str = "/v2/web/manifests/v1";

fn manifest() -> Answer {
    Answer::new(200, r#"{"schemaVersion":2}"#).header("Content-Type", media_type::OCI_MANIFEST)
}

#[tokio::test]
async fn a_manifest_comes_with_its_type_size_and_digest() {
    let fake = Fake::start().await;
    fake.always(PATH, manifest());
    let fetched = registry().manifest(&reference(&fake, "web:v1"), None).await.unwrap();
    assert_eq!(fetched.descriptor.media_type, media_type::OCI_MANIFEST);
    assert_eq!((fetched.descriptor.digest, fetched.descriptor.size), (sha256(&fetched.bytes), 19));
    let accept = &fake.asked()[0].headers["accept"];
    assert!(
        accept.contains(media_type::OCI_INDEX) && accept.contains(media_type::DOCKER_MANIFEST),
        "{accept}"
    );
}

#[tokio::test]
async fn a_manifest_that_is_not_what_its_digest_says_is_refused() {
    let fake = Fake::start().await;
    let digest = sha256(b"other");
    fake.always(PATH, manifest().header("Docker-Content-Digest", digest));
    fake.always(&format!("/v2/web/manifests/{digest}"), manifest());
    for name in ["web:v1".to_owned(), format!("web@{digest}"), format!("web:v1@{digest}")] {
        let error = registry().manifest(&reference(&fake, &name), None).await.unwrap_err();
        assert!(matches!(error, Error::Digest { expected, .. } if expected == digest), "{error}");
        assert_eq!(error.kind(), Kind::Corrupt);
    }
}

#[tokio::test]
async fn a_giant_manifest_is_not_read() {
    let fake = Fake::start().await;
    let giant = manifest().header("X", "y");
    let giant = Answer { body: vec![b' '; MANIFEST_LIMIT as usize + 1], ..giant };
    for manner in [Manner::Whole, Manner::Chunked, Manner::StallAfter(10)] {
        fake.always(PATH, giant.clone().manner(manner));
        let error = registry().manifest(&reference(&fake, "web:v1"), None).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{manner:?}: {error}");
    }
}

#[tokio::test]
async fn every_refusal_has_its_kind_and_words() {
    let fake = Fake::start().await;
    let web = format!("{}/web", fake.address);
    for (answer, kind, words) in [
        (
            Answer::refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            Kind::NotFound,
            format!("manifest for {web}:v1 not found: manifest unknown: manifest unknown"),
        ),
        (
            Answer::refusal(401, "UNAUTHORIZED", "authentication required"),
            Kind::Unauthorized,
            "unauthorized: authentication required".to_owned(),
        ),
        (
            Answer::refusal(403, "DENIED", "no"),
            Kind::NotFound,
            format!(
                "pull access denied for {web}, repository does not exist or may require 'docker login': denied: no"
            ),
        ),
        (
            Answer::refusal(429, "TOOMANYREQUESTS", "slow down"),
            Kind::Unavailable,
            "toomanyrequests: slow down".to_owned(),
        ),
        (
            Answer::new(500, "oops"),
            Kind::Unavailable,
            format!("unexpected answer of the registry to manifest {web}:v1: status 500: oops"),
        ),
    ] {
        fake.always(PATH, answer);
        let error = registry().manifest(&reference(&fake, "web:v1"), None).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (kind, words));
    }
}

#[tokio::test]
async fn a_registry_that_is_busy_is_asked_again_a_few_times() {
    let fake = Fake::start().await;
    fake.once(PATH, Answer::new(503, ""));
    fake.once(PATH, Answer::new(429, "").header("Retry-After", "0"));
    fake.always(PATH, manifest());
    registry().manifest(&reference(&fake, "web:v1"), None).await.unwrap();
    assert_eq!(fake.count(PATH), 3);

    fake.always("/v2/web/manifests/v2", Answer::new(503, ""));
    registry().manifest(&reference(&fake, "web:v2"), None).await.unwrap_err();
    assert_eq!(fake.count("/v2/web/manifests/v2"), 3);

    fake.always("/v2/web/manifests/v3", Answer::new(429, "").header("Retry-After", "3600"));
    registry().manifest(&reference(&fake, "web:v3"), None).await.unwrap_err();
    assert_eq!(fake.count("/v2/web/manifests/v3"), 1);
}

#[tokio::test]
async fn a_registry_that_does_not_run_is_an_error_at_once() {
    let fake = Fake::start().await;
    let reference = reference(&fake, "web:v1");
    drop(fake);
    let error = registry().manifest(&reference, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().ends_with("\": connection refused"), "{error}");
}

#[tokio::test]
async fn a_registry_that_never_answers_is_an_error_in_time() {
    let fake = Fake::start().await;
    fake.always(PATH, manifest().manner(Manner::StallAfter(5)));
    let error =
        impatient(Duration::from_secs(1)).manifest(&reference(&fake, "web:v1"), None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
}

#[tokio::test]
async fn redirects_are_followed_but_not_for_ever_nor_anywhere() {
    let fake = Fake::start().await;
    fake.always(PATH, Answer::new(307, "").header("Location", "/elsewhere"));
    fake.always("/elsewhere", manifest());
    registry().manifest(&reference(&fake, "web:v1"), None).await.unwrap();

    for target in
        ["/elsewhere", "http://tokens.example/x", "file:///etc/passwd", "http://[::", "gopher://127.0.0.1/"]
    {
        fake.always("/elsewhere", Answer::new(302, "").header("Location", target));
        let error = registry().manifest(&reference(&fake, "web:v1"), None).await.unwrap_err();
        assert!(matches!(error, Error::Redirect { .. }), "{target}: {error}");
    }
    assert_eq!(fake.count("/elsewhere"), 1 + 5 + 4, "five hops and no more");
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_never_gets_the_credentials() {
    let mirror = Fake::start().await;
    mirror.always("/v2/library/web/manifests/v1", manifest());
    let registry = registry_with(Config { mirrors: vec![mirror.url("")], ..Config::default() });
    registry.manifest(&"web:v1".parse().unwrap(), Some(&ada())).await.unwrap();
    let asked = mirror.asked();
    assert!(asked.iter().all(|asked| !asked.headers.contains_key("authorization")), "{asked:?}");
}
