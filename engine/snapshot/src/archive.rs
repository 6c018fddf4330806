//! Tar streams: read entry by entry within limits, and written so that the same content gives the same bytes.

mod listing;
mod pax;
mod read;
pub(crate) mod write;

pub use listing::{Listed, ListedKind, Listing};
pub(crate) use read::{Archive, Entry, Extent, Kind};
