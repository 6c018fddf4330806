use http::Method;
use serde_json::Value;
use tare_docker_api::{AuthConfig, AuthResponse};

use crate::address::{API_VERSION, Address};
use crate::error::Result;
use crate::transport::{Client, Messages};

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct EventOptions {
    /// Seconds since 1970 or RFC 3339.
    pub since: Option<String>,
    /// Likewise.
    pub until: Option<String>,
    /// The API's filters, as JSON.
    pub filters: Option<String>,
}

impl Client {
    /// The version of the API that requests are made in.
    pub const API_VERSION: &str = API_VERSION;

    /// `GET /version`, as the daemon wrote it.
    pub async fn version_raw(&self) -> Result<Value> {
        self.get(&Address::new("version")).await
    }

    /// `GET /info`, as the daemon wrote it.
    pub async fn info_raw(&self) -> Result<Value> {
        self.get(&Address::new("info")).await
    }

    /// `GET /events`: the stream of events.
    pub async fn events(&self, options: &EventOptions) -> Result<Messages> {
        let address = Address::new("events")
            .query_some("since", options.since.as_deref())
            .query_some("until", options.until.as_deref())
            .query_some("filters", options.filters.as_deref());
        Ok(self.send(Method::GET, &address).await?.messages())
    }

    /// `POST /auth`: whether a registry takes these credentials.
    pub async fn check_login(&self, credentials: &AuthConfig) -> Result<AuthResponse> {
        self.send_json(Method::POST, &Address::new("auth"), credentials).await?.json().await
    }
}
