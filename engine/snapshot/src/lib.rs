//! # snapshot: layers on disk, and the trees that containers write into
//!
//! - **Owns**: `<data-root>/snapshots`: unpacked read-only layers keyed by chain id, writable layers keyed by container.
//! - **In**: tar streams that nobody trusts, chain ids. **Out**: mounts for the runtime to make, sizes, files looked up; what
//!   a container changed, as a list and as the tar of a layer.
//! - **Leans on**: store for leases, sys, model; `tar` for the fields of a header; overlayfs or the program fuse-overlayfs.
//! - **Never**: follows a symlink of an archive, mounts anything where others could see it, fetches or hashes.
//! - **Invariant**: a directory below `layers/` or `writable/` is complete: it got its name by one rename when all of it
//!   was there. What is unfinished lies below `tmp/<session>/` and is nobody's after the session's end.
//!
//! ```text
//! layers/<hex of chain id>/fs          the tree, whiteouts and opaque marks as overlayfs wants them
//! layers/<hex of chain id>/layer.json  its parent and size
//! writable/<key>/{fs,work,parent}      upper, work, and a symlink naming the layer below (absent: no layer)
//! tmp/<session>/<number>               being unpacked, being made, being removed
//! ```
//!
//! With [`Driver::Overlay`] and [`Driver::Fuse`] a layer's tree is what it adds, and trees are put together by the kernel or by
//! a program. With [`Driver::Copy`] it is whole, and `upper` too: a container's tree is bound as it lies, and what it changed is found by comparing.
//!
//! Where to read, a folder each:
//!
//! ```text
//! layer, writable   the two things that are kept here, and how one becomes the other
//! driver            how trees are put together: overlayfs, fuse-overlayfs, copies
//! unpack            from an archive to a tree
//! changes           what a container wrote, as a list and packed as an archive
//! look              reading trees, comparing two, verifying one
//! archive, files    what all of them stand on: tar streams, and trees that nobody trusts
//! ```

mod archive;
mod changes;
mod directory;
mod driver;
mod error;
mod files;
mod layer;
mod look;
mod temporary;
mod unpack;
mod writable;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tare_model::Digest;
use tare_store::Store;

pub use archive::{Listed, ListedKind, Listing};
pub use changes::{Change, ChangeKind, PackOptions, Packed, end_export};
pub use driver::Driver;
pub use error::{Error, Result};
pub use look::{Difference, LayeredRoot};
pub use temporary::Dying;
pub use unpack::{Found, Front, IN_MEMORY, Limits, Unpacked};

use layer::Layer;
use temporary::Temporary;

/// All layers of one data root. Blocking: call from threads that may block.
pub struct Snapshots {
    root: PathBuf,
    driver: Driver,
    store: Arc<Store>,
    temporary: Arc<Temporary>,
    /// What stands below `layers/`; the disk is the truth and this its index.
    layers: Mutex<BTreeMap<Digest, Layer>>,
}

impl Snapshots {
    /// Opens the layers below `root`, which is made with mode 0700 if it is missing, with the driver that they were made by
    /// or the best that the host can do.
    pub fn open(root: &Path, store: Arc<Store>) -> Result<Arc<Self>> {
        Self::open_with(root, store, None)
    }

    /// [`Snapshots::open`] with a driver of one's choice. Fails where the kernel or the file system cannot do what it needs,
    /// and where the layers that are here were made by another.
    pub fn open_with(root: &Path, store: Arc<Store>, wanted: Option<Driver>) -> Result<Arc<Self>> {
        let text = root.to_str().filter(|text| root.is_absolute() && !text.contains([':', ',', '\\', '"']));
        if text.is_none() {
            return Err(Error::Root { root: root.to_owned() });
        }
        let temporary = Arc::new(Temporary::open(root)?);
        directory::make(&root.join("layers"), 0o700)?;
        directory::make(&root.join("writable"), 0o700)?;
        let driver = driver::choose(root, &temporary, wanted)?;
        let layers = Mutex::new(layer::scan(root)?);
        Ok(Arc::new(Self { root: root.to_owned(), driver, store, temporary, layers }))
    }

    /// How trees are put together here.
    pub fn driver(&self) -> Driver {
        self.driver
    }

    fn index(&self) -> MutexGuard<'_, BTreeMap<Digest, Layer>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
