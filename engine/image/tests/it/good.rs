use serde_json::json;
use tare_image::{Error, Progress, PullRequest};
use tare_model::{HasKind, Kind};
use tare_oci::image::media_type;

use crate::fake::{Answer, Fake, Manner};
use crate::sample::{Layer, Sample, descriptor, document, noise, sha256};
use crate::{Room, asked_for, reference};

fn three_layers() -> Sample {
    Sample::new(&[
        Layer::gzip(&[("etc/name", b"base"), ("etc/gone", b"x")]),
        Layer::zstd(&[("etc/.wh.gone", b""), ("etc/name", b"middle")]),
        Layer::plain(&[("srv/top", &noise(1, 700_000))]),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_unpacked_and_found_under_its_names() {
    let (fake, room, sample) = (Fake::start().await, Room::open().await, three_layers());
    sample.serve(&fake, "web", "v1");
    let name = reference(&fake, "web:v1");
    let pulled = room.pull(&name).await.unwrap();
    assert_eq!((pulled.id, pulled.digest, pulled.up_to_date), (sample.id(), sample.digest(), false));

    for way in [name.to_string(), sample.id().to_string(), sample.id().hex()[..3].to_owned()] {
        assert_eq!(room.images.resolve(&way).unwrap().id, sample.id(), "{way}");
    }
    let image = room.images.resolve(&name.to_string()).unwrap();
    assert_eq!((image.tags.len(), image.digests[0].digest()), (1, Some(sample.digest())));
    assert_eq!(room.file(&image, "/etc/name").unwrap(), b"middle");
    assert_eq!(room.file(&image, "/etc/gone"), None);
    assert_eq!(room.file(&image, "/srv/top").unwrap(), noise(1, 700_000));
    assert!(image.size >= 700_000, "{}", image.size);
    assert_eq!(image.config.config.cmd.as_deref(), Some(&["/bin/sh".to_owned()][..]));
    let history = room.images.history(&image);
    assert_eq!(
        (history.len(), &*history[0].created_by, history[0].size),
        (3, "step 2", image.layer_sizes[2])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_in_dockers_words() {
    let (fake, room, sample) = (Fake::start().await, Room::open().await, three_layers());
    sample.serve(&fake, "web", "v1");
    room.pull(&reference(&fake, "web:v1")).await.unwrap();
    let told = room.told.lock().unwrap().clone();
    let first = Progress::Status { id: Some("v1".into()), text: "Pulling from web".into() };
    assert_eq!(told.first(), Some(&first));
    let lines: Vec<_> = told.iter().rev().take(2).map(|p| format!("{p:?}")).collect();
    assert!(lines[0].contains("Status: Downloaded newer image for 127.0.0.1"), "{lines:?}");
    assert!(lines[1].contains(&format!("Digest: {}", sample.digest())), "{lines:?}");
    for layer in &sample.layers {
        let words = room.words(&sha256(&layer.blob).short());
        assert_eq!(words.first(), Some(&"Pulling fs layer"), "{words:?}");
        assert_eq!(words.last(), Some(&"Pull complete"), "{words:?}");
        assert!(words.contains(&"Downloading") && words.contains(&"Download complete"), "{words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pulling_again_asks_for_the_manifest_only() {
    let (fake, room, sample) = (Fake::start().await, Room::open().await, three_layers());
    sample.serve(&fake, "web", "v1");
    room.pull(&reference(&fake, "web:v1")).await.unwrap();
    let before = fake.asked().len();
    let pulled = room.pull(&reference(&fake, "web:v1")).await.unwrap();
    assert!(pulled.up_to_date);
    let asked: Vec<_> = fake.asked()[before..].iter().map(|asked| asked.path.clone()).collect();
    assert_eq!(asked, ["/v2/web/manifests/v1"]);
    assert_eq!(room.words(&sha256(&sample.layers[0].blob).short()).last(), Some(&"Already exists"));
    assert_eq!(room.images.list().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_that_share_a_layer_fetch_it_once() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let shared = Layer::gzip(&[("shared", &noise(2, 2_000_000))]);
    let one = Sample::new(&[shared.clone(), Layer::gzip(&[("one", b"1")])]);
    let two = Sample::new(&[shared.clone(), Layer::gzip(&[("two", b"2")])]);
    one.serve(&fake, "one", "latest");
    two.serve(&fake, "two", "latest");
    let (one_name, two_name) = (reference(&fake, "one"), reference(&fake, "two"));
    let (first, second) = tokio::join!(room.pull(&one_name), room.pull(&two_name));
    assert_eq!((first.unwrap().id, second.unwrap().id), (one.id(), two.id()));
    let fetched = fake.count(&shared.path("one")) + fake.count(&shared.path("two"));
    assert_eq!(fetched, 1);
    let images = room.images.list().unwrap();
    assert_eq!(images[0].layers[0], images[1].layers[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_stands_twice_in_an_image_is_fetched_once() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let layer = Layer::gzip(&[("same", b"same")]);
    Sample::new(&[layer.clone(), Layer::gzip(&[("other", b"o")]), layer.clone()]).serve(&fake, "web", "v1");
    room.pull(&reference(&fake, "web:v1")).await.unwrap();
    assert_eq!(fake.count(&layer.path("web")), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_platforms_the_wanted_one_is_pulled() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let ours = Sample::new(&[Layer::gzip(&[("arch", b"amd64")])]);
    let mut arm = Sample::new(&[Layer::gzip(&[("arch", b"arm64")])]);
    arm.config["architecture"] = "arm64".into();
    arm.describe();
    let entry = |sample: &Sample, architecture: &str| {
        let mut entry = descriptor(media_type::OCI_MANIFEST, sample.manifest.to_string().as_bytes());
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    };
    let mut attestation = entry(&ours, "unknown");
    attestation["platform"]["os"] = "unknown".into();
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [attestation, entry(&arm, "arm64"), entry(&ours, "amd64")]});
    ours.serve(&fake, "web", "amd");
    arm.serve(&fake, "web", "arm");
    fake.always("/v2/web/manifests/v1", document(media_type::OCI_INDEX, &index));

    let request = |platform: &str| PullRequest {
        reference: reference(&fake, "web:v1"),
        platform: Some(platform.parse().unwrap()),
        all_platforms: false,
        credentials: None,
    };
    let pulled = room.request(request("linux/amd64")).await.unwrap();
    assert_eq!((pulled.id, pulled.digest), (ours.id(), sha256(index.to_string().as_bytes())));
    assert_eq!(room.request(request("linux/arm64")).await.unwrap().id, arm.id());
    let error = room.request(request("linux/s390x")).await.unwrap_err();
    assert_eq!(error.to_string(), "no matching manifest for linux/s390x in the manifest list entries");
    assert_eq!(error.kind(), Kind::NotFound);

    let only = PullRequest { reference: reference(&fake, "web:arm"), ..request("linux/amd64") };
    let error = room.request(only).await.unwrap_err();
    assert!(matches!(error, Error::Platform { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_broke_off_goes_on_where_it_was() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let sample = Sample::new(&[Layer::gzip(&[("big", &noise(3, 3_000_000))])]);
    sample.serve(&fake, "web", "v1");
    let (path, blob) = (sample.layers[0].path("web"), sample.layers[0].blob.clone());
    for _ in 0..2 {
        fake.once(&path, Answer::new(200, blob.clone()).manner(Manner::CutAfter(500_000)));
    }
    let error = room.pull(&reference(&fake, "web:v1")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");

    // Also after the daemon was killed and swept up.
    let room = room.again().await;
    room.images.reconcile().await.unwrap();
    room.pull(&reference(&fake, "web:v1")).await.unwrap();
    assert_eq!(fake.asked().last().unwrap().headers["range"], "bytes=500000-");
    let image = room.images.resolve(&sample.id().to_string()).unwrap();
    assert_eq!(image.size, 3_000_000);
    assert_eq!(room.files().len(), 4, "three blobs and a layer: {:?}", room.files());
}

/// What is on the disk may not be what came, or have come from another who lied.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_was_damaged_half_way_is_fetched_again() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let sample = Sample::new(&[Layer::gzip(&[("big", &noise(5, 3_000_000))])]);
    sample.serve(&fake, "web", "v1");
    let (path, blob) = (sample.layers[0].path("web"), &sample.layers[0].blob);
    let partial = room.root.path().join("content/ingest").join(sha256(blob).hex());
    let mut flipped = blob[..500_000].to_vec();
    flipped[400_000] ^= 1;
    for damaged in [flipped, b"nothing of the kind".to_vec(), blob.clone().into_iter().rev().collect()] {
        let before = fake.count(&path);
        std::fs::write(&partial, damaged).unwrap();
        room.pull(&reference(&fake, "web:v1")).await.unwrap();
        assert!(fake.count(&path) > before, "it is asked for");
        let image = room.images.resolve(&sample.id().to_string()).unwrap();
        assert_eq!(image.size, 3_000_000);
        assert_eq!(room.files().len(), 4, "three blobs and a layer: {:?}", room.files());
        room.images.remove(&sample.id().to_string(), true, true).await.unwrap();
        assert!(room.files().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_given_up_leaves_the_way_free_for_the_next() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let sample = Sample::new(&[Layer::gzip(&[("big", &noise(4, 3_000_000))])]);
    sample.serve(&fake, "web", "v1");
    let blob = sample.layers[0].blob.clone();
    fake.once(&sample.layers[0].path("web"), Answer::new(200, blob).manner(Manner::StallAfter(1_000_000)));
    let (name, path) = (reference(&fake, "web:v1"), sample.layers[0].path("web"));
    tokio::select! {
        ended = room.pull(&name) => panic!("half a layer is enough: {ended:?}"),
        () = asked_for(&fake, &path) => {}
    }
    room.pull(&name).await.unwrap();
    assert_eq!(room.images.resolve(&name.to_string()).unwrap().size, 3_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uncompressed_layer_is_its_own_digest() {
    let (fake, room, sample) =
        (Fake::start().await, Room::open().await, Sample::new(&[Layer::plain(&[("a", b"a")])]));
    sample.serve(&fake, "plain", "latest");
    room.pull(&reference(&fake, "plain")).await.unwrap();
    let image = room.images.resolve(&sample.id().to_string()).unwrap();
    assert_eq!(image.layers[0], sha256(&sample.layers[0].blob));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_layers_is_an_image() {
    let (fake, room, sample) = (Fake::start().await, Room::open().await, Sample::new(&[]));
    sample.serve(&fake, "empty", "latest");
    room.pull(&reference(&fake, "empty")).await.unwrap();
    let image = room.images.resolve(&sample.id().to_string()).unwrap();
    assert_eq!((image.top_layer(), image.size), (None, 0));
}

/// Who drips layers of others' images holds nobody up who has them from elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_drips_does_not_hold_up_pulls_from_another() {
    let (drips, fake, room) = (Fake::start().await, Fake::start().await, Room::open().await);
    let sample = Sample::new(&[Layer::gzip(&[("data", &noise(7, 1_000_000))])]);
    sample.serve(&drips, "web", "v1");
    sample.serve(&fake, "web", "v1");
    let path = sample.layers[0].path("web");
    drips.always(&path, Answer::new(200, sample.layers[0].blob.clone()).manner(Manner::Drip));
    let (name, other) = (reference(&drips, "web:v1"), reference(&fake, "web:v1"));
    let meanwhile = async {
        asked_for(&drips, &path).await;
        room.pull(&other).await.unwrap();
    };
    tokio::select! {
        biased;
        ended = room.pull(&name) => panic!("the other waited for it: {ended:?}"),
        () = meanwhile => {}
    }
    let image = room.images.resolve(&other.to_string()).unwrap();
    assert_eq!(room.file(&image, "/data").unwrap(), noise(7, 1_000_000));
}
