use std::collections::BTreeSet;

use tare_model::Id;
use tare_netlink::route;

use crate::connect::elements_of;
use crate::plan::LINK_PREFIX;
use crate::ruleset::Elements;
use crate::state::State;
use crate::{Endpoint, Error, Result, plan, records};

/// Brings store and kernel to what the `live` containers need. Only what carries this daemon's names is touched: ports
/// of its bridge, its table, its records.
pub(crate) fn reconcile(state: &State, live: &BTreeSet<Id>) -> Result<()> {
    let endpoints = drop_dead(state, live);
    let wanted: Elements = endpoints.iter().flat_map(elements_of).collect();
    state.firewall().reset(wanted)?;
    remove_stale_links(state, &endpoints)
}

fn drop_dead(state: &State, live: &BTreeSet<Id>) -> Vec<Endpoint> {
    let mut endpoints = state.endpoints();
    let dead: Vec<Id> =
        endpoints.by_container.keys().filter(|container| !live.contains(container)).cloned().collect();
    for container in dead {
        endpoints.by_container.remove(&container);
        endpoints.reserved.remove(&container);
        records::forget_endpoint(&state.store, &container);
    }
    endpoints.by_container.values().cloned().collect()
}

/// A link outlives its container only where something else holds the container's namespace.
fn remove_stale_links(state: &State, live: &[Endpoint]) -> Result<()> {
    let failed =
        |cause| Error::Kernel { what: format!("removing stale ports of {}", state.names.bridge), cause };
    let mut links = state.links();
    let Some(bridge) = route::link_named(&mut links.socket, &state.names.bridge).map_err(failed)? else {
        return Ok(());
    };
    let names: BTreeSet<String> = live.iter().map(|endpoint| plan::link_name(&endpoint.id)).collect();
    for link in route::links(&mut links.socket).map_err(failed)? {
        let is_ours =
            link.master == Some(bridge.index) && link.kind == "veth" && link.name.starts_with(LINK_PREFIX);
        if is_ours && !names.contains(&link.name) {
            match links.socket.execute(&[route::delete_link(link.index)]) {
                Err(error) if !error.is_missing() => return Err(failed(error)),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Takes the daemon's bridge and table out of the kernel, and all endpoints out of the store. A bridge that the
/// administrator named stays.
pub(crate) fn teardown(state: &State) -> Result<()> {
    drop_dead(state, &BTreeSet::new());
    let failed = |cause| Error::Kernel { what: format!("removing bridge {}", state.names.bridge), cause };
    {
        let mut links = state.links();
        links.bridge = None;
        let bridge = route::link_named(&mut links.socket, &state.names.bridge).map_err(failed)?;
        if let Some(bridge) = bridge.filter(|_| state.names.exclusive) {
            links.socket.execute(&[route::delete_link(bridge.index)]).map_err(failed)?;
        }
    }
    state.firewall().remove()
}
