//! Layers that are unpacked while their archive still arrives, and blobs that an archive brings once more.

use serde_json::json;
use tare_image::Error;

use crate::Room;
use crate::archive::{Archive, entry, load, refused, sample};
use crate::sample::{Layer, Sample, noise, sha256};

/// As skopeo and Docker from 25 on name the files: after their digests.
fn named_after_digests(sample: &Sample, tag: &str) -> Archive {
    let mut archive =
        Archive::default().with(&format!("{}.json", sample.id().hex()), sample.config.to_string());
    let names: Vec<_> =
        sample.layers.iter().map(|layer| format!("{}.tar", sha256(&layer.tar).hex())).collect();
    for (name, layer) in names.iter().zip(&sample.layers) {
        archive = archive.with(name, layer.tar.clone());
    }
    let config = format!("{}.json", sample.id().hex());
    archive.with("manifest.json", json!([{"Config": config, "RepoTags": [tag], "Layers": names}]).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_ends_within_a_large_layer_leaves_no_tree() {
    let large = Sample::new(&[Layer::plain(&[("a", &noise(1, 900_000)), ("b", &noise(2, 900_000))])]);
    let tar = Archive::docker(&large, "a:v1").tar();
    for part in [2, 3, 5] {
        let error = refused(tar[..tar.len() * part / 6].to_vec()).await;
        assert!(matches!(error, Error::Archive(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_layer_that_no_image_names_leaves_no_tree() {
    let (room, plain) = (Room::open().await, Room::open().await);
    let stray = Layer::gzip(&[("stray", &noise(9, 2_000_000))]);
    load(&plain, Archive::docker(&sample(), "a:v1").tar()).await.unwrap();
    load(&room, Archive::docker(&sample(), "a:v1").with("a/stray.tar", stray.blob).tar()).await.unwrap();
    assert_eq!(room.files().len(), plain.files().len(), "{:?}", room.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_layer_of_another_compression_than_announced_is_refused() {
    let mut liar = sample();
    liar.layers[0] = Layer { kind: liar.layers[0].kind, ..Layer::zstd(&[("a", &noise(4, 600_000))]) };
    liar.config["rootfs"]["diff_ids"][0] = json!(sha256(&liar.layers[0].tar));
    liar.describe();
    let archive = Archive::layout(&[&liar], &[entry(&liar, "docker.io/library/a:v1")]);
    let error = refused(archive.tar()).await;
    assert!(matches!(error, Error::Compression { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_here_is_not_written_again_and_still_checked() {
    let room = Room::open().await;
    let archive = named_after_digests(&sample(), "a:v1");
    let first = load(&room, archive.tar()).await.unwrap();
    let sorted = || {
        let mut files = room.files();
        files.sort();
        files
    };
    let files = sorted();
    assert_eq!(load(&room, archive.tar()).await.unwrap(), first);
    assert_eq!(sorted(), files);
    // Other bytes under the name of a layer that is here.
    let layer = format!("{}.tar", sha256(&sample().layers[0].tar).hex());
    let mut other = archive.files[&layer].clone();
    *other.last_mut().unwrap() ^= 1;
    let error = load(&room, archive.with(&layer, other).tar()).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    assert_eq!(sorted(), files);
    assert_eq!(room.images.resolve("a:v1").unwrap().id, sample().id());
}
