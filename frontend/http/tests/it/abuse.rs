//! Clients that mean no good, or know no better.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Server, read_to_end, read_until};

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let one = "GET /hello/1 HTTP/1.1\r\nHost: x\r\n\r\n";
    let two = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    let three = "GET /hello/3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = server.exchange(&format!("{one}{two}{three}")).await;
    let at = |text| answer.find(text).unwrap_or_else(|| panic!("{text} in {answer}"));
    assert!(at("hello 1") < at("abc") && at("abc") < at("hello 3"));
}

#[tokio::test]
async fn paths_with_tricks_are_refused() {
    let server = Server::start();
    for path in [
        "//hello/a",
        "/hello/../echo",
        "/hello/%2e%2e/a",
        "/hello//a",
        "/hello/a/",
        "/hello/%00",
        "/hello/%zz",
    ] {
        let answer =
            server.exchange(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
    let answer = server.exchange("GET /hello/a%2Fb HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with("hello a/b"), "{answer}");
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let server = Server::start();
    for nonsense in
        ["\x16\x03\x01\x02", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let answer = server.exchange(nonsense).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{nonsense:?}: {answer}");
    }
    let smuggled = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd";
    assert!(server.exchange(smuggled).await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn giant_heads_are_cut_off() {
    let server = Server::start();
    let long = "a".repeat(300_000);
    let many = "a: b\r\n".repeat(500);
    for head in [format!("x: {long}\r\n"), many] {
        let mut stream = server.connect().await;
        let request = format!("GET /hello/a HTTP/1.1\r\nHost: x\r\n{head}\r\n");
        let _ = stream.write_all(request.as_bytes()).await; // the server may hang up in the middle
        let answer = read_to_end(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused() {
    let server = Server::start();
    for framing in ["Content-Length: 5000\r\n\r\n".to_owned() + &"a".repeat(5000), chunked(5000)] {
        let mut stream = server.connect().await;
        let request = format!("POST /echo HTTP/1.1\r\nHost: x\r\n{framing}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "larger than 1000 bytes").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

/// The head arrives, is refused by its path alone, and the body comes later: it must not break the client's pipe.
#[tokio::test]
async fn a_body_that_nobody_wanted_is_taken_and_the_reply_is_read() {
    let server = Server::start();
    let mut stream = server.connect().await;
    stream.write_all(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
    stream.write_all(&vec![b'a'; 300_000]).await.unwrap();
    stream.write_all(b"GET /hello/again HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut stream, "hello again").await;
}

#[tokio::test]
async fn a_body_that_is_streamed_may_be_long_broken_off_or_unwanted() {
    let server = Server::start();
    for framing in ["Content-Length: 200000\r\n\r\n".to_owned() + &"a".repeat(200_000), chunked(200_000)] {
        let mut stream = server.connect().await;
        stream.write_all(format!("POST /count HTTP/1.1\r\nHost: x\r\n{framing}").as_bytes()).await.unwrap();
        read_until(&mut stream, "200000 bytes.").await;
    }
    let half = "POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf";
    let answer = server.exchange(half).await;
    assert!(answer.contains("cannot be read"), "{answer}");
    // Whoever reads no further says so while the client is still sending.
    let mut stream = server.connect().await;
    let head = "POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 3000004\r\n\r\nstop";
    stream.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut stream, "0 bytes.").await;
    stream.write_all(&vec![b'a'; 3_000_000]).await.unwrap();
}

fn chunked(length: usize) -> String {
    format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{}\r\n0\r\n\r\n", "a".repeat(length))
}

#[tokio::test]
async fn a_panic_hurts_nobody_else() {
    let server = Server::start();
    let mut stream = server.connect().await;
    stream.write_all(b"POST /panic HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = read_until(&mut stream, "report it").await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    stream.write_all(b"GET /hello/again HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut stream, "hello again").await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_dribbles_in_is_given_up() {
    let server = Server::start();
    let mut stream = server.connect().await;
    stream.write_all(b"GET /hello/a HTTP/1.1\r\nHost: ").await.unwrap();
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let _ = stream.write_all(b"x").await;
    }
    let answer = read_to_end(&mut stream).await;
    assert!(!answer.contains("hello"), "{answer}");
}
