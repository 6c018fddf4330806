//! Images that are made here: layers out of what was written, images out of layers.

use bytes::Bytes;
use futures_util::StreamExt;
use tare_image::{
    CommitRequest, Image, ImportRequest, LayerCompression, LayerRequest, LayerUse, Limits, Removed, Verified,
};
use tare_model::{Digest, HasKind, Kind};
use tare_oci::image::{History, ImageConfig};
use tare_snapshot::PackOptions;
use tare_store::Batch;

use crate::fake::Fake;
use crate::sample::{Layer, Sample, archive, noise};
use crate::{Room, reference};

/// A base image with `/base` and `/old`.
async fn base(fake: &Fake, room: &Room) -> Image {
    let sample = Sample::new(&[Layer::gzip(&[("base", b"base"), ("old", b"1")])]);
    sample.serve(fake, "base", "v1");
    room.pull(&reference(fake, "base:v1")).await.unwrap();
    room.images.resolve(&sample.id().to_string()).unwrap()
}

/// Something written upon a layer, as a container would have.
fn write(room: &Room, key: &str, parent: Option<&Digest>, files: &[(&str, &[u8])]) {
    room.snapshots.prepare(key, parent).unwrap();
    let upper = room.snapshots.upper(key).unwrap();
    files.iter().for_each(|(name, content)| std::fs::write(upper.join(name), content).unwrap());
}

async fn layer(room: &Room, key: &str, parent: Option<Digest>, take: bool) -> LayerUse {
    let request = LayerRequest { key: key.to_owned(), parent, take, pack: PackOptions::default() };
    room.images.commit_layer(request).await.unwrap()
}

fn request(base: &Image, layers: Vec<LayerUse>, name: &str) -> CommitRequest {
    let mut config: ImageConfig = (*base.config).clone();
    let steps = layers.len() - config.history.iter().filter(|step| !step.empty_layer).count();
    for _ in 0..steps {
        config.history.push(History { created_by: "RUN it".to_owned(), ..History::default() });
    }
    config.config.cmd = Some(vec!["it".to_owned()]);
    CommitRequest { layers, config, parent: Some(base.id), names: vec![name.parse().unwrap()] }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_becomes_an_image_that_travels() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let base = base(&fake, &room).await;
    let top = base.top_layer().copied();
    for (key, take) in [("kept", false), ("taken", true)] {
        write(&room, key, top.as_ref(), &[("new", key.as_bytes()), ("old", b"2")]);
        let mut layers = room.images.layers_of(&base).await.unwrap();
        layers.push(layer(&room, key, top, take).await);
        let image = room.images.commit(request(&base, layers, key)).await.unwrap();
        assert_eq!((image.layers.len(), image.parent), (2, Some(base.id)));
        assert_eq!(image.layer_sizes[1], key.len() as u64 + 1);
        assert_eq!(room.file(&image, "/new").unwrap(), key.as_bytes());
        assert_eq!(room.file(&image, "/old").unwrap(), b"2");
        assert_eq!(room.file(&image, "/base").unwrap(), b"base");
        assert_eq!(room.snapshots.upper(key).is_err(), take, "a layer that is taken over is no container's");
        assert_eq!(room.images.resolve(key).unwrap().id, image.id);

        let archive = room.images.save(&[key.to_owned()], None, None).await.unwrap();
        let archive: Vec<_> = archive.collect().await;
        let other = Room::open().await;
        let archive = futures_util::stream::iter(archive).boxed();
        let loaded = other.images.load(archive, None, |_| {}).await.unwrap();
        assert_eq!(loaded[0].id, image.id);
        let arrived = other.images.resolve(key).unwrap();
        assert_eq!(arrived.layers, image.layers);
        assert_eq!(other.file(&arrived, "/new").unwrap(), key.as_bytes());
    }
}

