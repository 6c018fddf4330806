use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tare_model::{HasKind, Kind};
use tare_registry::{Error, Registry, Result};

use crate::fake::{Answer, Fake, Manner};
use crate::{ada, descriptor, impatient, reference, registry};

fn content() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn path(bytes: &[u8]) -> String {
    format!("/v2/web/blobs/{}", descriptor(bytes).digest)
}

async fn read(registry: &Arc<Registry>, fake: &Fake, bytes: &[u8], offset: u64) -> Result<Vec<u8>> {
    let mut stream =
        registry.blob(&reference(fake, "web:v1"), &descriptor(bytes), Some(&ada()), offset).await?;
    let mut read = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk: Bytes = chunk?;
        read.extend_from_slice(&chunk);
    }
    Ok(read)
}

#[tokio::test]
async fn a_blob_comes_whole_and_from_an_offset() {
    let (fake, bytes) = (Fake::start().await, content());
    for manner in [Manner::Whole, Manner::Ranges, Manner::Chunked] {
        fake.always(&path(&bytes), Answer::new(200, bytes.clone()).manner(manner));
        for offset in [0, 1, 77_777, bytes.len()] {
            let read = read(&registry(), &fake, &bytes, offset as u64).await.unwrap();
            assert!(read == bytes[offset..], "{manner:?} from {offset}");
        }
    }
}

#[tokio::test]
async fn a_blob_that_is_cut_off_is_taken_up_where_it_broke() {
    let (fake, bytes) = (Fake::start().await, content());
    fake.once(&path(&bytes), Answer::new(200, bytes.clone()).manner(Manner::CutAfter(50_000)));
    fake.once(&path(&bytes), Answer::new(503, ""));
    fake.always(&path(&bytes), Answer::new(200, bytes.clone()).manner(Manner::Ranges));
    assert!(read(&registry(), &fake, &bytes, 0).await.unwrap() == bytes);
    assert_eq!(fake.asked().last().unwrap().headers["range"], "bytes=50000-");
}

