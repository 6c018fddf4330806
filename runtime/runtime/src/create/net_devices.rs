//! Moves interfaces of the host into the container. They keep their addresses and are switched on; when the container's
//! network namespace goes, the kernel gives physical ones back to the host, and virtual ones go with it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use tare_netlink::{KeptAddress, Socket, kept_addresses, move_link, route};
use tare_sys::clone;

use crate::error::{Error, Result};
use crate::join::Joined;
use crate::plan::NetDevice;

/// While init waits.
pub(crate) fn move_in(devices: &[NetDevice], pid: i32, pidfd: BorrowedFd<'_>) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let namespace = File::open(format!("/proc/{pid}/ns/net"))
        .map_err(|e| Error::step("open the container's network namespace", e))?;
    let mut here = Socket::route().map_err(|e| Error::Step(e.to_string()))?;
    let mut moved = Vec::new();
    for device in devices {
        let addresses = leave(&mut here, device, namespace.as_fd()).map_err(|why| failed(device, &why))?;
        moved.push((device, addresses));
    }
    let joined = Joined::enter_of(pidfd, clone::NEW_NETWORK)?;
    let arrived = moved.iter().try_for_each(|(device, addresses)| arrive(device, addresses));
    joined.leave().and(arrived)
}

fn failed(device: &NetDevice, why: &str) -> Error {
    Error::Step(format!("move network interface {}: {why}", device.name))
}

fn leave(here: &mut Socket, device: &NetDevice, there: BorrowedFd<'_>) -> Result<Vec<KeptAddress>, String> {
    let link = route::link_named(here, &device.name).map_err(|e| e.to_string())?;
    let link = link.ok_or("there is none of that name on the host")?;
    let addresses = kept_addresses(here, link.index).map_err(|e| e.to_string())?;
    here.execute(&[move_link(link.index, there, &device.inside)]).map_err(|e| e.to_string())?;
    Ok(addresses)
}

/// In the container's network namespace.
fn arrive(device: &NetDevice, addresses: &[KeptAddress]) -> Result<()> {
    let why = |e: tare_netlink::Error| failed(device, &e.to_string());
    let mut socket = Socket::route().map_err(why)?;
    let link = route::link_named(&mut socket, &device.inside).map_err(why)?;
    let index = link.ok_or_else(|| failed(device, "it has not arrived"))?.index;
    let mut requests: Vec<_> = addresses.iter().map(|address| address.give(index)).collect();
    requests.push(route::set_up(index));
    socket.execute(&requests).map_err(why)
}
