//! What lasts: uploads over restarts, collections beside pushes, a disk that is full.
#![allow(clippy::unwrap_used)]

use std::io;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use tare_depot::{Depot, Error, Name, Wanted};
use tare_model::{Digest, HasKind, Kind};
use tempfile::TempDir;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(digest(&SHA256, bytes).as_ref().try_into().unwrap())
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn pieces(bytes: &[u8]) -> impl Iterator<Item = io::Result<Bytes>> {
    bytes.chunks(1000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect::<Vec<_>>().into_iter()
}

fn push(depot: &Depot, to: &Name, bytes: &[u8]) -> tare_depot::Result<Digest> {
    let id = depot.begin(to)?;
    depot.finish(to, &id, None, &sha256(bytes), pieces(bytes))?;
    Ok(sha256(bytes))
}

fn manifest(depot: &Depot, to: &Name, tag: &str, layer: &[u8]) -> Digest {
    let config = push(depot, to, b"{}").unwrap();
    let layer_digest = push(depot, to, layer).unwrap();
    let text = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{config}","size":2}},"layers":[{{"mediaType":"l","digest":"{layer_digest}","size":{}}}]}}"#,
        layer.len()
    );
    depot.put_manifest(to, &tag.parse().unwrap(), MANIFEST, text.as_bytes()).unwrap().digest
}

fn files(root: &Path) -> usize {
    let count = |directory: &str| std::fs::read_dir(root.join(directory)).unwrap().count();
    count("blobs/sha256") + count("uploads") + count("tmp")
}

#[test]
fn an_upload_goes_on_in_the_next_process() {
    let root = TempDir::new().unwrap();
    let (to, bytes) = (name("a/b"), vec![3; 5000]);
    let id = {
        let depot = Depot::open(root.path()).unwrap();
        let id = depot.begin(&to).unwrap();
        assert_eq!(depot.append(&to, &id, Some(0), pieces(&bytes[..3000])).unwrap(), 3000);
        id
    };
    let depot = Depot::open(root.path()).unwrap();
    assert_eq!(depot.status(&to, &id).unwrap(), 3000);
    assert!(matches!(depot.status(&name("c"), &id), Err(Error::UploadUnknown(_))));
    let wrong = depot.append(&to, &id, Some(2000), pieces(&bytes[2000..]));
    assert!(matches!(wrong, Err(Error::OutOfOrder { begins: 2000, have: 3000 })));
    depot.finish(&to, &id, Some(3000), &sha256(&bytes), pieces(&bytes[3000..])).unwrap();
    assert_eq!(depot.blob(&to, &sha256(&bytes)).unwrap().size, 5000);
    assert!(matches!(depot.status(&to, &id), Err(Error::UploadUnknown(_))));
}

#[test]
fn a_client_that_breaks_off_leaves_what_it_sent() {
    let root = TempDir::new().unwrap();
    let depot = Depot::open(root.path()).unwrap();
    let (to, id) = (name("a"), depot.begin(&name("a")).unwrap());
    let broken = pieces(&[1; 1000]).chain([Err(io::Error::other("gone"))]);
    assert!(matches!(depot.append(&to, &id, None, broken), Err(Error::Interrupted(_))));
    assert_eq!(depot.status(&to, &id).unwrap(), 1000);
}

#[test]
fn one_process_at_a_time_has_the_directory() {
    let root = TempDir::new().unwrap();
    let depot = Depot::open(root.path()).unwrap();
    assert!(matches!(Depot::open(root.path()), Err(Error::InUse(_))));
    drop(depot);
    assert!(Depot::open(root.path()).is_ok());
}

#[test]
fn abandoned_uploads_expire() {
    let root = TempDir::new().unwrap();
    let depot = Depot::open(root.path()).unwrap();
    let to = name("a");
    let (old, other) = (depot.begin(&to).unwrap(), depot.begin(&to).unwrap());
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(7200);
    let file = std::fs::File::options().append(true).open(root.path().join("uploads").join(&old)).unwrap();
    file.set_modified(long_ago).unwrap();
    assert_eq!(depot.expire(Duration::from_secs(3600)).unwrap(), 1);
    assert!(matches!(depot.status(&to, &old), Err(Error::UploadUnknown(_))));
    assert_eq!(depot.status(&to, &other).unwrap(), 0);
    assert_eq!(std::fs::read_dir(root.path().join("uploads")).unwrap().count(), 2);
}

