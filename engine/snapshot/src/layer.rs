//! Read-only layers: the index, and the ways to one of them, from an unpacked tree or a writable layer.

mod part;
mod take;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, fsync, renameat_with, stat, syncfs};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tare_model::Digest;

use crate::driver::{Files, duplicate, fuse, merge, overlay};
use crate::error::io;
use crate::temporary::Guard;
use crate::{Driver, Error, Result, Snapshots, Unpacked, directory};

const RECORD: &str = "layer.json";

/// What is noted beside a layer's tree.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Layer {
    pub parent: Option<Digest>,
    /// Bytes of its files, holes included.
    pub size: u64,
    /// Bytes among them that take no place on the disk.
    #[serde(default)]
    pub holes: u64,
}

/// Reads what stands below `layers/`. A directory that is no layer is passed over: it hurts nobody.
pub(crate) fn scan(root: &Path) -> Result<BTreeMap<Digest, Layer>> {
    let layers = root.join("layers");
    let mut found = BTreeMap::new();
    for name in directory::names(&layers)? {
        let Ok(chain) = Digest::from_hex(&name) else { continue };
        let record = layers.join(&name).join(RECORD);
        let parsed = std::fs::read(&record).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match parsed {
            Some(layer) => drop(found.insert(chain, layer)),
            None => tracing::warn!("{} cannot be read: the layer counts as missing", record.display()),
        }
    }
    Ok(found)
}

impl Snapshots {
    /// Whether the layer of this chain id (OCI image-spec, *config*, "Layer ChainID") is here.
    pub fn has(&self, chain: &Digest) -> bool {
        self.index().contains_key(chain)
    }

    /// Every layer that is here.
    pub fn layers(&self) -> Vec<Digest> {
        self.index().keys().copied().collect()
    }

    /// The layer below this one.
    pub fn parent(&self, chain: &Digest) -> Result<Option<Digest>> {
        self.index().get(chain).map(|layer| layer.parent).ok_or(Error::NoLayer(*chain))
    }

    /// Bytes of this layer alone that take up the disk: those of its files without holes.
    pub fn layer_stored(&self, chain: &Digest) -> Result<u64> {
        let index = self.index();
        index.get(chain).map(|layer| layer.size.saturating_sub(layer.holes)).ok_or(Error::NoLayer(*chain))
    }

    /// Bytes of the files of this layer alone, holes included.
    pub fn layer_size(&self, chain: &Digest) -> Result<u64> {
        self.index().get(chain).map(|layer| layer.size).ok_or(Error::NoLayer(*chain))
    }

    /// Makes an unpacked tree the layer `chain` upon `parent`, which must be here. It is on the disk when this returns.
    /// Where two do the same at once, one of the two trees stays and both calls succeed.
    /// Fails with [`Error::Refused`] where an entry makes no sense upon `parent`.
    pub fn commit(&self, mut unpacked: Unpacked, chain: &Digest, parent: Option<&Digest>) -> Result<()> {
        if self.has(chain) {
            return Ok(());
        }
        let below = parent.map(|parent| self.view(&self.chain_trees(parent)?)).transpose()?;
        unpacked.settle(below)?;
        let layer = Layer { parent: parent.copied(), size: unpacked.bytes, holes: unpacked.holes };
        let whole = self.whole(&unpacked, parent)?;
        let finished = whole.as_ref().map_or(unpacked.directory(), Guard::path);
        self.place(finished, chain, &layer, false)?;
        self.index().insert(*chain, layer);
        Ok(())
    }

    /// Where layers hold whole trees: an unpacked one laid upon that of its parent. The files move out of `unpacked`.
    pub(crate) fn whole(&self, unpacked: &Unpacked, parent: Option<&Digest>) -> Result<Option<Guard>> {
        let Some(parent) = parent.filter(|_| !self.driver.stacks()) else { return Ok(None) };
        let guard = self.temporary.directory()?;
        let whole = directory::open(&guard.spacious("fs")?)?;
        let below = directory::open(&self.layer_tree(parent)?)?;
        duplicate(&below, &whole, Files::Linked)?;
        merge(&directory::open(&unpacked.directory().join("fs"))?, &whole, &self.temporary)?;
        Ok(Some(guard))
    }

