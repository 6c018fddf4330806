//! What can be told of images that are here: how they came to be, what they are made of and take up, and whether all of it is
//! still what it should be.

mod compare;
mod history;
mod layers;
mod manifests;
mod usage;
mod verify;

pub use history::HistoryEntry;
pub use layers::StackedLayer;
pub use manifests::{ManifestKind, ManifestUse};
pub use usage::{ImageUsage, Usage};
pub use verify::{Verified, What};
