//! The API on a real socket, with real rooms behind it and no container.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod reference;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tare_container::{Config, Defaults, Engine};
use tare_docker::{Daemon, Rooms};
use tare_http::Listener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A daemon without containers, which ends with the test.
struct Api {
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

/// What came back.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Api {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let router = tare_docker::router(rooms(directory.path()).await);
        let listener = Listener::unix(&socket, None).unwrap();
        tokio::spawn(tare_http::serve(vec![listener], router, || (), std::future::pending()));
        Self { socket, _directory: directory }
    }

    /// One request on a connection of its own.
    async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.ask_as(method, path, body, "application/json").await
    }

    async fn ask_as(&self, method: &str, path: &str, body: Option<&str>, content_type: &str) -> Answer {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        let framing =
            body.map(|body| format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len()));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n{}\r\n",
            framing.unwrap_or_default()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.unwrap_or_default().as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        read.unwrap_or_else(|_| panic!("{method} {path} does not end")).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) =
            answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: {answer:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }
}

impl Answer {
    fn message(&self) -> String {
        let json: serde_json::Value =
            serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{:?}", self.body));
        json["message"].as_str().unwrap_or_default().to_owned()
    }
}

async fn rooms(directory: &Path) -> Rooms {
    let (data_root, exec_root) = (directory.join("data"), directory.join("exec"));
    std::fs::create_dir_all(&data_root).unwrap();
    std::fs::create_dir_all(&exec_root).unwrap();
    let store = tare_store::Store::open(&data_root.join("tare.redb")).unwrap();
    let snapshots = tare_snapshot::Snapshots::open(&data_root.join("snapshots"), Arc::clone(&store)).unwrap();
    let registry = tare_registry::Registry::new(tare_registry::Config::default()).unwrap();
    let content = data_root.join("content");
    let images =
        tare_image::Images::open(&content, Arc::clone(&store), Arc::clone(&snapshots), Arc::clone(&registry));
    let images = images.await.unwrap();
    let networks =
        tare_network::Networks::open(tare_network::Config::default(), Arc::clone(&store), &exec_root)
            .await
            .unwrap();
    let volumes = tare_volume::Volumes::open(&data_root.join("volumes"), Arc::clone(&store)).unwrap();
    let config = Config {
        data_root: data_root.clone(),
        exec_root,
        runtime: "/bin/true".into(),
        init: "/bin/true".into(),
        defaults: Defaults::default(),
    };
    let below = tare_container::Rooms {
        store: Arc::clone(&store),
        snapshots,
        images: Arc::clone(&images),
        networks: Arc::clone(&networks),
        volumes: Arc::clone(&volumes),
    };
    let engine = Engine::open(config, below).await.unwrap();
    let daemon =
        Daemon { version: "0.1.0".into(), data_root, cgroup_version: "1".into(), ..Daemon::default() };
    let builder = tare_build::Builder::open(
        Arc::clone(&engine),
        store,
        Arc::clone(&registry),
        tare_build::Entitlements::default(),
    )
    .unwrap();
    Rooms { engine, builder, images, networks, volumes, registry, daemon }
}
