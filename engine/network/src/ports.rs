use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

use crate::{EndpointRequest, Error, Port, PortRequest, Protocol, Result};

/// Each takes a socket of the daemon's and then of the shim's. An image may name all the ports there are, and `-P` asks for
/// what it names.
const MOST: usize = 10_000;

/// Chooses and reserves every port that the request publishes. A reservation is a bound socket that nobody listens on:
/// while it is open, no other program of this machine can bind the port, and none that has can be overlooked.
/// `endpoint` names the container in errors.
pub(crate) fn reserve(request: &EndpointRequest, endpoint: &str) -> Result<(Vec<Port>, Vec<OwnedFd>)> {
    let mut chosen = Vec::new();
    let wanted = all_requests(request);
    if wanted.len() > MOST {
        return Err(Error::TooManyPorts(wanted.len(), MOST));
    }
    for wanted in wanted {
        chosen.push(reserve_one(&wanted, endpoint)?);
    }
    Ok(chosen.into_iter().unzip())
}

/// The ports asked for, each once, and with `publish_all` those exposed ones that nobody asked for.
fn all_requests(request: &EndpointRequest) -> Vec<PortRequest> {
    let mut fixed = HashSet::new();
    let is_ephemeral = |port: &PortRequest| port.host_port.is_none_or(|port| port == 0);
    let mut all: Vec<PortRequest> =
        request.ports.iter().filter(|port| is_ephemeral(port) || fixed.insert(*port)).cloned().collect();
    if request.publish_all {
        let named: HashSet<_> = all.iter().map(|port| (port.container_port, port.protocol)).collect();
        let unnamed = request.exposed.iter().filter(|exposed| !named.contains(exposed));
        all.extend(unnamed.map(|&(container_port, protocol)| PortRequest {
            container_port,
            protocol,
            host_ip: None,
            host_port: None,
            host_port_range: None,
        }));
    }
    all
}

fn reserve_one(request: &PortRequest, endpoint: &str) -> Result<(Port, OwnedFd)> {
    let address = host_address(request.host_ip)?;
    let (first, last) = match (request.host_port_range, request.host_port) {
        (Some((first, last)), _) if first == 0 || first > last => return Err(Error::PortRange(first, last)),
        (Some(range), _) => range,
        // The kernel chooses from net.ipv4.ip_local_port_range, past what it keeps for others.
        (None, port) => (port.unwrap_or(0), port.unwrap_or(0)),
    };
    for port in first..=last {
        match bound(address, port, request.protocol) {
            Ok((fd, host_port)) => {
                let (container_port, protocol) = (request.container_port, request.protocol);
                return Ok((Port { container_port, protocol, host_ip: IpAddr::V4(address), host_port }, fd));
            }
            Err(Errno::ADDRINUSE) => {}
            Err(cause) => {
                let (ip, port) = (IpAddr::V4(address), port.to_string());
                return Err(Error::Bind { endpoint: endpoint.to_owned(), ip, port, cause: cause.into() });
            }
        }
    }
    let port = if first == last { first.to_string() } else { format!("{first}-{last}") };
    Err(Error::PortInUse { endpoint: endpoint.to_owned(), ip: IpAddr::V4(address), port })
}

fn host_address(ip: Option<IpAddr>) -> Result<Ipv4Addr> {
    match ip.map(|ip| ip.to_canonical()) {
        None => Ok(Ipv4Addr::UNSPECIFIED),
        Some(IpAddr::V4(address)) => Ok(address),
        Some(IpAddr::V6(address)) => Err(Error::NotYet(format!("publishing on IPv6 addresses ({address})"))),
    }
}

