//! The user lists of containers: read from their roots, remembered by image.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tare_model::Digest;

use crate::Result;
use crate::container::Container;
use crate::engine::Engine;
use crate::user::{Accounts, MAX_FILE};

/// How many images' lists are remembered.
const IMAGES: usize = 64;
/// Longer lists are read again each time: they are rare, and memory is dear.
const REMEMBERED: usize = 64 << 10;

/// The lists of images, by their highest layer. A layer never changes.
#[derive(Default)]
pub(crate) struct KnownAccounts(Mutex<BTreeMap<Digest, Arc<Accounts>>>);

impl Engine {
    /// The lists of a container that is not running, what it wrote into them in earlier runs included. Blocking.
    pub(crate) fn accounts(&self, container: &Container) -> Result<Arc<Accounts>> {
        let own = self.rooms.snapshots.upper(container.id.as_str())?;
        let fresh = std::fs::symlink_metadata(own.join("etc")).is_err();
        let Some(top) = container.image.top.filter(|_| fresh) else {
            return self.read_accounts(container).map(Arc::new);
        };
        let known = self.known_accounts.0.lock().unwrap_or_else(PoisonError::into_inner).get(&top).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let read = Arc::new(self.read_accounts(container)?);
        if read.passwd.len() + read.group.len() <= REMEMBERED {
            let mut known = self.known_accounts.0.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= IMAGES {
                known.pop_first();
            }
            known.insert(top, read.clone());
        }
        Ok(read)
    }

    fn read_accounts(&self, container: &Container) -> Result<Accounts> {
        let root = self.rooms.snapshots.open_writable_root(container.id.as_str())?;
        let read =
            |path: &str| root.read_file(Path::new(path), MAX_FILE as u64).map(Option::unwrap_or_default);
        Ok(Accounts { passwd: read("/etc/passwd")?, group: read("/etc/group")? })
    }
}
