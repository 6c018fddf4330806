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

/// The manifests that a name or an id stands for: those of an index, else that of the one image.
pub(crate) fn of(images: &Images, text: &str) -> Result<Vec<ManifestUse>> {
    let (image, top) = {
        let index = images.index();
        let id = index.find(text)?;
        let top = index.target(text, &id).and_then(|target| index.index_of(target));
        (index.image(&id).ok_or_else(|| Error::NotFound(text.to_owned()))?, top)
    };
    Ok(match top.and_then(|top| KeptIndex::of(&images.content, &top)) {
        Some(index) => index.manifests.into_iter().map(|kept| used(images, kept)).collect(),
        None => alone(images, &image).into_iter().collect(),
    })
}

fn used(images: &Images, kept: KeptManifest) -> ManifestUse {
    let content = kept.blobs().map(|blob| images.content.size(&blob)).sum();
    let kind = if platform::is_attestation(&kept.entry) {
        ManifestKind::Attestation(attested(&kept.entry))
    } else {
        let id = kept.manifest.as_ref().map(|(manifest, _)| manifest.config.digest);
        let index = images.index();
        let known = id.filter(|id| index.records.get(id).is_some_and(|record| !record.dropped));
        ManifestKind::Image(known.and_then(|id| index.image(&id)).map(Box::new))
    };
    // Unpacked it is of use although a layer came here in another form.
    let available = kept.whole || matches!(kind, ManifestKind::Image(Some(_)));
    ManifestUse { descriptor: kept.entry, available, content, kind }
}

fn alone(images: &Images, image: &Image) -> Option<ManifestUse> {
    let descriptor = known_descriptor(&images.content, &image.manifest)?;
    let layers = super::layers::of(images, image).unwrap_or_default();
    let blobs = layers.iter().filter_map(|layer| layer.blob.as_ref()).map(|blob| blob.size).sum::<u64>();
    let content = blobs + descriptor.size;
    let kind = ManifestKind::Image(Some(Box::new(image.clone())));
    Some(ManifestUse { descriptor, available: true, content, kind })
}

/// The bytes of what a name or an id stands for in a registry, an index or a manifest, and what they are.
pub(crate) fn document(images: &Images, text: &str) -> Result<(Descriptor, Vec<u8>)> {
    let id = images.index().find(text)?;
    let missing = || Error::Incomplete { image: id.short(), layer: "manifest".to_owned() };
    let descriptor = descriptor(images, text).ok_or_else(missing)?;
    let bytes = images.content.read(&descriptor).ok_or_else(missing)?;
    Ok((descriptor, bytes))
}

/// What a name or an id stands for.
pub(crate) fn descriptor(images: &Images, text: &str) -> Option<Descriptor> {
    let index = images.index();
    let id = index.find(text).ok()?;
    let named = index.target(text, &id).and_then(Target::document);
    let first = || index.records.get(&id)?.sources.first().map(|source| source.top);
    known_descriptor(&images.content, &named.or_else(first)?)
}
