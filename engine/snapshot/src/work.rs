use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tare_model::Digest;

use crate::driver::{fuse, overlay};
use crate::error::io;
use crate::{Driver, Result, Snapshots, directory};

impl Snapshots {
    /// A writable layer's whole tree, to be worked on through the descriptor and `tare_sys::path` alone. It is mounted
    /// nowhere and gone with the descriptor, which must be closed before the layer is run, removed or made read-only.
    pub fn open_to_write(&self, key: &str) -> Result<OwnedFd> {
        let upper = self.upper(key)?;
        let mut trees = self.writable_trees(key)?;
        trees.remove(0);
        if trees.is_empty() {
            return directory::open(&upper);
        }
        let work = upper.with_file_name("work");
        let workspace = match self.driver() {
            Driver::Fuse => fuse::workspace(&trees, &upper, &work),
            Driver::Overlay | Driver::Copy => {
                overlay::workspace(&trees, &upper, &work).map_err(std::io::Error::from)
            }
        };
        workspace.map_err(io("work on", upper))
    }

    /// The trees of a chain of layers, topmost first, as `lowerdir` of an overlay lists them.
    pub fn chain_trees(&self, chain: &Digest) -> Result<Vec<PathBuf>> {
        self.trees(chain)
    }
}
