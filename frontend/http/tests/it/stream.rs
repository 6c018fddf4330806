//! Replies that come piece by piece, and clients that leave.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use tare_http::{Reply, StatusCode};
use tokio::io::AsyncWriteExt;

use crate::{PATIENCE, Ring, Server, read_to_end, read_until};

/// One piece at once, and then nothing for ever.
pub(crate) fn follow(ring: Ring) -> Reply {
    let first = futures_util::stream::iter([Ok::<_, Infallible>("first\n".into())]);
    let never = futures_util::stream::pending().map(move |piece| {
        let _ = &ring;
        piece
    });
    Reply::stream(StatusCode::OK, "text/plain", first.chain(never))
}

#[tokio::test]
async fn head_and_first_piece_are_sent_at_once() {
    let server = Server::start();
    let mut stream = server.connect().await;
    stream.write_all(b"GET /follow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = read_until(&mut stream, "first\n").await;
    assert!(answer.contains("Transfer-Encoding: chunked"), "{answer}");
}

#[tokio::test]
async fn a_client_that_has_gone_takes_its_request_with_it() {
    let server = Server::start();
    for path in ["/hang", "/follow"] {
        let mut stream = server.connect().await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        if path == "/follow" {
            read_until(&mut stream, "first\n").await;
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(stream);
        tokio::time::timeout(PATIENCE, server.dropped.notified()).await.expect(path);
    }
}

#[tokio::test]
async fn a_client_that_only_closed_its_side_still_gets_its_reply() {
    let server = Server::start();
    let answer = server.exchange("GET /hello/you HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with("hello you"), "{answer}");

    let mut stream = server.connect().await;
    stream.write_all(b"GET /follow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    read_until(&mut stream, "first\n").await;
    let dropped = tokio::time::timeout(Duration::from_millis(200), server.dropped.notified()).await;
    assert!(dropped.is_err(), "a half-closed client still reads");
}

#[tokio::test]
async fn shutdown_cuts_followers_and_removes_the_socket() {
    let mut server = Server::start();
    let mut stream = server.connect().await;
    stream.write_all(b"GET /follow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut stream, "first\n").await;
    server.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(PATIENCE, &mut server.task).await.expect("serve ends").unwrap();
    assert!(!server.socket.exists());
    assert_eq!(read_to_end(&mut stream).await, "");
}
