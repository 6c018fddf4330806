//! Images that go out, byte for byte as they are kept: to a registry, or as an archive.

mod push;
mod save;
mod shipment;

pub use push::{PushRequest, Pushed};
pub(crate) use shipment::{Shipment, pack};
