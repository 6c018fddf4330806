use std::collections::BTreeMap;

use tare_container::{NetworkMode, NetworkSpec};
use tare_docker_api::{ContainerConfig, EndpointSettings, HostConfig, NetworkingConfig};

use super::{given, parsed, port};
use crate::{Error, Result};

/// A range of all ports would be 65,535 sockets.
const PUBLISHED_MAX: usize = 10_000;

pub(super) fn check(
    config: &ContainerConfig,
    host: &HostConfig,
    networking: &NetworkingConfig,
) -> Result<NetworkSpec> {
    let (mode, endpoint) = mode(config, host, networking)?;
    let endpoint = endpoint.cloned().unwrap_or_default();
    let mut published = Vec::new();
    for (key, bindings) in host.port_bindings.iter().flatten() {
        port::container_port(key)?;
        for binding in bindings.iter().flatten() {
            published.extend(port::publish(key, binding)?);
            // Here and not behind the loops: a small body can name the same large range a million times.
            if published.len() > PUBLISHED_MAX {
                let why = format!("more published ports than the {PUBLISHED_MAX} allowed");
                return Err(Error::invalid(why));
            }
        }
    }
    let exposed = config.exposed_ports.iter().flat_map(BTreeMap::keys).map(|key| port::container_port(key));
    let exposed = port::each_once(exposed.collect::<Result<Vec<_>>>()?.into_iter());
    let dns = host.dns.iter().flatten();
    let address = |text: &String| {
        text.parse().map_err(|_| Error::invalid(format!("invalid IP address for DNS: {text}")))
    };
    Ok(NetworkSpec {
        address: fixed_address(&endpoint)?,
        mac: mac(&config.mac_address, &endpoint.mac_address)?,
        published,
        publish_all: host.publish_all_ports,
        exposed,
        dns: dns.map(address).collect::<Result<_>>()?,
        dns_search: host.dns_search.clone().unwrap_or_default(),
        dns_options: host.dns_options.clone().unwrap_or_default(),
        extra_hosts: host.extra_hosts.clone().unwrap_or_default(),
        mode,
    })
}

/// The network, and what is asked of it. Clients name it twice, in `NetworkMode` and as a key of the endpoints.
fn mode<'a>(
    config: &ContainerConfig,
    host: &HostConfig,
    networking: &'a NetworkingConfig,
) -> Result<(NetworkMode, Option<&'a EndpointSettings>)> {
    let endpoints = networking.endpoints_config.iter().flatten().collect::<Vec<_>>();
    let mode: NetworkMode = parsed(&host.network_mode)?;
    if config.network_disabled {
        return Ok((NetworkMode::None, None));
    }
    match endpoints[..] {
        [] => Ok((mode, None)),
        [(name, settings)] => {
            let named: NetworkMode = parsed(name)?;
            let unsaid = matches!(host.network_mode.as_str(), "" | "default");
            if !unsaid && named != mode {
                return Err(Error::unsupported("more than one network for a container"));
            }
            Ok((if unsaid { named } else { mode }, settings.as_ref()))
        }
        _ => Err(Error::unsupported("more than one network for a container")),
    }
}

fn fixed_address(endpoint: &EndpointSettings) -> Result<Option<std::net::Ipv4Addr>> {
    let asked = endpoint.ipam_config.clone().unwrap_or_default();
    if !asked.ipv6_address.is_empty() {
        return Err(Error::unsupported("fixed IPv6 addresses"));
    }
    let address = given(&asked.ipv4_address).map(|text| text.parse()).transpose();
    address.map_err(|_| Error::invalid(format!("invalid IPv4 address: {}", asked.ipv4_address)))
}

/// Six pairs of digits; the endpoint's own goes before the container's, which is what old clients send.
fn mac(of_container: &str, of_endpoint: &str) -> Result<Option<String>> {
    let text = if of_endpoint.is_empty() { of_container } else { of_endpoint };
    if text.is_empty() {
        return Ok(None);
    }
    let pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit());
    let separator = if text.contains('-') { '-' } else { ':' };
    let pairs: Vec<&str> = text.split(separator).collect();
    if pairs.len() != 6 || !pairs.iter().all(|p| pair(p)) {
        return Err(Error::invalid(format!("invalid mac address: \"{text}\"")));
    }
    Ok(Some(pairs.join(":").to_ascii_lowercase()))
}
