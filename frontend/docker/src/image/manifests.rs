//! What clients of newer versions read of an image: its descriptor, its platforms, where its layers lie.

use std::collections::BTreeMap;

use serde_json::{Value, to_value};
use tare_docker_api::{ImageManifest, ImageManifestSize, ImageUnpackedSize, PlatformImage};
use tare_image::Image;

use crate::Rooms;

/// The descriptor of what the image's name stands for in a registry.
pub(super) fn descriptor(rooms: &Rooms, image: &Image) -> Option<Value> {
    rooms.images.descriptor(image).and_then(|descriptor| to_value(descriptor).ok())
}

/// The one platform that an image has here.
pub(super) fn manifests(rooms: &Rooms, image: &Image) -> Vec<ImageManifest> {
    let Some(manifest) = rooms.images.own_descriptor(image) else { return Vec::new() };
    let layers = rooms.images.stack(image).unwrap_or_default();
    let blobs = layers.iter().filter_map(|layer| layer.blob.as_ref()).map(|blob| blob.size).sum::<u64>();
    let (content, unpacked) = (signed(blobs + manifest.size), signed(image.size));
    let used = rooms.engine.list().into_iter().filter(|container| container.image.id == image.id);
    vec![ImageManifest {
        id: manifest.digest.to_string(),
        descriptor: to_value(&manifest).unwrap_or_default(),
        available: true,
        size: ImageManifestSize { total: content + unpacked, content },
        kind: "image".to_owned(),
        image_data: Some(PlatformImage {
            platform: to_value(image.platform()).unwrap_or_default(),
            containers: used.map(|container| container.id.to_string()).collect(),
            size: ImageUnpackedSize { unpacked },
        }),
    }]
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
