//! What an image's name stands for: the document that a registry would have under it, and manifest by manifest.

use tare_model::Digest;
use tare_oci::image::Descriptor;

use crate::document::{KeptIndex, KeptManifest, attested, known_descriptor, platform};
use crate::records::Target;
use crate::{Error, Image, Images, Result};

/// One manifest that a name stands for.
#[derive(Clone, Debug)]
pub struct ManifestUse {
    /// As the index has it.
    pub descriptor: Descriptor,
    /// Whether everything that it names is here.
    pub available: bool,
    /// Bytes of what is here of it: documents and compressed layers.
    pub content: u64,
    /// What it is.
    pub kind: ManifestKind,
}

/// What a manifest is.
#[derive(Clone, Debug)]
pub enum ManifestKind {
    /// An image, where it is here.
    Image(Option<Box<Image>>),
    /// How an image was made, and the digest of that one's manifest.
    Attestation(Option<Digest>),
}

impl Images {
    /// What a name or an id stands for in a registry: an index or a manifest, byte for byte.
    pub fn document(&self, name_or_id: &str) -> Result<(Descriptor, Vec<u8>)> {
        let id = self.catalog().find(name_or_id)?;
        let missing = || Error::Incomplete { image: id.short(), layer: "manifest".to_owned() };
        let descriptor = self.descriptor(name_or_id).ok_or_else(missing)?;
        let bytes = self.content.read(&descriptor).ok_or_else(missing)?;
        Ok((descriptor, bytes))
    }

    /// The descriptor of [`Images::document`]; `None` where the document is gone.
    pub fn descriptor(&self, name_or_id: &str) -> Option<Descriptor> {
        let catalog = self.catalog();
        let id = catalog.find(name_or_id).ok()?;
        let named = catalog.target(name_or_id, &id).and_then(Target::document);
        let first = || catalog.records.get(&id)?.sources.first().map(|source| source.top);
        known_descriptor(&self.content, &named.or_else(first)?)
    }

    /// The manifests that a name or an id stands for: one for each platform, and what says how they were made.
    pub fn manifests(&self, name_or_id: &str) -> Result<Vec<ManifestUse>> {
        let (image, top) = {
            let catalog = self.catalog();
            let id = catalog.find(name_or_id)?;
            let top = catalog.target(name_or_id, &id).and_then(|target| catalog.index_of(target));
            (catalog.image(&id).ok_or_else(|| Error::NotFound(name_or_id.to_owned()))?, top)
        };
        Ok(match top.and_then(|top| KeptIndex::of(&self.content, &top)) {
            Some(index) => index.manifests.into_iter().map(|kept| used(self, kept)).collect(),
            None => alone(self, &image).into_iter().collect(),
        })
    }
}

fn used(images: &Images, kept: KeptManifest) -> ManifestUse {
    let content = kept.blobs().map(|blob| images.content.size(&blob)).sum();
    let kind = if platform::is_attestation(&kept.entry) {
        ManifestKind::Attestation(attested(&kept.entry))
    } else {
        let id = kept.manifest.as_ref().map(|(manifest, _)| manifest.config.digest);
        let catalog = images.catalog();
        let known = id.filter(|id| catalog.records.get(id).is_some_and(|record| !record.dropped));
        ManifestKind::Image(known.and_then(|id| catalog.image(&id)).map(Box::new))
    };
    // Unpacked it is of use although a layer came here in another form.
    let available = kept.whole || matches!(kind, ManifestKind::Image(Some(_)));
    ManifestUse { descriptor: kept.entry, available, content, kind }
}

fn alone(images: &Images, image: &Image) -> Option<ManifestUse> {
    let descriptor = known_descriptor(&images.content, &image.manifest)?;
    let layers = images.stack(image).unwrap_or_default();
    let blobs = layers.iter().filter_map(|layer| layer.blob.as_ref()).map(|blob| blob.size).sum::<u64>();
    let content = blobs + descriptor.size;
    let kind = ManifestKind::Image(Some(Box::new(image.clone())));
    Some(ManifestUse { descriptor, available: true, content, kind })
}
