//! Connections that a handler takes over.

use tokio::io::AsyncWriteExt;

use crate::{Server, read_to_end, read_until};

#[tokio::test]
async fn with_upgrade_the_head_is_101_and_bytes_flow_both_ways() {
    let server = Server::start();
    let mut stream = server.connect().await;
    let head =
        "POST /raw HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{answer}");
    assert!(answer.contains("Connection: Upgrade\r\n") && answer.contains("Upgrade: tcp\r\n"), "{answer}");
    stream.write_all(b"one ").await.unwrap();
    assert_eq!(read_until(&mut stream, "ONE ").await, "ONE ");
    stream.write_all(b"two").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "TWObye");
}

#[tokio::test]
async fn without_upgrade_the_head_is_a_plain_200_without_framing() {
    let server = Server::start();
    let mut stream = server.connect().await;
    stream.write_all(b"POST /raw HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nContent-Type: application/x-raw\r\n\r\n");
    stream.write_all(b"abc").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "ABCbye");
}

#[tokio::test]
async fn bytes_sent_with_the_request_are_not_lost() {
    let server = Server::start();
    for upgrade in ["", "Connection: Upgrade\r\nUpgrade: tcp\r\n"] {
        let answer =
            server.exchange(&format!("POST /raw HTTP/1.1\r\nHost: x\r\n{upgrade}\r\nearly bird")).await;
        assert!(answer.ends_with("\r\n\r\nEARLY BIRDbye"), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_that_served_requests_can_still_be_taken_over() {
    let server = Server::start();
    let mut stream = server.connect().await;
    stream.write_all(b"GET /hello/a HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut stream, "hello a").await;
    stream.write_all(b"POST /raw HTTP/1.1\r\nHost: x\r\n\r\nx").await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(read_to_end(&mut stream).await.ends_with("Xbye"));
}
