//! `system df`, and the verbs that remove what nobody uses.

use tare_client::Error;
use tare_docker_api::{DiskUsage, ImageDeleted};
use tare_model::format_bytes;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, Given, list, switch};
use crate::listing::{FORMAT, Format, JSON, Listing, Row, ago, filters, shortened, size_of};
use crate::output::{confirm, line};
use crate::ps::id;

pub(crate) const DF: &[Flag] =
    &[FORMAT, JSON, switch("verbose", "Show detailed information on space usage").short('v')];

const WANTED: Flag = list("filter", "filter", "Provide filter values (e.g. \"until=<timestamp>\")");
const FORCE: Flag = switch("force", "Do not prompt for confirmation").short('f');

pub(crate) const CONTAINERS: &[Flag] = &[WANTED, FORCE];
pub(crate) const IMAGES: &[Flag] =
    &[switch("all", "Remove all unused images, not just dangling ones").short('a'), WANTED, FORCE];
pub(crate) const SYSTEM: &[Flag] = &[
    switch("all", "Remove all unused images not just dangling ones").short('a'),
    WANTED,
    FORCE,
    switch("volumes", "Prune anonymous volumes"),
];

const TITLES: &[(&str, &str)] = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

/// One line of `system df`.
struct Sum {
    kind: &'static str,
    count: usize,
    active: usize,
    size: i64,
    reclaimable: i64,
}

/// `tare system df`
pub(crate) async fn df(call: Call) -> Result<u8> {
    let given = &call.given;
    let format = Format::of(given)?;
    let usage = call.client.disk_usage().await?;
    if given.on("verbose") && format.is_usual() {
        return verbose(&usage);
    }
    let rows = sums(&usage).iter().map(row).collect();
    let columns = vec!["Type", "TotalCount", "Active", "Size", "Reclaimable"];
    Listing { titles: TITLES, columns, rows }.print(&format)?;
    Ok(0)
}

fn sums(usage: &DiskUsage) -> [Sum; 4] {
    let images = usage.images.as_deref().unwrap_or_default();
    let used: i64 = images.iter().filter(|i| i.containers > 0).map(|i| i.size - i.shared_size).sum();
    let containers = usage.containers.as_deref().unwrap_or_default();
    let runs = |state: &str| matches!(state, "running" | "paused" | "restarting");
    let written = |runs_too: bool| -> i64 {
        let counted = containers.iter().filter(|one| runs_too || !runs(&one.state));
        counted.filter_map(|one| one.size_rw).sum()
    };
    let volumes = usage.volumes.as_deref().unwrap_or_default();
    let measured = || volumes.iter().filter_map(|volume| volume.usage_data.as_ref());
    let cache = usage.build_cache.as_deref().unwrap_or_default();
    [
        Sum {
            kind: "Images",
            count: images.len(),
            active: images.iter().filter(|image| image.containers > 0).count(),
            size: usage.layers_size,
            reclaimable: usage.layers_size - used,
        },
        Sum {
            kind: "Containers",
            count: containers.len(),
            active: containers.iter().filter(|one| runs(&one.state)).count(),
            size: written(true),
            reclaimable: written(false),
        },
        Sum {
            kind: "Local Volumes",
            count: volumes.len(),
            active: measured().filter(|usage| usage.ref_count > 0).count(),
            size: measured().map(|usage| usage.size.max(0)).sum(),
            reclaimable: measured().filter(|usage| usage.ref_count == 0).map(|u| u.size.max(0)).sum(),
        },
        Sum {
            kind: "Build Cache",
            count: cache.len(),
            active: cache.iter().filter(|record| record.in_use).count(),
            size: cache.iter().filter(|record| !record.shared).map(|record| record.size).sum(),
            reclaimable: cache.iter().filter(|r| !r.in_use && !r.shared).map(|record| record.size).sum(),
        },
    ]
}

fn row(sum: &Sum) -> Row {
    let percent =
        if sum.size > 0 { format!(" ({}%)", sum.reclaimable * 100 / sum.size) } else { String::new() };
    Row::new([
        ("Type", sum.kind.to_owned()),
        ("TotalCount", sum.count.to_string()),
        ("Active", sum.active.to_string()),
        ("Size", size_of(sum.size)),
        ("Reclaimable", format!("{}{percent}", size_of(sum.reclaimable))),
    ])
}

