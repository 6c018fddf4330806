use tare_model::Id;
use tare_netlink::conntrack::Flows;

use crate::connect::{elements_of, forget};
use crate::state::State;
use crate::{Endpoint, Protocol, Result, records};

/// Closes the container's ports and gives its address back. Its link is not deleted: it goes with the container's
/// namespace, for which nobody waits. A container without an endpoint is no error.
pub(crate) fn release(state: &State, container: &Id) -> Result<()> {
    let Some(endpoint) = state.endpoint(container) else { return Ok(()) };
    close_ports(state, &endpoint)?;
    let mut endpoints = state.endpoints();
    endpoints.by_container.remove(container);
    endpoints.reserved.remove(container);
    records::forget_endpoint(&state.store, container);
    Ok(())
}

fn close_ports(state: &State, endpoint: &Endpoint) -> Result<()> {
    if endpoint.ports.is_empty() {
        return Ok(());
    }
    let mut firewall = state.firewall();
    firewall.withdraw(&elements_of(endpoint))?;
    if endpoint.ports.iter().any(|port| port.protocol == Protocol::Udp) {
        let flows =
            Flows { protocol: Protocol::Udp.number(), answered_by: Some(endpoint.address), to_port: None };
        forget(firewall.socket(), &flows);
    }
    Ok(())
}
