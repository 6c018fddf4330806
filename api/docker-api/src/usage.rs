use crate::wire::is_empty;
use crate::{ContainerSummary, ImageDeleted, ImageSummary, Volume};

wire! {
    /// Reply to `GET /system/df`.
    pub struct DiskUsage {
        pub layers_size: i64,
        pub images: Option<Vec<ImageSummary>>,
        pub containers: Option<Vec<ContainerSummary>>,
        pub volumes: Option<Vec<Volume>>,
        pub build_cache: Option<Vec<CacheUsage>>,
    }

    /// One record of the build cache.
    pub struct CacheUsage {
        #[serde(rename = "ID")]
        pub id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub parents: Option<Vec<String>>,
        #[serde(rename = "Type")]
        pub kind: String,
        pub description: String,
        pub in_use: bool,
        pub shared: bool,
        pub size: i64,
        #[serde(skip_serializing_if = "is_empty")]
        pub created_at: String,
        pub last_used_at: Option<String>,
        pub usage_count: i64,
    }

    /// Reply to `POST /images/prune`.
    pub struct ImagePrune {
        pub images_deleted: Option<Vec<ImageDeleted>>,
        pub space_reclaimed: u64,
    }

    /// Reply to `POST /containers/prune`.
    pub struct ContainerPrune {
        pub containers_deleted: Option<Vec<String>>,
        pub space_reclaimed: u64,
    }

    /// Reply to `POST /networks/prune`.
    pub struct NetworkPrune {
        pub networks_deleted: Option<Vec<String>>,
    }
}
