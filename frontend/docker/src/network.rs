//! Networks: what there is, and who is on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tare_docker_api::{Ipam, IpamConfig, Network as Wire, NetworkContainer, NetworkPrune};
use tare_http::{Reply, Request, StatusCode};
use tare_network::Network;

use crate::container::endpoint_of;
use crate::filter::{Filters, name_fits};
use crate::{Result, Rooms};

const KNOWN: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

/// `GET /networks`.
pub(crate) async fn list(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let filters = Filters::of(&request.query, &KNOWN)?;
    let dangling = filters.switch("dangling")?;
    let fits = |network: &Network| {
        filters.any("name", |pattern| name_fits(pattern, &network.name))
            && filters.any("id", |id| network.id.as_str().starts_with(id))
            && filters.any("driver", |driver| network.driver == driver)
            && filters.any("scope", |scope| scope == "local")
            && filters.any("type", |kind| kind == "builtin")
            && filters.labels(&BTreeMap::new())
            && dangling != Some(true)
    };
    let networks: Vec<Wire> =
        rooms.networks.list().iter().filter(|network| fits(network)).map(wire).collect();
    Ok(Reply::json(StatusCode::OK, &networks))
}

/// `GET /networks/{id}`.
pub(crate) async fn inspect(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let network = rooms.networks.get(request.parameter("id"))?;
    Ok(Reply::json(StatusCode::OK, &Wire { containers: containers(&rooms, &network), ..wire(&network) }))
}

/// `POST /networks/prune`. What there is are the daemon's own, which stay; `docker system prune` asks in between.
pub(crate) async fn prune(_: Arc<Rooms>, request: Request) -> Result<Reply> {
    Filters::of(&request.query, &["label", "label!", "until"])?.until()?;
    Ok(Reply::json(StatusCode::OK, &NetworkPrune::default()))
}

fn wire(network: &Network) -> Wire {
    let config = network.subnet.map(|subnet| IpamConfig {
        subnet: subnet.network().to_string(), // the daemon's own has the bridge's address in it
        gateway: network.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        ..IpamConfig::default()
    });
    Wire {
        name: network.name.clone(),
        id: network.id.to_string(),
        created: network.created.to_string(),
        scope: "local".to_owned(),
        driver: network.driver.clone(),
        enable_ipv4: true,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: None,
            config: Some(config.into_iter().collect()),
        },
        options: network.options.clone(),
        ..Wire::default()
    }
}

fn containers(rooms: &Rooms, network: &Network) -> BTreeMap<String, NetworkContainer> {
    let on_it = |container: Arc<tare_container::Container>| {
        let endpoint = endpoint_of(rooms, &container).filter(|endpoint| endpoint.network_id == network.id)?;
        let address = if endpoint.has_address() {
            format!("{}/{}", endpoint.address, endpoint.prefix)
        } else {
            String::new()
        };
        let shown = NetworkContainer {
            name: container.name.to_string(),
            endpoint_id: endpoint.id.to_string(),
            mac_address: endpoint.mac,
            ipv4_address: address,
            ipv6_address: String::new(),
        };
        Some((container.id.to_string(), shown))
    };
    rooms.engine.list().into_iter().filter_map(on_it).collect()
}