    /// Writes a finished directory with a layer's tree to the disk and gives it its name.
    ///
    /// With `written`, its tree is on the disk already.
    pub(crate) fn place(&self, finished: &Path, chain: &Digest, layer: &Layer, written: bool) -> Result<()> {
        let record = finished.join(RECORD);
        let json =
            serde_json::to_vec(layer).map_err(|error| io("write", &record)(std::io::Error::from(error)))?;
        let mut file = std::fs::File::create(&record).map_err(io("make", &record))?;
        file.write_all(&json).map_err(io("write", &record))?;
        let layers = self.root.join("layers");
        let directory = directory::open(&layers)?;
        if written {
            let finished = directory::open(finished)?;
            fsync(&file).and_then(|()| fsync(&finished)).map_err(io("write to disk", &record))?;
        } else {
            // Once for the whole tree: a sync for each of its many files takes many times as long.
            syncfs(&directory).map_err(io("write to disk", finished))?;
        }
        match renameat_with(CWD, finished, &directory, chain.hex(), RenameFlags::NOREPLACE) {
            Ok(()) => fsync(&directory).map_err(io("write to disk", &layers)),
            Err(Errno::EXIST | Errno::NOTEMPTY) => Ok(()),
            Err(error) => Err(io("name", self.layer_path(chain))(error)),
        }
    }

    /// Removes a layer on which nothing stands: no other layer, no container's, no lease `snapshot/<chain>`.
    pub fn remove_layer(&self, chain: &Digest) -> Result<()> {
        let mut index = self.index();
        if !index.contains_key(chain) {
            return Err(Error::NoLayer(*chain));
        }
        let in_use = |by: String| Err(Error::InUse { layer: *chain, by });
        if let Some((child, _)) = index.iter().find(|(_, layer)| layer.parent == Some(*chain)) {
            return in_use(format!("layer {child}"));
        }
        if let Some(key) = self.writable_upon(chain)? {
            return in_use(format!("container {key}"));
        }
        if let Some(holder) = self.store.holders(&format!("snapshot/{chain}"))?.into_iter().next() {
            return in_use(holder);
        }
        let dying = self.temporary.take_away(&self.layer_path(chain))?;
        index.remove(chain);
        // Nobody who only looks for a layer waits until the files of this one are gone.
        drop(index);
        dying.clear()
    }

    /// The trees of a chain of layers that are put together, topmost first, as `lowerdir` of an overlay lists them.
    pub(crate) fn chain_trees(&self, chain: &Digest) -> Result<Vec<PathBuf>> {
        let index = self.index();
        let mut trees = Vec::new();
        let mut next = Some(*chain);
        while let Some(chain) = next {
            let layer = index.get(&chain).ok_or(Error::NoLayer(chain))?;
            trees.push(self.layer_path(&chain).join("fs"));
            // A whole tree needs none below.
            next = layer.parent.filter(|_| self.driver.stacks());
        }
        Ok(trees)
    }

    /// The merged view of some trees, topmost first, for reading. It is gone with the descriptor.
    pub(crate) fn view(&self, trees: &[PathBuf]) -> Result<OwnedFd> {
        let view = match self.driver {
            Driver::Fuse => fuse::view(trees),
            Driver::Overlay | Driver::Copy => overlay::view(trees).map_err(std::io::Error::from),
        };
        view.map_err(io("look into", trees.first().cloned().unwrap_or_default()))
    }

    pub(crate) fn layer_path(&self, chain: &Digest) -> PathBuf {
        self.root.join("layers").join(chain.hex())
    }

    /// A layer's own tree: what it adds to those below, or all of it ([`Driver::stacks`]).
    pub fn layer_tree(&self, chain: &Digest) -> Result<PathBuf> {
        if self.has(chain) { Ok(self.layer_path(chain).join("fs")) } else { Err(Error::NoLayer(*chain)) }
    }
}

/// Gives `target` the owner and mode of `source`: the root of a merged tree is that of its topmost layer.
pub(crate) fn copy_root(source: &Path, target: &Path) -> Result<()> {
    let original = stat(source).map_err(io("look at", source))?;
    let owner = (Some(original.st_uid), Some(original.st_gid));
    std::os::unix::fs::chown(target, owner.0, owner.1).map_err(io("describe", target))?;
    let mode = rustix::fs::Mode::from_raw_mode(original.st_mode & 0o7777);
    rustix::fs::chmod(target, mode).map_err(io("describe", target))
}
