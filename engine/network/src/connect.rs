use std::fs::File;
use std::os::fd::AsFd;

use tare_model::Id;
use tare_netlink::conntrack::{self, Flows};

use crate::ruleset::{self, Elements};
use crate::state::{Links, State};
use crate::{Endpoint, Error, Protocol, Result, attach, bridge};

/// Brings the container's endpoint into the kernel: link, address, routes, ports. What a failing step leaves is removed.
pub(crate) fn connect(state: &State, container: &Id, pid: i32) -> Result<()> {
    let endpoint =
        state.endpoint(container).ok_or_else(|| Error::NoEndpoint(container.short().to_owned()))?;
    match endpoint.network.as_str() {
        "host" => Ok(()),
        "none" => attach::loopback_up(attach::namespace_of(pid)?.as_fd()),
        _ => connect_to_bridge(state, &endpoint, &attach::namespace_of(pid)?),
    }
}

fn connect_to_bridge(state: &State, endpoint: &Endpoint, namespace: &File) -> Result<()> {
    make_link(state, endpoint, namespace)?;
    let rest = || {
        attach::configure_inside(endpoint, namespace.as_fd())?;
        attach::settle(&mut state.links().socket, endpoint, &state.names.bridge)?;
        publish(state, endpoint)
    };
    rest().inspect_err(|_| {
        let _ = state.firewall().withdraw(&elements_of(endpoint));
        attach::remove_link(&mut state.links().socket, endpoint);
    })
}

fn make_link(state: &State, endpoint: &Endpoint, namespace: &File) -> Result<()> {
    let mut links = state.links();
    let known = links.bridge.is_some();
    let master = ensure_bridge(state, &mut links)?;
    match attach::make_link(&mut links.socket, endpoint, master, state.mtu, namespace) {
        // Someone deleted the bridge since we saw it.
        Err(Error::Kernel { cause, .. }) if known && cause.is_missing() => {
            links.bridge = None;
            let master = ensure_bridge(state, &mut links)?;
            attach::make_link(&mut links.socket, endpoint, master, state.mtu, namespace)
        }
        made => made,
    }
}

fn ensure_bridge(state: &State, links: &mut Links) -> Result<u32> {
    if let Some(index) = links.bridge {
        return Ok(index);
    }
    // The rules come first: once the bridge is up and forwarding on, nothing may pass unguarded.
    state.firewall().ensure()?;
    let index = bridge::ensure(&mut links.socket, &state.names, state.subnet, state.mtu)?;
    if let Some(notice) = bridge::ensure_forwarding()? {
        state.notices().add(notice);
    }
    links.bridge = Some(index);
    Ok(index)
}

fn publish(state: &State, endpoint: &Endpoint) -> Result<()> {
    let mut firewall = state.firewall();
    firewall.publish(elements_of(endpoint))?;
    for port in endpoint.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
        let flows =
            Flows { protocol: port.protocol.number(), answered_by: None, to_port: Some(port.host_port) };
        forget(firewall.socket(), &flows);
    }
    Ok(())
}

/// What the endpoint's ports are in the maps.
pub(crate) fn elements_of(endpoint: &Endpoint) -> Elements {
    endpoint.ports.iter().map(|port| ruleset::element(port, endpoint.address)).collect()
}

/// A kernel without ctnetlink keeps stale flows until they time out; that is no reason to fail.
pub(crate) fn forget(socket: &mut tare_netlink::Socket, flows: &Flows) {
    if let Err(error) = conntrack::forget(socket, flows) {
        tracing::warn!("flows of udp port {:?} are not forgotten: {error}", flows.to_port);
    }
}
