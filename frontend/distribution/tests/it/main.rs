//! The distribution specification, one rule after the other: against our registry, and, where both do the same, against the
//! distribution project's own (Debian's `docker-registry`), so that the tests themselves are proven.
#![allow(clippy::unwrap_used)]

mod attack;
mod blobs;
mod gate;
mod manifests;
mod server;

use aws_lc_rs::digest::{SHA256, digest};
use server::{Answer, Server};

fn sha256(bytes: &[u8]) -> String {
    let hex: String = digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Pushes a blob and returns its descriptor as JSON.
async fn blob(server: &Server, name: &str, bytes: &[u8], kind: &str) -> String {
    let at = format!("/v2/{name}/blobs/uploads/");
    let begun = server.send("POST", &at, &[], b"").await;
    let to = begun.location();
    let join = if to.contains('?') { '&' } else { '?' };
    let put = server.send("PUT", &format!("{to}{join}digest={}", sha256(bytes)), &[], bytes).await;
    assert_eq!(put.status, 201, "{}", put.text());
    format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}}}"#, sha256(bytes), bytes.len())
}

/// A manifest of one layer, whose blobs are there.
async fn manifest(server: &Server, name: &str, salt: &str, more: &str) -> String {
    let text = format!("{{\"salt\":\"{salt}\"}}");
    let config = blob(server, name, text.as_bytes(), "application/vnd.oci.image.config.v1+json").await;
    let layer = blob(server, name, salt.as_bytes(), "application/vnd.oci.image.layer.v1.tar").await;
    format!(r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{layer}]{more}}}"#)
}

async fn put(server: &Server, name: &str, reference: &str, kind: &str, document: &str) -> Answer {
    let path = format!("/v2/{name}/manifests/{reference}");
    server.send("PUT", &path, &[("Content-Type", kind)], document.as_bytes()).await
}