/// One table a kind, as Docker's `-v`.
fn verbose(usage: &DiskUsage) -> Result<u8> {
    let short = |id_text: &str| id(id_text.strip_prefix("sha256:").unwrap_or(id_text), false).to_owned();
    let split = |name: &String| {
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "<none>"));
        (repository.to_owned(), tag.to_owned())
    };
    let images = usage.images.iter().flatten().map(|image| {
        let none = || ("<none>".to_owned(), "<none>".to_owned());
        let (repository, tag) = image.repo_tags.first().map_or_else(none, split);
        Row::new([
            ("Repository", repository),
            ("Tag", tag),
            ("ID", short(&image.id)),
            ("Created", format!("{} ago", ago(image.created))),
            ("Size", size_of(image.size)),
            ("SharedSize", size_of(image.shared_size)),
            ("UniqueSize", size_of(image.size - image.shared_size)),
            ("Containers", image.containers.to_string()),
        ])
    });
    let containers = usage.containers.iter().flatten().map(|one| {
        let name = one.names.first().map(|name| name.trim_start_matches('/').to_owned());
        Row::new([
            ("ID", short(&one.id)),
            ("Image", one.image.clone()),
            ("Command", format!("\"{}\"", shortened(&one.command, 20))),
            ("Mounts", one.mounts.len().to_string()),
            ("Size", size_of(one.size_rw.unwrap_or(-1))),
            ("Created", format!("{} ago", ago(one.created))),
            ("Status", one.status.clone()),
            ("Names", name.unwrap_or_default()),
        ])
    });
    let volumes = usage.volumes.iter().flatten().map(|volume| {
        let measured = volume.usage_data.as_ref();
        Row::new([
            ("Name", volume.name.clone()),
            ("Links", measured.map_or(0, |usage| usage.ref_count).to_string()),
            ("Size", size_of(measured.map_or(-1, |usage| usage.size))),
        ])
    });
    let cache = usage.build_cache.iter().flatten().map(|record| {
        Row::new([
            ("ID", id(&record.id, false).to_owned()),
            ("Kind", record.kind.clone()),
            ("Size", size_of(record.size)),
            ("Created", record.created_at.clone()),
            ("Usage", record.usage_count.to_string()),
            ("Shared", record.shared.to_string()),
        ])
    });
    table("Images space usage:", IMAGE_TITLES, images)?;
    table("Containers space usage:", CONTAINER_TITLES, containers)?;
    table("Local Volumes space usage:", VOLUME_TITLES, volumes)?;
    table("Build cache usage:", CACHE_TITLES, cache)?;
    Ok(0)
}

type Titles = &'static [(&'static str, &'static str)];

const IMAGE_TITLES: Titles = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("Created", "CREATED"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
];
const CONTAINER_TITLES: Titles = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("Mounts", "LOCAL VOLUMES"),
    ("Size", "SIZE"),
    ("Created", "CREATED"),
    ("Status", "STATUS"),
    ("Names", "NAMES"),
];
const VOLUME_TITLES: Titles = &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")];
const CACHE_TITLES: Titles = &[
    ("ID", "CACHE ID"),
    ("Kind", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("Created", "CREATED"),
    ("Usage", "USAGE"),
    ("Shared", "SHARED"),
];

fn table(title: &str, titles: Titles, rows: impl Iterator<Item = Row>) -> Result<()> {
    line(format!("{title}\n"))?;
    let columns = titles.iter().map(|(field, _)| *field).collect();
    Listing { titles, columns, rows: rows.collect() }.print(&Format::Usual)?;
    line("")
}

/// `tare container prune`
pub(crate) async fn containers(call: Call) -> Result<u8> {
    ask(&call.given, "container prune", "This will remove all stopped containers.")?;
    let bytes = prune_containers(&call, &call.given.list("filter")).await?;
    reclaimed(bytes)
}

/// `tare image prune`
pub(crate) async fn images(call: Call) -> Result<u8> {
    let given = &call.given;
    ask(given, "image prune", &format!("This will remove {}.", which_images(given)))?;
    let bytes = prune_images(&call, &given.list("filter")).await?;
    reclaimed(bytes)
}

/// `tare system prune`
pub(crate) async fn system(call: Call) -> Result<u8> {
    let given = &call.given;
    let mut doomed = vec!["all stopped containers", "all networks not used by at least one container"];
    doomed.extend(given.on("volumes").then_some("all anonymous volumes not used by at least one container"));
    doomed.extend([which_images(given), "unused build cache"]);
    let doomed: String = doomed.iter().map(|what| format!("\n  - {what}")).collect();
    ask(given, "system prune", &format!("This will remove:{doomed}\n"))?;
    let wanted = given.list("filter");
    let mut bytes = prune_containers(&call, &wanted).await?;
    prune_networks(&call, &wanted).await?;
    if given.on("volumes") {
        let labels: Vec<String> = wanted.iter().filter(|one| !one.starts_with("until")).cloned().collect();
        let pruned = call.client.prune_volumes(filters(&labels)?.as_deref()).await?;
        listed("Deleted Volumes:", pruned.volumes_deleted.as_deref().unwrap_or_default())?;
        bytes += pruned.space_reclaimed;
    }
    bytes += prune_images(&call, &wanted).await?;
    bytes += prune_build_cache(&call, &wanted).await?;
    reclaimed(bytes)
}

fn which_images(given: &Given) -> &'static str {
    if given.on("all") {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    }
}

