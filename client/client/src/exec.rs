use http::Method;
use tare_docker_api::{ExecCreateRequest, ExecInspect, ExecStartRequest, IdResponse};

use crate::address::Address;
use crate::containers::sized;
use crate::error::{Error, Result};
use crate::transport::{Client, Hijacked};

fn session(id: &str, verb: &str) -> Address {
    Address::new("exec").name(id).word(verb)
}

impl Client {
    /// `POST /containers/{id}/exec`: prepares a session and gives its id.
    pub async fn create_exec(&self, container: &str, request: &ExecCreateRequest) -> Result<String> {
        let address = Address::new("containers").name(container).word("exec");
        let reply: IdResponse = self.send_json(Method::POST, &address, request).await?.json().await?;
        Ok(reply.id)
    }

    /// `POST /exec/{id}/start` in the background.
    pub async fn start_exec(&self, id: &str, request: &ExecStartRequest) -> Result<()> {
        self.send_json(Method::POST, &session(id, "start"), request).await?.bytes().await.map(drop)
    }

    /// `POST /exec/{id}/start`, connected to the session's streams.
    pub async fn attach_exec(&self, id: &str, request: &ExecStartRequest) -> Result<Hijacked> {
        let address = session(id, "start");
        let body = serde_json::to_value(request).map_err(|error| Error::answer(address.as_str(), &error))?;
        self.hijack(&address, Some(&body)).await
    }

    /// `POST /exec/{id}/resize`
    pub async fn resize_exec(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        self.post(&sized(session(id, "resize"), rows, columns)).await
    }

    /// `GET /exec/{id}/json`
    pub async fn inspect_exec(&self, id: &str) -> Result<ExecInspect> {
        self.get(&session(id, "json")).await
    }
}
