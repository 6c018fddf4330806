use tare_image::{Error, Removed};
use tare_model::{HasKind, Kind, Reference};
use tare_store::Batch;

use crate::fake::Fake;
use crate::sample::{Layer, Sample};
use crate::{Room, reference};

async fn pulled(fake: &Fake, room: &Room, name: &str, layers: &[Layer]) -> Sample {
    let sample = Sample::new(layers);
    sample.serve(fake, name, "v1");
    room.pull(&reference(fake, &format!("{name}:v1"))).await.unwrap();
    sample
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_outlives_the_daemon() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let sample = pulled(&fake, &room, "web", &[Layer::gzip(&[("a", b"a")])]).await;
    let before = room.images.resolve(&sample.id().to_string()).unwrap();
    let room = room.again().await;
    room.images.reconcile().await.unwrap();
    let after = room.images.resolve(&before.tags[0].to_string()).unwrap();
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    assert_eq!(room.file(&after, "/a").unwrap(), b"a");
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_the_last_name_removes_what_no_other_image_needs() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let base = Layer::gzip(&[("base", b"base")]);
    let one = pulled(&fake, &room, "one", &[base.clone(), Layer::gzip(&[("1", b"1")])]).await;
    let two = pulled(&fake, &room, "two", &[base, Layer::gzip(&[("2", b"2")])]).await;
    let top = room.images.resolve(&one.id().to_string()).unwrap().layers[1];

    let name = reference(&fake, "one:v1").to_string();
    let removed = room.images.remove(&name, false, true).await.unwrap();
    let by_digest = format!("{}/one@{}", fake.address, one.digest());
    let expected = [
        Removed::Untagged(name.clone()),
        Removed::Untagged(by_digest),
        Removed::Deleted(one.id().to_string()),
        Removed::Deleted(top.to_string()),
    ];
    assert_eq!(removed, expected);
    let left = room.images.resolve(&two.id().to_string()).unwrap();
    assert_eq!(room.file(&left, "/base").unwrap(), b"base");
    assert_eq!(room.files().len(), 4 + 2, "four blobs and two layers: {:?}", room.files());

    room.images.remove(&two.id().hex()[..5], false, true).await.unwrap();
    assert!(room.files().is_empty(), "{:?}", room.files());
    let again = room.images.remove(&name, false, true).await.unwrap_err();
    assert_eq!(again.to_string(), format!("No such image: {name}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_use_is_kept_until_the_lease_ends() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let sample = pulled(&fake, &room, "web", &[Layer::gzip(&[("a", b"a")])]).await;
    let name = reference(&fake, "web:v1").to_string();
    let image = room.images.resolve(&name).unwrap();
    let mut batch = Batch::default();
    room.images.keep(&mut batch, "container/0123456789abcdef", &image);
    room.store.commit(batch).await.unwrap();

    let error = room.images.remove(&name, false, true).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    let words = format!(
        "conflict: unable to remove repository reference \"{name}\" (must force) - container 0123456789ab is using its referenced image {}",
        sample.id().short()
    );
    assert_eq!(error.to_string(), words);
    let error = room.images.remove_knowing(&sample.id().to_string(), true, true, |_| true).await.unwrap_err();
    assert!(
        error.to_string().contains("(cannot be forced) - image is being used by running container"),
        "{error}"
    );

    room.images.remove(&sample.id().to_string(), true, true).await.unwrap();
    assert!(room.images.list().unwrap().is_empty());
    room.images.reconcile().await.unwrap();
    assert_eq!(room.file(&image, "/a").unwrap(), b"a", "its files stay for who uses it");

    let mut batch = Batch::default();
    batch.unlease_all("container/0123456789abcdef");
    room.store.commit(batch).await.unwrap();
    room.images.reconcile().await.unwrap();
    assert!(room.files().is_empty(), "{:?}", room.files());
    assert!(matches!(room.images.resolve(&sample.id().to_string()), Err(Error::NotFound(_))));

    let mut late = Batch::default();
    room.images.keep(&mut late, "container/late", &image);
    assert!(room.store.commit(late).await.is_err(), "a removed image cannot be leased");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_moves_and_leaves_a_dangling_image_behind() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let old = pulled(&fake, &room, "web", &[Layer::gzip(&[("a", b"old")])]).await;
    let new = pulled(&fake, &room, "web", &[Layer::gzip(&[("a", b"new")])]).await;
    let name = reference(&fake, "web:v1").to_string();
    assert_eq!(room.images.resolve(&name).unwrap().id, new.id());
    let dangling = room.images.resolve(&old.id().to_string()).unwrap();
    assert!(dangling.tags.is_empty());

    let target = "mine:1".parse().unwrap();
    let tagged = room.images.tag(&old.id().hex()[..8], &target).await.unwrap();
    assert_eq!(tagged.tags, std::slice::from_ref(&target));
    room.images.tag(&name, &target).await.unwrap();
    assert_eq!(room.images.resolve("mine:1").unwrap().id, new.id());
    assert!(matches!(room.images.tag("nosuch", &target).await, Err(Error::NotFound(_))));
    let by_digest = target.with_digest(old.digest());
    assert!(matches!(room.images.tag(&name, &by_digest).await, Err(Error::TagWithDigest(_))));
    assert_eq!(
        room.images.remove("mine:1", false, true).await.unwrap(),
        [Removed::Untagged("mine:1".into())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_taken_away_and_the_image_stays() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let sample = pulled(&fake, &room, "web", &[Layer::gzip(&[("a", b"a")])]).await;
    let name = reference(&fake, "web:v1");
    let (one, two): (Reference, Reference) = ("mine:1".parse().unwrap(), "mine:2".parse().unwrap());
    for target in [&one, &two] {
        room.images.tag(&name.to_string(), target).await.unwrap();
    }
    let by = |text: &str| room.images.resolve(text);
    assert_eq!(room.images.untag("mine:2", Some(&one)).await.unwrap(), std::slice::from_ref(&one));
    assert!(by("mine:1").is_err() && by("mine:2").is_ok());
    let wrong = room.images.untag("mine:2", Some(&one)).await.unwrap_err();
    assert_eq!(wrong.to_string(), "mine:1 is no name of the image mine:2");
    // With the last tag of a repository goes the digest that it is known by there.
    let gone = room.images.untag(&sample.id().to_string(), Some(&name)).await.unwrap();
    assert_eq!(gone, [name.clone(), name.repository().with_digest(sample.digest())]);
    assert_eq!(room.images.untag(&sample.id().hex()[..12], None).await.unwrap(), [two]);
    let image = by(&sample.id().to_string()).unwrap();
    assert!(image.tags.is_empty() && image.digests.is_empty());
    assert_eq!(room.file(&image, "/a").unwrap(), b"a");
    assert!(room.images.untag(&sample.id().to_string(), None).await.unwrap().is_empty());
    assert!(matches!(room.images.untag("nosuch", None).await, Err(Error::NotFound(_))));
    // What has no name is pruned.
    assert_eq!(room.images.prune(|image| image.tags.is_empty()).await.unwrap().removed.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_daemon_left_is_swept_up() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let sample = pulled(&fake, &room, "web", &[Layer::gzip(&[("a", b"a")])]).await;
    let content = room.root.path().join("content");
    let hex = "ab".repeat(32);
    std::fs::write(content.join("blobs/sha256").join(&hex), "garbage").unwrap();
    std::fs::write(content.join("ingest").join(format!("{hex}.small")), "half").unwrap();
    std::fs::write(content.join("ingest").join(&hex), "half a layer").unwrap();
    let tar = crate::sample::archive(&[("orphan", b"x")]);
    let orphan = room.snapshots.unpack(&tar[..], &tare_snapshot::Limits::default()).unwrap();
    room.snapshots.commit(orphan, &crate::sample::sha256(&tar), None).unwrap();

    let room = room.again().await;
    let swept = room.images.reconcile().await.unwrap();
    assert_eq!((swept.layers, swept.partials, swept.images), (1, 1, 0));
    let kept = content.join("ingest").join(&hex);
    let files = room.files();
    assert!(files.contains(&kept) && files.len() == 5, "a resumable part, three blobs, one layer: {files:?}");
    assert_eq!(room.images.list().unwrap()[0].id, sample.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_layer_is_lost_is_forgotten_and_can_be_pulled_again() {
    let (fake, room) = (Fake::start().await, Room::open().await);
    let sample = pulled(&fake, &room, "web", &[Layer::gzip(&[("a", b"a")])]).await;
    let image = room.images.resolve(&sample.id().to_string()).unwrap();
    room.snapshots.remove_layer(&image.layers[0]).unwrap();
    let swept = room.images.reconcile().await.unwrap();
    assert_eq!(swept.images, 1);
    assert!(room.images.list().unwrap().is_empty());
    room.pull(&reference(&fake, "web:v1")).await.unwrap();
    let image = room.images.resolve(&sample.id().to_string()).unwrap();
    assert_eq!(room.file(&image, "/a").unwrap(), b"a");
}
