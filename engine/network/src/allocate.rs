use std::net::Ipv4Addr;

use tare_model::Id;

use crate::state::{Endpoints, State};
use crate::{Endpoint, EndpointRequest, Error, Result, plan, ports, records, release};

/// Gives the container a place on a network: address, hardware address and ports are chosen, the ports bound, all of it
/// recorded. The kernel's links and rules stay as they are.
pub(crate) fn allocate(state: &State, container: &Id, request: &EndpointRequest) -> Result<Endpoint> {
    release::release(state, container)?;
    let network = state.network(&request.network)?;
    let mut endpoint = Endpoint {
        id: records::random_id()?,
        network_id: network.id.clone(),
        network: network.name.clone(),
        address: Ipv4Addr::UNSPECIFIED,
        prefix: 0,
        gateway: Ipv4Addr::UNSPECIFIED,
        mac: String::new(),
        ports: Vec::new(),
    };
    let mut reserved = Vec::new();
    let mut endpoints = state.endpoints();
    if network.subnet.is_some() {
        place(state, &endpoints, request, &mut endpoint)?;
        let label = format!("{} ({})", request.name, endpoint.id);
        (endpoint.ports, reserved) = ports::reserve(request, &label)?;
        endpoints.last = endpoint.address;
    }
    endpoints.by_container.insert(container.clone(), endpoint.clone());
    endpoints.reserved.insert(container.clone(), reserved);
    records::save_endpoint(&state.store, container, &endpoint);
    Ok(endpoint)
}

fn place(
    state: &State,
    endpoints: &Endpoints,
    request: &EndpointRequest,
    endpoint: &mut Endpoint,
) -> Result<()> {
    let subnet = state.subnet;
    let used = |address| endpoints.by_container.values().any(|other| other.address == address);
    let no_address =
        || Error::NoAddress { network: endpoint.network.clone(), subnet: subnet.network().to_string() };
    endpoint.address = match request.ip {
        None => plan::next_address(subnet, endpoints.last, used).ok_or_else(no_address)?,
        Some(address) if plan::is_free(subnet, address, used) => address,
        Some(address) if used(address) => return Err(Error::AddressInUse(address)),
        Some(address) => return Err(Error::AddressOutside { address, subnet: subnet.network().to_string() }),
    };
    let mac = request.mac.as_deref().map_or(Ok(plan::mac_of(endpoint.address)), plan::parse_mac)?;
    endpoint.mac = plan::format_mac(mac);
    endpoint.prefix = subnet.prefix();
    endpoint.gateway = subnet.address();
    Ok(())
}
