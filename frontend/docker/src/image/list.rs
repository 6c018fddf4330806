use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tare_docker_api::ImageSummary;
use tare_http::{Reply, Request, StatusCode};
use tare_image::Image;
use tare_model::{Digest, Timestamp};

use super::{manifests, wire};
use crate::filter::Filters;
use crate::pattern::Pattern;
use crate::version::{Change, Version};
use crate::{Result, Rooms, parameter};

const KNOWN: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];

/// `GET /images/json`: the newest first.
pub(crate) async fn list(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let filters = Filters::of(&request.query, &KNOWN)?;
    let (version, dangling) = (Version::of(&request), filters.switch("dangling")?);
    let bounds = Bounds::of(&rooms, &filters)?;
    let shared = parameter::flag(&request.query, "shared-size");
    let patterns = filters.values("reference").map(Pattern::parse).collect::<Result<Vec<_>>>()?;
    let images = rooms.images.list()?;
    let users = version.has(Change::ContainersOfImages).then(|| users(&rooms));
    // What has no name and is only kept for what was made from it is shown to who asks for all.
    let all = parameter::flag(&request.query, "all");
    let parents: BTreeSet<Digest> = images.iter().filter_map(|image| image.parent).collect();
    let between = |image: &Image| image.names().next().is_none() && parents.contains(&image.id);
    let mut summaries: Vec<ImageSummary> = Vec::new();
    for image in &images {
        let labels = image.config.config.labels.clone().unwrap_or_default();
        let fits = dangling.is_none_or(|wanted| wanted == image.tags.is_empty())
            && filters.labels(&labels)
            && bounds.fit(created(image))
            && (all || !between(image))
            && (patterns.is_empty()
                || image
                    .names()
                    .any(|name| patterns.iter().any(|pattern| fits_name(pattern, &name.familiar()))));
        if !fits {
            continue;
        }
        let mut summary = wire::summary(image, version);
        if !patterns.is_empty() {
            // Of both, since a client makes a line of a digest whose repository has no tag.
            for names in [&mut summary.repo_tags, &mut summary.repo_digests] {
                names.retain(|name| patterns.iter().any(|pattern| fits_name(pattern, name)));
            }
        }
        if !version.has(Change::NoWordForNone)
            && summary.repo_tags.is_empty()
            && summary.repo_digests.is_empty()
        {
            // Older clients show no line for what has no name.
            summary.repo_tags.push("<none>:<none>".to_owned());
            summary.repo_digests.push("<none>@<none>".to_owned());
        }
        if let Some(users) = &users {
            summary.containers = users.get(&image.id).copied().unwrap_or(0);
        }
        if parameter::flag(&request.query, "manifests") {
            summary.descriptor = manifests::descriptor(&rooms, &summary.id);
            summary.manifests = Some(manifests::manifests(&rooms, &summary.id));
        }
        if shared {
            summary.shared_size = shared_size(image, &images);
        }
        summaries.push(summary);
    }
    summaries.sort_by_key(|summary| std::cmp::Reverse(summary.created));
    Ok(Reply::json(StatusCode::OK, &summaries))
}

fn created(image: &Image) -> Timestamp {
    image.config.created.unwrap_or(Timestamp::ZERO)
}

/// Creation times between which an image must lie.
#[derive(Default)]
struct Bounds {
    after: Option<Timestamp>,
    before: Option<Timestamp>,
}

impl Bounds {
    fn of(rooms: &Rooms, filters: &Filters) -> Result<Self> {
        let of_image = |key| {
            filters
                .values(key)
                .next()
                .map(|name| rooms.images.resolve(name).map(|image| created(&image)))
                .transpose()
        };
        let until = filters.until()?;
        Ok(Self { after: of_image("since")?, before: of_image("before")?.into_iter().chain(until).min() })
    }

    fn fit(&self, created: Timestamp) -> bool {
        self.after.is_none_or(|after| created > after) && self.before.is_none_or(|before| created < before)
    }
}

/// How many containers each image has.
fn users(rooms: &Rooms) -> BTreeMap<Digest, i64> {
    let mut users = BTreeMap::new();
    for container in rooms.engine.list() {
        *users.entry(container.image.id).or_default() += 1;
    }
    users
}

/// A pattern fits the whole familiar name, or the name without tag or digest.
fn fits_name(pattern: &Pattern, familiar: &str) -> bool {
    let undigested = familiar.split_once('@').map(|(name, _)| name);
    let untagged = || familiar.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map(|(name, _)| name);
    let plain = undigested.or_else(untagged);
    pattern.fits(familiar) || plain.is_some_and(|name| pattern.fits(name))
}

/// Bytes of the layers that another image has too.
fn shared_size(image: &Image, all: &[Image]) -> i64 {
    let others = || all.iter().filter(|other| other.id != image.id);
    let layers = image.layers.iter().zip(&image.layer_sizes);
    let shared = layers
        .filter(|(layer, _)| others().any(|other| other.layers.contains(layer)))
        .map(|(_, size)| size)
        .sum::<u64>();
    i64::try_from(shared).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_patterns_fit_with_and_without_tag() {
        let fits = |pattern: &str, name: &str| fits_name(&Pattern::parse(pattern).unwrap(), name);
        assert!(fits("debian", "debian:12") && fits("deb*", "debian:12") && fits("debian:1?", "debian:12"));
        assert!(fits("127.0.0.1:5000/site", "127.0.0.1:5000/site:v1"));
        assert!(!fits("ubuntu", "debian:12") && !fits("site", "127.0.0.1:5000/site:v1"));
        let at = |name: &str| format!("{name}@sha256:{}", "ab".repeat(32));
        assert!(fits("debian", &at("debian")) && fits(&at("debian"), &at("debian")));
        assert!(fits("127.0.0.1:5000/site", &at("127.0.0.1:5000/site")) && !fits("ubuntu", &at("debian")));
    }
}
