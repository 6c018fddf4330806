//! Looking into trees without running them: at their files, at what two have otherwise, at what a layer's archive says.

mod compare;
mod verify;

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use tare_model::Digest;
use tare_sys::path::open_in_root;

use crate::error::io;
use crate::{Error, Result, Snapshots};

pub use compare::Difference;

/// A read-only view of merged layers that no path leads to. It lives as long as the value.
#[derive(Debug)]
pub struct LayeredRoot {
    /// None: the image has no layer at all.
    tree: Option<OwnedFd>,
}

impl Snapshots {
    /// Looks into the chain of layers that ends with `chain`; `None` is the empty tree.
    pub fn open_root(&self, chain: Option<&Digest>) -> Result<LayeredRoot> {
        let tree = chain.map(|chain| self.view(&self.chain_trees(chain)?)).transpose()?;
        Ok(LayeredRoot { tree })
    }

    /// Looks into a container's tree, what it wrote included. The container must not be running: who runs may change
    /// what is being looked at.
    pub fn open_writable_root(&self, key: &str) -> Result<LayeredRoot> {
        Ok(LayeredRoot { tree: Some(self.view(&self.writable_trees(key)?)?) })
    }
}

impl LayeredRoot {
    /// Reads a file whole. Symlinks are resolved inside the root. `Ok(None)` where there is no such file; an error for
    /// what is no regular file or has more than `limit` bytes.
    pub fn read_file(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(found) = self.find(path)? else { return Ok(None) };
        let refused = |why| Err(Error::Lookup { path: path.to_owned(), why });
        let stat = fstat(&found).map_err(io("look at", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return refused("no regular file");
        }
        // Only now that it is known to be a file: opening a device or a pipe may do things or block.
        let again = format!("/proc/self/fd/{}", found.as_raw_fd());
        let file =
            openat(CWD, again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(io("open", path))?;
        let mut content = Vec::new();
        std::fs::File::from(file).take(limit + 1).read_to_end(&mut content).map_err(io("read", path))?;
        if content.len() as u64 > limit { refused("larger than is accepted") } else { Ok(Some(content)) }
    }

    /// Opens a directory for reading; `None` where the path leads to none.
    pub fn open_directory(&self, path: &Path) -> Result<Option<OwnedFd>> {
        let Some(tree) = &self.tree else { return Ok(None) };
        match open_in_root(tree.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(directory) => Ok(Some(directory)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(io("open", path)(error)),
        }
    }

    /// The root itself, for `tare_sys::path`; `None` for the empty tree.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.tree.as_ref().map(AsFd::as_fd)
    }

    fn find(&self, path: &Path) -> Result<Option<OwnedFd>> {
        let Some(tree) = &self.tree else { return Ok(None) };
        match open_in_root(tree.as_fd(), path, OFlags::PATH) {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(io("look up", path)(error)),
        }
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    let absent = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG];
    absent.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