#[tokio::test]
async fn a_registry_without_ranges_is_read_again_from_the_start() {
    let (fake, bytes) = (Fake::start().await, content());
    fake.once(&path(&bytes), Answer::new(200, bytes.clone()).manner(Manner::CutAfter(50_000)));
    fake.always(&path(&bytes), Answer::new(200, bytes.clone()));
    assert!(read(&registry(), &fake, &bytes, 0).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_registry_that_stops_half_way_again_and_again_is_an_error() {
    let (fake, bytes) = (Fake::start().await, content());
    fake.always(&path(&bytes), Answer::new(200, bytes.clone()).manner(Manner::CutAfter(1000)));
    let error = read(&registry(), &fake, &bytes, 0).await.unwrap_err();
    assert!(matches!(error, Error::Interrupted { received: 1000, expected: 400_000, .. }), "{error}");
    assert_eq!((error.kind(), fake.count(&path(&bytes))), (Kind::Unavailable, 3));
}

#[tokio::test]
async fn a_registry_that_falls_silent_is_an_error_in_time() {
    let (fake, bytes) = (Fake::start().await, content());
    fake.always(&path(&bytes), Answer::new(200, bytes.clone()).manner(Manner::StallAfter(1000)));
    let error = read(&impatient(Duration::from_secs(1)), &fake, &bytes, 0).await.unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_registry_that_drips_is_an_error_in_time() {
    let (fake, bytes) = (Fake::start().await, content());
    fake.always(&path(&bytes), Answer::new(200, bytes.clone()).manner(Manner::Drip));
    let error = read(&impatient(Duration::from_secs(1)), &fake, &bytes, 0).await.unwrap_err();
    assert!(matches!(error, Error::Slow { bytes: 1..200, .. }), "{error}");
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_blob_of_another_size_is_refused_and_not_asked_for_again() {
    let (fake, bytes) = (Fake::start().await, content());
    let (shorter, longer) = (bytes[..bytes.len() - 1].to_vec(), [&bytes[..], b"x"].concat());
    for wrong in [shorter, longer] {
        for manner in [Manner::Whole, Manner::Chunked] {
            fake.always(&path(&bytes), Answer::new(200, wrong.clone()).manner(manner));
            let before = fake.count(&path(&bytes));
            let error = read(&registry(), &fake, &bytes, 0).await.unwrap_err();
            assert!(matches!(error, Error::Size { expected: 400_000, .. }), "{manner:?}: {error}");
            assert_eq!((error.kind(), fake.count(&path(&bytes)) - before), (Kind::Corrupt, 1));
        }
    }
}

#[tokio::test]
async fn an_answer_with_another_range_is_refused() {
    let (fake, bytes) = (Fake::start().await, content());
    let part = |from: usize| Answer::new(206, bytes[from..].to_vec());
    for (asked, wrong) in [
        (5, part(10).header("Content-Range", "bytes 10-399999/400000")),
        (5, part(0).header("Content-Range", "bytes 0-399999/400000")),
        (0, part(10).header("Content-Range", "bytes 10-399999/400000")),
        (5, part(5)),
        (5, part(5).header("Content-Range", "bytes */400000")),
        (5, part(5).header("Content-Range", "bytes -5-399999/400000")),
        (5, part(5).header("Content-Range", "bytes 18446744073709551621-399999/400000")),
    ] {
        fake.always(&path(&bytes), wrong.clone());
        let error = read(&registry(), &fake, &bytes, asked).await.unwrap_err();
        assert!(matches!(error, Error::Nonsense { .. }), "{asked} {:?}: {error}", wrong.headers);
    }
    // The right beginning of too few or too many bytes.
    for bytes_sent in [bytes[5..200].to_vec(), [&bytes[5..], b"more"].concat()] {
        let wrong = Answer::new(206, bytes_sent).header("Content-Range", "bytes 5-399999/400000");
        fake.always(&path(&bytes), wrong);
        let error = read(&registry(), &fake, &bytes, 5).await.unwrap_err();
        assert!(matches!(error, Error::Size { .. }), "{error}");
    }
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let (fake, store, bytes) = (Fake::start().await, Fake::start().await, content());
    fake.once(&path(&bytes), Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""));
    fake.always(
        &path(&bytes),
        Answer::new(307, "").header("Location", store.url("/bucket/blob?signature=1")),
    );
    store.always("/bucket/blob", Answer::new(200, bytes.clone()).manner(Manner::Ranges));
    assert!(read(&registry(), &fake, &bytes, 0).await.unwrap() == bytes);
    assert!(fake.asked().last().unwrap().headers.contains_key("authorization"));
    assert_eq!(store.asked().len(), 1);
    assert!(!store.asked()[0].headers.contains_key("authorization"), "{:?}", store.asked());
}

#[tokio::test]
async fn credentials_stay_away_even_when_a_redirect_leads_back() {
    let (fake, store, bytes) = (Fake::start().await, Fake::start().await, content());
    fake.once(&path(&bytes), Answer::new(401, "").header("WWW-Authenticate", "Basic realm=\"x\""));
    fake.always(&path(&bytes), Answer::new(307, "").header("Location", store.url("/away")));
    store.always("/away", Answer::new(307, "").header("Location", fake.url("/back")));
    fake.always("/back", Answer::new(200, bytes.clone()));
    assert!(read(&registry(), &fake, &bytes, 0).await.unwrap() == bytes);
    assert!(!fake.asked().last().unwrap().headers.contains_key("authorization"));
}

#[tokio::test]
async fn another_host_cannot_ask_for_credentials() {
    let (fake, store, bytes) = (Fake::start().await, Fake::start().await, content());
    fake.always(&path(&bytes), Answer::new(307, "").header("Location", store.url("/blob")));
    let realm = format!("Bearer realm=\"{}\"", store.url("/token"));
    store.always("/blob", Answer::new(401, "").header("WWW-Authenticate", realm));
    store.always("/token", Answer::new(200, r#"{"token":"x"}"#));
    let error = read(&registry(), &fake, &bytes, 0).await.unwrap_err();
    assert_eq!((error.kind(), store.count("/token")), (Kind::Unauthorized, 0));
    assert!(store.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
}

#[tokio::test]
async fn the_addresses_of_foreign_layers_are_never_followed() {
    let (fake, foreign, bytes) = (Fake::start().await, Fake::start().await, content());
    let mut descriptor = descriptor(&bytes);
    descriptor.urls = vec![foreign.url("/layer")];
    foreign.always("/layer", Answer::new(200, bytes));
    let result = registry().blob(&reference(&fake, "web:v1"), &descriptor, Some(&ada()), 0).await;
    assert_eq!(result.err().map(|e| e.kind()), Some(Kind::NotFound));
    assert!(foreign.asked().is_empty());
}
