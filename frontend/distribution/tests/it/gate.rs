//! Who may do what.

use base64::Engine as _;
use tare_distribution::{Gate, Passwords};

use crate::server::Server;
use crate::{MANIFEST, manifest, put};

fn passwords() -> Passwords {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("ada:{}\n", bcrypt::hash("s3cret", 4).unwrap())).unwrap();
    Passwords::open(file.path()).unwrap()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_passwords_nobody_passes_without_one() {
    let server = Server::with(Gate::with(passwords(), false), false);
    for path in ["/v2/", "/v2/a/manifests/v1", "/v2/a/tags/list", "/v2/_catalog", "/token"] {
        let nobody = server.get(path).await;
        assert_eq!((nobody.status, nobody.code().as_str()), (401, "UNAUTHORIZED"), "{path}");
        assert_eq!(nobody.header("www-authenticate"), "Basic realm=\"tare\"", "{path}");
    }
    for (user, password, status) in [
        ("ada", "s3cret", 200),
        ("ada", "s3cret", 200),
        ("ada", "wrong", 401),
        ("bob", "s3cret", 401),
        ("", "", 401),
    ] {
        let header = basic(user, password);
        let answer = server.send("GET", "/v2/", &[("Authorization", &header)], b"").await;
        assert_eq!(answer.status, status, "{user}:{password}");
    }
    for junk in ["Basic", "Basic !!!", "Basic YQ==", "Bearer x", "Digest x", ""] {
        assert_eq!(server.send("GET", "/v2/", &[("Authorization", junk)], b"").await.status, 401, "{junk}");
    }
    assert_eq!(server.send("POST", "/v2/a/blobs/uploads/", &[], b"").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_may_read_with_a_token_and_only_some_may_write() {
    let server = Server::with(Gate::with(passwords(), true), false);
    let ping = server.get("/v2/").await;
    assert!(
        ping.header("www-authenticate").starts_with("Bearer realm=\"http://127.0.0.1:"),
        "{}",
        ping.header("www-authenticate")
    );
    assert_eq!(ping.status, 401);
    let token = async |header: Option<String>| {
        let headers: Vec<(&str, &str)> =
            header.iter().map(|value| ("Authorization", value.as_str())).collect();
        let answer =
            server.send("GET", "/token?service=tare&scope=repository:a:pull,push", &headers, b"").await;
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        json["token"].as_str().map(|token| format!("Bearer {token}"))
    };
    let (nobodys, adas) = (token(None).await.unwrap(), token(Some(basic("ada", "s3cret"))).await.unwrap());
    assert_eq!(token(Some(basic("ada", "wrong"))).await, None);
    let ask = |header: String, method: &'static str, path: &'static str| {
        let server = &server;
        async move { server.send(method, path, &[("Authorization", &header)], b"").await.status }
    };
    assert_eq!(ask(nobodys.clone(), "GET", "/v2/").await, 200);
    assert_eq!(ask(nobodys.clone(), "GET", "/v2/a/tags/list").await, 404);
    assert_eq!(ask(nobodys, "POST", "/v2/a/blobs/uploads/").await, 401);
    assert_eq!(ask(adas, "POST", "/v2/a/blobs/uploads/").await, 202);
    // Those who never ask first read as well.
    assert_eq!(server.get("/v2/a/tags/list").await.status, 404);
    assert_eq!(ask("Bearer made-up".to_owned(), "GET", "/v2/a/tags/list").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_read_only_takes_nothing() {
    let server = Server::with(Gate::open(), true);
    for (method, path) in [
        ("POST", "/v2/a/blobs/uploads/"),
        ("PUT", "/v2/a/manifests/v1"),
        ("DELETE", "/v2/a/manifests/v1"),
        ("DELETE", "/v2/a/blobs/sha256:x"),
    ] {
        let answer = server.send(method, path, &[], b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "UNSUPPORTED"), "{method} {path}");
    }
    assert_eq!(server.get("/v2/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_browsers_show_are_never_made_of_what_was_pushed() {
    let server = Server::ours();
    let document = manifest(&server, "a", "one", "").await;
    put(&server, "a", "v1", MANIFEST, &document).await;
    let got = server.get("/v2/a/manifests/v1").await;
    assert_eq!(got.header("x-content-type-options"), "nosniff");
}
