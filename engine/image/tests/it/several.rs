//! Names that stand for several platforms.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tare_image::{Error, IndexRequest, ManifestKind, PullRequest, Removed};
use tare_model::{Digest, HasKind, Kind, Platform, Reference};
use tare_oci::image::media_type;

use crate::fake::{Answer, Fake};
use crate::sample::{Layer, Sample, descriptor, document, noise, sha256};
use crate::{Room, reference};

pub(crate) const OTHERS: [&str; 2] = ["riscv64", "s390x"];

/// An image for an architecture: a layer that all have, and one of its own.
pub(crate) fn image_for(architecture: &str) -> Sample {
    let own =
        Layer::gzip(&[("arch", architecture.as_bytes()), ("own", &noise(architecture.len() as u64, 70_000))]);
    let mut sample = Sample::new(&[Layer::gzip(&[("shared", &noise(9, 90_000))]), own]);
    sample.config["architecture"] = architecture.into();
    sample.describe();
    sample
}

/// An index and its images, this machine's in the middle.
pub(crate) struct Several {
    pub(crate) images: Vec<Sample>,
    pub(crate) attestation: Sample,
    pub(crate) index: Value,
}

impl Several {
    pub(crate) fn new() -> Self {
        let host = Platform::host().architecture;
        let images: Vec<Sample> = [OTHERS[0], &host, OTHERS[1]].into_iter().map(image_for).collect();
        let attestation = attestation();
        let entries = images.iter().map(|image| entry(image, image.config["architecture"].as_str().unwrap()));
        let mut about = entry(&attestation, "unknown");
        about["platform"]["os"] = "unknown".into();
        about["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": images[1].digest(),
        });
        let index = index(&entries.chain([about]).collect::<Vec<_>>());
        Self { images, attestation, index }
    }

    pub(crate) fn digest(&self) -> Digest {
        sha256(self.index.to_string().as_bytes())
    }

    pub(crate) fn id(&self, architecture: &str) -> Digest {
        let is = |image: &&Sample| image.config["architecture"] == architecture;
        self.images.iter().find(is).unwrap().id()
    }

    fn host(&self) -> Digest {
        self.images[1].id()
    }

    fn serve(&self, fake: &Fake, repository: &str, tag: &str) {
        for image in self.images.iter().chain([&self.attestation]) {
            image.serve(fake, repository, "unused");
        }
        serve_index(fake, repository, tag, &self.index);
    }
}

/// What BuildKit attaches: a manifest whose one layer is a statement.
fn attestation() -> Sample {
    let statement = Layer {
        tar: Vec::new(),
        blob: br#"{"predicateType":"x"}"#.to_vec(),
        kind: "application/vnd.in-toto+json",
    };
    let mut sample = Sample::new(&[statement]);
    sample.config =
        json!({"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": []}});
    sample.describe();
    sample
}

impl Several {
    /// Writes an OCI layout with the index as `latest`.
    pub(crate) fn write_layout(&self, directory: &std::path::Path) {
        self.images.iter().chain([&self.attestation]).for_each(|image| image.write_layout(directory));
        let index = self.index.to_string();
        std::fs::write(directory.join("blobs/sha256").join(self.digest().hex()), &index).unwrap();
        let mut entry = descriptor(media_type::OCI_INDEX, index.as_bytes());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        let list = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
        std::fs::write(directory.join("index.json"), list).unwrap();
    }
}

fn entry(sample: &Sample, architecture: &str) -> Value {
    let mut entry = descriptor(media_type::OCI_MANIFEST, sample.manifest.to_string().as_bytes());
    entry["platform"] = json!({"os": "linux", "architecture": architecture});
    entry
}

fn index(entries: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries})
}

fn serve_index(fake: &Fake, repository: &str, tag: &str, index: &Value) {
    let digest = sha256(index.to_string().as_bytes()).to_string();
    for name in [tag, &digest] {
        fake.always(&format!("/v2/{repository}/manifests/{name}"), document(media_type::OCI_INDEX, index));
    }
}

fn request(name: &Reference, architecture: Option<&str>) -> PullRequest {
    let platform = architecture.map(|architecture| format!("linux/{architecture}").parse().unwrap());
    let all_platforms = platform.is_none();
    PullRequest { reference: name.clone(), platform, all_platforms, credentials: None }
}

fn platform(architecture: &str) -> Platform {
    format!("linux/{architecture}").parse().unwrap()
}

