//! The database on a real file: durability, order, conditions, leases, and who else may have it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tare_model::{HasKind, Kind};
use tare_store::{Batch, Error, Store};

const TABLE: &str = "thing";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Thing {
    name: String,
    size: u64,
}

fn thing(size: u64) -> Thing {
    Thing { name: "ä \0 \"".to_owned(), size }
}

fn open(directory: &Path) -> Arc<Store> {
    Store::open(&directory.join("tare.db")).unwrap()
}

fn put(key: &str, size: u64) -> Batch {
    let mut batch = Batch::default();
    batch.put(TABLE, key, &thing(size));
    batch
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn what_nobody_waits_for_is_read_at_once_keeps_its_place_and_is_written_without_company_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.commit_later(put("a", 1));
    assert_eq!(store.get::<Thing>(TABLE, "a").unwrap(), Some(thing(1)));
    store.commit_blocking(put("a", 2)).unwrap();
    store.commit_later(put("b", 3));
    drop(store);
    let expected = [("a".to_owned(), thing(2)), ("b".to_owned(), thing(3))];
    assert_eq!(open(directory.path()).list::<Thing>(TABLE).unwrap(), expected);
}

#[test]
fn records_come_back_as_they_were_put_after_reopening_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.commit_blocking(put("b", 2)).unwrap();
    store.commit_later(put("a", 1));
    store.commit_later(put("c", 3));
    let mut batch = Batch::default();
    batch.delete(TABLE, "c").delete(TABLE, "never there");
    store.commit_later(batch);
    let expected = [("a".to_owned(), thing(1)), ("b".to_owned(), thing(2))];
    assert_eq!(store.list::<Thing>(TABLE).unwrap(), expected);
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.list::<Thing>(TABLE).unwrap(), expected);
    assert_eq!(store.get::<Thing>(TABLE, "a").unwrap(), Some(thing(1)));
    assert_eq!(store.get::<Thing>(TABLE, "c").unwrap(), None);
    assert!(store.list::<Thing>("no such table").unwrap().is_empty());
}

#[test]
fn a_read_sees_what_was_only_just_queued() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for size in 0..2000 {
        store.commit_later(put("k", size));
        assert_eq!(store.get::<Thing>(TABLE, "k").unwrap(), Some(thing(size)));
        if size % 100 == 0 {
            assert_eq!(store.list::<Thing>(TABLE).unwrap().len(), 1);
        }
    }
    runtime().block_on(store.flush()).unwrap();
    assert_eq!(store.get::<Thing>(TABLE, "k").unwrap(), Some(thing(1999)));
}

#[test]
fn many_commits_at_once_share_their_way_to_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    runtime().block_on(async {
        let commits = (0..1000).map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(put(&format!("{number:04}"), number)).await })
        });
        for commit in commits.collect::<Vec<_>>() {
            commit.await.unwrap().unwrap();
        }
    });
    assert_eq!(store.list::<Thing>(TABLE).unwrap().len(), 1000);
}

#[test]
fn leases_are_asked_for_both_ways() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut batch = Batch::default();
    batch
        .lease("container/2", "volume/data")
        .lease("container/1", "volume/data")
        .lease("container/1", "image/x");
    // A name that begins with the other's is another name.
    batch.lease("container/11", "volume/data2");
    store.commit_blocking(batch).unwrap();
    assert_eq!(store.holders("volume/data").unwrap(), ["container/1", "container/2"]);
    assert_eq!(store.leases_of("container/1").unwrap(), ["image/x", "volume/data"]);
    let mut batch = Batch::default();
    batch.lease("container/1", "volume/new").unlease_all("container/1").unlease("container/2", "volume/data");
    store.commit_later(batch);
    assert!(store.holders("volume/data").unwrap().is_empty());
    assert!(store.leases_of("container/1").unwrap().is_empty());
    assert_eq!(store.leases_of("container/11").unwrap(), ["volume/data2"]);
}

#[test]
fn conditions_refuse_the_whole_batch() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut batch = put("a", 1);
    batch.lease("container/1", "volume/a");
    store.commit_blocking(batch).unwrap();

    let mut batch = put("b", 2);
    batch.unless(TABLE, "a");
    assert!(matches!(store.commit_blocking(batch), Err(Error::Exists { .. })));
    let mut batch = put("b", 2);
    batch.only_if(TABLE, "c");
    assert!(matches!(store.commit_blocking(batch), Err(Error::Missing { .. })));
    let mut batch = put("b", 2);
    batch.unless_leased("volume/a");
    let error = store.commit_blocking(batch).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict);
    assert_eq!(error.to_string(), "volume/a is in use by container/1");
    assert_eq!(store.get::<Thing>(TABLE, "b").unwrap(), None);

    let mut batch = put("b", 2);
    batch.only_if(TABLE, "a").unless(TABLE, "b").unless_leased("volume/b");
    store.commit_blocking(batch).unwrap();
    assert_eq!(store.get::<Thing>(TABLE, "b").unwrap(), Some(thing(2)));
}

#[test]
fn only_one_of_many_wins_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let winners: usize = std::thread::scope(|scope| {
        let threads = (0..8).map(|number| {
            let store = &store;
            scope.spawn(move || {
                let mut batch = put("name", number);
                batch.unless(TABLE, "name");
                usize::from(store.commit_blocking(batch).is_ok())
            })
        });
        threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(winners, 1);
}

#[test]
fn what_cannot_be_read_or_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.commit_blocking(put("a", 1)).unwrap();
    let error = store.get::<Vec<u8>>(TABLE, "a").unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().starts_with("the record thing/a cannot be understood: "));
    let mut batch = Batch::default();
    batch.lease("container\0x", "volume/a");
    assert!(matches!(store.commit_blocking(batch), Err(Error::Encode { .. })));
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tare.db");
    let text = "not a database ".repeat(1000);
    std::fs::write(&path, &text).unwrap();
    let error = Store::open(&path).err().unwrap();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    assert!(matches!(Store::open(&directory.path().join("no/such/directory")), Err(Error::Open { .. })));
}

/// A full disk fails the commits that meet it and nothing else: what was acknowledged stays, and when there is room
/// again work goes on.
#[test]
fn a_full_disk_loses_nothing_and_heals() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let full = directory.path();
    let options = std::ffi::CString::new("size=6m").unwrap();
    // In a mount namespace of this thread alone, which ends with it.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            mount_small_disk(full, &options);
            let store = open(full);
            store.commit_blocking(put("kept", 1)).unwrap();
            let ballast = full.join("ballast");
            let _ = std::fs::write(&ballast, vec![1; 8 << 20]);
            let mut batch = Batch::default();
            batch.put(TABLE, "large", &Thing { name: "x".repeat(4 << 20), size: 0 });
            let error = store.commit_blocking(batch).unwrap_err();
            assert_eq!(error.kind(), Kind::Exhausted, "{error}");
            assert_eq!(store.get::<Thing>(TABLE, "kept").unwrap(), Some(thing(1)));
            assert_eq!(store.get::<Thing>(TABLE, "large").unwrap(), None);
            std::fs::remove_file(&ballast).unwrap();
            store.commit_blocking(put("after", 2)).unwrap();
            drop(store);
            assert_eq!(open(full).list::<Thing>(TABLE).unwrap().len(), 2);
        });
    });
}

fn mount_small_disk(at: &Path, options: &std::ffi::CStr) {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    tare_sys::namespace::unshare(tare_sys::clone::NEW_MOUNT).unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    mount("none", at, "tmpfs", MountFlags::empty(), Some(options)).unwrap();
}
