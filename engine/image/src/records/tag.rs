//! Giving an image another name, and taking names from it.

use std::sync::Arc;
use std::time::SystemTime;

use tare_model::Reference;

use super::{Change, Image, Target, change};
use crate::{Error, Images, Result};

impl Images {
    /// Gives an image another name; the name is taken from the image that had it.
    pub async fn tag(self: &Arc<Self>, source: &str, target: &Reference) -> Result<Image> {
        tag(self, source, target).await
    }

    /// Takes a name from an image, or all of its names where none is given, with the digests that go with them. The image
    /// stays: [`Images::remove`] takes it away with its last name. The names that are gone.
    pub async fn untag(self: &Arc<Self>, image: &str, name: Option<&Reference>) -> Result<Vec<Reference>> {
        untag(self, image, name).await
    }
}

async fn tag(images: &Arc<Images>, source: &str, target: &Reference) -> Result<Image> {
    if target.digest().is_some() {
        return Err(Error::TagWithDigest(target.familiar()));
    }
    if target.path() == "library/sha256" {
        return Err(Error::AmbiguousName);
    }
    let (source, target) = (source.to_owned(), target.clone().or_latest());
    let id = change(images, move |_, catalog| {
        let id = catalog.find(&source)?;
        let index_of = catalog.target(&source, &id).and_then(|target| catalog.index_of(target));
        let mut record = catalog.records.get(&id).cloned().ok_or(Error::NotFound(source))?;
        record.tagged = Some(SystemTime::now().into());
        record.dropped = false;
        let name = vec![(target, Target { index: index_of, ..Target::of(id) })];
        Ok((Change { put: vec![(id, record)], name, ..Change::default() }, id))
    })
    .await?;
    images.catalog().image(&id).ok_or_else(|| Error::NotFound(id.to_string()))
}

async fn untag(images: &Arc<Images>, image: &str, name: Option<&Reference>) -> Result<Vec<Reference>> {
    let (image, name) = (image.to_owned(), name.map(|name| name.clone().or_latest()));
    change(images, move |_, catalog| {
        let id = catalog.find(&image)?;
        let names = catalog.names(&id);
        let unname = match name {
            Some(name) if !names.contains(&name) => {
                return Err(Error::NotItsName { image, name: name.familiar() });
            }
            Some(name) => catalog.with_digests(vec![name]),
            None => catalog.with_digests(names),
        };
        Ok((Change { unname: unname.clone(), ..Change::default() }, unname))
    })
    .await
}
