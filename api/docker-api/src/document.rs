use serde::Serialize;
use serde_json::{Result, Value};

use crate::{
    AuthConfig, AuthResponse, BuildPrune, ContainerConfig, ContainerCreateRequest, ContainerCreateResponse,
    ContainerInspect, ContainerPrune, ContainerSummary, ContainerTop, ContainerWait, DiskUsage, Event,
    ExecCreateRequest, ExecInspect, ExecStartRequest, FileChange, IdResponse, ImageDeleted, ImageHistoryItem,
    ImageLayer, ImagePrune, ImageSummary, IndexMade, Network, NetworkPrune, ProgressMessage, SearchResult,
    SystemInfo, SystemVersion, TreeDifference, Verdict, Volume, VolumeCreateRequest, VolumeList, VolumePrune,
};

/// A document that somebody reads whole.
///
/// What reads a type is long code that serde writes where it is asked for; asked for here, it is compiled once and not in
/// every crate that reads one.
pub trait Document: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// Where it is not JSON, or not of this shape.
    fn read(json: &[u8]) -> Result<Self>;

    /// Reads it; nothing where `null` is all there is.
    ///
    /// # Errors
    /// As [`Document::read`].
    fn read_optional(json: &[u8]) -> Result<Option<Self>> {
        if json.trim_ascii() == b"null" { Ok(None) } else { Self::read(json).map(Some) }
    }

    /// Takes the shape of another document that has the same names for the same things.
    ///
    /// # Errors
    /// As [`Document::read`].
    fn like(other: &impl Serialize) -> Result<Self> {
        Self::read(&serde_json::to_vec(other)?)
    }
}

macro_rules! documents {
    ($($type:ty,)*) => {$(
        impl Document for $type {
            fn read(json: &[u8]) -> Result<Self> {
                serde_json::from_slice(json)
            }
        }
    )*};
}

documents! {
    AuthConfig,
    AuthResponse,
    BuildPrune,
    ContainerConfig,
    ContainerCreateRequest,
    ContainerCreateResponse,
    ContainerInspect,
    ContainerPrune,
    ContainerTop,
    ContainerWait,
    DiskUsage,
    Event,
    ExecCreateRequest,
    ExecInspect,
    ExecStartRequest,
    IdResponse,
    IndexMade,
    ImagePrune,
    NetworkPrune,
    ProgressMessage,
    SystemInfo,
    SystemVersion,
    Value,
    Option<Vec<FileChange>>,
    Vec<ContainerSummary>,
    Vec<ImageDeleted>,
    Vec<ImageHistoryItem>,
    Vec<ImageLayer>,
    Vec<ImageSummary>,
    Vec<Network>,
    Vec<SearchResult>,
    Vec<TreeDifference>,
    Verdict,
    Volume,
    VolumeCreateRequest,
    VolumeList,
    VolumePrune,
}
