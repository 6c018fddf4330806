//! Passwords for the registries that a build talks to, and for no others.

use std::collections::{BTreeMap, BTreeSet};

use tare_docker_api::AuthConfig;
use tare_dockerfile::{Dockerfile, Given, Globals, Origin, Stages};
use tare_model::{Platform, Reference};

use super::request::Request;
use crate::call::Call;
use crate::credentials::{self, key_of};
use crate::failure::Result;

/// What is kept for the registries of all images that the build names.
pub(crate) fn credentials(
    call: &Call,
    request: &Request,
    file: Option<&Dockerfile>,
) -> Result<BTreeMap<String, AuthConfig>> {
    let mut domains: BTreeSet<String> = request.tags.iter().map(|tag| tag.domain().to_owned()).collect();
    let named = request.query.iter().filter(|(key, _)| *key == "cachefrom");
    for (_, json) in named {
        let images: Vec<String> = serde_json::from_str(json).unwrap_or_default();
        domains.extend(images.iter().filter_map(|image| domain(image)));
    }
    let images = request.contexts.values().filter_map(|place| place.strip_prefix("docker-image://"));
    domains.extend(images.filter_map(domain));
    match file {
        Some(file) => domains.extend(images_of(file, request).iter().filter_map(|image| domain(image))),
        // A Dockerfile that only the daemon will see may name any of them.
        None => domains.extend(credentials::Store::open(call.config.as_deref())?.registries()),
    }
    let mut found = BTreeMap::new();
    for domain in domains {
        if let Some(credentials) = credentials::for_registry(call, &domain)? {
            found.insert(key_of(&domain), credentials);
        }
    }
    Ok(found)
}

fn domain(image: &str) -> Option<String> {
    image.parse::<Reference>().ok().map(|reference| reference.domain().to_owned())
}

/// The images of FROM, `--from` and mounts. What cannot be told without building is left to the daemon's complaint.
fn images_of(file: &Dockerfile, request: &Request) -> Vec<String> {
    let given = Given {
        args: request.args.clone(),
        target_platform: Platform::host(),
        build_platform: Platform::host(),
        target_stage: None,
    };
    let Ok(globals) = Globals::new(file, &given) else { return Vec::new() };
    let contexts = request.contexts.keys().cloned().collect();
    let Ok(stages) = Stages::resolve(file, &globals, &contexts) else { return Vec::new() };
    let copied = stages.sources(file).into_iter();
    let all = stages.bases().iter().cloned().chain(copied);
    all.filter_map(|origin| match origin {
        Origin::Image(name) => Some(name),
        _ => None,
    })
    .collect()
}