#[test]
fn what_no_manifest_names_is_collected_and_nothing_else() {
    let root = TempDir::new().unwrap();
    let depot = Depot::open(root.path()).unwrap();
    let (a, b) = (name("a"), name("b"));
    let kept = manifest(&depot, &a, "v1", b"layer");
    let gone = manifest(&depot, &b, "v1", b"other layer");
    let loose = push(&depot, &a, b"named by nobody").unwrap();
    assert_eq!(depot.collect(Duration::from_secs(3600)).unwrap().blobs, 0, "a push may still be under way");
    depot.delete_manifest(&b, &Wanted::Digest(gone)).unwrap();
    let collected = depot.collect(Duration::ZERO).unwrap();
    // The other layer, its manifest, and the loose blob; the configuration is the first manifest's too.
    assert_eq!(collected.blobs, 3);
    assert!(matches!(depot.blob(&a, &loose), Err(Error::BlobUnknown(_))));
    assert_eq!(depot.manifest(&a, &Wanted::Digest(kept)).unwrap().digest, kept);
    assert!(depot.blob(&a, &sha256(b"layer")).is_ok() && depot.blob(&a, &sha256(b"{}")).is_ok());
    assert!(depot.blob(&b, &sha256(b"{}")).is_err(), "no manifest of this repository names it");
    // What is being read can be read to its end.
    let mut open = depot.blob(&a, &sha256(b"layer")).unwrap();
    depot.delete_manifest(&a, &Wanted::Digest(kept)).unwrap();
    depot.collect(Duration::ZERO).unwrap();
    let mut text = String::new();
    io::Read::read_to_string(&mut open.file, &mut text).unwrap();
    assert_eq!((text.as_str(), files(root.path())), ("layer", 0));
}

