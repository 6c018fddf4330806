//! `volume` and `network`.

use tare_docker_api::{Network, Volume, VolumeCreateRequest};
use tare_model::{Timestamp, format_bytes};

use crate::call::Call;
use crate::create::words::some_map;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, list, switch, text};
use crate::listing::{FILTER, FORMAT, Format, JSON, Listing, NO_TRUNC, Row, filters, labels, moment};
use crate::output::{self, confirm, line};
use crate::ps::id;

pub(crate) const CREATE: &[Flag] = &[
    text("driver", "string", "Specify volume driver name (default \"local\")").short('d'),
    list("label", "list", "Set metadata for a volume"),
    list("opt", "map", "Set driver specific options").short('o'),
    text("name", "string", "Volume name").hidden(),
];

pub(crate) const LIST: &[Flag] =
    &[FILTER, FORMAT, JSON, switch("quiet", "Only display volume names").short('q')];

pub(crate) const REMOVE: &[Flag] = &[switch("force", "Force the removal of one or more volumes").short('f')];

pub(crate) const PRUNE: &[Flag] = &[
    switch("all", "Remove all unused volumes, not just anonymous ones").short('a'),
    list("filter", "filter", "Provide filter values (e.g. \"label=<label>\")"),
    switch("force", "Do not prompt for confirmation").short('f'),
];

pub(crate) const NETWORKS: &[Flag] =
    &[FILTER, FORMAT, JSON, NO_TRUNC, switch("quiet", "Only display network IDs").short('q')];

/// `tare volume create`
pub(crate) async fn create(call: Call) -> Result<u8> {
    let given = &call.given;
    let name = match (given.operands.first(), given.text("name")) {
        (Some(_), Some(_)) => {
            return Err(Failure::new(
                "conflicting options: cannot specify a volume name through both --name and as a positional arg",
            ));
        }
        (Some(name), None) => name.clone(),
        (None, name) => name.unwrap_or_default().to_owned(),
    };
    let request = VolumeCreateRequest {
        name,
        driver: given.text("driver").unwrap_or("local").to_owned(),
        driver_opts: some_map(&given.list("opt")),
        labels: some_map(&given.list("label")),
        cluster_volume_spec: None,
    };
    line(call.client.create_volume(&request).await?.name)?;
    Ok(0)
}

const TITLES: &[(&str, &str)] = &[
    ("Driver", "DRIVER"),
    ("Name", "VOLUME NAME"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Availability", "AVAILABILITY"),
    ("Group", "GROUP"),
    ("Status", "STATUS"),
];

/// `tare volume ls`
pub(crate) async fn list_volumes(call: Call) -> Result<u8> {
    let given = &call.given;
    let format = Format::of(given)?;
    let mut volumes = call.client.volumes(filters(&given.list("filter"))?.as_deref()).await?.volumes;
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    if given.on("quiet") && format.is_usual() {
        volumes.iter().try_for_each(|volume| line(&volume.name))?;
        return Ok(0);
    }
    let rows = volumes.iter().map(row).collect();
    Listing { titles: TITLES, columns: vec!["Driver", "Name"], rows }.print(&format)?;
    Ok(0)
}

fn row(volume: &Volume) -> Row {
    let (links, size) = match &volume.usage_data {
        Some(usage) if usage.ref_count >= 0 => {
            (usage.ref_count.to_string(), u64::try_from(usage.size).map_or("N/A".into(), format_bytes))
        }
        _ => ("N/A".into(), "N/A".into()),
    };
    let known = volume.labels.clone().unwrap_or_default();
    Row::new([
        ("Driver", volume.driver.clone()),
        ("Name", volume.name.clone()),
        ("Scope", volume.scope.clone()),
        ("Mountpoint", volume.mountpoint.clone()),
        ("Labels", labels(&known)),
        ("Links", links),
        ("Size", size),
        ("Availability", "N/A".into()),
        ("Group", "N/A".into()),
        ("Status", "N/A".into()),
    ])
    .labelled(&known)
}

/// `tare volume rm`
pub(crate) async fn remove(call: Call) -> Result<u8> {
    let force = call.given.on("force");
    output::for_each(&call.given.operands, async |name: &str| {
        Ok(call.client.remove_volume(name, force).await?)
    })
    .await
}

/// `tare volume prune`
pub(crate) async fn prune(call: Call) -> Result<u8> {
    let given = &call.given;
    let what = if given.on("all") { "all local volumes" } else { "anonymous local volumes" };
    let question = format!(
        "WARNING! This will remove {what} not used by at least one container.\nAre you sure you want to continue?"
    );
    if !given.on("force") && !confirm(&question)? {
        return Err(Failure::new("volume prune has been cancelled"));
    }
    let mut wanted = given.list("filter");
    wanted.extend(given.on("all").then(|| "all=true".to_owned()));
    let pruned = call.client.prune_volumes(filters(&wanted)?.as_deref()).await?;
    let deleted = pruned.volumes_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        line(format!("Deleted Volumes:\n{}\n", deleted.join("\n")))?;
    }
    line(format!("Total reclaimed space: {}", format_bytes(pruned.space_reclaimed)))?;
    Ok(0)
}

const NETWORK_TITLES: &[(&str, &str)] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

/// `tare network ls`
pub(crate) async fn list_networks(call: Call) -> Result<u8> {
    let given = &call.given;
    let format = Format::of(given)?;
    let mut networks = call.client.networks(filters(&given.list("filter"))?.as_deref()).await?;
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let full = given.on("no-trunc");
    if given.on("quiet") && format.is_usual() {
        networks.iter().try_for_each(|network| line(id(&network.id, full)))?;
        return Ok(0);
    }
    let rows = networks.iter().map(|network| network_row(network, full)).collect();
    let columns = vec!["ID", "Name", "Driver", "Scope"];
    Listing { titles: NETWORK_TITLES, columns, rows }.print(&format)?;
    Ok(0)
}

fn network_row(network: &Network, full: bool) -> Row {
    let created = network.created.parse::<Timestamp>().unwrap_or(Timestamp::ZERO);
    Row::new([
        ("ID", id(&network.id, full).to_owned()),
        ("Name", network.name.clone()),
        ("Driver", network.driver.clone()),
        ("Scope", network.scope.clone()),
        ("IPv4", network.enable_ipv4.to_string()),
        ("IPv6", network.enable_ipv6.to_string()),
        ("Internal", network.internal.to_string()),
        ("Labels", labels(&network.labels)),
        ("CreatedAt", moment(created)),
    ])
    .labelled(&network.labels)
}
