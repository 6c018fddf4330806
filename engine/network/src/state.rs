use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tare_model::Id;
use tare_netlink::Socket;
use tare_store::Store;

use crate::bridge::{self, Notices};
use crate::firewall::Firewall;
use crate::plan::{self, Names};
use crate::{Config, Endpoint, Error, Ipv4Net, Network, Result, records};

/// Everything that the verbs work on. Each lock is held for one step, never across an await; where two are held, in the
/// order of the fields.
pub(crate) struct State {
    pub(crate) names: Names,
    pub(crate) subnet: Ipv4Net,
    pub(crate) mtu: Option<u32>,
    pub(crate) networks: Vec<Network>,
    pub(crate) store: Arc<Store>,
    endpoints: Mutex<Endpoints>,
    links: Mutex<Links>,
    firewall: Mutex<Firewall>,
    notices: Mutex<Notices>,
}

/// Who has what.
pub(crate) struct Endpoints {
    pub(crate) last: Ipv4Addr,
    pub(crate) by_container: BTreeMap<Id, Endpoint>,
    pub(crate) reserved: BTreeMap<Id, Vec<OwnedFd>>,
}

/// The way to the kernel's links, and the bridge's index once this daemon has seen to the bridge.
pub(crate) struct Links {
    pub(crate) socket: Socket,
    pub(crate) bridge: Option<u32>,
}

/// A panic elsewhere left no step half done that the next one could not see in the kernel.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    pub(crate) fn open(config: &Config, store: Arc<Store>, exec_root: &Path) -> Result<Self> {
        let names = plan::names(config)?;
        let mut socket =
            Socket::route().map_err(|cause| Error::Kernel { what: "opening rtnetlink".to_owned(), cause })?;
        let by_container = records::endpoints(&store)?;
        let mut default = records::network(&store, "bridge", "bridge")?;
        let subnet = subnet_for(config, &names, &default, &mut socket, by_container.is_empty())?;
        describe_bridge(&mut default, &names, subnet, config.mtu);
        let networks = vec![
            default,
            records::network(&store, "host", "host")?,
            records::network(&store, "none", "null")?,
        ];
        records::save_networks(&store, &networks)?;
        let last = records::last_address(&store, subnet)?;
        Ok(Self {
            subnet,
            mtu: config.mtu,
            networks,
            endpoints: Mutex::new(Endpoints { last, by_container, reserved: BTreeMap::new() }),
            links: Mutex::new(Links { socket, bridge: None }),
            firewall: Mutex::new(Firewall::new(names.clone(), subnet)?),
            notices: Mutex::new(Notices::open(exec_root)),
            names,
            store,
        })
    }

    pub(crate) fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        locked(&self.endpoints)
    }

    pub(crate) fn links(&self) -> MutexGuard<'_, Links> {
        locked(&self.links)
    }

    pub(crate) fn firewall(&self) -> MutexGuard<'_, Firewall> {
        locked(&self.firewall)
    }

    pub(crate) fn notices(&self) -> MutexGuard<'_, Notices> {
        locked(&self.notices)
    }

    pub(crate) fn endpoint(&self, container: &Id) -> Option<Endpoint> {
        self.endpoints().by_container.get(container).cloned()
    }

    /// The network of this name or id; `default` and nothing at all are the bridge.
    pub(crate) fn network(&self, name_or_id: &str) -> Result<&Network> {
        let name = if matches!(name_or_id, "" | "default") { "bridge" } else { name_or_id };
        if let Some(network) =
            self.networks.iter().find(|network| network.name == name || network.id.as_str() == name)
        {
            return Ok(network);
        }
        let mut starting = self.networks.iter().filter(|network| network.id.as_str().starts_with(name));
        match (starting.next(), starting.next()) {
            (Some(network), None) => Ok(network),
            (Some(_), Some(_)) => Err(Error::Ambiguous(name.to_owned())),
            (None, _) => Err(Error::NoNetwork(name.to_owned())),
        }
    }
}

/// What the bridge's subnet is: as configured, as the bridge that the administrator named has it, as it was before, or
/// the first free one. A remembered one that someone else routes by now is given up while no container lives on it.
fn subnet_for(
    config: &Config,
    names: &Names,
    known: &Network,
    socket: &mut Socket,
    unused: bool,
) -> Result<Ipv4Net> {
    if let Some(subnet) = config.subnet {
        return plan::with_gateway(subnet);
    }
    if !names.exclusive
        && let Some(present) = bridge::address_of(socket, &names.bridge)?
    {
        return plan::with_gateway(present);
    }
    let taken = bridge::routed_networks(socket, &names.bridge)?;
    match known.subnet {
        Some(before) if !unused || !taken.iter().any(|other| other.overlaps(&before)) => {
            plan::with_gateway(before)
        }
        _ => plan::choose_subnet(&config.instance, &taken),
    }
}

fn describe_bridge(network: &mut Network, names: &Names, subnet: Ipv4Net, mtu: Option<u32>) {
    network.subnet = Some(subnet);
    network.gateway = Some(subnet.address());
    network.options = [
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        ("com.docker.network.bridge.enable_icc", "true".to_owned()),
        ("com.docker.network.bridge.enable_ip_masquerade", "true".to_owned()),
        ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0".to_owned()),
        ("com.docker.network.bridge.name", names.bridge.clone()),
        ("com.docker.network.driver.mtu", mtu.unwrap_or(1500).to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
}
