//! Images made here: layers out of what containers wrote or somebody sends, images out of layers, indexes out of images.

mod image;
mod import;
mod index;
mod layer;
mod package;

pub use image::CommitRequest;
pub use import::ImportRequest;
pub use index::IndexRequest;
pub use layer::{LayerRequest, LayerUse};
