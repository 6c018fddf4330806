//! What survives the daemon: the networks, and who has which endpoint.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tare_model::{Id, Timestamp};
use tare_store::{Batch, Store};

use crate::{Endpoint, Error, Ipv4Net, Network, Result};

const NETWORKS: &str = "networks";
const ENDPOINTS: &str = "endpoints";
const ADDRESSES: &str = "network-addresses";

/// Which address was given last.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct LastAddress {
    last: Ipv4Addr,
}

/// Reads the network of this name, or makes its record.
pub(crate) fn network(store: &Store, name: &str, driver: &str) -> Result<Network> {
    if let Some(network) = store.get(NETWORKS, name).map_err(Error::Store)? {
        return Ok(network);
    }
    Ok(Network {
        id: random_id()?,
        name: name.to_owned(),
        driver: driver.to_owned(),
        subnet: None,
        gateway: None,
        created: Timestamp::from(SystemTime::now()),
        options: BTreeMap::new(),
    })
}

/// Keeps the networks.
pub(crate) fn save_networks(store: &Store, networks: &[Network]) -> Result<()> {
    let mut batch = Batch::default();
    for network in networks {
        batch.put(NETWORKS, &network.name, network);
    }
    store.commit_blocking(batch).map_err(Error::Store)
}

/// Who has which endpoint. Records under keys that are no ids were not made by us and are left out.
pub(crate) fn endpoints(store: &Store) -> Result<BTreeMap<Id, Endpoint>> {
    let all = store.list::<Endpoint>(ENDPOINTS).map_err(Error::Store)?;
    Ok(all.into_iter().filter_map(|(key, endpoint)| Some((key.parse().ok()?, endpoint))).collect())
}

/// The address of `subnet` that was given last; the network's own where none was.
pub(crate) fn last_address(store: &Store, subnet: Ipv4Net) -> Result<Ipv4Addr> {
    let last = store.get::<LastAddress>(ADDRESSES, "bridge").map_err(Error::Store)?;
    Ok(last
        .map(|record| record.last)
        .filter(|last| subnet.contains(*last))
        .unwrap_or(subnet.network().address()))
}

/// Keeps an endpoint. Nobody waits: what the caller commits next is durable only after this.
pub(crate) fn save_endpoint(store: &Store, container: &Id, endpoint: &Endpoint) {
    let mut batch = Batch::default();
    batch.put(ENDPOINTS, container.as_str(), endpoint);
    if endpoint.has_address() {
        batch.put(ADDRESSES, "bridge", &LastAddress { last: endpoint.address });
    }
    store.commit_later(batch);
}

/// Forgets an endpoint.
pub(crate) fn forget_endpoint(store: &Store, container: &Id) {
    let mut batch = Batch::default();
    batch.delete(ENDPOINTS, container.as_str());
    store.commit_later(batch);
}

/// A new identifier.
pub(crate) fn random_id() -> Result<Id> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|_| Error::Worker)?;
    Ok(Id::from_random(bytes))
}
