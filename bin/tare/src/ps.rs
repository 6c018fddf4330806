//! `ps`.

use tare_client::ListOptions;
use tare_docker_api::ContainerSummary;
use tare_model::Timestamp;

use crate::call::Call;
use crate::failure::Result;
use crate::flags::{Flag, switch, text};
use crate::listing::{
    FILTER, FORMAT, Format, JSON, Listing, NO_TRUNC, Row, ago, filters, labels, moment, shortened, size_of,
};
use crate::output::line;
use crate::port::ranges;

pub(crate) const PS: &[Flag] = &[
    switch("all", "Show all containers (default shows just running)").short('a'),
    FILTER,
    FORMAT,
    JSON,
    text("last", "int", "Show n last created containers (includes all states)").short('n'),
    switch("latest", "Show the latest created container (includes all states)").short('l'),
    NO_TRUNC,
    switch("quiet", "Only display container IDs").short('q'),
    switch("size", "Display total file sizes").short('s'),
];

const TITLES: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("RunningFor", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Status", "STATUS"),
    ("State", "STATE"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

/// `tare ps`
pub(crate) async fn ps(call: Call) -> Result<u8> {
    let given = &call.given;
    let format = Format::of(given)?;
    let limit = if given.on("latest") { Some(1) } else { given.number("last")?.filter(|last| *last > 0) };
    let size = given.on("size") || given.text("format").is_some_and(|format| format.contains(".Size"));
    let options = ListOptions { all: given.on("all"), limit, size, filters: filters(&given.list("filter"))? };
    let containers = call.client.containers(&options).await?;
    let full = given.on("no-trunc");
    if given.on("quiet") && format.is_usual() {
        containers.iter().try_for_each(|container| line(id(&container.id, full)))?;
        return Ok(0);
    }
    let mut columns = vec!["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
    columns.extend(given.on("size").then_some("Size"));
    let rows = containers.iter().map(|container| row(container, full)).collect();
    Listing { titles: TITLES, columns, rows }.print(&format)?;
    Ok(0)
}

/// Twelve digits, or all of them.
pub(crate) fn id(id: &str, full: bool) -> &str {
    if full { id } else { id.get(..12).unwrap_or(id) }
}

fn row(container: &ContainerSummary, full: bool) -> Row {
    let cut = |text: &str, letters| if full { text.to_owned() } else { shortened(text, letters) };
    let created = Timestamp { seconds: container.created, nanoseconds: 0 };
    let mounts = container
        .mounts
        .iter()
        .map(|mount| cut(if mount.name.is_empty() { &mount.source } else { &mount.name }, 15));
    let networks = container.network_settings.networks.keys().cloned().collect::<Vec<_>>();
    Row::new([
        ("ID", id(&container.id, full).to_owned()),
        ("Image", image(container, full)),
        ("Command", format!("\"{}\"", cut(&container.command, 20))),
        ("RunningFor", format!("{} ago", ago(container.created))),
        ("CreatedAt", moment(created)),
        ("Status", container.status.clone()),
        ("State", container.state.clone()),
        ("Ports", ranges(&container.ports)),
        ("Names", names(container, full)),
        ("Size", sizes(container)),
        ("Labels", labels(&container.labels)),
        ("Mounts", mounts.collect::<Vec<_>>().join(",")),
        ("LocalVolumes", container.mounts.iter().filter(|mount| mount.driver == "local").count().to_string()),
        ("Networks", networks.join(",")),
    ])
    .labelled(&container.labels)
}

/// An image that has lost its name is shown by its id, which is long.
fn image(container: &ContainerSummary, full: bool) -> String {
    match container.image.strip_prefix("sha256:") {
        Some(digits) if !full => id(digits, false).to_owned(),
        _ if container.image.is_empty() => "<no image>".into(),
        _ => container.image.clone(),
    }
}

/// Without their slash, and without those that links gave unless all are wanted.
fn names(container: &ContainerSummary, full: bool) -> String {
    let names = container.names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
    names.filter(|name| full || !name.contains('/')).collect::<Vec<_>>().join(",")
}

fn sizes(container: &ContainerSummary) -> String {
    match (container.size_rw, container.size_root_fs) {
        (Some(written), Some(whole)) if whole > 0 => {
            format!("{} (virtual {})", size_of(written), size_of(whole))
        }
        (written, _) => size_of(written.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What Docker's client 28.2 shows of the same containers.
    #[test]
    fn a_table_is_dockers() {
        let container: ContainerSummary = serde_json::from_value(json!({
            "Id": "ab".repeat(32), "Names": ["/web", "/other/web"], "Image": "nginx:latest", "Command": "/docker-entrypoint.sh nginx",
            "Created": 0, "State": "running", "Status": "Up About an hour", "Labels": {"b": "2", "a": "1"},
            "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}, {"PrivatePort": 443, "Type": "tcp"}],
            "Mounts": [{"Type": "volume", "Name": "data-with-a-long-name", "Driver": "local"}, {"Type": "bind", "Source": "/host"}],
            "NetworkSettings": {"Networks": {"bridge": {}}}, "SizeRw": 1_234_567, "SizeRootFs": 99_999_999,
        }))
        .unwrap();
        let listing = Listing {
            titles: TITLES,
            columns: vec!["ID", "Image", "Command", "Ports", "Names"],
            rows: vec![row(&container, false)],
        };
        assert_eq!(
            listing.render(&Format::Usual).unwrap(),
            "CONTAINER ID   IMAGE          COMMAND                  PORTS                           NAMES\n\
             abababababab   nginx:latest   \"/docker-entrypoint.…\"   443/tcp, 0.0.0.0:8080->80/tcp   web\n"
        );
        let words = [
            "--format".to_owned(),
            "{{.Size}}|{{.Mounts}}|{{.LocalVolumes}}|{{.Labels}}|{{.CreatedAt}}|{{.Networks}}".to_owned(),
        ];
        let template = crate::flags::read(&[PS], false, &words).unwrap();
        assert_eq!(
            listing.render(&Format::of(&template).unwrap()).unwrap(),
            "1.23MB (virtual 100MB)|data-with-a-lo…,/host|1|a=1,b=2|1970-01-01 00:00:00 +0000 UTC|bridge\n"
        );
    }
}
