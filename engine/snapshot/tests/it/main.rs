//! Layers on a real file system: what archives may do and what they may not, and what overlayfs makes of the result.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archive;
mod content;
mod drivers;
mod hostile;
mod layers;
mod packing;
mod part;
mod upon;
mod whiteouts;
mod work;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tare_model::Digest;
use tare_snapshot::{Driver, Limits, Result, Snapshots, Unpacked};
use tare_store::Store;

/// A data root of its own, with a neighbour that nothing may touch.
struct World {
    snapshots: Arc<Snapshots>,
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(None)
    }

    fn with(driver: Option<Driver>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("precious"), "precious").unwrap();
        let records = store(directory.path());
        let snapshots = Snapshots::open_with(&directory.path().join("snapshots"), records, driver).unwrap();
        Self { snapshots, directory }
    }

    fn unpack(&self, tar: &[u8]) -> Result<Unpacked> {
        self.snapshots.unpack(tar, &Limits::default())
    }

    /// Unpacks and commits a layer; returns its chain id and its tree.
    fn layer(&self, number: u8, parent: Option<&Digest>, tar: &[u8]) -> (Digest, PathBuf) {
        let chain = Digest::from_bytes([number; 32]);
        self.snapshots.commit(self.unpack(tar).unwrap(), &chain, parent).unwrap();
        (chain, self.snapshots.layer_tree(&chain).unwrap())
    }

    /// Unpacks a layer that must be refused, and checks that nothing is left of it.
    fn refusal(&self, tar: &[u8]) -> String {
        let chain = Digest::from_bytes([99; 32]);
        let tried = self.unpack(tar).and_then(|unpacked| self.snapshots.commit(unpacked, &chain, None));
        self.assert_untouched();
        tried.expect_err("to be refused").to_string()
    }

    fn assert_untouched(&self) {
        let outside: Vec<_> = names(self.directory.path());
        assert_eq!(outside, ["precious", "records", "snapshots"]);
        let precious = self.directory.path().join("precious");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
        let metadata = std::fs::symlink_metadata(&precious).unwrap();
        assert_eq!((metadata.nlink(), metadata.mode() & 0o7777, metadata.uid()), (1, 0o644, 0));
        let sessions = self.directory.path().join("snapshots/tmp");
        for session in names(&sessions) {
            assert!(names(&sessions.join(session)).is_empty(), "something is left behind");
        }
    }
}

/// Every driver passes the same tests.
fn drivers() -> Vec<Driver> {
    let paths = std::env::var_os("PATH").unwrap();
    let there = std::env::split_paths(&paths).any(|place| place.join("fuse-overlayfs").exists());
    if !there {
        eprintln!("skipped: needs fuse-overlayfs");
    }
    [Driver::Overlay, Driver::Copy].into_iter().chain(there.then_some(Driver::Fuse)).collect()
}

fn open(directory: &Path) -> Arc<Snapshots> {
    Snapshots::open(&directory.join("snapshots"), store(directory)).unwrap()
}

/// The records of a data root, in a folder of their own: what the store keeps beside its database is its own business.
fn store(directory: &Path) -> Arc<Store> {
    let records = directory.join("records");
    std::fs::create_dir_all(&records).unwrap();
    Store::open(&records.join("tare.db")).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
