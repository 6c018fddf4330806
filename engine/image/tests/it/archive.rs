//! Images that leave as archives and come as such: honest ones, old ones, and such as nobody should send.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tare_image::{Error, ImportRequest, Limits, Loaded, Result};
use tare_model::{HasKind, Kind};
use tare_oci::image::media_type;

use crate::Room;
use crate::fake::Fake;
use crate::reference;
use crate::sample::{Layer, Sample, descriptor, noise, sha256};

/// An archive in the making: files, and links with where they lead.
#[derive(Clone, Default)]
pub(crate) struct Archive {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    links: Vec<(String, String, tar::EntryType)>,
}

impl Archive {
    pub(crate) fn with(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.to_owned(), bytes.into());
        self
    }

    fn link(mut self, name: &str, target: &str, kind: tar::EntryType) -> Self {
        self.links.push((name.to_owned(), target.to_owned(), kind));
        self
    }

    /// The form of `docker save` before it knew OCI's.
    pub(crate) fn docker(sample: &Sample, tag: &str) -> Self {
        let (config, id) = (sample.config.to_string(), sample.id().hex());
        let layers: Vec<_> = (0..sample.layers.len()).map(|n| format!("layer{n}/layer.tar")).collect();
        let list = json!([{"Config": format!("{id}.json"), "RepoTags": [tag], "Layers": layers}]);
        let archive =
            Self::default().with(&format!("{id}.json"), config).with("manifest.json", list.to_string());
        layers
            .iter()
            .zip(&sample.layers)
            .fold(archive, |archive, (name, layer)| archive.with(name, layer.tar.clone()))
    }

    /// An OCI layout with these entries.
    pub(crate) fn layout(samples: &[&Sample], entries: &[Value]) -> Self {
        let mut archive = Self::default()
            .with("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
            .with("index.json", json!({"schemaVersion": 2, "manifests": entries}).to_string());
        for sample in samples {
            let documents =
                [sample.manifest.to_string().into_bytes(), sample.config.to_string().into_bytes()];
            for blob in documents.iter().chain(sample.layers.iter().map(|layer| &layer.blob)) {
                archive = archive.with(&format!("blobs/sha256/{}", sha256(blob).hex()), blob.clone());
            }
        }
        archive
    }

    pub(crate) fn tar(&self) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, target, kind) in &self.links {
            let mut header = header(name, 0, *kind);
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
            header.set_cksum();
            builder.append(&header, &[][..]).unwrap();
        }
        for (name, bytes) in &self.files {
            builder.append(&header(name, bytes.len() as u64, tar::EntryType::Regular), &bytes[..]).unwrap();
        }
        builder.into_inner().unwrap()
    }
}

/// Written by hand: the library refuses the names that tests of bad input need.
fn header(name: &str, size: u64, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_entry_type(kind);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    header
}

pub(crate) fn entry(sample: &Sample, name: &str) -> Value {
    let mut entry = descriptor(media_type::OCI_MANIFEST, sample.manifest.to_string().as_bytes());
    entry["annotations"] = json!({"io.containerd.image.name": name});
    entry
}

pub(crate) fn sample() -> Sample {
    Sample::new(&[
        Layer::gzip(&[("etc/base", &noise(1, 300_000))]),
        Layer::zstd(&[("usr/bin/tool", &noise(2, 400_000))]),
        Layer::plain(&[("srv/page", b"hello")]),
    ])
}

pub(crate) async fn load(room: &Room, bytes: Vec<u8>) -> Result<Vec<Loaded>> {
    let chunks: Vec<_> = bytes.chunks(10_000).map(Bytes::copy_from_slice).map(Ok).collect();
    room.images.load(stream::iter(chunks).boxed(), None, |_| {}).await
}

async fn save(room: &Room, names: &[&str]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut stream = room.images.save(&names, None, None).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    bytes
}

