//! `images`, `history`, `rmi`, `tag`.

use tare_docker_api::{ImageHistoryItem, ImageSummary};
use tare_model::{Reference, Timestamp};

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, list, switch, switch_on, text};
use crate::listing::{
    FILTER, FORMAT, Format, JSON, Listing, NO_TRUNC, Row, ago, filters, moment, shortened, size_of,
};
use crate::output::{self, line};
use crate::ps::id;

pub(crate) const IMAGES: &[Flag] = &[
    switch("all", "Show all images (default hides intermediate images)").short('a'),
    switch("digests", "Show digests"),
    FILTER,
    FORMAT,
    JSON,
    NO_TRUNC,
    switch("quiet", "Only show image IDs").short('q'),
    switch("tree", "List the platforms of each image below it"),
];

pub(crate) const HISTORY: &[Flag] = &[
    FORMAT,
    JSON,
    switch_on("human", "Print sizes and dates in human readable format").short('H'),
    NO_TRUNC,
    text("platform", "string", "Show history for the given platform (os[/arch[/variant]])"),
    switch("quiet", "Only show image IDs").short('q'),
];

pub(crate) const RMI: &[Flag] = &[
    switch("force", "Force removal of the image").short('f'),
    switch("no-prune", "Do not delete untagged parents"),
    list("platform", "strings", "Remove only the image for this platform (os[/arch[/variant]])"),
];

const TITLES: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

const NONE: &str = "<none>";

