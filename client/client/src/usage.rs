use http::Method;
use serde::Deserialize;
use tare_docker_api::{ContainerPrune, DiskUsage, ImagePrune};

use crate::address::Address;
use crate::error::Result;
use crate::transport::Client;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct NetworksPruned {
    networks_deleted: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct CachePruned {
    caches_deleted: Option<Vec<String>>,
    space_reclaimed: u64,
}

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
        let pruned: NetworksPruned = self.send(Method::POST, &address).await?.json().await?;
        Ok(pruned.networks_deleted.unwrap_or_default())
    }

    /// `POST /build/prune`: the ids of the records that are gone, and the bytes they had.
    pub async fn prune_build_cache(&self, filters: Option<&str>, all: bool) -> Result<(Vec<String>, u64)> {
        let address = Address::new("build").word("prune").query_some("filters", filters).flag("all", all);
        let pruned: CachePruned = self.send(Method::POST, &address).await?.json().await?;
        Ok((pruned.caches_deleted.unwrap_or_default(), pruned.space_reclaimed))
    }
}
