//! What clients of newer versions read of an image: its descriptor, its platforms, where its layers lie.

use std::collections::BTreeMap;

use serde_json::{Value, to_value};
use tare_docker_api::{Attestation, ImageManifest, ImageManifestSize, ImageUnpackedSize, PlatformImage};
use tare_image::{Image, ManifestKind, ManifestUse};

use crate::Rooms;

/// The descriptor of what a name or an id stands for in a registry.
pub(super) fn descriptor(rooms: &Rooms, name: &str) -> Option<Value> {
    rooms.images.descriptor(name).and_then(|descriptor| to_value(descriptor).ok())
}

/// The descriptor of one of the images that a name or an id stands for.
pub(super) fn descriptor_of(rooms: &Rooms, name: &str, image: &Image) -> Option<Value> {
    let manifests = rooms.images.manifests(name).ok()?;
    let is = |manifest: &&ManifestUse| matches!(&manifest.kind, ManifestKind::Image(Some(one)) if one.id == image.id);
    manifests.iter().find(is).and_then(|manifest| to_value(&manifest.descriptor).ok())
}

/// What a name or an id stands for: a manifest for each platform, those that are not here too, and attestations.
pub(super) fn manifests(rooms: &Rooms, name: &str) -> Vec<ImageManifest> {
    let manifests = rooms.images.manifests(name).unwrap_or_default();
    manifests.into_iter().map(|manifest| wire(rooms, manifest)).collect()
}

fn wire(rooms: &Rooms, manifest: ManifestUse) -> ImageManifest {
    let ManifestUse { descriptor, available, content, kind } = manifest;
    let mut wire = ImageManifest {
        id: descriptor.digest.to_string(),
        descriptor: to_value(&descriptor).unwrap_or_default(),
        available,
        size: ImageManifestSize { total: signed(content), content: signed(content) },
        ..ImageManifest::default()
    };
    match kind {
        ManifestKind::Attestation(about) => {
            "attestation".clone_into(&mut wire.kind);
            let about = about.map(|about| about.to_string()).unwrap_or_default();
            wire.attestation_data = Some(Attestation { about });
        }
        ManifestKind::Image(image) => {
            "image".clone_into(&mut wire.kind);
            let unpacked = image.as_ref().map_or(0, |image| signed(image.size));
            let containers = image.as_ref().map(|image| containers(rooms, image)).unwrap_or_default();
            // As the index says, and as the image says where there is none.
            let platform = descriptor.platform.or_else(|| image.map(|image| image.platform()));
            wire.size.total += unpacked;
            wire.image_data = Some(PlatformImage {
                platform: to_value(platform).unwrap_or_default(),
                containers,
                size: ImageUnpackedSize { unpacked },
            });
        }
    }
    wire
}

fn containers(rooms: &Rooms, image: &Image) -> Vec<String> {
    let used = rooms.engine.list().into_iter().filter(|container| container.image.id == image.id);
    used.map(|container| container.id.to_string()).collect()
}

/// Where the layers lie, in the words of Docker's overlay2 driver: what tools read who look into images.
pub(super) fn places(rooms: &Rooms, image: &Image) -> Option<BTreeMap<String, String>> {
    let trees = rooms.images.stack(image).ok()?;
    let mut trees = trees.iter().rev().filter_map(|layer| Some(layer.tree.as_ref()?.display().to_string()));
    let top = trees.next()?;
    let below: Vec<String> = trees.collect();
    let mut places = BTreeMap::from([("UpperDir".to_owned(), top)]);
    if !below.is_empty() {
        places.insert("LowerDir".to_owned(), below.join(":"));
    }
    Some(places)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