/// `tare images`
pub(crate) async fn images(call: Call) -> Result<u8> {
    let given = &call.given;
    let (format, tree) = (Format::of(given)?, given.on("tree"));
    if tree && (!format.is_usual() || given.on("quiet") || given.on("digests")) {
        return Err(Failure::usage(
            "--tree has a form of its own: it goes with none of --format, --quiet, --digests",
        ));
    }
    let mut wanted = given.list("filter");
    wanted.extend(given.operands.first().map(|name| format!("reference={name}")));
    let images = call.client.images(given.on("all"), filters(&wanted)?.as_deref(), tree).await?;
    if tree {
        return images.iter().flat_map(branches).try_for_each(line).map(|()| 0);
    }
    let (full, digests) = (given.on("no-trunc"), given.on("digests"));
    let names = |image: &ImageSummary| named(image, digests);
    if given.on("quiet") && format.is_usual() {
        for image in &images {
            names(image).iter().try_for_each(|_| line(image_id(&image.id, full)))?;
        }
        return Ok(0);
    }
    let rows = images
        .iter()
        .flat_map(|image| names(image).into_iter().map(move |name| row(image, name, full)))
        .collect();
    let columns = match digests {
        true => vec!["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
        false => vec!["Repository", "Tag", "ID", "CreatedSince", "Size"],
    };
    Listing { titles: TITLES, columns, rows }.print(&format)?;
    Ok(0)
}

/// One line of the list: repository, tag and digest.
#[derive(Debug, PartialEq)]
struct Named {
    repository: String,
    tag: String,
    digest: String,
}

/// The lines that an image has: one a tag, one a repository that has no tag, else one of no name at all.
fn named(image: &ImageSummary, digests: bool) -> Vec<Named> {
    let split = |full: &str, at: char| {
        let (name, rest) = full.rsplit_once(at)?;
        (name != NONE).then(|| (name.to_owned(), rest.to_owned()))
    };
    let tags: Vec<_> = image.repo_tags.iter().filter_map(|full| split(full, ':')).collect();
    let known: Vec<_> = image.repo_digests.iter().filter_map(|full| split(full, '@')).collect();
    let digest_of = |wanted: &str| {
        let found = known.iter().find(|(name, _)| name == wanted).filter(|_| digests);
        found.map_or_else(|| NONE.to_owned(), |(_, digest)| digest.clone())
    };
    let tagged = tags.iter().map(|(name, tag)| Named {
        repository: name.clone(),
        tag: tag.clone(),
        digest: digest_of(name),
    });
    let mut seen = std::collections::BTreeSet::new();
    let alone = known.iter().filter(|(name, _)| tags.iter().all(|(tagged, _)| tagged != name));
    // Where no digest is shown, several of one repository would be the same line.
    let alone = alone.filter(|(name, _)| digests || seen.insert(name.clone()));
    let untagged = alone.map(|(name, digest)| Named {
        repository: name.clone(),
        tag: NONE.to_owned(),
        digest: digest.clone(),
    });
    let mut lines: Vec<Named> = tagged.chain(untagged).collect();
    if lines.is_empty() {
        lines.push(Named { repository: NONE.into(), tag: NONE.into(), digest: NONE.into() });
    }
    lines
}

/// The lines of an image in a tree: its names, then each platform that they stand for.
fn branches(image: &ImageSummary) -> Vec<String> {
    let names = if image.repo_tags.is_empty() { vec![NONE.to_owned()] } else { image.repo_tags.clone() };
    let mut lines = vec![format!("{}  {}", names.join(", "), image_id(&image.id, false))];
    let platforms: Vec<_> = image.manifests.iter().flatten().filter(|one| one.image_data.is_some()).collect();
    for (at, one) in platforms.iter().enumerate() {
        let branch = if at + 1 == platforms.len() { "└─" } else { "├─" };
        let platform = one.image_data.as_ref().map(|image| &image.platform);
        let word = |key| platform.and_then(|platform| platform[key].as_str()).filter(|word| !word.is_empty());
        let name = ["os", "architecture", "variant"].iter().filter_map(word).collect::<Vec<_>>().join("/");
        let held = match one.available {
            true => {
                format!("{} on disk, {} of it compressed", size_of(one.size.total), size_of(one.size.content))
            }
            false => "not here".to_owned(),
        };
        lines.push(format!("{branch} {name:<16} {}  {held}", image_id(&one.id, false)));
    }
    lines
}

fn image_id(full_id: &str, full: bool) -> &str {
    if full { full_id } else { id(full_id.strip_prefix("sha256:").unwrap_or(full_id), false) }
}

fn row(image: &ImageSummary, name: Named, full: bool) -> Row {
    let created = Timestamp { seconds: image.created, nanoseconds: 0 };
    let count = |number: i64| if number < 0 { "N/A".into() } else { number.to_string() };
    Row::new([
        ("Repository", name.repository),
        ("Tag", name.tag),
        ("Digest", name.digest),
        ("ID", image_id(&image.id, full).to_owned()),
        (
            "CreatedSince",
            if image.created > 0 { format!("{} ago", ago(image.created)) } else { "N/A".into() },
        ),
        ("CreatedAt", moment(created)),
        ("Size", size_of(image.size)),
        ("VirtualSize", size_of(image.size)),
        ("SharedSize", size_of(image.shared_size)),
        (
            "UniqueSize",
            if image.shared_size < 0 { "N/A".into() } else { size_of(image.size - image.shared_size) },
        ),
        ("Containers", count(image.containers)),
    ])
}

const HISTORY_TITLES: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

/// `tare history`
pub(crate) async fn history(call: Call) -> Result<u8> {
    let given = &call.given;
    let format = Format::of(given)?;
    let items = call.client.image_history(&given.operands[0], given.text("platform")).await?;
    let (full, human) = (given.on("no-trunc"), given.on("human"));
    if given.on("quiet") {
        items.iter().try_for_each(|item| line(image_id(&item.id, full)))?;
        return Ok(0);
    }
    let created = if human { "CreatedSince" } else { "CreatedAt" };
    let columns = vec!["ID", created, "CreatedBy", "Size", "Comment"];
    let rows = items.iter().map(|item| step(item, full, human)).collect();
    Listing { titles: HISTORY_TITLES, columns, rows }.print(&format)?;
    Ok(0)
}

fn step(item: &ImageHistoryItem, full: bool, human: bool) -> Row {
    let created_by = item.created_by.replace('\t', " ");
    let known = item.created > 0;
    Row::new([
        ("ID", image_id(&item.id, full).to_owned()),
        ("CreatedSince", if known { format!("{} ago", ago(item.created)) } else { "N/A".into() }),
        ("CreatedAt", Timestamp { seconds: item.created, nanoseconds: 0 }.to_string()),
        ("CreatedBy", if full { created_by } else { shortened(&created_by, 45) }),
        ("Size", if human { size_of(item.size) } else { item.size.to_string() }),
        ("Comment", item.comment.clone()),
    ])
}

/// `tare rmi`
pub(crate) async fn remove(call: Call) -> Result<u8> {
    let given = &call.given;
    let platforms = given.list("platform");
    let (force, keep_parents) = (given.on("force"), given.on("no-prune"));
    let mut code = 0;
    for name in &given.operands {
        match call.client.remove_image(name, force, keep_parents, &platforms).await {
            Ok(removed) => {
                for one in removed {
                    if !one.untagged.is_empty() {
                        line(format!("Untagged: {}", one.untagged))?;
                    }
                    if !one.deleted.is_empty() {
                        line(format!("Deleted: {}", one.deleted))?;
                    }
                }
            }
            Err(error) => {
                code = if force && error.status() == Some(404) { code } else { 1 };
                output::complain(&error.into());
            }
        }
    }
    Ok(code)
}

/// `tare tag`
pub(crate) async fn tag(call: Call) -> Result<u8> {
    let [source, target] = &call.given.operands[..] else { return Ok(1) };
    let reference = target.parse::<Reference>().map_err(|error| Failure::new(error.to_string()))?;
    if reference.digest().is_some() {
        return Err(Failure::new("refusing to create a tag with a digest reference"));
    }
    let reference = reference.or_latest();
    call.client
        .tag_image(source, &reference.repository().familiar(), reference.tag().unwrap_or("latest"))
        .await?;
    Ok(0)
}

/// `tare untag`
pub(crate) async fn untag(call: Call) -> Result<u8> {
    let [image, names @ ..] = &call.given.operands[..] else { return Ok(1) };
    if names.is_empty() {
        call.client.untag_image(image, None).await?;
    }
    for name in names {
        let name = name.parse::<Reference>().map_err(|error| Failure::new(error.to_string()))?.or_latest();
        let (repository, tag) = (name.repository().familiar(), name.tag().unwrap_or("latest"));
        call.client.untag_image(image, Some((&repository, tag))).await?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_shows_what_a_name_stands_for() {
        use tare_docker_api::{ImageManifest, ImageManifestSize, PlatformImage};
        let one = |number: &str, architecture: &str, available| ImageManifest {
            id: format!("sha256:{}", number.repeat(64)),
            available,
            size: ImageManifestSize { total: 5_000_000, content: 2_000_000 },
            image_data: Some(PlatformImage {
                platform: serde_json::json!({"os": "linux", "architecture": architecture}),
                ..PlatformImage::default()
            }),
            ..ImageManifest::default()
        };
        let attestation = ImageManifest { image_data: None, ..one("c", "unknown", true) };
        let image = ImageSummary {
            id: format!("sha256:{}", "ab".repeat(32)),
            repo_tags: vec!["web:1".into(), "web:latest".into()],
            manifests: Some(vec![one("a", "amd64", true), one("b", "s390x", false), attestation]),
            ..ImageSummary::default()
        };
        let expected = [
            "web:1, web:latest  abababababab",
            "├─ linux/amd64      aaaaaaaaaaaa  5MB on disk, 2MB of it compressed",
            "└─ linux/s390x      bbbbbbbbbbbb  not here",
        ];
        assert_eq!(branches(&image), expected);
    }

    /// As Docker's client 28.2 shows them.
    #[test]
    fn an_image_has_a_line_for_every_name() {
        let digest = |name: &str| format!("{name}@sha256:{}", "11".repeat(32));
        let mut image = ImageSummary {
            repo_tags: vec!["nginx:latest".into(), "127.0.0.1:5000/web:v1".into()],
            repo_digests: vec![digest("nginx")],
            ..ImageSummary::default()
        };
        let lines = |image: &ImageSummary, digests| -> Vec<String> {
            named(image, digests)
                .iter()
                .map(|n| format!("{} {} {}", n.repository, n.tag, &n.digest[..6]))
                .collect()
        };
        assert_eq!(lines(&image, true), ["nginx latest sha256", "127.0.0.1:5000/web v1 <none>"]);
        assert_eq!(lines(&image, false), ["nginx latest <none>", "127.0.0.1:5000/web v1 <none>"]);
        image.repo_digests.push(digest("other"));
        let other = ["nginx latest <none>", "127.0.0.1:5000/web v1 <none>", "other <none> sha256"];
        assert_eq!(lines(&image, false), other);
        image.repo_digests.pop();
        image.repo_tags.clear();
        assert_eq!(lines(&image, false), ["nginx <none> sha256"]);
        image.repo_digests.clear();
        assert_eq!(lines(&image, false), ["<none> <none> <none>"]);
    }
}
