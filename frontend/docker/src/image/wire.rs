//! Images in Docker's documents.

use tare_docker_api::{
    ContainerConfig, Document, GraphDriver, ImageHistoryItem, ImageInspect, ImageMetadata, ImageSummary,
    RootFs,
};
use tare_image::{HistoryEntry, Image};
use tare_model::{Reference, Timestamp};
use tare_oci::image::ExecutionConfig;

use crate::version::{Change, Version};

/// What a list shows of an image.
pub(crate) fn summary(image: &Image, version: Version) -> ImageSummary {
    let size = signed(image.size);
    ImageSummary {
        id: image.id.to_string(),
        parent_id: image.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        repo_tags: familiar(&image.tags),
        repo_digests: familiar(&image.digests),
        created: image.config.created.map_or(0, |created| created.seconds),
        size,
        shared_size: -1,
        virtual_size: if version.has(Change::NoVirtualSize) { 0 } else { size },
        labels: image.config.config.labels.clone(),
        containers: -1,
        ..ImageSummary::default()
    }
}

/// All of an image.
pub(super) fn inspect(image: &Image, version: Version) -> ImageInspect {
    let config = &image.config;
    let size = signed(image.size);
    ImageInspect {
        id: image.id.to_string(),
        repo_tags: familiar(&image.tags),
        repo_digests: familiar(&image.digests),
        comment: config.history.last().map(|step| step.comment.clone()).unwrap_or_default(),
        created: config.created.map(|created| created.to_string()).unwrap_or_default(),
        author: config.author.clone(),
        config: execution(&config.config, version),
        architecture: config.architecture.clone(),
        variant: config.variant.clone().unwrap_or_default(),
        os: config.os.clone(),
        size,
        virtual_size: if version.has(Change::NoVirtualSize) { 0 } else { size },
        graph_driver: GraphDriver::default(),
        root_fs: RootFs {
            kind: "layers".to_owned(),
            layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        },
        metadata: ImageMetadata { last_tag_time: image.tagged.unwrap_or(Timestamp::ZERO).to_string() },
        ..ImageInspect::default()
    }
}

/// One step of an image's making.
pub(super) fn history(step: &HistoryEntry) -> ImageHistoryItem {
    ImageHistoryItem {
        id: step.id.clone(),
        created: step.created.map_or(0, |created| created.seconds),
        created_by: step.created_by.clone(),
        tags: (!step.tags.is_empty()).then(|| familiar(&step.tags)),
        size: signed(step.size),
        comment: step.comment.clone(),
    }
}

/// What only a container has, and older clients look for in images.
const OF_CONTAINERS: [&str; 9] = [
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Domainname",
    "Hostname",
    "Image",
    "OpenStdin",
    "StdinOnce",
    "Tty",
];

/// Both documents have the same names for the same things: OCI took them from Docker.
fn execution(config: &ExecutionConfig, version: Version) -> serde_json::Value {
    let config = ContainerConfig::like(config).unwrap_or_default();
    let mut config = serde_json::to_value(config).unwrap_or_default();
    if let Some(fields) = config.as_object_mut().filter(|_| version.has(Change::NoContainerFields)) {
        fields.retain(|name, _| !OF_CONTAINERS.contains(&name.as_str()));
    }
    config
}

fn familiar(references: &[Reference]) -> Vec<String> {
    references.iter().map(Reference::familiar).collect()
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_configuration_keeps_all_its_fields() {
        let text = r#"{"User":"web","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Entrypoint":["/e"],"Cmd":["c"],"Volumes":{"/v":{}},
            "WorkingDir":"/w","Labels":{"l":"m"},"StopSignal":"SIGQUIT","Healthcheck":{"Test":["CMD","x"],"Interval":5},
            "OnBuild":["RUN y"],"Shell":["sh","-c"]}"#;
        let config: ExecutionConfig = serde_json::from_str(text).unwrap();
        let wire = execution(&config, Version::MAX);
        let given: serde_json::Value = serde_json::from_str(text).unwrap();
        for (key, value) in given.as_object().unwrap() {
            assert_eq!(&wire[key], value, "{key}");
        }
        let old = execution(&config, Version::MIN);
        assert!(OF_CONTAINERS.iter().all(|name| wire.get(name).is_none() && old.get(name).is_some()));
    }
}
