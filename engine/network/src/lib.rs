//! # network: addresses, links and ports of containers
//!
//! - **Owns**: the daemon's bridge, its own nftables table, the endpoints' addresses and published ports.
//! - **In**: what a container asks of a network ([`EndpointRequest`]), and the process whose namespace gets the link.
//! - **Out**: an [`Endpoint`], configured in the kernel; texts for resolv.conf and hosts.
//! - **Leans on**: `netlink` for the kernel, `store` for what must survive the daemon.
//! - **Never**: touches another table, bridge or link than its own, starts a helper process, knows what a container is.
//! - **Invariant**: a port published on 127.0.0.1 is reached from this machine alone, and what is not published is not
//!   reached from outside of the bridge at all.

mod error;
mod files;
mod ipv4;
mod spec;

pub use error::Error;
pub use files::{DnsOverrides, extra_host, hostname_file, hosts_file, resolv_conf};
pub use ipv4::Ipv4Net;
pub use spec::{Config, Endpoint, EndpointRequest, Network, Port, PortRequest, Protocol};

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use tare_model::Id;
use tare_store::Store;

/// The networks of one daemon.
pub struct Networks {}

/// The room's own result.
pub type Result<T> = std::result::Result<T, Error>;

impl Networks {
    /// Reads what the store remembers. The kernel stays untouched until a container needs it.
    pub async fn open(_config: Config, _store: Arc<Store>, _exec_root: &Path) -> Result<Arc<Networks>> {
        panic!("stands soon")
    }

    /// Brings kernel and store to what the `live` containers need: links, ports and addresses of others go.
    pub async fn reconcile(&self, _live: &BTreeSet<Id>) -> Result<()> {
        panic!("stands soon")
    }

    /// All networks, by name.
    pub fn list(&self) -> Vec<Network> {
        panic!("stands soon")
    }

    /// The network of this name, id or unambiguous start of an id.
    pub fn get(&self, _name_or_id: &str) -> Result<Network> {
        panic!("stands soon")
    }

    /// Chooses and reserves the container's address and ports.
    pub async fn allocate(&self, _container: &Id, _request: EndpointRequest) -> Result<Endpoint> {
        panic!("stands soon")
    }

    /// The bound sockets that keep the container's ports reserved, once.
    pub fn take_reserved(&self, _container: &Id) -> Vec<OwnedFd> {
        panic!("stands soon")
    }

    /// Gives the namespace of process `pid` its link, address and routes, and opens the published ports.
    pub async fn connect(&self, _container: &Id, _pid: i32) -> Result<()> {
        panic!("stands soon")
    }

    /// Closes the published ports and gives the address back.
    pub async fn release(&self, _container: &Id) -> Result<()> {
        panic!("stands soon")
    }

    /// What the container was given.
    pub fn endpoint(&self, _container: &Id) -> Option<Endpoint> {
        panic!("stands soon")
    }

    /// What the daemon changed on the machine that its owner should know of, one sentence each.
    pub fn notices(&self) -> Vec<String> {
        panic!("stands soon")
    }

    /// Removes this daemon's bridge and table from the kernel.
    pub async fn teardown(&self) -> Result<()> {
        panic!("stands soon")
    }
}
