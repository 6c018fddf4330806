use http::Method;
use tare_docker_api::{Network, Volume, VolumeCreateRequest, VolumeList, VolumePrune};

use crate::address::Address;
use crate::error::Result;
use crate::transport::Client;

impl Client {
    /// `POST /volumes/create`
    pub async fn create_volume(&self, request: &VolumeCreateRequest) -> Result<Volume> {
        self.send_json(Method::POST, &Address::new("volumes").word("create"), request).await?.json().await
    }

    /// `GET /volumes`
    pub async fn volumes(&self, filters: Option<&str>) -> Result<VolumeList> {
        self.get(&Address::new("volumes").query_some("filters", filters)).await
    }

    /// `GET /volumes/{name}`, as the daemon wrote it.
    pub async fn inspect_volume_raw(&self, name: &str) -> Result<String> {
        self.text(&Address::new("volumes").name(name)).await
    }

    /// `DELETE /volumes/{name}`
    pub async fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        self.delete(&Address::new("volumes").name(name).flag("force", force)).await.map(drop)
    }

    /// `POST /volumes/prune`
    pub async fn prune_volumes(&self, filters: Option<&str>) -> Result<VolumePrune> {
        let address = Address::new("volumes").word("prune").query_some("filters", filters);
        self.send(Method::POST, &address).await?.json().await
    }

    /// `GET /networks`
    pub async fn networks(&self, filters: Option<&str>) -> Result<Vec<Network>> {
        self.get(&Address::new("networks").query_some("filters", filters)).await
    }

    /// `GET /networks/{id}`, as the daemon wrote it.
    pub async fn inspect_network_raw(&self, id: &str, verbose: bool) -> Result<String> {
        self.text(&Address::new("networks").name(id).flag("verbose", verbose)).await
    }
}
