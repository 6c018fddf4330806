//! # docker-api: the Docker Engine API's documents
//!
//! - **Owns**: the JSON shapes of the Engine API, v1.51, that Tare speaks, and of what it answers beyond: requests and replies.
//! - **In**: JSON from a client (read by the daemon) or from a daemon (read by our client).
//! - **Out**: plain structs, and JSON as dockerd writes it, because clients compare and print what they get:
//!   Go's `null` for an absent list or map, the zero value for an absent number, nothing at all where dockerd omits it.
//! - **Leans on**: serde.
//! - **Never**: checks, defaults or converts; that is the front end's work, at the one place where wire becomes spec.
//! - **Invariant**: every struct reads from `{}`; `null` means the default, unknown fields are ignored, as Go reads JSON.

#[macro_use]
mod wire;

mod build;
mod container;
mod document;
mod event;
mod exec;
mod host;
mod image;
mod network;
mod own;
mod system;
mod usage;
mod volume;

pub use build::{
    BuildExport, BuildOutput, BuildPrune, BuildResult, BuildSsh, BuildStep, CONTEXTS, DOCKERFILE,
    RESERVED_END, SECRETS,
};
pub use container::{
    ContainerConfig, ContainerCreateRequest, ContainerCreateResponse, ContainerInspect, ContainerState,
    ContainerSummary, ContainerSummaryHost, ContainerSummaryNetworks, ContainerTop, ContainerWait,
    ContainerWaitError, FileChange, HealthConfig, MountPoint, NetworkSettings, Port,
};
pub use document::Document;
pub use event::{Event, EventActor};
pub use exec::{ExecCreateRequest, ExecInspect, ExecProcess, ExecStartRequest};
pub use host::{
    BindOptions, DeviceMapping, DeviceRequest, DriverConfig, HostConfig, ImageOptions, LogConfig, Mount,
    PortBinding, PortMap, RestartPolicy, ThrottleDevice, TmpfsOptions, Ulimit, VolumeOptions, WeightDevice,
};
pub use image::{
    Attestation, DistributionInspect, ErrorDetail, GraphDriver, ImageDeleted, ImageHistoryItem, ImageInspect,
    ImageManifest, ImageManifestSize, ImageMetadata, ImageSummary, ImageUnpackedSize, OciDescriptor,
    OciPlatform, PlatformImage, ProgressAux, ProgressDetail, ProgressMessage, RootFs, SearchResult,
};
pub use network::{
    ConfigReference, EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, Network, NetworkContainer,
    NetworkingConfig,
};
pub use own::{ImageLayer, IndexMade, TreeDifference, Verdict};
pub use system::{
    AuthConfig, AuthResponse, Commit, Component, ErrorMessage, IdResponse, IndexInfo, PlatformName,
    PluginsInfo, RegistryServiceConfig, Runtime, SwarmInfo, SystemInfo, SystemVersion,
};
pub use usage::{CacheUsage, ContainerPrune, DiskUsage, ImagePrune, NetworkPrune};
pub use volume::{Volume, VolumeCreateRequest, VolumeList, VolumePrune, VolumeUsage};
pub use wire::Empty;

/// The newest version of the API spoken here.
pub const API_VERSION: &str = "1.51";
/// The oldest version of the API spoken here.
pub const MIN_API_VERSION: &str = "1.24";
