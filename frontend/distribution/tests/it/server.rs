//! A registry that a test speaks with.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tare_depot::Depot;
use tare_distribution::{Gate, Service, router};
use tare_http::Listener;

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    http: reqwest::Client,
    pub(crate) depot: Option<Arc<Depot>>,
    _root: tempfile::TempDir,
    _ends: Ends,
}

enum Ends {
    Task(tokio::task::JoinHandle<()>),
    Process(Child),
}

impl Drop for Ends {
    fn drop(&mut self) {
        match self {
            Self::Task(task) => task.abort(),
            Self::Process(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// What a registry answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The path and query of its Location.
    pub(crate) fn location(&self) -> String {
        let at = self.header("location");
        let rest =
            at.split_once("://").map_or(at, |(_, rest)| rest.find('/').map_or("", |slash| &rest[slash..]));
        rest.to_owned()
    }

    /// The specification's code of an error.
    pub(crate) fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        json["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn http() -> reqwest::Client {
    // Another test may have installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

impl Server {
    pub(crate) fn ours() -> Self {
        Self::with(Gate::open(), false)
    }

    pub(crate) fn with(gate: Gate, read_only: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        let depot = Arc::new(Depot::open(root.path()).unwrap());
        let listener = Listener::public("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let url = listener.address().replace("tcp://", "http://");
        let service = Service { depot: Arc::clone(&depot), gate, read_only, tls: false };
        let served = tare_http::serve(vec![listener], router(service), || (), std::future::pending());
        let ends = Ends::Task(tokio::spawn(served));
        Self { name: "ours", url, http: http(), depot: Some(depot), _root: root, _ends: ends }
    }

    /// The distribution project's; `None` where it is not installed.
    async fn theirs() -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        // A port that is free at this moment.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = root.path().join("config.yml");
        let store = root.path().join("store");
        std::fs::write(&config, format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n",
            store.display()
        )).unwrap();
        let child = spawn(&config)?;
        let url = format!("http://127.0.0.1:{port}");
        let server = Self {
            name: "docker-registry",
            url,
            http: http(),
            depot: None,
            _root: root,
            _ends: Ends::Process(child),
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while server.http.get(format!("{}/v2/", server.url)).send().await.is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(server)
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body.to_vec()).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer {
            status,
            headers,
            body: response.bytes().await.unwrap_or_else(|e| panic!("{} {path}: {e}", self.name)).to_vec(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await
    }
}

fn spawn(config: &Path) -> Option<Child> {
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().ok()
}

/// Ours, and theirs where it is installed.
pub(crate) async fn both() -> Vec<Server> {
    let theirs = Server::theirs().await;
    if theirs.is_none() {
        println!("skipped: needs docker-registry to compare with");
    }
    std::iter::once(Server::ours()).chain(theirs).collect()
}
