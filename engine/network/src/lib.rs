//! # network: addresses, links and ports of containers
//!
//! - **Owns**: the daemon's bridge, its own nftables table, the endpoints' addresses and published ports.
//! - **In**: what a container asks of a network ([`EndpointRequest`]), and the process whose namespace gets the link.
//! - **Out**: an [`Endpoint`], configured in the kernel; texts for resolv.conf and hosts.
//! - **Leans on**: netlink for the kernel, store for what must survive the daemon; model.
//! - **Never**: touches another table, bridge or link than its own, starts a helper process, knows what a container is.
//! - **Invariant**: a port published on 127.0.0.1 is reached from this machine alone, and what is not published is not
//!   reached from outside of the bridge at all.
//!
//! A container's way: [`Networks::allocate`], [`Networks::take_reserved`], [`Networks::connect`] while its first process
//! waits, [`Networks::release`] when that process is gone.

mod allocate;
mod attach;
mod bridge;
mod connect;
mod error;
mod files;
mod firewall;
mod ipv4;
mod plan;
mod ports;
mod reconcile;
mod records;
mod release;
mod ruleset;
mod spec;
mod state;

pub use error::Error;
pub use files::{DnsOverrides, extra_host, hostname_file, hosts_file, resolv_conf};
pub use ipv4::Ipv4Net;
pub use spec::{Config, Endpoint, EndpointRequest, Network, Port, PortRequest, Protocol};

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use state::State;
use tare_model::Id;
use tare_store::Store;

/// The room's own result.
pub type Result<T> = std::result::Result<T, Error>;

/// The networks of one daemon: a bridge of its own, the host's network, and none.
pub struct Networks {
    state: Arc<State>,
}

impl Networks {
    /// Reads what the store remembers, and chooses a subnet if it remembers none. The kernel stays untouched until a
    /// container needs it.
    pub async fn open(config: Config, store: Arc<Store>, exec_root: &Path) -> Result<Arc<Networks>> {
        let exec_root = exec_root.to_owned();
        let state = on_a_thread(move || State::open(&config, store, &exec_root)).await?;
        Ok(Arc::new(Networks { state: Arc::new(state) }))
    }

    /// Brings kernel and store to what the `live` containers need: links, ports and addresses of others go. Called once,
    /// before the first container starts.
    pub async fn reconcile(&self, live: &BTreeSet<Id>) -> Result<()> {
        let live = live.clone();
        self.run(move |state| reconcile::reconcile(state, &live)).await
    }

    /// All networks.
    pub fn list(&self) -> Vec<Network> {
        self.state.networks.clone()
    }

    /// The network of this name, id or unambiguous start of an id.
    pub fn get(&self, name_or_id: &str) -> Result<Network> {
        self.state.network(name_or_id).cloned()
    }

    /// Chooses an address and ports for the container, binds the ports and records all of it. An endpoint that the
    /// container had before is released. The kernel's links and rules stay as they are until [`Networks::connect`].
    pub async fn allocate(&self, container: &Id, request: EndpointRequest) -> Result<Endpoint> {
        let container = container.clone();
        self.run(move |state| allocate::allocate(state, &container, &request)).await
    }

    /// The bound sockets that keep the container's ports from other programs, to be held open by a process that lives
    /// as long as the container. They are given once.
    pub fn take_reserved(&self, container: &Id) -> Vec<OwnedFd> {
        self.state.endpoints().reserved.remove(container).unwrap_or_default()
    }

    /// Gives the network namespace of process `pid` its link, address and routes, and opens the published ports. The
    /// bridge, the table and forwarding are made or put right first, where they are not. A step that fails leaves
    /// nothing in the kernel; the endpoint stays allocated until [`Networks::release`].
    pub async fn connect(&self, container: &Id, pid: i32) -> Result<()> {
        let container = container.clone();
        self.run(move |state| connect::connect(state, &container, pid)).await
    }

    /// Closes the published ports and gives the address back. To be called when the container's processes are gone; the
    /// link goes with their namespace.
    pub async fn release(&self, container: &Id) -> Result<()> {
        let container = container.clone();
        self.run(move |state| release::release(state, &container)).await
    }

    /// What the container was given.
    pub fn endpoint(&self, container: &Id) -> Option<Endpoint> {
        self.state.endpoint(container)
    }

    /// What was changed on the machine that its owner should know of, one sentence each.
    pub fn notices(&self) -> Vec<String> {
        self.state.notices().lines()
    }

    /// Removes this daemon's bridge, table and endpoints, as nothing was ever there. No container may run.
    pub async fn teardown(&self) -> Result<()> {
        self.run(reconcile::teardown).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let state = Arc::clone(&self.state);
        on_a_thread(move || work(&state)).await
    }
}

/// Netlink waits for the kernel, which the threads that serve clients must not do.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Worker)?
}
