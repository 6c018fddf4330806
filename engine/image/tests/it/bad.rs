use serde_json::json;
use tare_image::{Error, Limits};
use tare_model::{HasKind, Kind};
use tare_oci::image::media_type;

use crate::fake::{Answer, Fake, Manner};
use crate::sample::{Layer, Sample, archive, descriptor, document, noise};
use crate::{Room, asked_for, reference};

/// Pulls `web:v1`, which must fail and leave nothing behind, not even a name.
async fn refused(fake: &Fake, room: &Room) -> Error {
    let name = reference(fake, "web:v1");
    let error = room.pull(&name).await.unwrap_err();
    assert_eq!(room.files(), Vec::<std::path::PathBuf>::new(), "{error}");
    assert!(room.images.list().unwrap().is_empty());
    assert!(matches!(room.images.resolve(&name.to_string()), Err(Error::NotFound(_))));
    error
}

fn two_layers() -> Sample {
    Sample::new(&[Layer::gzip(&[("good", b"good")]), Layer::gzip(&[("data", &noise(7, 1_000_000))])])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_with_a_wrong_digest_is_refused() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let sample =
        Sample::new(&[Layer::gzip(&[("good", b"good")]), Layer::plain(&[("data", &noise(7, 1_000_000))])]);
    sample.serve(&fake, "web", "v1");
    let mut damaged = sample.layers[1].blob.clone();
    damaged[500_000] ^= 1;
    let other = Layer::plain(&[("data", &noise(8, 1_000_000))]).blob;
    assert_eq!(other.len(), damaged.len(), "another sound layer of the same size");
    for wrong in [damaged, other, noise(9, sample.layers[1].blob.len())] {
        fake.always(&sample.layers[1].path("web"), Answer::new(200, wrong));
        let error = refused(&fake, &room).await;
        assert!(matches!(error, Error::Digest { .. }) && error.kind() == Kind::Corrupt, "{error}");
    }
}

