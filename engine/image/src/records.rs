//! Images and their names, as they are recorded and kept at hand; what a name means; every change of them, all of it or nothing.

mod arrival;
mod change;
mod image;
mod index;
mod tag;

pub(crate) use arrival::{Arrival, arrived, plan, records, target};
pub(crate) use change::{Change, change, change_blocking};
pub use image::Image;
pub(crate) use image::{Layer, Record, Source, Target, resource};
#[cfg(test)]
pub(crate) use index::tests;
pub(crate) use index::{IMAGES, Index, key};
pub(crate) use tag::tag;
