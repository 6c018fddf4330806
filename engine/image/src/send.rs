//! Images that go out: to a registry, or as an archive, byte for byte as they are kept unless another compression is asked for.

mod push;
mod recompress;
mod save;
mod shipment;

pub use push::{PushRequest, Pushed};
pub use recompress::LayerCompression;
pub(crate) use shipment::{Shipment, pack};