/// The connection breaks, and what the registry goes on with is the rest of something else.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_goes_on_with_other_bytes_is_refused() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let [layer, other] = [7, 8].map(|seed| Layer::plain(&[("data", &noise(seed, 1_000_000))]));
    let sample = Sample::new(std::slice::from_ref(&layer));
    sample.serve(&fake, "web", "v1");
    let path = layer.path("web");
    fake.once(&path, Answer::new(200, layer.blob.clone()).manner(Manner::CutAfter(300_000)));
    fake.always(&path, Answer::new(200, other.blob.clone()).manner(Manner::Ranges));
    let error = refused(&fake, &room).await;
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    assert_eq!(fake.asked().last().unwrap().headers["range"], "bytes=300000-");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_short_or_long_is_refused() {
    let (fake, room, sample) = (Fake::start().await, Room::open().await, two_layers());
    sample.serve(&fake, "web", "v1");
    let (path, blob) = (sample.layers[1].path("web"), &sample.layers[1].blob);
    for wrong in [blob[..blob.len() - 7].to_vec(), [&blob[..], b"more"].concat()] {
        for manner in [Manner::Whole, Manner::Chunked] {
            fake.always(&path, Answer::new(200, wrong.clone()).manner(manner));
            assert_eq!(refused(&fake, &room).await.kind(), Kind::Corrupt);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_stops_or_stalls_half_way_is_told_as_such() {
    let (fake, sample) = (Fake::start().await, two_layers());
    sample.serve(&fake, "web", "v1");
    let (path, blob) = (sample.layers[1].path("web"), &sample.layers[1].blob);
    for (room, manner, words) in [
        (Room::open().await, Manner::CutAfter(300_000), "the registry stopped after 300000 of"),
        (Room::impatient().await, Manner::StallAfter(300_000), "the registry sent nothing for"),
    ] {
        fake.always(&path, Answer::new(200, blob.clone()).manner(manner));
        let error = room.pull(&reference(&fake, "web:v1")).await.unwrap_err();
        assert!(error.to_string().contains(words) && error.kind() == Kind::Unavailable, "{error}");
        assert!(room.images.list().unwrap().is_empty());
    }
}

/// A container's start needs such a thread, and a slow registry may have all the layers that somebody pulls.
#[test]
fn a_registry_that_stalls_keeps_no_thread_that_others_need() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (fake, room) = (Fake::start().await, Room::open().await);
        let layers = [7, 8, 9].map(|seed| Layer::gzip(&[("data", &noise(seed, 1_000_000)[..])]));
        let sample = Sample::new(&layers);
        sample.serve(&fake, "web", "v1");
        let paths: Vec<String> = sample.layers.iter().map(|layer| layer.path("web")).collect();
        for (path, layer) in paths.iter().zip(&sample.layers) {
            fake.always(path, Answer::new(200, layer.blob.clone()).manner(Manner::StallAfter(300_000)));
        }
        let name = reference(&fake, "web:v1");
        let other = async {
            for path in &paths {
                asked_for(&fake, path).await;
            }
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        };
        tokio::select! {
            biased;
            ended = room.pull(&name) => panic!("the other waited for the pull: {ended:?}"),
            () = other => {}
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_unpacks_to_something_else_is_refused() {
    let (fake, room, mut sample) = (Fake::start().await, Room::open().await, two_layers());
    sample.config["rootfs"]["diff_ids"][0] = sample.config["rootfs"]["diff_ids"][1].clone();
    sample.describe();
    sample.serve(&fake, "web", "v1");
    let error = refused(&fake, &room).await;
    assert!(error.to_string().contains("(unpacked) failed verification"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decompression_bomb_is_refused() {
    let small = Limits { ratio_from: 4 << 20, ..Limits::default() };
    let (fake, room) = (Fake::start().await, Room::with_limits(small).await);
    let zeros = vec![0; 64 << 20];
    for layer in [Layer::gzip(&[("zeros", &zeros)]), Layer::zstd(&[("zeros", &zeros)])] {
        Sample::new(&[layer]).serve(&fake, "web", "v1");
        let error = refused(&fake, &room).await;
        assert!(matches!(error, Error::Bomb { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Exhausted);
    }
}

/// One blob of a kilobyte, named as often as there may be layers, is fetched once and would be unpacked each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_many_layers_is_a_bomb_too() {
    let zeros = Layer::gzip(&[("zeros", &[0; 1 << 20])]);
    let noise = Layer::gzip(&[("noise", &noise(7, 1 << 20))]);
    let by_ratio = Limits { ratio_from: 4 << 20, ..Limits::default() };
    let by_size = Limits { image_bytes: 16 << 20, ..Limits::default() };
    for (layer, limits) in [(zeros, by_ratio), (noise, by_size)] {
        let (fake, room) = (Fake::start().await, Room::with_limits(limits).await);
        Sample::new(&vec![layer.clone(); 40]).serve(&fake, "web", "v1");
        let error = refused(&fake, &room).await;
        assert!(matches!(error, Error::Bomb { .. }) && error.to_string().contains("all layers"), "{error}");
        // As many as that are no bomb.
        Sample::new(&vec![layer; 10]).serve(&fake, "web", "v1");
        room.pull(&reference(&fake, "web:v1")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_too_large_is_not_asked_for() {
    let (fake, room, mut sample) = (Fake::start().await, Room::open().await, two_layers());
    sample.manifest["layers"][1]["size"] = (Limits::default().layer_bytes + 1).into();
    sample.serve(&fake, "web", "v1");
    assert!(matches!(refused(&fake, &room).await, Error::Bomb { .. }));
    assert!(sample.layers.iter().all(|layer| fake.count(&layer.path("web")) == 0));
}

/// What is wrong with a layer is known after its first block; the rest would only tell whether it was meant.
#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_is_refused_is_not_fetched_to_its_end() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let layer = Layer::plain(&[("../escaped", b"x"), ("large", &noise(7, 16 << 20))]);
    let sample = Sample::new(std::slice::from_ref(&layer));
    sample.serve(&fake, "web", "v1");
    let answer = Answer::new(200, layer.blob.clone()).manner(Manner::StallAfter(8 << 20));
    fake.always(&layer.path("web"), answer);
    let error = refused(&fake, &room).await;
    assert!(matches!(error, Error::Layer { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_another_size_than_its_index_says_is_refused() {
    let (fake, room, sample) = (Fake::start().await, Room::open().await, two_layers());
    sample.serve(&fake, "web", "v1");
    let mut entry = descriptor(media_type::OCI_MANIFEST, sample.manifest.to_string().as_bytes());
    entry["platform"] = json!({"os": "linux", "architecture": tare_model::Platform::host().architecture});
    for wrong in [1, -1] {
        let mut lying = entry.clone();
        lying["size"] = (entry["size"].as_i64().unwrap() + wrong).into();
        let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [lying]});
        fake.always("/v2/web/manifests/v1", document(media_type::OCI_INDEX, &index));
        let error = refused(&fake, &room).await;
        assert!(matches!(error, Error::Size { .. }), "{error}");
    }
}

/// What a manifest says of the sizes of what it names is a promise too.
#[tokio::test(flavor = "multi_thread")]
async fn sizes_that_lie_are_refused_whichever_way() {
    let (fake, room, sample) = (Fake::start().await, Room::open().await, two_layers());
    for place in ["/config/size", "/layers/0/size", "/layers/1/size"] {
        let honest = sample.manifest.pointer(place).unwrap().as_u64().unwrap();
        for lie in [honest - 1, honest + 1, 0, 2 * honest] {
            let mut lying = sample.clone();
            *lying.manifest.pointer_mut(place).unwrap() = lie.into();
            lying.serve(&fake, "web", "v1");
            for manner in [Manner::Whole, Manner::Chunked, Manner::Ranges] {
                for layer in &sample.layers {
                    fake.always(&layer.path("web"), Answer::new(200, layer.blob.clone()).manner(manner));
                }
                let config = Answer::new(200, sample.config.to_string()).manner(manner);
                fake.always(&format!("/v2/web/blobs/{}", sample.id()), config);
                let error = refused(&fake, &room).await;
                assert!(
                    matches!(error, Error::Size { .. } | Error::Registry(_)),
                    "{place} {lie} {manner:?}: {error}"
                );
                assert_eq!(error.kind(), Kind::Corrupt, "{place} {lie} {manner:?}: {error}");
            }
        }
    }
    for place in ["/config/size", "/layers/0/size"] {
        for nonsense in [json!(-1), json!(1e300), json!("7"), json!(null)] {
            let mut lying = sample.clone();
            *lying.manifest.pointer_mut(place).unwrap() = nonsense;
            lying.serve(&fake, "web", "v1");
            assert!(matches!(refused(&fake, &room).await, Error::Document { .. }));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_with_too_many_bytes_or_entries_is_refused() {
    let files: Vec<_> = (0..50).map(|n| (format!("f{n}"), noise(n, 1000))).collect();
    let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), &content[..])).collect();
    let sample = Sample::new(&[Layer::gzip(&files)]);
    for limits in [
        Limits { layer_entries: 49, ..Limits::default() },
        Limits { layer_bytes: 40_000, ..Limits::default() },
        Limits { layers: 0, ..Limits::default() },
    ] {
        let (fake, room) = (Fake::start().await, Room::with_limits(limits).await);
        sample.serve(&fake, "web", "v1");
        let kind = refused(&fake, &room).await.kind();
        assert!(matches!(kind, Kind::Exhausted | Kind::Corrupt), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_compressed_otherwise_than_announced_is_refused() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    for (mut layer, kind) in [
        (Layer::zstd(&[("a", b"a")]), media_type::OCI_LAYER_GZIP),
        (Layer::gzip(&[("a", b"a")]), media_type::OCI_LAYER),
        (Layer::plain(&[("a", b"a")]), media_type::OCI_LAYER_ZSTD),
    ] {
        layer.kind = kind;
        Sample::new(&[layer]).serve(&fake, "web", "v1");
        assert!(matches!(refused(&fake, &room).await, Error::Compression { .. }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_points_out_of_its_root_is_refused() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    for name in ["../escaped", "a/../../escaped"] {
        let layer = Layer::gzip_of(archive(&[(name, b"x")]));
        Sample::new(&[Layer::gzip(&[("ok", b"ok")]), layer]).serve(&fake, "web", "v1");
        let error = refused(&fake, &room).await;
        assert!(matches!(error, Error::Layer { .. }), "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_two_things_or_nested_are_refused() {
    let (fake, room, sample) = (Fake::start().await, Room::open().await, two_layers());
    sample.serve(&fake, "web", "v1");
    let mut both = sample.manifest.clone();
    both["manifests"] = json!([]);
    fake.always("/v2/web/manifests/v1", document(media_type::OCI_MANIFEST, &both));
    assert_eq!(refused(&fake, &room).await.kind(), Kind::Corrupt);

    let inner = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []});
    let mut entry = descriptor(media_type::OCI_INDEX, inner.to_string().as_bytes());
    entry["platform"] = json!({"os": "linux", "architecture": tare_model::Platform::host().architecture});
    let outer = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry]});
    fake.always("/v2/web/manifests/v1", document(media_type::OCI_INDEX, &outer));
    assert!(matches!(refused(&fake, &room).await, Error::NestedIndex(_)));

    // An entry that calls itself a manifest and is an index.
    let mut lying = outer.clone();
    lying["manifests"][0]["mediaType"] = media_type::OCI_MANIFEST.into();
    fake.always("/v2/web/manifests/v1", document(media_type::OCI_INDEX, &lying));
    let path = format!("/v2/web/manifests/{}", crate::sample::sha256(inner.to_string().as_bytes()));
    fake.always(&path, document(media_type::OCI_INDEX, &inner));
    assert!(matches!(refused(&fake, &room).await, Error::NestedIndex(_)));
}

/// A digest is a name on our disk and a promise about bytes: nothing but the one form is taken for one.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_digest_of_ours_is_refused() {
    let (fake, room, sample) = (Fake::start().await, Room::open().await, two_layers());
    let hex = "ab".repeat(32);
    for digest in [
        format!("sha512:{}", "ab".repeat(64)),
        format!("md5:{}", "ab".repeat(16)),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{}", &hex[2..]),
        format!("sha256:../../../{}", &hex[9..]),
        format!("sha256:{hex}/../x"),
        hex.clone(),
        String::new(),
    ] {
        for place in ["/config/digest", "/layers/1/digest"] {
            let mut lying = sample.clone();
            *lying.manifest.pointer_mut(place).unwrap() = digest.clone().into();
            lying.serve(&fake, "web", "v1");
            let error = refused(&fake, &room).await;
            assert!(matches!(error, Error::Document { .. }), "{place} {digest:?}: {error}");
        }
    }
}

/// Another address for a layer is one for its credentials too, and nobody asked for it (CVE-2020-15157).
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_layer_is_asked_of_the_registry_alone() {
    let (fake, elsewhere, room) = (Fake::start().await, Fake::start().await, Room::open().await);
    let mut sample = two_layers();
    sample.manifest["layers"][1]["mediaType"] =
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into();
    sample.manifest["layers"][1]["urls"] = json!([elsewhere.url("/layer")]);
    sample.serve(&fake, "web", "v1");
    let challenge = format!("Bearer realm=\"{}\"", elsewhere.url("/token"));
    elsewhere.always("/layer", Answer::new(401, "").header("WWW-Authenticate", challenge));
    room.pull(&reference(&fake, "web:v1")).await.unwrap();
    assert!(elsewhere.asked().is_empty(), "{:?}", elsewhere.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_lies_is_refused() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let mut fewer = two_layers();
    fewer.config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop();
    let mut windows = two_layers();
    windows.config["os"] = "windows".into();
    for mut sample in [fewer, windows] {
        sample.describe();
        sample.serve(&fake, "web", "v1");
        assert!(matches!(refused(&fake, &room).await, Error::Document { .. }));
    }
    let sample = two_layers();
    sample.serve(&fake, "web", "v1");
    let forged = sample.config.to_string().replace("/bin/sh", "/bin/ev");
    fake.always(&format!("/v2/web/blobs/{}", sample.id()), Answer::new(200, forged));
    assert!(matches!(refused(&fake, &room).await, Error::Digest { .. }));

    let mut giant = two_layers();
    giant.manifest["config"]["size"] = (9 << 20).into();
    giant.serve(&fake, "web", "v1");
    assert!(matches!(refused(&fake, &room).await, Error::Document { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_layer_does_not_harm_an_image_that_is_here() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let base = Layer::gzip(&[("good", b"good")]);
    let good = Sample::new(std::slice::from_ref(&base));
    good.serve(&fake, "good", "v1");
    room.pull(&reference(&fake, "good:v1")).await.unwrap();
    let bad = Sample::new(&[base, Layer::gzip_of(archive(&[("../x", b"x")]))]);
    bad.serve(&fake, "web", "v1");
    room.pull(&reference(&fake, "web:v1")).await.unwrap_err();
    let image = room.images.resolve(&good.id().to_string()).unwrap();
    assert_eq!(room.file(&image, "/good").unwrap(), b"good");
    assert_eq!(room.files().len(), 4, "three blobs and a layer: {:?}", room.files());
}
