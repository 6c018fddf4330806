//! A container's place in the network, in Docker's forms.

use std::collections::{BTreeMap, HashSet};

use tare_container::{Container, NetworkMode};
use tare_docker_api::{EndpointIpamConfig, EndpointSettings, NetworkSettings, Port, PortBinding, PortMap};
use tare_network::{Endpoint, Protocol};

use super::origin;
use crate::Rooms;
use crate::check::exposed;

/// What a container has on its network now; nothing while it does not run.
pub(crate) fn endpoint_of(rooms: &Rooms, container: &Container) -> Option<Endpoint> {
    if container.state.status.is_alive() { rooms.engine.endpoint(&container.id) } else { None }
}

/// `NetworkSettings.Networks`: by name, as clients look it up.
pub(crate) fn endpoints(
    rooms: &Rooms,
    container: &Container,
    endpoint: Option<&Endpoint>,
) -> BTreeMap<String, EndpointSettings> {
    let name = match &container.spec.network.mode {
        NetworkMode::Container(_) => return BTreeMap::new(),
        NetworkMode::Bridge => "bridge".to_owned(),
        mode => mode.to_string(),
    };
    let network = rooms.networks.get(&name).ok();
    let name = network.as_ref().map_or(name, |network| network.name.clone());
    let asked = origin(container).networking_config.endpoints_config.unwrap_or_default();
    let asked = asked.into_values().flatten().next().unwrap_or_default();
    let settings = EndpointSettings {
        ipam_config: asked.ipam_config.filter(|config| *config != EndpointIpamConfig::default()),
        links: None,
        aliases: asked.aliases,
        driver_opts: asked.driver_opts,
        network_id: network.map(|network| network.id.to_string()).unwrap_or_default(),
        ..endpoint.map(settings_of).unwrap_or_default()
    };
    BTreeMap::from([(name, settings)])
}

fn settings_of(endpoint: &Endpoint) -> EndpointSettings {
    let id = endpoint.id.to_string();
    if !endpoint.has_address() {
        return EndpointSettings { endpoint_id: id, ..EndpointSettings::default() };
    }
    EndpointSettings {
        endpoint_id: id,
        mac_address: endpoint.mac.clone(),
        gateway: endpoint.gateway.to_string(),
        ip_address: endpoint.address.to_string(),
        ip_prefix_len: endpoint.prefix.into(),
        ..EndpointSettings::default()
    }
}

/// `NetworkSettings` of an inspect.
pub(super) fn network_settings(rooms: &Rooms, container: &Container) -> NetworkSettings {
    let endpoint = endpoint_of(rooms, container);
    let networks = endpoints(rooms, container, endpoint.as_ref());
    // The default bridge's endpoint is repeated at the top, for clients older than networks.
    let bridge = networks.get("bridge").cloned().unwrap_or_default();
    NetworkSettings {
        sandbox_id: endpoint.as_ref().map(|endpoint| endpoint.id.to_string()).unwrap_or_default(),
        sandbox_key: container.state.pid.map(|pid| format!("/proc/{pid}/ns/net")).unwrap_or_default(),
        ports: port_map(container, endpoint.as_ref()),
        endpoint_id: bridge.endpoint_id,
        gateway: bridge.gateway,
        ip_address: bridge.ip_address,
        ip_prefix_len: bridge.ip_prefix_len,
        mac_address: bridge.mac_address,
        networks,
        ..NetworkSettings::default()
    }
}

/// Published ports with their bindings, exposed ones with `null`; empty while the container does not run.
fn port_map(container: &Container, endpoint: Option<&Endpoint>) -> PortMap {
    let Some(endpoint) = endpoint else { return PortMap::new() };
    let exposed = exposed(&container.spec, &container.image.config);
    let mut map: PortMap = exposed.into_iter().map(|(port, protocol)| (key(port, protocol), None)).collect();
    for port in &endpoint.ports {
        let binding =
            PortBinding { host_ip: port.host_ip.to_string(), host_port: port.host_port.to_string() };
        map.entry(key(port.container_port, port.protocol)).or_default().get_or_insert_default().push(binding);
    }
    map
}

fn key(port: u16, protocol: Protocol) -> String {
    format!("{port}/{protocol}")
}

/// The PORTS column of `docker ps`.
pub(super) fn summary(container: &Container, endpoint: Option<&Endpoint>) -> Vec<Port> {
    let Some(endpoint) = endpoint else { return Vec::new() };
    let published: HashSet<_> =
        endpoint.ports.iter().map(|port| (port.container_port, port.protocol)).collect();
    let exposed = exposed(&container.spec, &container.image.config);
    let only_exposed = exposed.into_iter().filter(|port| !published.contains(port));
    let only_exposed = only_exposed.map(|(private_port, protocol)| Port {
        private_port,
        kind: protocol.to_string(),
        ..Port::default()
    });
    let bound = endpoint.ports.iter().map(|port| Port {
        ip: port.host_ip.to_string(),
        private_port: port.container_port,
        public_port: port.host_port,
        kind: port.protocol.to_string(),
    });
    bound.chain(only_exposed).collect()
}
