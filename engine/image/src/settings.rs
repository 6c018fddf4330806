//! How much is done at a time, and where an image is taken for an attack.

use std::sync::atomic::{AtomicUsize, Ordering};

use tare_registry::MANIFEST_LIMIT;

/// How images are fetched and stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Layers of one pull that are downloaded at a time.
    pub downloads: usize,
    /// Layers of one push that are sent at a time.
    pub uploads: usize,
    /// What is accepted from a registry.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self { downloads: 3, uploads: 5, limits: Limits::default() }
    }
}

/// Layers under way at a time, of one pull and of one push; can change while work goes on.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) downloads: AtomicUsize,
    pub(crate) uploads: AtomicUsize,
}

impl Lanes {
    pub(crate) fn new(downloads: usize, uploads: usize) -> Self {
        let lanes = Self { downloads: AtomicUsize::new(1), uploads: AtomicUsize::new(1) };
        lanes.set(downloads, uploads);
        lanes
    }

    pub(crate) fn set(&self, downloads: usize, uploads: usize) {
        self.downloads.store(downloads.max(1), Ordering::Relaxed);
        self.uploads.store(uploads.max(1), Ordering::Relaxed);
    }
}

/// Where an image is taken for an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Layers of an image.
    pub layers: usize,
    /// Bytes of one unpacked layer, as the tar stream counts them; compressed it has no more, either.
    pub layer_bytes: u64,
    /// The same of all layers that an image, or an archive of images, has unpacked.
    pub image_bytes: u64,
    /// Files, directories and other entries of one layer.
    pub layer_entries: u64,
    /// Unpacked bytes for each compressed one, once [`Limits::ratio_from`] is passed. Real layers stay below 100, but for files
    /// of zeros; what deflate can do at most is 1032.
    pub ratio: u64,
    /// Unpacked bytes below which the ratio does not matter.
    pub ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layers: 500,
            layer_bytes: 128 << 30,
            image_bytes: 512 << 30,
            layer_entries: 8_000_000,
            ratio: 200,
            ratio_from: 1 << 30,
        }
    }
}

impl Limits {
    /// For what is kept here already: it was let in, or made here out of as much.
    pub(crate) fn of_kept(self) -> Self {
        Self { ratio: u64::MAX, ..self }
    }
}

/// What a person can do who wants it all the same.
pub(crate) const MORE: &str = "; if it is to be trusted, set the daemon's max-unpack-ratio";

/// The largest image configuration that is read, in bytes.
pub(crate) const CONFIG_LIMIT: u64 = 2 * MANIFEST_LIMIT;
