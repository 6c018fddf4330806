use std::collections::BTreeMap;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use tare_docker_api::{AuthConfig, BuildPrune};
use tokio::sync::mpsc::Receiver;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::transport::{Client, Messages};

const REGISTRY_CONFIG: HeaderName = HeaderName::from_static("x-registry-config");

/// What `POST /build` is asked for beside the context.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// The query's parameters, in order; one may come several times.
    pub query: Vec<(&'static str, String)>,
    /// Passwords of registries, by the name under which they are kept.
    pub credentials: BTreeMap<String, AuthConfig>,
}

impl Client {
    /// `POST /build`: the stream of [`tare_docker_api::ProgressMessage`]s. The context is what comes out of `pieces`.
    pub async fn build(
        &self,
        request: &BuildRequest,
        pieces: Receiver<io::Result<Bytes>>,
    ) -> Result<Messages> {
        let address = request
            .query
            .iter()
            .fold(Address::new("build"), |address, (key, value)| address.query(key, value));
        let mut headers = Vec::new();
        if !request.credentials.is_empty() {
            headers.push((REGISTRY_CONFIG, registry_config(&request.credentials)?));
        }
        Ok(self.send_pieces(Method::POST, &address, &headers, "application/x-tar", pieces).await?.messages())
    }

    /// `POST /build/prune`. Sizes in bytes; `filters` as JSON.
    pub async fn prune_builds(&self, query: &[(&str, String)]) -> Result<BuildPrune> {
        let address = Address::new("build").word("prune");
        let address = query.iter().fold(address, |address, (key, value)| address.query(key, value));
        self.send(Method::POST, &address).await?.json().await
    }
}

fn registry_config(credentials: &BTreeMap<String, AuthConfig>) -> Result<HeaderValue> {
    let json = serde_json::to_vec(credentials).map_err(|error| Error::answer("X-Registry-Config", &error))?;
    let mut value = HeaderValue::from_str(&URL_SAFE.encode(json))
        .map_err(|error| Error::answer("X-Registry-Config", &error))?;
    value.set_sensitive(true);
    Ok(value)
}
