//! Images made here: layers out of what containers wrote or somebody sends, images out of layers, indexes out of images.

mod image;
mod import;
mod index;
mod layer;
mod package;

pub use image::CommitRequest;
pub(crate) use image::commit;
pub use import::ImportRequest;
pub(crate) use import::{import, import_from};
pub use index::IndexRequest;
pub(crate) use index::make_index;
pub use layer::{LayerRequest, LayerUse};
pub(crate) use layer::{layer, layers_of, recall};