/// That an archive is refused, and leaves nothing behind.
pub(crate) async fn refused(bytes: Vec<u8>) -> Error {
    let room = Room::open().await;
    let error = load(&room, bytes).await.unwrap_err();
    assert!(room.files().is_empty(), "{error}: {:?}", room.files());
    assert!(room.images.list().unwrap().is_empty());
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pulled_is_saved_and_loaded_with_all_its_digests() {
    let (fake, first, second) = (Fake::start().await, Room::open().await, Room::open().await);
    let sample = sample();
    sample.serve(&fake, "web", "v1");
    let name = reference(&fake, "web:v1");
    first.pull(&name).await.unwrap();
    let archive = save(&first, &[&name.to_string()]).await;
    let loaded = load(&second, archive.clone()).await.unwrap();
    assert_eq!((loaded.len(), loaded[0].id), (1, sample.id()));
    assert!(loaded[0].names.contains(&name));
    let image = second.images.resolve(&name.to_string()).unwrap();
    assert_eq!((image.manifest, image.digests.len()), (sample.digest(), 0));
    assert_eq!(second.file(&image, "/srv/page").unwrap(), b"hello");
    assert!(save(&second, &[&name.to_string()]).await == archive);
    // Nothing of the archive lies about beside what the image needs.
    assert_eq!(second.files().len(), first.files().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_compressed_anew_in_an_archive_where_that_is_asked_for() {
    let (fake, first, second) = (Fake::start().await, Room::open().await, Room::open().await);
    let sample = sample();
    sample.serve(&fake, "web", "v1");
    let name = reference(&fake, "web:v1");
    first.pull(&name).await.unwrap();
    let kept = first.files();
    let wanted = Some(tare_image::LayerCompression::Zstd);
    let mut stream = first.images.save(&[name.to_string()], None, wanted).await.unwrap();
    let mut archive = Vec::new();
    while let Some(chunk) = stream.next().await {
        archive.extend_from_slice(&chunk.unwrap());
    }
    drop(stream);
    let zstd = [0x28, 0xb5, 0x2f, 0xfd];
    let blocks = archive.chunks(512).filter(|block| block.starts_with(&zstd)).count();
    assert_eq!(blocks, sample.layers.len());
    let loaded = load(&second, archive).await.unwrap();
    assert_eq!(loaded[0].id, sample.id());
    let image = second.images.resolve(&name.to_string()).unwrap();
    assert_eq!(second.file(&image, "/srv/page").unwrap(), b"hello");
    assert_eq!(first.files(), kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_archive_of_docker_is_loaded_and_keeps_the_image_id() {
    let (room, sample) = (Room::open().await, sample());
    let loaded = load(&room, Archive::docker(&sample, "old/web:v1").tar()).await.unwrap();
    assert_eq!(loaded[0].id, sample.id());
    let image = room.images.resolve("old/web:v1").unwrap();
    assert_eq!(room.file(&image, "/usr/bin/tool").unwrap(), noise(2, 400_000));
    let again = Room::open().await;
    let archive = save(&room, &["old/web"]).await;
    load(&again, archive.clone()).await.unwrap();
    assert_eq!(again.images.resolve("old/web:v1").unwrap().manifest, image.manifest);
    assert!(save(&again, &["old/web:v1"]).await == archive);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_between_layers_are_followed_inside_the_archive() {
    let sample = sample();
    for (kind, target) in
        [(tar::EntryType::Symlink, "../shared/layer.tar"), (tar::EntryType::Link, "shared/layer.tar")]
    {
        let mut archive = Archive::docker(&sample, "a:v1");
        let layer = archive.files.remove("layer1/layer.tar").unwrap();
        let archive = archive.with("shared/layer.tar", layer).link("layer1/layer.tar", target, kind);
        let room = Room::open().await;
        assert_eq!(load(&room, archive.tar()).await.unwrap()[0].id, sample.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_come_in_every_wrapping() {
    let tar = Archive::docker(&sample(), "a:v1").tar();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&tar).unwrap();
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0)).unwrap();
    xz.write_all(&tar).unwrap();
    let (bzip2, xz) = (bzip2.finish().unwrap(), xz.finish().unwrap());
    for cut in [&bzip2[..bzip2.len() - 20], &xz[..xz.len() - 20], &b"BZh91AY&SY"[..], b"\xfd7zXZ\0\0\x04"] {
        let error = refused(cut.to_vec()).await;
        assert!(matches!(error, Error::Archive(_)), "{error}");
    }
    let zstd = zstd::stream::encode_all(&tar[..], 1).unwrap();
    for bytes in [gzip.finish().unwrap(), zstd, bzip2, xz, tar] {
        let room = Room::open().await;
        assert_eq!(load(&room, bytes).await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_images_share_their_layers() {
    let base = Layer::gzip(&[("base", &noise(3, 100_000))]);
    let one = Sample::new(&[base.clone(), Layer::gzip(&[("one", b"1")])]);
    let two = Sample::new(&[base, Layer::gzip(&[("two", b"2")])]);
    let entries = [
        entry(&one, "docker.io/library/one:v1"),
        entry(&two, "docker.io/library/two:v1"),
        entry(&two, "docker.io/library/again:v2"),
    ];
    let room = Room::open().await;
    let loaded = load(&room, Archive::layout(&[&one, &two], &entries).tar()).await.unwrap();
    assert_eq!(loaded.iter().map(|one| one.names.len()).sum::<usize>(), 3);
    let (one, two) = (room.images.resolve("one:v1").unwrap(), room.images.resolve("again:v2").unwrap());
    assert_eq!(one.layers[0], two.layers[0]);
    assert_eq!(
        room.files().len(),
        7 + 3,
        "two documents and a layer each, the base once: {:?}",
        room.files()
    );
    let both = save(&room, &["one", "two", "again"]).await;
    let other = Room::open().await;
    assert_eq!(load(&other, both).await.unwrap().len(), 2);
    assert_eq!(other.images.list().unwrap().len(), 2);
}

/// umoci keeps a name with what it makes of an image, so that two have it.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_two_images_have_is_that_of_the_last() {
    let [one, two] = [1, 2].map(|seed| Sample::new(&[Layer::gzip(&[("file", &noise(seed, 1000))])]));
    for (first, last) in [(&one, &two), (&two, &one)] {
        let entries = [entry(first, "docker.io/library/web:v1"), entry(last, "docker.io/library/web:v1")];
        let room = Room::open().await;
        load(&room, Archive::layout(&[&one, &two], &entries).tar()).await.unwrap();
        assert_eq!(room.images.resolve("web:v1").unwrap().id, last.id());
        assert!(room.images.resolve(&first.id().to_string()).unwrap().tags.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_index_the_part_that_is_there_is_loaded() {
    let (ours, mut absent) = (sample(), sample());
    absent.config["architecture"] = "arm64".into();
    absent.describe();
    let part = |sample: &Sample, architecture: &str| {
        let mut part = descriptor(media_type::OCI_MANIFEST, sample.manifest.to_string().as_bytes());
        part["platform"] = json!({"os": "linux", "architecture": architecture});
        part
    };
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [part(&absent, "arm64"), part(&ours, "amd64")]})
    .to_string();
    let mut top = descriptor(media_type::OCI_INDEX, index.as_bytes());
    top["annotations"] = json!({"org.opencontainers.image.ref.name": "both:v1"});
    let place = format!("blobs/sha256/{}", sha256(index.as_bytes()).hex());
    let room = Room::open().await;
    let loaded = load(&room, Archive::layout(&[&ours], &[top]).with(&place, index).tar()).await.unwrap();
    assert_eq!(loaded[0].id, ours.id());
    assert!(room.images.resolve("both:v1").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_links_that_lead_out_are_refused() {
    let sample = sample();
    let good = || Archive::docker(&sample, "a:v1");
    for bad in [
        good().with("../../../../tmp/out", "x"),
        good().with("/tmp/out", "x"),
        good().with("a/../../out", "x"),
        good().link("x", "../../etc/passwd", tar::EntryType::Symlink),
        good().link("x", "/etc/passwd", tar::EntryType::Symlink),
        good().link("x", "/etc/passwd", tar::EntryType::Link),
        good().link("x", "../etc/passwd", tar::EntryType::Link),
        good().link("null", "", tar::EntryType::Char),
        good().link("pipe", "", tar::EntryType::Fifo),
    ] {
        let error = refused(bad.tar()).await;
        assert!(matches!(error, Error::Archive(_)), "{error}");
        assert_eq!(error.kind(), Kind::InvalidInput);
    }
    // A list may not name what is outside either, nor lead in circles.
    for path in ["/etc/passwd", "../../etc/passwd", "no/such/file", "round"] {
        let list = json!([{"Config": path, "RepoTags": ["a:v1"], "Layers": []}]).to_string();
        let archive = Archive::default().with("manifest.json", list);
        let archive = archive.link("round", "about", tar::EntryType::Symlink).link(
            "about",
            "round",
            tar::EntryType::Symlink,
        );
        let error = refused(archive.tar()).await;
        assert!(matches!(error, Error::Archive(_)), "{path}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_not_what_it_says_is_refused() {
    let sample = sample();
    let layout = || Archive::layout(&[&sample], &[entry(&sample, "docker.io/library/a:v1")]);
    let place = |bytes: &[u8]| format!("blobs/sha256/{}", sha256(bytes).hex());
    let (manifest, config) = (sample.manifest.to_string(), sample.config.to_string());
    let layer = &sample.layers[0].blob;
    for original in [manifest.as_bytes(), config.as_bytes(), &layer[..]] {
        let mut other = original.to_vec();
        other[5] ^= 1;
        let error = refused(layout().with(&place(original), other).tar()).await;
        assert!(matches!(error, Error::Digest { .. }), "{error}");
        let error = refused(layout().with(&place(original), [original, b"x"].concat()).tar()).await;
        assert!(matches!(error, Error::Size { .. }), "{error}");
        let mut without = layout();
        without.files.remove(&place(original));
        assert!(matches!(refused(without.tar()).await, Error::Archive(_)));
    }
    // A layer that is whole and still not the one that the configuration speaks of.
    let other = Layer::plain(&[("etc/base", b"something else")]);
    let error = refused(Archive::docker(&sample, "a:v1").with("layer0/layer.tar", other.tar).tar()).await;
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    // A configuration under the name of another one.
    let id = sample.id().hex();
    let error = refused(Archive::docker(&sample, "a:v1").with(&format!("{id}.json"), "{}").tar()).await;
    assert!(matches!(error, Error::Digest { .. }), "{error}");
}

/// A layer that was loaded earlier lies here; an archive that calls it a document does not have it read into memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_here_is_no_document_of_any_size() {
    let large = Layer::gzip(&[("large", &noise(1, 10 << 20))]);
    let (room, known) = (Room::open().await, Sample::new(std::slice::from_ref(&large)));
    let entries = [entry(&known, "docker.io/library/known:v1")];
    load(&room, Archive::layout(&[&known], &entries).tar()).await.unwrap();
    let before = room.files().len();
    let lie = |bytes: &[u8], size: u64| {
        let mut lie = descriptor(media_type::OCI_MANIFEST, bytes);
        lie["size"] = size.into();
        lie
    };
    let size = large.blob.len() as u64;
    let mut config = sample();
    config.manifest["config"] = descriptor(media_type::OCI_CONFIG, &large.blob);
    for archive in [
        Archive::layout(&[], &[lie(&large.blob, size)]),
        Archive::layout(&[], &[lie(&large.blob, u64::MAX)]),
        Archive::layout(&[&config], &[entry(&config, "docker.io/library/a:v1")]),
    ] {
        let error = load(&room, archive.tar()).await.unwrap_err();
        assert!(error.to_string().contains("bytes, more than"), "{error}");
        assert_eq!(room.files().len(), before);
    }
}

/// The tree of a layer is here; content that claims to be the same is not taken on its word.
#[tokio::test(flavor = "multi_thread")]
async fn a_known_tree_gets_no_foreign_content() {
    let (room, honest) = (Room::open().await, sample());
    load(&room, Archive::docker(&honest, "honest:v1").tar()).await.unwrap();
    let mut liar = honest.clone();
    liar.layers[0] = Layer { tar: honest.layers[0].tar.clone(), ..Layer::gzip(&[("etc/evil", b"x")]) };
    liar.config["author"] = "mallory".into();
    liar.describe();
    let archive = Archive::layout(&[&liar], &[entry(&liar, "docker.io/library/liar:v1")]);
    let before = room.files().len();
    let error = load(&room, archive.tar()).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    assert_eq!(room.files().len(), before);
    assert!(room.images.resolve("honest:v1").is_ok() && room.images.resolve("liar:v1").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_make_no_sense_are_refused() {
    let sample = sample();
    let nested = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [
        {"mediaType": media_type::OCI_INDEX, "digest": sha256(b"x"), "size": 1, "platform": {"os": "linux", "architecture": "amd64"}}]})
    .to_string();
    let place = format!("blobs/sha256/{}", sha256(nested.as_bytes()).hex());
    let inner = "blobs/sha256/".to_owned() + &sha256(b"x").hex();
    let nested_entry = descriptor(media_type::OCI_INDEX, nested.as_bytes());
    let list = |name: &str| Archive::docker(&sample, name);
    for (bad, words) in [
        (Archive::default(), "it is empty"),
        (Archive::default().with("hello", "world"), "neither manifest.json"),
        (Archive::default().with("manifest.json", "{"), "malformed"),
        (Archive::default().with("manifest.json", "[]"), "no image"),
        (Archive::layout(&[], &[]), "no image"),
        (list("Upper/Case:v1"), "must be lowercase"),
        (list(&format!("a@{}", sha256(b"x"))), "digest reference"),
        (
            Archive::layout(&[], &[nested_entry]).with(&place, nested.clone()).with(&inner, "x"),
            "manifest list",
        ),
    ] {
        let error = refused(if bad.files.is_empty() { Vec::new() } else { bad.tar() }).await;
        assert!(error.to_string().contains(words), "{error} has not {words}");
    }
    let mut cut = Archive::docker(&sample, "a:v1").tar();
    cut.truncate(cut.len() / 2);
    assert!(matches!(refused(cut).await, Error::Archive(_)));
    let error = refused(noise(7, 100_000)).await;
    assert!(error.to_string().starts_with("invalid archive: it is no sound tar"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_a_bomb_is_refused() {
    let limits = Limits { ratio_from: 1 << 20, layer_bytes: 64 << 20, ..Limits::default() };
    let zeros = Archive::default().with("zeros", vec![0; 32 << 20]).tar();
    let bomb = zstd::stream::encode_all(&zeros[..], 1).unwrap();
    let room = Room::with_limits(limits).await;
    let error = load(&room, bomb).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(room.files().is_empty(), "{:?}", room.files());
    let large = Room::with_limits(Limits { layer_bytes: 1 << 20, ..Limits::default() }).await;
    let error = load(&large, zeros).await.unwrap_err();
    assert!(error.to_string().contains("more than 1048576"), "{error}");
    assert!(large.files().is_empty());
}

/// Each layer by itself, and the archive by itself, may be what they are.
#[tokio::test(flavor = "multi_thread")]
async fn bombs_of_many_layers_are_refused() {
    let zeros = |n: u8| Layer::gzip(&[("zeros", &[&[n][..], &vec![0; 3 << 20]].concat())]);
    let layers: Vec<_> = (0..20).map(zeros).collect();
    let packed = Sample::new(&layers);
    let inner = Archive::layout(&[&packed], &[entry(&packed, "docker.io/library/a:v1")]).tar();
    let one_file = {
        let layer = Layer::plain(&[("noise", &noise(1, 1 << 20))]);
        let many = Sample::new(&vec![layer.clone(); 40]);
        let (config, id) = (many.config.to_string(), many.id().hex());
        let list =
            json!([{"Config": format!("{id}.json"), "RepoTags": ["a:v1"], "Layers": vec!["layer.tar"; 40]}]);
        let archive = Archive::default().with("manifest.json", list.to_string()).with("layer.tar", layer.tar);
        archive.with(&format!("{id}.json"), config).tar()
    };
    let by_ratio = Limits { ratio_from: 4 << 20, ..Limits::default() };
    let by_size = Limits { image_bytes: 20 << 20, ..Limits::default() };
    for (archive, limits) in
        [(zstd::stream::encode_all(&inner[..], 1).unwrap(), by_ratio), (inner, by_ratio), (one_file, by_size)]
    {
        let room = Room::with_limits(limits).await;
        let error = load(&room, archive).await.unwrap_err();
        assert!(matches!(error, Error::Bomb { .. }) && error.to_string().contains("all layers"), "{error}");
        assert!(room.files().is_empty() && room.images.list().unwrap().is_empty(), "{:?}", room.files());
    }
}

/// Documents may name as many blobs as four megabytes hold, and an archive may have a hundred thousand files: finding each of the
/// former among the latter one by one would take hours.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_names_and_files_takes_no_time() {
    let (sample, statement) = (sample(), br#"{"predicateType":"x"}"#);
    let named = descriptor("application/vnd.in-toto+json", statement);
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(media_type::OCI_CONFIG, statement), "layers": vec![named; 20_000]})
    .to_string();
    let mut ours = descriptor(media_type::OCI_MANIFEST, sample.manifest.to_string().as_bytes());
    ours["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let mut about = descriptor(media_type::OCI_MANIFEST, manifest.as_bytes());
    about["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [ours, about]});
    let index = index.to_string();
    let place = |bytes: &[u8]| format!("blobs/sha256/{}", sha256(bytes).hex());
    let top = descriptor(media_type::OCI_INDEX, index.as_bytes());
    let archive = Archive::layout(&[&sample], &[top]).with(&place(index.as_bytes()), index);
    let archive = archive.with(&place(manifest.as_bytes()), manifest).with("z", *statement);
    let archive =
        (0..60_000).fold(archive, |all, n| all.link(&format!("a/{n}"), "../z", tar::EntryType::Symlink));
    let tar = archive.tar();
    let room = Room::open().await;
    let began = std::time::Instant::now();
    assert_eq!(load(&room, tar).await.unwrap()[0].id, sample.id());
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_given_up_leaves_nothing() {
    let room = Room::open().await;
    let tar = Archive::docker(&sample(), "a:v1").tar();
    let half = Bytes::copy_from_slice(&tar[..tar.len() / 2]);
    let endless = stream::iter([Ok(half)]).chain(stream::pending()).boxed();
    let loading = room.images.load(endless, None, |_| {});
    assert!(tokio::time::timeout(Duration::from_millis(300), loading).await.is_err());
    let cleared = async {
        while !room.files().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), cleared).await;
    assert!(in_time.is_ok(), "left behind: {:?}", room.files());
}

/// A container's start needs such a thread, and slow clients may send and take several archives.
#[test]
fn clients_that_stall_keep_no_thread_that_others_need() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let room = Room::open().await;
        let sample = Sample::new(&[Layer::plain(&[("data", &noise(7, 8 << 20))])]);
        let tar = Archive::docker(&sample, "a:v1").tar();
        load(&room, tar.clone()).await.unwrap();
        let half = || {
            let sent = Bytes::copy_from_slice(&tar[..tar.len() / 2]);
            stream::iter([Ok(sent)]).chain(stream::pending()).boxed()
        };
        let stalled: Vec<_> = (0..4)
            .map(|_| {
                let (images, load, import) = (room.images.clone(), half(), half());
                tokio::spawn(async move {
                    let unread = images.save(&["a:v1".to_owned()], None, None).await.unwrap();
                    let import = images.import(import, ImportRequest::default());
                    let ended = tokio::select! {
                        loaded = images.load(load, None, |_| {}) => format!("{loaded:?}"),
                        imported = import => format!("{imported:?}"),
                    };
                    drop(unread);
                    ended
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let other = tokio::time::timeout(Duration::from_secs(20), tokio::task::spawn_blocking(|| ()));
        assert!(other.await.is_ok(), "the pool is full of them");
        for one in stalled {
            assert!(!one.is_finished());
            one.abort();
        }
    });
    runtime.shutdown_background();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_here_cannot_be_saved() {
    let room = Room::open().await;
    let error = room.images.save(&["no/such:thing".to_owned()], None, None).await.err().unwrap();
    assert_eq!(error.to_string(), "No such image: no/such:thing");
    load(&room, Archive::docker(&sample(), "a:v1").tar()).await.unwrap();
    let arm = "linux/arm64".parse().unwrap();
    let error = room.images.save(&["a:v1".to_owned()], Some(&arm), None).await.err().unwrap();
    assert!(matches!(error, Error::Platform { .. }), "{error}");
}