fn ask(given: &Given, verb: &str, warning: &str) -> Result<()> {
    let question = format!("WARNING! {warning}\nAre you sure you want to continue?");
    if given.on("force") || confirm(&question)? {
        return Ok(());
    }
    Err(Failure::new(format!("{verb} has been cancelled")))
}

async fn prune_containers(call: &Call, wanted: &[String]) -> Result<u64> {
    let pruned = call.client.prune_containers(filters(wanted)?.as_deref()).await?;
    listed("Deleted Containers:", pruned.containers_deleted.as_deref().unwrap_or_default())?;
    Ok(pruned.space_reclaimed)
}

async fn prune_images(call: &Call, wanted: &[String]) -> Result<u64> {
    let dangling = if call.given.on("all") { "dangling=false" } else { "dangling=true" };
    let wanted: Vec<String> = wanted.iter().cloned().chain([dangling.to_owned()]).collect();
    let pruned = call.client.prune_images(filters(&wanted)?.as_deref()).await?;
    let told = |gone: &ImageDeleted| match gone.untagged.as_str() {
        "" => format!("deleted: {}", gone.deleted),
        name => format!("untagged: {name}"),
    };
    let told: Vec<String> = pruned.images_deleted.iter().flatten().map(told).collect();
    listed("Deleted Images:", &told)?;
    Ok(pruned.space_reclaimed)
}

async fn prune_networks(call: &Call, wanted: &[String]) -> Result<()> {
    let pruned = supported(call.client.prune_networks(filters(wanted)?.as_deref()).await)?;
    listed("Deleted Networks:", &pruned.unwrap_or_default())
}

async fn prune_build_cache(call: &Call, wanted: &[String]) -> Result<u64> {
    let until: Vec<String> = wanted.iter().filter(|one| one.starts_with("until")).cloned().collect();
    let query: Vec<_> = filters(&until)?.map(|filters| ("filters", filters)).into_iter().collect();
    let pruned = supported(call.client.prune_builds(&query).await)?.unwrap_or_default();
    listed("Deleted build cache objects:", &pruned.caches_deleted.unwrap_or_default())?;
    Ok(pruned.space_reclaimed.unsigned_abs())
}

/// Nothing where the daemon has no such thing yet.
fn supported<T>(answer: Result<T, Error>) -> Result<Option<T>> {
    match answer {
        Err(error) if error.status() == Some(501) => Ok(None),
        answer => Ok(Some(answer?)),
    }
}

fn listed(title: &str, names: &[String]) -> Result<()> {
    if names.is_empty() { Ok(()) } else { line(format!("{title}\n{}\n", names.join("\n"))) }
}

fn reclaimed(bytes: u64) -> Result<u8> {
    line(format!("Total reclaimed space: {}", format_bytes(bytes)))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_can_be_reclaimed_is_what_no_container_uses() {
        let usage: DiskUsage = serde_json::from_value(json!({
            "LayersSize": 1000,
            "Images": [{"Size": 600, "SharedSize": 100, "Containers": 1}, {"Size": 500, "SharedSize": 100, "Containers": 0}],
            "Containers": [{"State": "running", "SizeRw": 5}, {"State": "exited", "SizeRw": 7}],
            "Volumes": [{"UsageData": {"RefCount": 0, "Size": 3}}, {"UsageData": {"RefCount": 2, "Size": 4}}],
        }))
        .unwrap();
        let told: Vec<_> =
            sums(&usage).iter().map(|sum| (sum.count, sum.active, sum.size, sum.reclaimable)).collect();
        assert_eq!(told, [(2, 1, 1000, 500), (2, 1, 12, 7), (2, 1, 7, 3), (0, 0, 0, 0)]);
    }
}
