//! Clients that mean no good, or have bad luck.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tare_depot::Name;

use crate::server::Server;
use crate::sha256;

/// Sends bytes as they are and returns how the answer begins.
fn raw(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_do_not_lead_out() {
    let server = Server::ours();
    let digest = sha256(b"x");
    for name in [
        "..",
        "../..",
        "a/../../b",
        "a/./b",
        "%2e%2e",
        "a/%2e%2e%2f%2e%2e/b",
        "a%00b",
        "_tags",
        "A",
        "a/_blobs/b",
    ] {
        for path in [
            format!("/v2/{name}/blobs/{digest}"),
            format!("/v2/{name}/manifests/v1"),
            format!("/v2/{name}/tags/list"),
        ] {
            let answer =
                raw(&server, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
            let refused = answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 404");
            assert!(refused && answer.contains("errors"), "{path}: {answer}");
        }
        let answer = raw(
            &server,
            &format!(
                "POST /v2/{name}/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ),
        );
        assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 404"), "{name}: {answer}");
    }
    for id in ["..", "0123", "../../lock", &"a".repeat(32), &"g".repeat(32)] {
        let answer = server.get(&format!("/v2/a/blobs/uploads/{id}")).await;
        assert!(matches!(answer.status, 400 | 404), "{id}: {}", answer.status);
    }
    let from = server.send("POST", &format!("/v2/a/blobs/uploads/?mount={digest}&from=../b"), &[], b"").await;
    assert_eq!((from.status, from.code().as_str()), (400, "NAME_INVALID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_belongs_to_its_repository() {
    let server = Server::ours();
    let begun = server.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    let other = begun.location().replace("/v2/a/", "/v2/b/");
    for method in ["GET", "PATCH", "DELETE"] {
        assert_eq!(server.send(method, &other, &[], b"").await.status, 404, "{method}");
    }
    assert_eq!(server.get(&begun.location()).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_of_a_piece_that_was_cut_off_is_kept() {
    let server = Server::ours();
    let begun = server.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    {
        let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
        let head = format!("PATCH {} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", begun.location());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&[7; 400]).unwrap();
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let state = loop {
        let state = server.get(&begun.location()).await;
        if state.header("range") == "0-399" {
            break state;
        }
        assert!(std::time::Instant::now() < deadline, "{}", state.header("range"));
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let whole = [7; 1000];
    let sent = server.send("PATCH", &state.location(), &[("Content-Range", "400-999")], &whole[400..]).await;
    assert_eq!(sent.status, 202, "{}", sent.text());
    let done = server.send("PUT", &format!("{}?digest={}", begun.location(), sha256(&whole)), &[], b"").await;
    assert_eq!(done.status, 201, "{}", done.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_push_the_same_blob_at_the_same_time() {
    let server = std::sync::Arc::new(Server::ours());
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
    let digest = sha256(&bytes);
    let mut pushes = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (server, bytes, digest) = (server.clone(), bytes.clone(), digest.clone());
        pushes.spawn(async move {
            let path = format!("/v2/a{}/blobs/uploads/?digest={digest}", number % 4);
            server.send("POST", &path, &[], &bytes).await.status
        });
    }
    while let Some(status) = pushes.join_next().await {
        assert_eq!(status.unwrap(), 201);
    }
    for number in 0..4 {
        assert!(server.get(&format!("/v2/a{number}/blobs/{digest}")).await.body == bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_send_one_upload_do_not_mix_their_bytes() {
    let server = std::sync::Arc::new(Server::ours());
    let begun = server.send("POST", "/v2/a/blobs/uploads/", &[], b"").await;
    let bytes = vec![5_u8; 8 << 20];
    let mut both = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (server, at, bytes) = (server.clone(), begun.location(), bytes.clone());
        both.spawn(async move {
            server.send("PATCH", &at, &[("Content-Range", "0-8388607")], &bytes).await.status
        });
    }
    let mut statuses = Vec::new();
    while let Some(status) = both.join_next().await {
        statuses.push(status.unwrap());
    }
    statuses.sort_unstable();
    assert!(statuses[0] == 202 || statuses.iter().all(|status| *status >= 400), "{statuses:?}");
    let depot = server.depot.clone().unwrap();
    let id = begun.location().rsplit('/').next().unwrap().to_owned();
    let length = depot.status(&"a".parse::<Name>().unwrap(), &id).unwrap();
    assert!(length <= bytes.len() as u64, "{length}");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_get_an_answer_and_not_a_panic() {
    let server = Server::ours();
    let begun = server.send("POST", "/v2/a/blobs/uploads/", &[], b"").await.location();
    for range in ["x", "5-1", "-", "0-", "99999999999999999999-1", "0-18446744073709551615", "bytes 0-"] {
        let answer = server.send("PATCH", &begun, &[("Content-Range", range)], b"abc").await;
        assert!((400..500).contains(&answer.status), "{range}: {}", answer.status);
    }
    let short = server.send("PATCH", &begun, &[("Content-Range", "0-99")], b"abc").await;
    assert_eq!(short.status, 400);
    let missing = server.send("PUT", &begun, &[], b"").await;
    assert_eq!((missing.status, missing.code().as_str()), (400, "DIGEST_INVALID"));
    for digest in ["", "sha512:00", "sha256:xyz", "md5:1"] {
        let answer = server.send("PUT", &format!("{begun}?digest={digest}"), &[], b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"), "{digest}");
    }
    for (method, path) in
        [("PUT", "/v2/"), ("POST", "/v2/a/manifests/v1"), ("GET", "/"), ("GET", "/v1/search?q=a")]
    {
        let answer = server.send(method, path, &[], b"").await;
        assert!(matches!(answer.status, 404 | 405), "{method} {path}: {}", answer.status);
    }
    let tag = server.get("/v2/a/manifests/-bad").await;
    assert_eq!((tag.status, tag.code().as_str()), (400, "TAG_INVALID"));
}
