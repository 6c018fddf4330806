//! What an image's name stands for, manifest by manifest.

use tare_model::Digest;
use tare_oci::image::Descriptor;

use crate::parts::{Part, Parts, attested};
use crate::shipment::known_descriptor;
use crate::{Error, Image, Images, Result, platform};

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

/// The manifests that a name or an id stands for: those of an index, else that of the one image.
pub(crate) fn of(images: &Images, text: &str) -> Result<Vec<ManifestUse>> {
    let (image, top) = {
        let index = images.index();
        let id = index.find(text)?;
        let top = index.target(text, &id).and_then(|target| index.index_of(target));
        (index.image(&id).ok_or_else(|| Error::NotFound(text.to_owned()))?, top)
    };
    Ok(match top.and_then(|top| Parts::of(&images.content, &top)) {
        Some(parts) => parts.parts.into_iter().map(|part| used(images, part)).collect(),
        None => alone(images, &image).into_iter().collect(),
    })
}

fn used(images: &Images, part: Part) -> ManifestUse {
    let content = part.blobs().map(|blob| images.content.size(&blob)).sum();
    let kind = if platform::is_attestation(&part.entry) {
        ManifestKind::Attestation(attested(&part.entry))
    } else {
        let id = part.manifest.as_ref().map(|(manifest, _)| manifest.config.digest);
        let index = images.index();
        let known = id.filter(|id| index.records.get(id).is_some_and(|record| !record.dropped));
        ManifestKind::Image(known.and_then(|id| index.image(&id)).map(Box::new))
    };
    // Unpacked it is of use although a layer came here in another form.
    let available = part.whole || matches!(kind, ManifestKind::Image(Some(_)));
    ManifestUse { descriptor: part.entry, available, content, kind }
}

fn alone(images: &Images, image: &Image) -> Option<ManifestUse> {
    let descriptor = known_descriptor(&images.content, &image.manifest)?;
    let layers = crate::stack::of(images, image).unwrap_or_default();
    let blobs = layers.iter().filter_map(|layer| layer.blob.as_ref()).map(|blob| blob.size).sum::<u64>();
    let content = blobs + descriptor.size;
    let kind = ManifestKind::Image(Some(Box::new(image.clone())));
    Some(ManifestUse { descriptor, available: true, content, kind })
}