/// Docker's rules for images that others were made from.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_others_were_made_from_goes_with_the_last_of_them() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let base = base(&fake, &room).await;
    let mut below = room.images.layers_of(&base).await.unwrap();
    write(&room, "c", base.top_layer(), &[("new", b"1")]);
    below.push(layer(&room, "c", base.top_layer().copied(), true).await);
    let first = room.images.commit(request(&base, below.clone(), "made:1")).await.unwrap();
    write(&room, "d", first.top_layer(), &[("newer", b"2")]);
    below.push(layer(&room, "d", first.top_layer().copied(), true).await);
    let second = room.images.commit(request(&first, below, "made:2")).await.unwrap();
    assert_eq!((first.parent, second.parent), (Some(base.id), Some(first.id)));

    let words = "(cannot be forced) - image has dependent child images";
    for (id, force) in [(&base.id, false), (&base.id, true), (&first.id, true)] {
        let refused = room.images.remove(&id.to_string(), force, true).await.unwrap_err();
        assert!(refused.to_string().ends_with(words) && refused.kind() == Kind::Conflict, "{refused}");
    }
    let told = room.images.remove("made:1", false, true).await.unwrap();
    assert_eq!(told, [Removed::Untagged("made:1".to_owned())]);
    assert_eq!(room.file(&room.images.resolve("made:2").unwrap(), "/newer").unwrap(), b"2");
    assert!(room.images.prune(|image| image.tags.is_empty()).await.unwrap().removed.is_empty());

    // What has a name of its own stays, and so does what is in use.
    let told = room.images.remove("made:2", false, true).await.unwrap();
    let deleted = |image: &Image| Removed::Deleted(image.id.to_string());
    assert_eq!(told[..3], [Removed::Untagged("made:2".to_owned()), deleted(&second), deleted(&first)]);
    let left: Vec<_> = room.images.list().unwrap().into_iter().map(|image| image.id).collect();
    assert_eq!(left, [base.id]);
    room.images.remove(&base.id.to_string(), false, true).await.unwrap();
    assert!(room.files().is_empty(), "{:?}", room.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_may_change_only_its_configuration() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let base = base(&fake, &room).await;
    let layers = room.images.layers_of(&base).await.unwrap();
    let image = room.images.commit(request(&base, layers, "only-config:1")).await.unwrap();
    assert_ne!(image.id, base.id);
    assert_eq!(image.layers, base.layers);
    let room = room.again().await;
    room.images.reconcile().await.unwrap();
    let image = room.images.resolve("only-config:1").unwrap();
    assert_eq!(image.config.config.cmd.as_deref(), Some(&["it".to_owned()][..]));
    assert_eq!(image.parent, Some(base.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_nothing_came_of_is_garbage_and_one_that_is_leased_is_not() {
    let room = Room::open().await;
    write(&room, "c", None, &[("a", b"1")]);
    let made = layer(&room, "c", None, true).await;
    room.images.reconcile().await.unwrap();
    assert!(room.snapshots.has(&made.chain), "held as long as somebody has it in hand");
    let (diff, chain, blob) = (made.diff, made.chain, made.blob.clone());
    let mut batch = Batch::default();
    batch.lease("build/1", &format!("snapshot/{chain}")).lease("build/1", &format!("blob/{}", blob.digest));
    room.store.commit(batch).await.unwrap();
    drop(made);
    room.images.reconcile().await.unwrap();
    let again = room.images.recall(diff, chain, blob.clone()).await.unwrap();
    assert_eq!((again.diff, again.size), (diff, 1));
    drop(again);
    let mut batch = Batch::default();
    batch.unlease_all("build/1");
    room.store.commit(batch).await.unwrap();
    room.images.reconcile().await.unwrap();
    assert!(room.files().is_empty(), "{:?}", room.files());
    assert!(room.images.recall(diff, chain, blob).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_leaves_nothing() {
    let room = Room::open().await;
    let missing =
        LayerRequest { key: "none".to_owned(), parent: None, take: true, pack: PackOptions::default() };
    assert!(room.images.commit_layer(missing).await.is_err());
    write(&room, "c", None, &[(".wh.x", b"")]);
    for take in [true, false] {
        let request = LayerRequest { key: "c".to_owned(), parent: None, take, pack: PackOptions::default() };
        let error = room.images.commit_layer(request).await.unwrap_err();
        assert!(error.to_string().contains(".wh.x"), "{error}");
    }
    assert!(room.files().is_empty(), "{:?}", room.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commits_while_garbage_is_collected_all_stand() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let base = base(&fake, &room).await;
    let top = base.top_layer().copied();
    let work = (0..12_u8).map(|number| {
        let (room, base) = (&room, &base);
        async move {
            let key = format!("c{number}");
            // Pairs of the same content meet at the same layer.
            write(room, &key, top.as_ref(), &[("n", &[number / 2])]);
            let mut layers = room.images.layers_of(base).await.unwrap();
            layers.push(layer(room, &key, top, number % 3 == 0).await);
            let image = room.images.commit(request(base, layers, &key)).await.unwrap();
            // Each removal collects what nobody needs at that moment.
            let mut other =
                request(base, room.images.layers_of(base).await.unwrap(), &format!("other{number}"));
            other.config.author = key;
            room.images.commit(other).await.unwrap();
            room.images.remove(&format!("other{number}"), false, true).await.unwrap();
            image
        }
    });
    let images = futures_util::future::join_all(work).await;
    room.images.reconcile().await.unwrap();
    for (number, image) in (0..12_u8).zip(&images) {
        assert_eq!(room.file(image, "/n").unwrap(), [number / 2]);
        assert!(room.images.save(&[format!("c{number}")], None, None).await.is_ok());
    }
}

/// What is imported passes the same checks as a layer that is pulled.
#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_nobody_should_import_is_refused() {
    let limits =
        Limits { ratio_from: 1 << 20, layer_bytes: 16 << 20, layer_entries: 100, ..Limits::default() };
    let packed = |bytes: &[u8]| zstd::stream::encode_all(bytes, 1).unwrap();
    let many: Vec<_> = (0..101).map(|number| (number.to_string(), &b""[..])).collect();
    let many: Vec<_> = many.iter().map(|(name, content)| (name.as_str(), *content)).collect();
    let good = archive(&[("a", b"1")]);
    let mut damaged = good.clone();
    damaged[0] ^= 1;
    let device = {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Block);
        header.set_path("disk").unwrap();
        header.set_device_major(8).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_mode(0o666);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let large = noise(1, 17 << 20);
    for (what, bytes) in [
        ("leads out", archive(&[("../out", b"x")])),
        ("a device", device),
        ("many entries", archive(&many)),
        ("many bytes", archive(&[("large", &large)])),
        ("a bomb", packed(&archive(&[("zeros", &[0; 8 << 20])]))),
        ("damaged", damaged),
        ("cut off", good[..700].to_vec()),
        ("packed and cut off", packed(&archive(&[("noise", &large[..1 << 20])]))[..1 << 19].to_vec()),
    ] {
        let room = Room::with_limits(limits).await;
        let stream = futures_util::stream::iter([Ok(bytes.into())]).boxed();
        let request = ImportRequest { names: vec!["a:v1".parse().unwrap()], ..ImportRequest::default() };
        let error = room.images.import(stream, request).await.err();
        let kind = error.as_ref().map(HasKind::kind);
        assert!(
            matches!(kind, Some(Kind::InvalidInput | Kind::Corrupt | Kind::Exhausted)),
            "{what}: {error:?}"
        );
        assert!(room.files().is_empty(), "{what}: {:?}", room.files());
        assert!(room.images.list().unwrap().is_empty(), "{what}");
    }
}

/// Zeros are a bomb where they come from somebody else; what is kept here is no attack of anybody's.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_here_of_zeros_is_sound_and_goes_out_and_comes_in_where_it_is_trusted() {
    let tight = Limits { ratio_from: 1 << 20, ..Limits::default() };
    let room = Room::with_limits(tight).await;
    let tar = archive(&[("zeros", &[0; 12 << 20])]);
    let stream = futures_util::stream::iter([Ok(tar.into())]).boxed();
    let request = ImportRequest { names: vec!["a:v1".parse().unwrap()], ..ImportRequest::default() };
    room.images.import(stream, request).await.unwrap();
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let verdicts = told.clone();
    room.images.verify(false, move |verdict| verdicts.lock().unwrap().push(verdict)).await.unwrap();
    assert!(told.lock().unwrap().iter().all(|one| matches!(one, Verified::Sound(_))), "{told:?}");
    // By deflate's fast end even zeros have no ratio that anybody minds; by zstd they have.
    for (compression, minds) in [(None, false), (Some(LayerCompression::Zstd), true)] {
        let stream = room.images.save(&["a:v1".to_owned()], None, compression).await.unwrap();
        let saved: Vec<Bytes> = stream.map(|piece| piece.unwrap()).collect().await;
        let load = |saved: Vec<Bytes>| futures_util::stream::iter(saved.into_iter().map(Ok)).boxed();
        let careful = Room::with_limits(tight).await;
        match careful.images.load(load(saved.clone()), None, |_| {}).await {
            Ok(_) => assert!(!minds),
            Err(error) => {
                let text = error.to_string();
                assert!(minds && text.ends_with("set the daemon's max-unpack-ratio"), "{text}");
            }
        }
        let trusting = Room::with_limits(Limits { ratio: u64::MAX, ..tight }).await;
        trusting.images.load(load(saved), None, |_| {}).await.unwrap();
        trusting
            .images
            .verify(false, |verdict| assert!(matches!(verdict, Verified::Sound(_))))
            .await
            .unwrap();
    }
}
