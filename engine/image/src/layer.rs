//! Layers on their way from compressed bytes to trees: taken in, inflated, hashed and unpacked at the same time, all layers of
//! an image side by side, and each within its limits and those of all together.

mod bring;
mod budget;
mod claim;
mod inflate;
mod intake;
mod origin;
pub(crate) mod relay;
mod unpack;

use tare_model::Digest;
use tare_oci::image::Descriptor;

pub(crate) use bring::bring;
pub(crate) use budget::Budget;
pub(crate) use claim::{Claim, Claims};
pub(crate) use inflate::{Compression, Inflated, announced, zstd};
pub(crate) use origin::{Arrived, Opened, Origin, Remote};
pub(crate) use unpack::{bounds, inflated};

/// A layer of a manifest, and what its configuration says of it.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) blob: Descriptor,
    /// The digest of the uncompressed tar.
    pub(crate) diff: Digest,
    pub(crate) chain: Digest,
    pub(crate) parent: Option<Digest>,
}
