//! # depot: what a registry keeps for others
//!
//! - **Owns**: a directory of repositories: their tags, manifests, referrers and blobs, each blob stored once for all of
//!   them, and uploads on their way, which outlive the server.
//! - **In**: bytes of anybody who may push; names, tags and digests as they were typed.
//! - **Out**: the same bytes under their digests; lists in order; what was not there, by the specification's names for it.
//! - **Leans on**: model, oci.
//! - **Never**: believes a digest, a size or a type that it has not checked, makes a path of a name that the grammar does not
//!   allow, or shows a repository a blob that was not brought to it.
//! - **Invariant**: what a manifest names is there; content is on the disk before its name is. All functions block.

mod blob;
mod collect;
mod error;
mod files;
mod list;
mod manifest;
mod name;
mod referrers;
mod upload;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

pub use blob::Blob;
pub use collect::Collected;
pub use error::{Error, Result};
pub use list::Page;
pub use manifest::{Kept, MANIFEST_LIMIT, Put, Wanted};
pub use name::{Name, Tag};
pub use referrers::Referrers;

/// A registry's directory, open to one process at a time. Its functions stand in the files that are called after what they
/// are about.
#[derive(Debug)]
pub struct Depot {
    root: PathBuf,
    uploads: Mutex<HashMap<String, Arc<upload::Session>>>,
    /// Written to while content is removed; read while something is made to lean on content.
    sweep: RwLock<()>,
    _lock: File,
}

impl Depot {
    /// Opens the directory, made where it is missing. [`Error::InUse`] where another process has it.
    pub fn open(root: &Path) -> Result<Self> {
        for directory in [files::BLOBS, files::REPOSITORIES, files::UPLOADS, files::TEMPORARY] {
            files::make(&root.join(directory))?;
        }
        let lock = files::lock(root)?;
        // What was being written when an earlier process ended.
        files::empty(&root.join(files::TEMPORARY))?;
        Ok(Self { root: root.to_owned(), uploads: Mutex::default(), sweep: RwLock::default(), _lock: lock })
    }
}
