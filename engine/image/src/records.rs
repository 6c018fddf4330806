//! Images and their names, as they are recorded and kept at hand; what a name means; every change of them, all of it or nothing.

mod arrival;
mod catalog;
mod change;
mod image;
mod lease;
mod tag;

use tare_model::{Digest, Platform};

use crate::{Error, Images, Result};

pub(crate) use arrival::{Arrival, arrived, plan, records, target};
#[cfg(test)]
pub(crate) use catalog::tests;
pub(crate) use catalog::{Catalog, IMAGES, key};
pub(crate) use change::{Change, change, change_blocking};
pub use image::Image;
pub(crate) use image::{Layer, Record, Source, Target, resource};

impl Images {
    /// The image with this name, `repository@digest`, id or beginning of an id.
    pub fn resolve(&self, name_or_id: &str) -> Result<Image> {
        self.resolve_for(name_or_id, None)
    }

    /// [`Images::resolve`] for a platform, where one is wanted, of those that the name stands for; [`Error::Platform`] where
    /// none of them is for it.
    pub fn resolve_for(&self, name_or_id: &str, platform: Option<&Platform>) -> Result<Image> {
        let catalog = self.catalog();
        let id = catalog.find_for(name_or_id, platform)?;
        catalog.image(&id).ok_or_else(|| Error::NotFound(name_or_id.to_owned()))
    }

    /// The ids of the images that a name stands for: one, or one for each platform that is here.
    pub fn platforms(&self, name_or_id: &str) -> Result<Vec<Digest>> {
        let catalog = self.catalog();
        let id = catalog.find(name_or_id)?;
        Ok(catalog.target(name_or_id, &id).map_or_else(|| vec![id], |target| catalog.behind(target)))
    }

    /// Whether a name or an id means this image, alone or with those for other platforms.
    pub fn stands_for(&self, name_or_id: &str, image: &Digest) -> bool {
        self.platforms(name_or_id).is_ok_and(|images| images.contains(image))
    }

    /// Every image, the newest first; not those that only have a name together with one for another platform.
    pub fn list(&self) -> Result<Vec<Image>> {
        Ok(self.catalog().heads())
    }
}
