use std::io;
use std::path::{Path, PathBuf};

use tare_netlink::{Message, Socket, route};

use crate::plan::{self, Names};
use crate::{Error, Ipv4Net, Result};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// The private networks that this machine has routes to, but for those by the link of this name.
pub(crate) fn routed_networks(socket: &mut Socket, own_bridge: &str) -> Result<Vec<Ipv4Net>> {
    let failed = |cause| Error::Kernel { what: "reading this machine's routes".to_owned(), cause };
    let own = route::link_named(socket, own_bridge).map_err(failed)?.map(|link| link.index);
    let routes = route::routes(socket).map_err(failed)?;
    let foreign = routes.into_iter().filter(|route| route.prefix > 0 && (own.is_none() || route.link != own));
    foreign.map(|route| Ipv4Net::new(route.destination, route.prefix)).collect()
}

/// The first address of the link of this name, if there is such a link.
pub(crate) fn address_of(socket: &mut Socket, name: &str) -> Result<Option<Ipv4Net>> {
    let failed = |cause| Error::Kernel { what: format!("reading the addresses of {name}"), cause };
    let Some(link) = route::link_named(socket, name).map_err(failed)? else { return Ok(None) };
    let addresses = route::addresses(socket).map_err(failed)?;
    addresses
        .iter()
        .find(|address| address.link == link.index)
        .map(|found| Ipv4Net::new(found.address, found.prefix))
        .transpose()
}

/// Makes the bridge, or brings the one that is there to what it must be. Returns its index.
pub(crate) fn ensure(socket: &mut Socket, names: &Names, subnet: Ipv4Net, mtu: Option<u32>) -> Result<u32> {
    let name = names.bridge.as_str();
    let failed = |cause| Error::Kernel { what: format!("bridge {name}"), cause };
    match route::link_named(socket, name).map_err(failed)? {
        Some(link) if link.kind == "bridge" => {
            configure(socket, name, link.index, subnet).map(|()| link.index)
        }
        Some(_) => Err(Error::Name {
            what: "bridge",
            name: name.to_owned(),
            rule: "a link of this name exists and is no bridge",
        }),
        None => create(socket, name, subnet, mtu),
    }
}

fn create(socket: &mut Socket, name: &str, subnet: Ipv4Net, mtu: Option<u32>) -> Result<u32> {
    let failed = |cause| Error::Kernel { what: format!("making bridge {name}"), cause };
    if let Some(other) = routed_networks(socket, name)?.iter().find(|other| other.overlaps(&subnet)) {
        let (subnet, other) = (subnet.network().to_string(), other.to_string());
        return Err(Error::SubnetInUse { subnet, bridge: name.to_owned(), other });
    }
    socket.execute(&[route::create_bridge(name, plan::mac_of(subnet.address()), mtu)]).map_err(failed)?;
    let link = route::link_named(socket, name).map_err(failed)?;
    let index = link
        .map(|link| link.index)
        .ok_or_else(|| failed(tare_netlink::Error::Malformed("the new bridge is gone")))?;
    configure(socket, name, index, subnet).inspect_err(|_| {
        // The first error is the one to tell.
        let _ = socket.execute(&[route::delete_link(index)]);
    })?;
    Ok(index)
}

fn configure(socket: &mut Socket, name: &str, index: u32, subnet: Ipv4Net) -> Result<()> {
    let failed = |cause| Error::Kernel { what: format!("configuring bridge {name}"), cause };
    disable_ipv6(name)?;
    let present = route::addresses(socket).map_err(failed)?;
    let has_address = present.iter().any(|found| found.link == index && found.address == subnet.address());
    let mut requests: Vec<Message> = Vec::new();
    if !has_address {
        requests.push(route::add_address(index, subnet.address(), subnet.prefix()));
    }
    requests.extend([route::set_up(index), route::route_localnet(index)]);
    socket.execute(&requests).map_err(failed)
}

/// Keeps IPv6 off a link of the calling thread's network namespace: without addresses of ours and rules for them, the
/// kernel's automatic ones would bypass every rule, CVE-2024-32473.
pub(crate) fn disable_ipv6(link: &str) -> Result<()> {
    let path = Path::new("/proc/sys/net/ipv6/conf").join(link).join("disable_ipv6");
    match std::fs::write(&path, "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()), // a kernel without IPv6
        result => {
            result.map_err(|cause| Error::Sysctl { path: path.display().to_string(), value: "1", cause })
        }
    }
}

/// Turns forwarding on if it is off. Returns what the machine's owner should know then.
pub(crate) fn ensure_forwarding() -> Result<Option<String>> {
    let failed = |cause| Error::Sysctl { path: IP_FORWARD.to_owned(), value: "1", cause };
    if std::fs::read_to_string(IP_FORWARD).map_err(failed)?.trim() == "1" {
        return Ok(None);
    }
    std::fs::write(IP_FORWARD, "1").map_err(failed)?;
    Ok(Some(
        "net.ipv4.ip_forward was 0 and is 1 now, as containers need it to reach other machines: this machine also forwards \
         between its other networks unless its firewall says otherwise"
            .to_owned(),
    ))
}

/// The notices of this daemon and of those before it since the machine started.
pub(crate) struct Notices {
    path: PathBuf,
    lines: Vec<String>,
}

impl Notices {
    /// Reads what earlier daemons have noted below the exec root.
    pub(crate) fn open(exec_root: &Path) -> Self {
        let path = exec_root.join("network-notices");
        let lines = std::fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
        Self { path, lines }
    }

    /// Notes something, for good if the exec root can be written.
    pub(crate) fn add(&mut self, notice: String) {
        tracing::warn!("{notice}");
        self.lines.push(notice);
        if let Err(error) = std::fs::write(&self.path, self.lines.join("\n") + "\n") {
            tracing::debug!("{}: {error}", self.path.display());
        }
    }

    /// All of them, the oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.clone()
    }
}
