use std::collections::BTreeMap;

use crate::wire::is_empty;
use crate::{BuildOutput, BuildResult, BuildStep};

wire! {
    /// One of `GET /images/json`. `created` in seconds since 1970; -1 = not counted.
    pub struct ImageSummary {
        pub id: String,
        pub parent_id: String,
        pub repo_tags: Vec<String>,
        pub repo_digests: Vec<String>,
        pub created: i64,
        pub size: i64,
        pub shared_size: i64,
        #[serde(skip_serializing_if = "is_empty")]
        pub virtual_size: i64,
        pub labels: Option<BTreeMap<String, String>>,
        pub containers: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub descriptor: Option<serde_json::Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub manifests: Option<Vec<ImageManifest>>,
    }

    /// One of the manifests that an image's name stands for; listed where `manifests` is asked for.
    pub struct ImageManifest {
        #[serde(rename = "ID")]
        pub id: String,
        pub descriptor: serde_json::Value,
        pub available: bool,
        pub size: ImageManifestSize,
        pub kind: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_data: Option<PlatformImage>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub attestation_data: Option<Attestation>,
    }

    /// What a manifest of the kind `attestation` tells: the digest of the manifest that it is about.
    pub struct Attestation {
        #[serde(rename = "For")]
        pub about: String,
    }

    /// Bytes of the compressed layers and documents, and these with the unpacked layers.
    pub struct ImageManifestSize {
        pub total: i64,
        pub content: i64,
    }

    /// What a manifest of the kind `image` tells.
    pub struct PlatformImage {
        pub platform: serde_json::Value,
        pub containers: Vec<String>,
        pub size: ImageUnpackedSize,
    }

    /// Bytes of the unpacked layers.
    pub struct ImageUnpackedSize {
        pub unpacked: i64,
    }

    /// Reply to `GET /images/{name}/json`.
    pub struct ImageInspect {
        pub id: String,
        pub repo_tags: Vec<String>,
        pub repo_digests: Vec<String>,
        pub parent: String,
        pub comment: String,
        #[serde(skip_serializing_if = "is_empty")]
        pub created: String,
        pub docker_version: String,
        pub author: String,
        pub config: serde_json::Value,
        pub architecture: String,
        #[serde(skip_serializing_if = "is_empty")]
        pub variant: String,
        pub os: String,
        pub size: i64,
        #[serde(skip_serializing_if = "is_empty")]
        pub virtual_size: i64,
        pub graph_driver: GraphDriver,
        #[serde(rename = "RootFS")]
        pub root_fs: RootFs,
        pub metadata: ImageMetadata,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub descriptor: Option<serde_json::Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub manifests: Option<Vec<ImageManifest>>,
    }

    /// Where files lie.
    pub struct GraphDriver {
        pub data: Option<BTreeMap<String, String>>,
        pub name: String,
    }

    /// Digests of the uncompressed layers.
    pub struct RootFs {
        #[serde(rename = "Type")]
        pub kind: String,
        #[serde(skip_serializing_if = "is_empty")]
        pub layers: Vec<String>,
    }

    /// What the store knows about an image beside its content.
    pub struct ImageMetadata {
        pub last_tag_time: String,
    }

    /// One of `GET /images/{name}/history`.
    pub struct ImageHistoryItem {
        pub id: String,
        pub created: i64,
        pub created_by: String,
        pub tags: Option<Vec<String>>,
        pub size: i64,
        pub comment: String,
    }

    /// One of `DELETE /images/{name}`.
    pub struct ImageDeleted {
        #[serde(skip_serializing_if = "is_empty")]
        pub untagged: String,
        #[serde(skip_serializing_if = "is_empty")]
        pub deleted: String,
    }

    /// One of `GET /images/search`.
    pub struct SearchResult {
        #[serde(rename = "star_count")]
        pub star_count: u64,
        #[serde(rename = "is_official")]
        pub is_official: bool,
        #[serde(rename = "name")]
        pub name: String,
        #[serde(rename = "is_automated")]
        pub is_automated: bool,
        #[serde(rename = "description")]
        pub description: String,
    }

    /// Reply to `GET /distribution/{name}/json`.
    pub struct DistributionInspect {
        pub descriptor: OciDescriptor,
        pub platforms: Vec<OciPlatform>,
    }

    /// OCI's description of content.
    pub struct OciDescriptor {
        #[serde(rename = "mediaType")]
        pub media_type: String,
        #[serde(rename = "digest")]
        pub digest: String,
        #[serde(rename = "size")]
        pub size: u64,
    }

    /// OCI's description of a platform.
    pub struct OciPlatform {
        #[serde(rename = "architecture")]
        pub architecture: String,
        #[serde(rename = "os")]
        pub os: String,
        #[serde(rename = "variant", skip_serializing_if = "is_empty")]
        pub variant: String,
    }

    /// One line of the stream that pulling, pushing, loading and building answer.
    pub struct ProgressMessage {
        #[serde(rename = "stream", skip_serializing_if = "is_empty")]
        pub stream: String,
        #[serde(rename = "status", skip_serializing_if = "is_empty")]
        pub status: String,
        #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
        pub error_detail: Option<ErrorDetail>,
        #[serde(rename = "error", skip_serializing_if = "is_empty")]
        pub error: String,
        #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
        pub progress_detail: Option<ProgressDetail>,
        #[serde(rename = "progress", skip_serializing_if = "is_empty")]
        pub progress: String,
        #[serde(rename = "id", skip_serializing_if = "is_empty")]
        pub id: String,
        #[serde(rename = "aux", skip_serializing_if = "Option::is_none")]
        pub aux: Option<ProgressAux>,
    }

    /// What such a stream tells programs.
    pub struct ProgressAux {
        /// An image that was built, once it is finished.
        #[serde(rename = "ID", skip_serializing_if = "is_empty")]
        pub id: String,
        #[serde(rename = "tare.step", skip_serializing_if = "Option::is_none")]
        pub step: Option<BuildStep>,
        #[serde(rename = "tare.output", skip_serializing_if = "Option::is_none")]
        pub output: Option<BuildOutput>,
        #[serde(rename = "tare.result", skip_serializing_if = "Option::is_none")]
        pub result: Option<BuildResult>,
        /// Under which tag something was pushed.
        #[serde(skip_serializing_if = "is_empty")]
        pub tag: String,
        #[serde(skip_serializing_if = "is_empty")]
        pub digest: String,
        #[serde(skip_serializing_if = "is_empty")]
        pub size: u64,
        /// Whether an image was pushed in place of an index that is not here whole.
        #[serde(rename = "manifestPushedInsteadOfIndex", skip_serializing_if = "is_empty")]
        pub instead: bool,
        #[serde(rename = "originalIndex", skip_serializing_if = "Option::is_none")]
        pub index: Option<OciDescriptor>,
        #[serde(rename = "selectedManifest", skip_serializing_if = "Option::is_none")]
        pub manifest: Option<OciDescriptor>,
    }

    /// Why a stream of progress ended early.
    pub struct ErrorDetail {
        #[serde(rename = "code", skip_serializing_if = "is_empty")]
        pub code: i64,
        #[serde(rename = "message")]
        pub message: String,
    }

    /// How far a step is, in bytes unless `units` says otherwise.
    pub struct ProgressDetail {
        #[serde(rename = "current", skip_serializing_if = "is_empty")]
        pub current: u64,
        #[serde(rename = "total", skip_serializing_if = "is_empty")]
        pub total: u64,
        #[serde(rename = "units", skip_serializing_if = "is_empty")]
        pub units: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_progress_line_says_only_what_it_knows() {
        let message = ProgressMessage {
            status: "Waiting".into(),
            progress_detail: Some(ProgressDetail::default()),
            id: "abc".into(),
            ..ProgressMessage::default()
        };
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            r#"{"status":"Waiting","progressDetail":{},"id":"abc"}"#
        );
    }
}