/// Which image a name means for an architecture.
fn meant(room: &Room, name: &str, architecture: &str) -> Option<Digest> {
    room.images.resolve_for(name, Some(&platform(architecture))).ok().map(|image| image.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn platforms_that_are_pulled_one_after_the_other_stand_under_one_name() {
    let (fake, mut room, several) = (Fake::start().await, Room::open().await, Several::new());
    several.serve(&fake, "web", "v1");
    let name = reference(&fake, "web:v1");
    let (text, host) = (name.to_string(), Platform::host().architecture);
    let first = room.request(request(&name, Some(OTHERS[0]))).await.unwrap();
    assert_eq!((first.id, first.digest), (several.id(OTHERS[0]), several.digest()));
    assert_eq!(room.images.resolve(&text).unwrap().id, several.id(OTHERS[0]), "where there is no other");
    room.request(request(&name, Some(&host))).await.unwrap();
    let last = room.request(request(&name, Some(OTHERS[1]))).await.unwrap();
    assert_eq!((last.id, last.up_to_date), (several.id(OTHERS[1]), false));
    assert!(room.request(request(&name, Some(OTHERS[0]))).await.unwrap().up_to_date);

    for _ in 0..2 {
        assert_eq!(room.images.resolve(&text).unwrap().id, several.host());
        for architecture in [OTHERS[0], &host, OTHERS[1]] {
            let image = room.images.resolve_for(&text, Some(&platform(architecture))).unwrap();
            assert_eq!(image.id, several.id(architecture));
            assert_eq!((image.tags.as_slice(), image.digests.len()), (&[name.clone()][..], 1));
            assert_eq!(room.file(&image, "/arch").unwrap(), architecture.as_bytes());
            assert!(room.images.stands_for(&text, &image.id));
            // An id means what stands under its name.
            assert_eq!(meant(&room, &several.host().to_string(), architecture), Some(image.id));
        }
        let error = room.images.resolve_for(&text, Some(&platform("arm64"))).unwrap_err();
        assert!(matches!(error, Error::Platform { .. }) && error.kind() == Kind::NotFound, "{error}");
        let listed: Vec<_> = room.images.list().unwrap().into_iter().map(|image| image.id).collect();
        assert_eq!(listed, [several.host()], "one line for one name");
        let dangling = room.images.prune(|image| image.tags.is_empty()).await.unwrap();
        assert_eq!((dangling.removed.len(), dangling.bytes), (0, 0));
        room = room.again().await;
        room.images.reconcile().await.unwrap();
    }
    let usage = room.images.usage().await.unwrap();
    assert_eq!((usage.images.len(), usage.images[0].size), (1, usage.total), "all of it is its own");
    let removed = room.images.remove(&text, false, true).await.unwrap();
    for architecture in [OTHERS[0], &host, OTHERS[1]] {
        assert!(removed.contains(&Removed::Deleted(several.id(architecture).to_string())), "{removed:?}");
    }
    assert!(room.files().is_empty(), "{:?}", room.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_platforms_come_with_what_says_how_they_were_made() {
    let (fake, room, several) = (Fake::start().await, Room::open().await, Several::new());
    several.serve(&fake, "web", "v1");
    let name = reference(&fake, "web:v1");
    let pulled = room.request(request(&name, None)).await.unwrap();
    assert_eq!((pulled.id, pulled.digest, pulled.up_to_date), (several.host(), several.digest(), false));
    assert!(room.request(request(&name, None)).await.unwrap().up_to_date);
    let manifests = room.images.manifests(&name.to_string()).unwrap();
    assert!(manifests.iter().all(|manifest| manifest.available && manifest.content > 0));
    let kinds = manifests.iter().map(|manifest| match &manifest.kind {
        ManifestKind::Image(image) => image.as_ref().map(|image| image.id),
        ManifestKind::Attestation(about) => *about,
    });
    let kinds: Vec<_> = kinds.collect();
    let ids = several.images.iter().map(|image| Some(image.id()));
    assert_eq!(kinds, ids.chain([Some(several.images[1].digest())]).collect::<Vec<_>>());
    // What is damaged or lost is fetched again, whatever it is.
    let blobs = room.root.path().join("content/blobs/sha256");
    let all: Vec<_> = std::fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path()).collect();
    for lost in &all {
        std::fs::remove_file(lost).unwrap();
        room.images.verify(true, |_| {}).await.unwrap();
        assert!(lost.exists(), "{}", lost.display());
    }
    // A layer that all have came once; what nobody needs goes.
    assert_eq!(fake.count(&several.images[0].layers[0].path("web")), 2, "the second time as it was lost");
    assert_eq!(room.images.sweep().await.unwrap(), 0);
    // One platform goes where it is named, also the one that the name means; what is in use stays.
    let text = name.to_string();
    let held = room.images.resolve_for(&text, Some(&platform(OTHERS[1]))).unwrap();
    room.images.hold(&held, "container/x").await.unwrap();
    let refused = room.images.remove_platform(&text, platform(OTHERS[1]), false, |_| false).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Conflict);
    room.images.release("container/x").await.unwrap();
    let host = Platform::host();
    let removed = room.images.remove_platform(&text, host.clone(), false, |_| false).await.unwrap();
    assert!(removed.contains(&Removed::Deleted(several.host().to_string())), "{removed:?}");
    assert_ne!(room.images.resolve(&text).unwrap().id, several.host());
    assert!(room.images.remove_platform(&text, host, false, |_| false).await.is_err());
    // One platform goes by its id, with nothing of the others.
    room.images.remove(&several.id(OTHERS[0]).to_string(), false, true).await.unwrap();
    assert_eq!(meant(&room, &name.to_string(), OTHERS[0]), None);
    assert_eq!(meant(&room, &name.to_string(), OTHERS[1]), Some(several.id(OTHERS[1])));
    let last = room.images.remove_platform(&text, platform(OTHERS[1]), false, |_| false).await.unwrap();
    assert!(last.contains(&Removed::Untagged(name.familiar())), "the name with the last: {last:?}");
    assert!(room.files().is_empty(), "{:?}", room.files());
}

async fn archive(room: &Room, name: &str, architecture: Option<&str>) -> Vec<u8> {
    let wanted = architecture.map(platform);
    let mut stream = room.images.save(&[name.to_owned()], wanted.as_ref(), None).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    bytes
}

async fn load(room: &Room, archive: &[u8], architecture: Option<&str>) -> Digest {
    let chunks = stream::iter([Ok(Bytes::copy_from_slice(archive))]).boxed();
    room.images.load(chunks, architecture.map(platform), |_| {}).await.unwrap()[0].id
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_keeps_all_platforms_and_the_index() {
    let (fake, room, several) = (Fake::start().await, Room::open().await, Several::new());
    several.serve(&fake, "web", "v1");
    let name = reference(&fake, "web:v1");
    let text = name.to_string();
    room.request(request(&name, None)).await.unwrap();
    let saved = archive(&room, &text, None).await;
    let second = Room::open().await;
    assert_eq!(load(&second, &saved, None).await, several.host());
    assert_eq!(second.images.descriptor(&text).unwrap().digest, several.digest());
    assert_eq!(meant(&second, &text, OTHERS[1]), Some(several.id(OTHERS[1])));
    assert_eq!(second.images.list().unwrap().len(), 1);
    assert!(archive(&second, &text, None).await == saved, "the same archive again");
    assert_eq!(second.images.sweep().await.unwrap(), 0);

    // One platform of the store, and one of the archive.
    let one = archive(&room, &text, Some(OTHERS[0])).await;
    assert!(one.len() < saved.len());
    for (bytes, wanted) in [(&one, None), (&saved, Some(OTHERS[0]))] {
        let third = Room::open().await;
        assert_eq!(load(&third, bytes, wanted).await, several.id(OTHERS[0]));
        assert_eq!(meant(&third, &text, OTHERS[1]), None);
    }
    // What is here of an index is saved under its digest as well, and the rest joins it later.
    let part = Room::open().await;
    load(&part, &saved, Some(OTHERS[0])).await;
    let saved_part = archive(&part, &text, None).await;
    let fourth = Room::open().await;
    load(&fourth, &saved_part, None).await;
    assert_eq!(meant(&fourth, &text, OTHERS[0]), Some(several.id(OTHERS[0])));
    fourth.request(request(&name, Some(OTHERS[1]))).await.unwrap();
    assert_eq!(meant(&fourth, &text, OTHERS[0]), Some(several.id(OTHERS[0])));
    assert_eq!(meant(&fourth, &text, OTHERS[1]), Some(several.id(OTHERS[1])));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_made_of_images_that_are_here() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let host = Platform::host().architecture;
    let mut images = Vec::new();
    for architecture in [OTHERS[0], &host] {
        image_for(architecture).serve(&fake, "one", architecture);
        images.push(room.pull(&reference(&fake, &format!("one:{architecture}"))).await.unwrap().id);
    }
    let name: Reference = "made:1".parse().unwrap();
    let wanted = |images: &[Digest]| IndexRequest { images: images.to_vec(), names: vec![name.clone()] };
    let made = room.images.make_index(wanted(&images)).await.unwrap();
    assert_eq!(made.media_type, media_type::OCI_INDEX);
    assert_eq!(room.images.make_index(wanted(&images)).await.unwrap(), made, "the same once more");
    let image = room.images.resolve("made:1").unwrap();
    assert_eq!((image.id, room.images.descriptor("made:1").unwrap().digest), (images[1], made.digest));
    assert_eq!(meant(&room, "made:1", OTHERS[0]), Some(images[0]));
    // Each has its own name besides, with which nothing came but itself.
    let own = reference(&fake, &format!("one:{host}")).to_string();
    assert_eq!(meant(&room, &own, OTHERS[0]), None);
    room.images.remove(&own, true, true).await.unwrap();
    assert_eq!(room.images.list().unwrap().len(), 2);
    // A name for the index has all of it, also by the id of its image.
    for (source, target) in [("made:1", "same:1"), (&*images[1].to_string(), "same:2")] {
        room.images.tag(source, &target.parse().unwrap()).await.unwrap();
        assert_eq!(meant(&room, target, OTHERS[0]), Some(images[0]), "{target}");
    }

    let mut twin = image_for(&host);
    twin.config["author"] = "another".into();
    twin.describe();
    twin.serve(&fake, "twin", "v1");
    let twin = room.pull(&reference(&fake, "twin:v1")).await.unwrap().id;
    for (bad, kind) in [
        (wanted(&[]), Kind::InvalidInput),
        (wanted(&[images[1], twin]), Kind::InvalidInput),
        (wanted(&[sha256(b"nothing")]), Kind::NotFound),
        (
            IndexRequest { images: images.clone(), names: vec![name.with_digest(made.digest)] },
            Kind::InvalidInput,
        ),
    ] {
        assert_eq!(room.images.make_index(bad).await.unwrap_err().kind(), kind);
    }
    assert_eq!(room.images.resolve("made:1").unwrap().id, images[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn images_for_other_platforms_go_with_a_name_that_is_given_away() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let host = Platform::host().architecture;
    let mut images = Vec::new();
    for architecture in [OTHERS[0], OTHERS[1], &host] {
        image_for(architecture).serve(&fake, "one", architecture);
        images.push(room.pull(&reference(&fake, &format!("one:{architecture}"))).await.unwrap().id);
    }
    let name: Reference = "made:1".parse().unwrap();
    room.images.make_index(IndexRequest { images: images.clone(), names: vec![name.clone()] }).await.unwrap();
    for architecture in [OTHERS[0], OTHERS[1], &host] {
        room.images
            .remove(&reference(&fake, &format!("one:{architecture}")).to_string(), true, true)
            .await
            .unwrap();
    }
    // One is in use: it stays, and is seen.
    let used = room.images.resolve_for("made:1", Some(&platform(OTHERS[1]))).unwrap();
    room.images.hold(&used, "container/x").await.unwrap();
    let sample = Sample::new(&[Layer::gzip(&[("new", b"n")])]);
    sample.serve(&fake, "new", "v1");
    let new = reference(&fake, "new:v1");
    room.pull(&new).await.unwrap();
    room.images.tag(&new.to_string(), &name).await.unwrap();
    let left: BTreeSet<_> = room.images.list().unwrap().into_iter().map(|image| image.id).collect();
    assert_eq!(left, BTreeSet::from([sample.id(), images[1], images[2]]), "without that for {}", OTHERS[0]);
    assert!(room.images.resolve(&images[0].to_string()).is_err());
    assert_eq!(room.images.sweep().await.unwrap(), 0, "its content has gone as well");
    room.images.release("container/x").await.unwrap();
    room.images.prune(|image| image.tags.is_empty()).await.unwrap();
    assert_eq!(room.images.list().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_lies_brings_nothing() {
    let several = Several::new();
    let entries = several.index["manifests"].as_array().unwrap().clone();
    let mut nested = entries[0].clone();
    nested["mediaType"] = media_type::OCI_INDEX.into();
    let mut longer = entries[0].clone();
    longer["size"] = 7.into();
    let mut other = entries[0].clone();
    other["platform"]["architecture"] = "ppc64le".into();
    let large = (0..30_u32).map(|number| {
        let mut entry = entries[0].clone();
        (entry["digest"], entry["size"]) = (json!(sha256(&number.to_le_bytes())), json!(4_000_000));
        entry
    });
    let crowd = (0..10_000_u32).map(|number| {
        let mut entry = entries[0].clone();
        entry["digest"] = json!(sha256(&number.to_le_bytes()));
        entry
    });
    let artifact = {
        let mut entry = entries[0].clone();
        entry["mediaType"] = "application/x-chart".into();
        entry
    };
    for (what, bad, kind) in [
        ("an index in an index", vec![nested], Kind::Corrupt),
        ("a wrong size", vec![longer], Kind::Corrupt),
        ("another platform than promised", vec![other], Kind::NotFound),
        ("ten thousand manifests", crowd.collect(), Kind::Corrupt),
        ("manifests that fill the memory", large.collect(), Kind::Corrupt),
        ("something that is no image", vec![artifact], Kind::InvalidInput),
        ("nothing", vec![], Kind::NotFound),
        ("nothing but an attestation", vec![entries[3].clone()], Kind::NotFound),
    ] {
        let (fake, room) = (Fake::start().await, Room::open().await);
        several.serve(&fake, "web", "good");
        serve_index(&fake, "web", "v1", &index(&bad));
        let error = room.request(request(&reference(&fake, "web:v1"), None)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(
            room.images.list().unwrap().is_empty() && room.files().is_empty(),
            "{what}: {:?}",
            room.files()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_names_a_manifest_or_a_platform_twice_is_taken() {
    let (fake, room, several) = (Fake::start().await, Room::open().await, Several::new());
    let entries = several.index["manifests"].as_array().unwrap().clone();
    let mut twin = image_for(OTHERS[0]);
    twin.config["author"] = "another".into();
    twin.describe();
    twin.serve(&fake, "web", "twin");
    several.serve(&fake, "web", "good");
    let twice = index(&[entries[0].clone(), entries[0].clone(), entry(&twin, OTHERS[0])]);
    serve_index(&fake, "web", "v1", &twice);
    let name = reference(&fake, "web:v1");
    room.request(request(&name, None)).await.unwrap();
    let found = meant(&room, &name.to_string(), OTHERS[0]).unwrap();
    assert!([several.id(OTHERS[0]), twin.id()].contains(&found));
    room.images.remove(&name.to_string(), false, true).await.unwrap();
    assert!(room.files().is_empty(), "{:?}", room.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn images_for_other_systems_are_passed_over() {
    let (fake, room, several) = (Fake::start().await, Room::open().await, Several::new());
    let mut entries = several.index["manifests"].as_array().unwrap().clone();
    entries[0]["platform"]["os"] = "windows".into();
    several.serve(&fake, "web", "good");
    fake.always(
        &format!("/v2/web/manifests/{}", several.images[0].digest()),
        Answer::new(500, "it must not be asked for"),
    );
    serve_index(&fake, "web", "v1", &index(&entries));
    let name = reference(&fake, "web:v1");
    room.request(request(&name, None)).await.unwrap();
    assert_eq!(meant(&room, &name.to_string(), OTHERS[1]), Some(several.id(OTHERS[1])));
    assert!(!room.images.manifests(&name.to_string()).unwrap()[0].available);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_whose_image_has_lost_a_layer_means_another_platform() {
    let (fake, room, several) = (Fake::start().await, Room::open().await, Several::new());
    several.serve(&fake, "web", "v1");
    let name = reference(&fake, "web:v1");
    room.request(request(&name, None)).await.unwrap();
    let image = room.images.resolve(&name.to_string()).unwrap();
    room.snapshots.remove_layer(image.top_layer().unwrap()).unwrap();
    assert_eq!(room.images.reconcile().await.unwrap().images, 1);
    let left = room.images.resolve(&name.to_string()).unwrap();
    assert!(OTHERS.contains(&&*left.config.architecture), "{}", left.config.architecture);
    room.request(request(&name, Some(&Platform::host().architecture))).await.unwrap();
    assert_eq!(room.images.resolve(&name.to_string()).unwrap().id, several.host());
}
