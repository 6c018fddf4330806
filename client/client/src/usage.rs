use http::Method;
use tare_docker_api::{ContainerPrune, DiskUsage, ImagePrune, NetworkPrune};

use crate::address::Address;
use crate::error::Result;
use crate::transport::Client;

impl Client {
    /// `GET /system/df`
    pub async fn disk_usage(&self) -> Result<DiskUsage> {
        self.get(&Address::new("system").word("df")).await
    }

    /// `POST /containers/prune`
    pub async fn prune_containers(&self, filters: Option<&str>) -> Result<ContainerPrune> {
        let address = Address::new("containers").word("prune").query_some("filters", filters);
        self.send(Method::POST, &address).await?.json().await
    }

    /// `POST /images/prune`
    pub async fn prune_images(&self, filters: Option<&str>) -> Result<ImagePrune> {
        let address = Address::new("images").word("prune").query_some("filters", filters);
        self.send(Method::POST, &address).await?.json().await
    }

    /// `POST /networks/prune`: the names of those that are gone.
    pub async fn prune_networks(&self, filters: Option<&str>) -> Result<Vec<String>> {
        let address = Address::new("networks").word("prune").query_some("filters", filters);
        let pruned: NetworkPrune = self.send(Method::POST, &address).await?.json().await?;
        Ok(pruned.networks_deleted.unwrap_or_default())
    }
}