/// Without SO_REUSEADDR, as two sockets that both have it may share a port.
fn bound(address: Ipv4Addr, port: u16, protocol: Protocol) -> rustix::io::Result<(OwnedFd, u16)> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let fd = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    bind(&fd, &SocketAddrV4::new(address, port))?;
    let name = SocketAddr::try_from(getsockname(&fd)?).map_err(|_| Errno::AFNOSUPPORT)?;
    Ok((fd, name.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_loopback(host_port: Option<u16>, protocol: Protocol) -> PortRequest {
        let host_ip = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        PortRequest { container_port: 80, protocol, host_ip, host_port, host_port_range: None }
    }

    fn reserve_ports(ports: Vec<PortRequest>) -> Result<(Vec<Port>, Vec<OwnedFd>)> {
        reserve(&EndpointRequest { ports, ..EndpointRequest::default() }, "web (1234)")
    }

    #[test]
    fn a_port_that_a_program_has_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = reserve_ports(vec![on_loopback(Some(port), Protocol::Tcp)]).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "driver failed programming external connectivity on endpoint web (1234): Bind for 127.0.0.1:{port} failed: port is already allocated"
            )
        );
        reserve_ports(vec![on_loopback(Some(port), Protocol::Udp)]).unwrap();
    }

    #[test]
    fn a_reserved_port_cannot_be_bound_until_it_is_given_back() {
        let (ports, reserved) = reserve_ports(vec![on_loopback(None, Protocol::Tcp)]).unwrap();
        let port = ports[0].host_port;
        assert!(port > 0);
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_err());
        assert!(matches!(
            reserve_ports(vec![on_loopback(Some(port), Protocol::Tcp)]),
            Err(Error::PortInUse { .. })
        ));
        drop(reserved);
        reserve_ports(vec![on_loopback(Some(port), Protocol::Tcp)]).unwrap();
    }

    #[test]
    fn a_range_gives_its_first_free_port() {
        let (ports, _reserved) = reserve_ports(vec![on_loopback(None, Protocol::Udp)]).unwrap();
        let taken = ports[0].host_port;
        let ranged = |first, last| PortRequest {
            host_port_range: Some((first, last)),
            ..on_loopback(None, Protocol::Udp)
        };
        if taken < u16::MAX - 20 {
            let (found, _more) = reserve_ports(vec![ranged(taken, taken + 20)]).unwrap();
            assert!(found[0].host_port > taken);
        }
        assert!(matches!(reserve_ports(vec![ranged(taken, taken)]), Err(Error::PortInUse { .. })));
        assert!(matches!(reserve_ports(vec![ranged(9, 8)]), Err(Error::PortRange(9, 8))));
        assert!(matches!(reserve_ports(vec![ranged(0, 8)]), Err(Error::PortRange(0, 8))));
    }

    #[test]
    fn publish_all_leaves_out_what_is_named() {
        let request = EndpointRequest {
            ports: vec![on_loopback(Some(1), Protocol::Tcp), on_loopback(Some(1), Protocol::Tcp)],
            exposed: vec![(80, Protocol::Tcp), (80, Protocol::Udp)],
            publish_all: true,
            ..EndpointRequest::default()
        };
        let all = all_requests(&request);
        assert_eq!(all.len(), 2);
        assert_eq!((all[1].protocol, all[1].host_port), (Protocol::Udp, None));
    }

    #[test]
    fn an_image_cannot_take_every_socket() {
        let request = EndpointRequest {
            exposed: (1..=65_535).map(|port| (port, Protocol::Tcp)).collect(),
            publish_all: true,
            ..EndpointRequest::default()
        };
        assert!(matches!(reserve(&request, "web"), Err(Error::TooManyPorts(65_535, MOST))));
    }

    #[test]
    fn addresses_that_are_not_ours_are_refused() {
        let elsewhere =
            PortRequest { host_ip: Some("192.0.2.1".parse().unwrap()), ..on_loopback(None, Protocol::Tcp) };
        assert!(matches!(reserve_ports(vec![elsewhere]), Err(Error::Bind { .. })));
        let six = PortRequest { host_ip: Some("::1".parse().unwrap()), ..on_loopback(None, Protocol::Tcp) };
        assert!(matches!(reserve_ports(vec![six]), Err(Error::NotYet(_))));
    }
}
