//! Blobs: pushed in every way, pulled in whole and in part.

use crate::server::{Server, both};
use crate::sha256;

const UPLOADS: &str = "/v2/a/b/blobs/uploads/";

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_says_that_it_is_one() {
    for server in both().await {
        let answer = server.get("/v2/").await;
        assert_eq!((answer.status, answer.header("docker-distribution-api-version")), (200, "registry/2.0"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_pushed_with_post_and_put() {
    for server in both().await {
        let bytes = b"some bytes of a blob";
        let digest = sha256(bytes);
        let begun = server.send("POST", UPLOADS, &[], b"").await;
        assert_eq!(begun.status, 202, "{}", server.name);
        assert!(begun.location().starts_with("/v2/a/b/blobs/uploads/"), "{}", begun.location());
        let join = if begun.location().contains('?') { '&' } else { '?' };
        let put = server.send("PUT", &format!("{}{join}digest={digest}", begun.location()), &[], bytes).await;
        assert_eq!(
            (put.status, put.header("docker-content-digest")),
            (201, digest.as_str()),
            "{}",
            put.text()
        );
        assert_eq!(put.location(), format!("/v2/a/b/blobs/{digest}"));
        let path = format!("/v2/a/b/blobs/{digest}");
        let got = server.get(&path).await;
        assert_eq!((got.status, got.body.as_slice()), (200, &bytes[..]));
        assert_eq!(got.header("docker-content-digest"), digest);
        let head = server.send("HEAD", &path, &[], b"").await;
        assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "20", 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_pushed_with_one_post() {
    let server = Server::ours();
    let (bytes, other) = (b"all at once", b"something else");
    let whole = server.send("POST", &format!("{UPLOADS}?digest={}", sha256(bytes)), &[], bytes).await;
    assert_eq!(whole.status, 201, "{}", whole.text());
    assert_eq!(server.get(&format!("/v2/a/b/blobs/{}", sha256(bytes))).await.body, bytes);
    let lie = server.send("POST", &format!("{UPLOADS}?digest={}", sha256(other)), &[], b"a lie").await;
    assert_eq!((lie.status, lie.code().as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(server.get(&format!("/v2/a/b/blobs/{}", sha256(other))).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_pushed_in_pieces_and_taken_up() {
    for server in both().await {
        let (first, second) = (vec![1; 3000], vec![2; 1000]);
        let whole = [first.clone(), second.clone()].concat();
        let begun = server.send("POST", UPLOADS, &[("Content-Length", "0")], b"").await;
        let sent = server
            .send(
                "PATCH",
                &begun.location(),
                &[("Content-Range", "0-2999"), ("Content-Type", "application/octet-stream")],
                &first,
            )
            .await;
        assert_eq!((sent.status, sent.header("range")), (202, "0-2999"), "{}: {}", server.name, sent.text());
        let state = server.get(&sent.location()).await;
        assert_eq!((state.status, state.header("range")), (204, "0-2999"), "{}", server.name);
        // Debian's version takes a piece from anywhere.
        if server.depot.is_some() {
            let piece = [("Content-Range", "100-1099")];
            let wrong = server.send("PATCH", &state.location(), &piece, &second).await;
            assert_eq!((wrong.status, wrong.header("range")), (416, "0-2999"));
        }
        let sent = server.send("PATCH", &state.location(), &[("Content-Range", "3000-3999")], &second).await;
        assert_eq!((sent.status, sent.header("range")), (202, "0-3999"), "{}", server.name);
        let join = if sent.location().contains('?') { '&' } else { '?' };
        let done = server
            .send("PUT", &format!("{}{join}digest={}", sent.location(), sha256(&whole)), &[], b"")
            .await;
        assert_eq!(done.status, 201, "{}: {}", server.name, done.text());
        assert_eq!(server.get(&format!("/v2/a/b/blobs/{}", sha256(&whole))).await.body, whole);
        assert_eq!(server.get(&begun.location()).await.status, 404, "{}", server.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_lies_is_refused_and_an_upload_can_be_given_up() {
    for server in both().await {
        let begun = server.send("POST", UPLOADS, &[], b"").await;
        let join = if begun.location().contains('?') { '&' } else { '?' };
        let lie = server
            .send("PUT", &format!("{}{join}digest={}", begun.location(), sha256(b"x")), &[], b"y")
            .await;
        assert_eq!((lie.status, lie.code().as_str()), (400, "DIGEST_INVALID"), "{}", server.name);
        assert_eq!(server.get(&format!("/v2/a/b/blobs/{}", sha256(b"x"))).await.status, 404);
        assert_eq!(server.get(&format!("/v2/a/b/blobs/{}", sha256(b"y"))).await.status, 404);
        let begun = server.send("POST", UPLOADS, &[], b"").await;
        assert_eq!(server.send("DELETE", &begun.location(), &[], b"").await.status, 204, "{}", server.name);
        let gone = server.get(&begun.location()).await;
        assert_eq!((gone.status, gone.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"), "{}", server.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_mounted_from_another_repository() {
    for server in both().await {
        crate::blob(&server, "a/b", b"shared", "application/octet-stream").await;
        let digest = sha256(b"shared");
        assert_eq!(server.get(&format!("/v2/c/blobs/{digest}")).await.status, 404, "{}", server.name);
        let mounted =
            server.send("POST", &format!("/v2/c/blobs/uploads/?mount={digest}&from=a/b"), &[], b"").await;
        assert_eq!(mounted.status, 201, "{}: {}", server.name, mounted.text());
        assert_eq!(server.get(&format!("/v2/c/blobs/{digest}")).await.body, b"shared");
        let unknown = sha256(b"unknown");
        let opened =
            server.send("POST", &format!("/v2/c/blobs/uploads/?mount={unknown}&from=a/b"), &[], b"").await;
        assert_eq!(opened.status, 202, "{}", server.name);
        assert!(!opened.location().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_blob_are_read() {
    for server in both().await {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        crate::blob(&server, "a/b", &bytes, "application/octet-stream").await;
        let path = format!("/v2/a/b/blobs/{}", sha256(&bytes));
        for (range, part, shown) in [
            ("bytes=0-9", &bytes[..10], "bytes 0-9/200000"),
            ("bytes=199990-", &bytes[199_990..], "bytes 199990-199999/200000"),
            ("bytes=-5", &bytes[199_995..], "bytes 199995-199999/200000"),
        ] {
            let got = server.send("GET", &path, &[("Range", range)], b"").await;
            assert_eq!((got.status, got.header("content-range")), (206, shown), "{} {range}", server.name);
            assert!(got.body == part, "{} {range}", server.name);
        }
        // Debian's version cuts this answer short.
        if server.depot.is_some() {
            let beyond = server.send("GET", &path, &[("Range", "bytes=200000-")], b"").await;
            assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */200000"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_by_the_specifications_names() {
    for server in both().await {
        let digest = sha256(b"nothing");
        let blob = server.get(&format!("/v2/a/b/blobs/{digest}")).await;
        assert_eq!((blob.status, blob.code().as_str()), (404, "BLOB_UNKNOWN"), "{}", server.name);
        let head = server.send("HEAD", &format!("/v2/a/b/blobs/{digest}"), &[], b"").await;
        assert_eq!(head.status, 404);
        let tags = server.get("/v2/a/b/tags/list").await;
        assert_eq!((tags.status, tags.code().as_str()), (404, "NAME_UNKNOWN"), "{}", server.name);
        let manifest = server.get("/v2/a/b/manifests/v1").await;
        assert_eq!(manifest.status, 404, "{}", server.name);
    }
    let bad = Server::ours().get("/v2/a/b/blobs/sha256:nonsense").await;
    assert_eq!((bad.status, bad.code().as_str()), (400, "DIGEST_INVALID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_deleted_from_one_repository_only() {
    for server in both().await {
        for name in ["a/b", "c"] {
            crate::blob(&server, name, b"shared", "application/octet-stream").await;
        }
        let digest = sha256(b"shared");
        let gone = server.send("DELETE", &format!("/v2/a/b/blobs/{digest}"), &[], b"").await;
        assert_eq!(gone.status, 202, "{}", server.name);
        assert_eq!(server.get(&format!("/v2/a/b/blobs/{digest}")).await.status, 404, "{}", server.name);
        assert_eq!(server.get(&format!("/v2/c/blobs/{digest}")).await.status, 200, "{}", server.name);
        let again = server.send("DELETE", &format!("/v2/a/b/blobs/{digest}"), &[], b"").await;
        assert_eq!(again.status, 404, "{}", server.name);
    }
}
