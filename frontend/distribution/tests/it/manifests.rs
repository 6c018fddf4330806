//! Manifests, tags and referrers.

use crate::server::{Server, both};
use crate::{INDEX, MANIFEST, manifest, put, sha256};

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_found_by_tag_and_by_digest() {
    for server in both().await {
        let document = manifest(&server, "a/b", "one", "").await;
        let digest = sha256(document.as_bytes());
        let pushed = put(&server, "a/b", "v1", MANIFEST, &document).await;
        assert_eq!(
            (pushed.status, pushed.header("docker-content-digest")),
            (201, digest.as_str()),
            "{}",
            pushed.text()
        );
        assert!(!pushed.location().is_empty());
        for reference in ["v1", digest.as_str()] {
            let accept = [("Accept", MANIFEST)];
            let path = format!("/v2/a/b/manifests/{reference}");
            let got = server.send("GET", &path, &accept, b"").await;
            assert_eq!((got.status, got.text().as_str()), (200, document.as_str()), "{}", server.name);
            assert_eq!(
                (got.header("content-type"), got.header("docker-content-digest")),
                (MANIFEST, digest.as_str())
            );
            let head = server.send("HEAD", &path, &accept, b"").await;
            assert_eq!(
                (head.status, head.header("content-length")),
                (200, document.len().to_string().as_str())
            );
        }
        let by_digest = put(&server, "a/b", &digest, MANIFEST, &document).await;
        assert_eq!(by_digest.status, 201, "{}", server.name);
        let lie = put(&server, "a/b", &sha256(b"x"), MANIFEST, &document).await;
        assert_eq!((lie.status, lie.code().as_str()), (400, "DIGEST_INVALID"), "{}", server.name);
        let unknown = server.get("/v2/a/b/manifests/v2").await;
        assert_eq!((unknown.status, unknown.code().as_str()), (404, "MANIFEST_UNKNOWN"), "{}", server.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_manifest_names_has_to_be_there() {
    for server in both().await {
        let document = manifest(&server, "a/b", "one", "").await;
        let elsewhere = put(&server, "c", "v1", MANIFEST, &document).await;
        assert_eq!(
            (elsewhere.status, elsewhere.code().as_str()),
            (400, "MANIFEST_BLOB_UNKNOWN"),
            "{}",
            server.name
        );
        assert_eq!(put(&server, "a/b", "v1", MANIFEST, &document).await.status, 201);
        let inner = |digest: &str| {
            format!(
                r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{},"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#,
                document.len()
            )
        };
        let good = put(&server, "a/b", "all", INDEX, &inner(&sha256(document.as_bytes()))).await;
        assert_eq!(good.status, 201, "{}: {}", server.name, good.text());
        let bad = put(&server, "a/b", "all", INDEX, &inner(&sha256(b"nothing"))).await;
        assert_eq!((bad.status, bad.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"), "{}", server.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_lie_or_mean_two_things_are_refused() {
    let server = Server::ours();
    let document = manifest(&server, "a", "one", "").await;
    let both_kinds = document.replace("\"layers\"", "\"manifests\":[],\"layers\"");
    let size = document.replacen("\"size\":3", "\"size\":4", 1);
    assert_ne!(size, document);
    for (kind, text, status, code) in [
        (INDEX, document.as_str(), 400, "MANIFEST_INVALID"),
        ("application/vnd.docker.distribution.manifest.v2+json", &document, 400, "MANIFEST_INVALID"),
        (MANIFEST, &both_kinds, 400, "MANIFEST_INVALID"),
        (MANIFEST, &document.replace("\"schemaVersion\":2", "\"schemaVersion\":1"), 400, "MANIFEST_INVALID"),
        (MANIFEST, &size, 400, "SIZE_INVALID"),
        (MANIFEST, "{", 400, "MANIFEST_INVALID"),
        (MANIFEST, "", 400, "MANIFEST_INVALID"),
        ("text/plain", &document, 400, "MANIFEST_INVALID"),
    ] {
        let answer = put(&server, "a", "v1", kind, text).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{kind} {text}");
    }
    let giant = format!("{}{}", document, " ".repeat(5 << 20));
    let answer = put(&server, "a", "v1", MANIFEST, &giant).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_listed_in_order_and_page_by_page() {
    for server in both().await {
        let document = manifest(&server, "a/b", "one", "").await;
        for tag in ["b", "c", "a"] {
            put(&server, "a/b", tag, MANIFEST, &document).await;
        }
        let all = server.get("/v2/a/b/tags/list").await;
        let mut json: serde_json::Value = serde_json::from_slice(&all.body).unwrap();
        if server.depot.is_none() {
            // Debian's version has no order.
            json["tags"].as_array_mut().unwrap().sort_by_key(|tag| tag.to_string());
        }
        assert_eq!(
            (json["name"].as_str(), &json["tags"]),
            (Some("a/b"), &serde_json::json!(["a", "b", "c"]))
        );
        assert_eq!(all.header("link"), "");
        let catalog = server.get("/v2/_catalog").await;
        assert!(catalog.text().contains("\"a/b\""), "{}", server.name);
    }
    // Its version in Debian has no pages of tags.
    let server = Server::ours();
    let document = manifest(&server, "a/b", "one", "").await;
    for tag in ["b", "c", "a"] {
        put(&server, "a/b", tag, MANIFEST, &document).await;
    }
    let first = server.get("/v2/a/b/tags/list?n=2").await;
    assert!(first.text().contains(r#"["a","b"]"#), "{}", first.text());
    assert_eq!(first.header("link"), "</v2/a/b/tags/list?n=2&last=b>; rel=\"next\"");
    let second = server.get("/v2/a/b/tags/list?n=2&last=b").await;
    assert!(second.text().contains(r#"["c"]"#) && second.header("link").is_empty(), "{}", second.text());
    assert!(server.get("/v2/a/b/tags/list?n=0").await.text().contains("\"tags\":[]"));
    let bad = server.get("/v2/a/b/tags/list?n=many").await;
    assert_eq!((bad.status, bad.code().as_str()), (400, "PAGINATION_NUMBER_INVALID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_deleted_with_its_tags_and_a_tag_alone() {
    for server in both().await {
        let document = manifest(&server, "a/b", "one", "").await;
        put(&server, "a/b", "v1", MANIFEST, &document).await;
        put(&server, "a/b", "v2", MANIFEST, &document).await;
        let digest = sha256(document.as_bytes());
        if server.depot.is_some() {
            assert_eq!(server.send("DELETE", "/v2/a/b/manifests/v2", &[], b"").await.status, 202);
            assert_eq!(server.get("/v2/a/b/manifests/v2").await.status, 404);
            assert_eq!(server.get("/v2/a/b/manifests/v1").await.status, 200);
        }
        let gone = server.send("DELETE", &format!("/v2/a/b/manifests/{digest}"), &[], b"").await;
        assert_eq!(gone.status, 202, "{}", server.name);
        for reference in ["v1", digest.as_str()] {
            assert_eq!(
                server.get(&format!("/v2/a/b/manifests/{reference}")).await.status,
                404,
                "{}",
                server.name
            );
        }
        let again = server.send("DELETE", &format!("/v2/a/b/manifests/{digest}"), &[], b"").await;
        assert_eq!(again.status, 404, "{}", server.name);
    }
}

/// The referrers API is younger than Debian's docker-registry.
#[tokio::test(flavor = "multi_thread")]
async fn what_refers_to_a_manifest_is_listed() {
    let server = Server::ours();
    let subject = manifest(&server, "a", "subject", "").await;
    let (digest, length) = (sha256(subject.as_bytes()), subject.len());
    let about = |kind: &str| {
        format!(
            r#","artifactType":"{kind}","annotations":{{"k":"v"}},"subject":{{"mediaType":"{MANIFEST}","digest":"{digest}","size":{length}}}"#
        )
    };
    // The subject may come later.
    let signature = manifest(&server, "a", "signature", &about("example/signature")).await;
    let pushed = put(&server, "a", &sha256(signature.as_bytes()), MANIFEST, &signature).await;
    assert_eq!((pushed.status, pushed.header("oci-subject")), (201, digest.as_str()), "{}", pushed.text());
    let parts = manifest(&server, "a", "parts", &about("example/sbom")).await;
    assert_eq!(put(&server, "a", "parts", MANIFEST, &parts).await.status, 201);
    let list = async |path: String| {
        let answer = server.get(&path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, INDEX));
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let filtered = answer.header("oci-filters-applied").to_owned();
        (json["manifests"].as_array().unwrap().clone(), filtered)
    };
    let (all, _) = list(format!("/v2/a/referrers/{digest}")).await;
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|one| one["annotations"]["k"] == "v" && one["size"].is_u64()));
    let (some, filtered) = list(format!("/v2/a/referrers/{digest}?artifactType=example/sbom")).await;
    assert_eq!((some.len(), filtered.as_str()), (1, "artifactType"));
    assert_eq!(some[0]["digest"], sha256(parts.as_bytes()));
    let (none, _) = list(format!("/v2/a/referrers/{}", sha256(b"nobody"))).await;
    assert!(none.is_empty());
    server.send("DELETE", &format!("/v2/a/manifests/{}", sha256(parts.as_bytes())), &[], b"").await;
    assert_eq!(list(format!("/v2/a/referrers/{digest}")).await.0.len(), 1);
    // What a client has listed under the tag of old counts too.
    assert_eq!(
        put(&server, "a", "other", MANIFEST, &manifest(&server, "a", "other", "").await).await.status,
        201
    );
    let other = manifest(&server, "a", "other", "").await;
    let fallback = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"{MANIFEST}","digest":"{}","size":{}}}]}}"#,
        sha256(other.as_bytes()),
        other.len()
    );
    let tag = digest.replace(':', "-");
    assert_eq!(put(&server, "a", &tag, INDEX, &fallback).await.status, 201);
    assert_eq!(list(format!("/v2/a/referrers/{digest}")).await.0.len(), 2);
}

/// Many that refer to one manifest, with much to say, are listed page by page.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_referrers_is_as_long_as_can_be_read() {
    let server = Server::ours();
    let subject = sha256(b"subject");
    let about = |kind: &str, annotation: usize| {
        let annotation = "x".repeat(annotation);
        format!(
            r#","artifactType":"{kind}","annotations":{{"k":"{annotation}"}},"subject":{{"mediaType":"{MANIFEST}","digest":"{subject}","size":7}}"#
        )
    };
    for number in 0..160 {
        let length = if number == 0 { 3 << 20 } else { 15 << 10 };
        let document = manifest(&server, "a", &number.to_string(), &about("example/note", length)).await;
        assert_eq!(put(&server, "a", &sha256(document.as_bytes()), MANIFEST, &document).await.status, 201);
    }
    let (mut path, mut seen, mut pages) =
        (format!("/v2/a/referrers/{subject}?artifactType=example/note"), Vec::new(), 0);
    loop {
        let answer = server.get(&path).await;
        assert!(answer.status == 200 && answer.body.len() < 3 << 20, "{}", answer.body.len());
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        seen.extend(json["manifests"].as_array().unwrap().clone());
        pages += 1;
        let link = answer.header("link").to_owned();
        let Some((next, _)) = link.trim_start_matches('<').split_once('>') else { break };
        path = next.to_owned();
    }
    let bare = seen.iter().filter(|one| one.get("annotations").is_none()).count();
    assert_eq!((pages, seen.len(), bare), (2, 160, 1), "the long one's manifest has them");
    seen.dedup_by_key(|one| one["digest"].clone());
    assert_eq!(seen.len(), 160);
    let endless = manifest(&server, "a", "type", &about(&"x".repeat(20_000), 1)).await;
    let refused = put(&server, "a", "v1", MANIFEST, &endless).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "MANIFEST_INVALID"));
}
