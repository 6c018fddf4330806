//! A container's link: one end on the bridge, the other born as eth0 in the container's namespace.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use tare_netlink::{Socket, route, within};

use crate::{Endpoint, Error, Result, bridge, plan};

/// The link's name inside.
const INSIDE: &str = "eth0";

/// The network namespace of a container's first process. The daemon's own is refused: a process id that was reused must
/// not make a container's routes the machine's.
pub(crate) fn namespace_of(pid: i32) -> Result<File> {
    let failed = |cause| Error::NoNamespace { pid, cause };
    let namespace = File::open(format!("/proc/{pid}/ns/net")).map_err(failed)?;
    let inside = namespace.metadata().map_err(failed)?;
    let outside = std::fs::metadata("/proc/thread-self/ns/net").map_err(failed)?;
    if (inside.dev(), inside.ino()) == (outside.dev(), outside.ino()) {
        return Err(Error::HostNamespace(pid));
    }
    Ok(namespace)
}

/// Makes the pair of links. The host's end is up and on the bridge when this returns.
pub(crate) fn make_link(
    socket: &mut Socket,
    endpoint: &Endpoint,
    master: u32,
    mtu: Option<u32>,
    namespace: &File,
) -> Result<()> {
    let name = plan::link_name(&endpoint.id);
    let pair = route::VethPair {
        name: &name,
        master,
        peer_name: INSIDE,
        peer_mac: plan::parse_mac(&endpoint.mac)?,
        peer_namespace: namespace.as_fd(),
        mtu,
    };
    // The bridge takes every packet before IPv6 sees it; without an address the kernel does not talk on the port either.
    let requests = [route::create_veth(&pair), route::prepare_port(&name), route::set_up_by_name(&name)];
    socket.execute(&requests).map_err(|cause| Error::Kernel { what: format!("making link {name}"), cause })
}

/// Makes the kernel take notice that the link's other end is up, and with it the bridge, which it would else do on a
/// worker when it finds time: until then both drop what they should send, and a container's first packet waits a second
/// for its repetition. A question about one link does it since Linux 6.8; before, it is only a question.
pub(crate) fn settle(socket: &mut Socket, endpoint: &Endpoint, bridge: &str) -> Result<()> {
    for name in [&plan::link_name(&endpoint.id), bridge] {
        route::link_named(socket, name)
            .map_err(|cause| Error::Kernel { what: format!("looking at link {name}"), cause })?;
    }
    Ok(())
}

/// Takes a link away whose container could not be connected.
pub(crate) fn remove_link(socket: &mut Socket, endpoint: &Endpoint) {
    let name = plan::link_name(&endpoint.id);
    if let Ok(Some(link)) = route::link_named(socket, &name) {
        let _ = socket.execute(&[route::delete_link(link.index)]);
    }
}

/// Gives the container's end its address and routes, and switches it on, loopback too.
pub(crate) fn configure_inside(endpoint: &Endpoint, namespace: BorrowedFd<'_>) -> Result<()> {
    let failed =
        |cause| Error::Kernel { what: format!("configuring {INSIDE} with {}", endpoint.address), cause };
    let work = || {
        bridge::disable_ipv6(INSIDE)?;
        let mut socket = Socket::route().map_err(failed)?;
        let link = route::link_named(&mut socket, INSIDE).map_err(failed)?;
        let index = link.ok_or_else(|| failed(tare_netlink::Error::Malformed("the new link is gone")))?.index;
        let requests = [
            route::set_up(route::LOOPBACK),
            route::add_address(index, endpoint.address, endpoint.prefix),
            route::set_up(index),
            route::add_default_route(index, endpoint.gateway),
        ];
        socket.execute(&requests).map_err(failed)
    };
    within(namespace, work).map_err(failed)?
}

/// Switches loopback on, which is all the network that a container on `none` has.
pub(crate) fn loopback_up(namespace: BorrowedFd<'_>) -> Result<()> {
    let failed = |cause| Error::Kernel { what: "switching loopback on".to_owned(), cause };
    let work = || Socket::route()?.execute(&[route::set_up(route::LOOPBACK)]);
    within(namespace, work).and_then(|done| done).map_err(failed)
}
