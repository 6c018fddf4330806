//! The room on real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod abuse;
mod hijack;
mod listener;
mod stream;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tare_http::{Listener, Method, Reply, Request, Router, StatusCode, Upgraded, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};

/// How long what must come is waited for, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a socket of its own, which ends with the test.
struct Server {
    socket: PathBuf,
    /// Rung when a handler's future or body was dropped before its end.
    dropped: Arc<Notify>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("http.sock");
        let dropped = Arc::new(Notify::new());
        let listener = Listener::unix(&socket, None).unwrap();
        let (stop, stopped) = oneshot::channel();
        let router = routes(&dropped);
        let task = tokio::spawn(serve(vec![listener], router, || (), async move {
            let _ = stopped.await;
        }));
        Self { socket, dropped, stop: Some(stop), task, _directory: directory }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    /// Sends `request`, closes the sending direction, and gives all that comes back.
    async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        read_to_end(&mut stream).await
    }
}

async fn read_to_end(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("the server answers");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until `end` has come.
async fn read_until(stream: &mut UnixStream, end: &str) -> String {
    let mut answer = String::new();
    while !answer.contains(end) {
        let mut piece = [0; 1024];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut piece)).await;
        let length = read.expect("the server answers").unwrap();
        assert!(length > 0, "ended before {end:?}: {answer:?}");
        answer.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    answer
}

struct Ring(Arc<Notify>);

impl Drop for Ring {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn routes(dropped: &Arc<Notify>) -> Router {
    let mut router = Router::new();
    router.route(Method::GET, "/hello/{name...}", |request: Request| async move {
        Reply::bytes(StatusCode::OK, "text/plain", format!("hello {}", request.parameter("name")))
    });
    router.route(Method::POST, "/echo", |mut request: Request| async move {
        match request.body(1000).await {
            Ok(body) => Reply::bytes(StatusCode::OK, "text/plain", body),
            Err(refused) => Reply::bytes(StatusCode::BAD_REQUEST, "text/plain", refused.to_string()),
        }
    });
    router.route(Method::POST, "/count", |mut request: Request| async move {
        let (mut pieces, mut bytes) = (request.body_stream(), 0);
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) if piece.starts_with(b"stop") => break,
                Ok(piece) => bytes += piece.len(),
                Err(broken) => {
                    return Reply::bytes(StatusCode::BAD_REQUEST, "text/plain", broken.to_string());
                }
            }
        }
        Reply::bytes(StatusCode::OK, "text/plain", format!("{bytes} bytes."))
    });
    router.route(Method::POST, "/panic", |_| async { panic!("on purpose") });
    let bell = Arc::clone(dropped);
    router.route(Method::GET, "/hang", move |_| {
        let ring = Ring(Arc::clone(&bell));
        async move {
            let _ring = ring;
            std::future::pending::<Reply>().await
        }
    });
    let bell = Arc::clone(dropped);
    router.route(Method::GET, "/follow", move |_| {
        let ring = Ring(Arc::clone(&bell));
        async move { stream::follow(ring) }
    });
    router.route(Method::POST, "/raw", |request: Request| async move {
        Reply::hijack(request.wants_upgrade(), "application/x-raw", shout)
    });
    router
}

/// Answers everything in capitals, and says goodbye when the client has closed its side.
async fn shout(mut connection: Upgraded) {
    let mut piece = [0; 256];
    while let Ok(length @ 1..) = connection.read(&mut piece).await {
        piece[..length].make_ascii_uppercase();
        if connection.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
    let _ = connection.write_all(b"bye").await;
    connection.finish().await;
}