/// A file system of 256 KiB.
struct Small(TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let options = Some(c"size=256k");
        rustix::mount::mount("none", dir.path(), "tmpfs", rustix::mount::MountFlags::empty(), options)
            .ok()?;
        Some(Self(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_refuses_the_push_and_keeps_everything_else() {
    let Some(small) = Small::mount() else {
        println!("skipped: needs root to mount a small file system");
        return;
    };
    let depot = Depot::open(small.0.path()).unwrap();
    let to = name("a");
    let kept = manifest(&depot, &to, "v1", b"layer");
    let large = vec![9; 1 << 20];
    let id = depot.begin(&to).unwrap();
    let error = depot.finish(&to, &id, None, &sha256(&large), pieces(&large)).unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    // What fitted agrees with what is told of it.
    let have = depot.status(&to, &id).unwrap();
    let length = std::fs::metadata(small.0.path().join("uploads").join(&id)).unwrap().len();
    assert!(have == length && have > 0 && have < 1 << 20, "{have} {length}");
    let text = depot.manifest(&to, &Wanted::Digest(kept)).unwrap();
    let error = depot.put_manifest(
        &to,
        &"v2".parse().unwrap(),
        MANIFEST,
        &[text.bytes.clone(), vec![b' '; 100_000]].concat(),
    );
    assert_eq!(error.unwrap_err().kind(), Kind::Exhausted);
    assert!(depot.manifest(&to, &"v2".parse().unwrap()).is_err());
    depot.abort(&to, &id).unwrap();
    assert!(push(&depot, &to, &[1; 1000]).is_ok(), "there is room again");
    assert_eq!(depot.manifest(&to, &"v1".parse().unwrap()).unwrap().digest, kept);
}

/// Whichever of its notes a push cannot write: it fails whole, what was there stays, and nothing is listed that is not there.
#[test]
fn a_disk_that_fills_up_between_two_notes_breaks_nothing() {
    let Some(small) = Small::mount() else {
        println!("skipped: needs root to mount a small file system");
        return;
    };
    let depot = Depot::open(small.0.path()).unwrap();
    let to = name("a");
    let kept = manifest(&depot, &to, "v1", b"layer");
    let text = String::from_utf8(depot.manifest(&to, &Wanted::Digest(kept)).unwrap().bytes).unwrap();
    let subject =
        format!(r#","subject":{{"mediaType":"{MANIFEST}","digest":"{kept}","size":{}}}}}"#, text.len());
    let about = format!("{}{subject}", text.strip_suffix('}').unwrap());
    let filler = small.0.path().join("filler");
    let mut failed = 0;
    // Content, note of the manifest, note of what it is about, tag: each is the first that finds no page.
    for free in [0, 1, 1, 1, 2, 3, 4] {
        let whole = std::fs::File::create(&filler).unwrap();
        let mut pages = 0_u64;
        while std::os::unix::fs::FileExt::write_all_at(&whole, &[1; 4096], pages * 4096).is_ok() {
            pages += 1;
        }
        whole.set_len((pages - free) * 4096).unwrap();
        let begun = depot.begin(&to);
        assert!(free > 0 || begun.as_ref().err().is_some_and(|error| error.kind() == Kind::Exhausted));
        begun.into_iter().for_each(|id| depot.abort(&to, &id).unwrap());
        let put = depot.put_manifest(&to, &"v2".parse().unwrap(), MANIFEST, about.as_bytes());
        drop(whole);
        std::fs::remove_file(&filler).unwrap();
        assert_eq!(std::fs::read_dir(small.0.path().join("uploads")).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(small.0.path().join("tmp")).unwrap().count(), 0);
        assert_eq!(depot.manifest(&to, &"v1".parse().unwrap()).unwrap().digest, kept);
        let listed = depot.referrers(&to, &kept, None).unwrap().descriptors;
        let there = depot.manifest(&to, &Wanted::Digest(sha256(about.as_bytes()))).is_ok();
        assert!(there || listed.is_empty(), "{free}");
        match put {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), Kind::Exhausted, "{error}"),
        }
        assert!(depot.manifest(&to, &"v2".parse().unwrap()).is_err());
        failed += 1;
    }
    assert_eq!(failed, 4);
    assert_eq!(depot.referrers(&to, &kept, None).unwrap().descriptors.len(), 1);
}

#[test]
fn a_name_is_never_there_without_its_content() {
    let root = TempDir::new().unwrap();
    let depot = Depot::open(root.path()).unwrap();
    let to = name("a");
    let kept = manifest(&depot, &to, "v1", b"layer");
    // As after a power cut that took the content: unknown, and not half.
    std::fs::remove_file(root.path().join("blobs/sha256").join(sha256(b"layer").hex())).unwrap();
    assert!(matches!(depot.blob(&to, &sha256(b"layer")), Err(Error::BlobUnknown(_))));
    std::fs::remove_file(root.path().join("blobs/sha256").join(kept.hex())).unwrap();
    assert!(matches!(depot.manifest(&to, &Wanted::Digest(kept)), Err(Error::ManifestUnknown(_))));
    let pushed = push(&depot, &to, b"layer").unwrap();
    assert!(depot.blob(&to, &pushed).is_ok());
}

/// Who opens uploads and goes away has the registry keep their names, and none of its descriptors.
#[test]
fn open_uploads_hold_no_descriptors() {
    let root = TempDir::new().unwrap();
    let depot = Depot::open(root.path()).unwrap();
    let held = || {
        let held = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| entry.unwrap().path().read_link().ok());
        held.filter(|path| path.starts_with(root.path().join("uploads"))).count()
    };
    let to = name("a");
    let ids: Vec<String> = (0..200).map(|_| depot.begin(&to).unwrap()).collect();
    for id in &ids {
        depot.append(&to, id, Some(0), pieces(b"some")).unwrap();
    }
    assert_eq!(held(), 0);
    depot.finish(&to, &ids[0], Some(4), &sha256(b"some bytes"), pieces(b" bytes")).unwrap();
    assert_eq!(depot.blob(&to, &sha256(b"some bytes")).unwrap().size, 10);
}

/// What a manifest names is not known when it cannot be read for the moment.
#[test]
fn a_manifest_that_cannot_be_read_does_not_cost_its_blobs() {
    let root = TempDir::new().unwrap();
    let depot = Depot::open(root.path()).unwrap();
    let to = name("a");
    let kept = manifest(&depot, &to, "v1", b"layer");
    let content = root.path().join("blobs/sha256").join(kept.hex());
    let aside = root.path().join("aside");
    // In the place of a file that the disk does not give back: opening a link to itself is no "not found" either.
    std::fs::rename(&content, &aside).unwrap();
    std::os::unix::fs::symlink(&content, &content).unwrap();
    assert!(depot.collect(Duration::ZERO).is_err());
    std::fs::rename(&aside, &content).unwrap();
    assert!(depot.blob(&to, &sha256(b"layer")).is_ok());
    assert_eq!(depot.collect(Duration::ZERO).unwrap().blobs, 0);
    // The same for a whole repository.
    let shelf = root.path().join("repositories/a/_manifests");
    std::fs::rename(&shelf, &aside).unwrap();
    std::os::unix::fs::symlink(&shelf, &shelf).unwrap();
    assert!(depot.collect(Duration::ZERO).is_err());
    std::fs::remove_file(&shelf).unwrap();
    std::fs::rename(&aside, &shelf).unwrap();
    assert!(depot.blob(&to, &sha256(b"layer")).is_ok());
}
