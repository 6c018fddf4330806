//! `--squash`: all that a build adds to its base as one layer, as docker's classic builder makes it. Which names the layers
//! touch is read from their archives; what is there in the end is copied from the finished tree.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::BufReader;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::{AtFlags, FileType, OFlags, Stat, Timestamps, futimens, linkat, statat, unlinkat};
use rustix::io::Errno;
use tare_image::LayerUse;
use tare_model::Timestamp;
use tare_oci::image::History;
use tare_snapshot::Listing;
use tare_sys::path::open_without_links;

use crate::error::io;
use crate::files::place::{Owner, Place, times};
use crate::files::walk::{Found, names, walk};
use crate::files::xattr;
use crate::job::Job;
use crate::stage::state::{State, clean};
use crate::{Error, Result, now, stage};

const BUFFER: usize = 256 << 10;
/// What marks an opaque directory and what is deleted in a layer's archive (OCI image-spec, *layer*, "Whiteouts").
const OPAQUE: &[u8] = b".wh..wh..opq";
const DELETED: &[u8] = b".wh.";

/// The same stage with one layer upon its base, and a history that says so in Docker's words.
pub(crate) async fn squash(job: &Job, state: &State) -> Result<State> {
    let (below, added) = state.layers.split_at(state.base.layers);
    if added.is_empty() {
        return Ok(state.clone());
    }
    let (images, snapshots) =
        (job.build.builder.engine.images(), job.build.builder.engine.snapshots().clone());
    let archives = added.iter().map(|layer| Ok(images.open_layer(layer)?)).collect::<Result<Vec<File>>>()?;
    let (parent, top) = (below.last().map(|layer| layer.chain), state.top());
    let work = move |root: OwnedFd| {
        let tree = snapshots.open_root(top.as_ref())?;
        let tree = tree.as_fd().ok_or(Error::Cancelled)?;
        let touched = Touched::read(archives)?;
        Copying { tree, root: root.as_fd(), links: HashMap::new(), directories: Vec::new() }.all(&touched)
    };
    let layer = stage::layer(job, parent, work).await?;
    Ok(squashed(state, layer, job.build.epoch))
}

fn squashed(state: &State, layer: LayerUse, epoch: Option<i64>) -> State {
    let mut squashed = state.clone();
    squashed.layers.truncate(state.base.layers);
    squashed.layers.push(layer);
    squashed.history.iter_mut().skip(state.base.steps).for_each(|step| step.empty_layer = true);
    let comment = match state.base.position {
        Some(base) => format!("merge {} to {base}", state.position),
        None => format!("create new from {}", state.position),
    };
    let created = epoch.map_or_else(now, |seconds| Timestamp { seconds, nanoseconds: 0 });
    squashed.history.push(History { created: Some(created), comment, ..History::default() });
    squashed
}

/// The names, from the root, that layers say something about.
#[derive(Default)]
struct Touched {
    /// What is deleted with all that is below it, whether something is there again or not.
    cleared: BTreeSet<PathBuf>,
    named: BTreeSet<PathBuf>,
}

impl Touched {
    fn read(archives: Vec<File>) -> Result<Self> {
        let mut touched = Self::default();
        for archive in archives {
            let size = archive.metadata().map_err(io("look at a layer"))?.len();
            let archive = BufReader::with_capacity(BUFFER, archive);
            let tar = tare_image::unwrapped(archive, Arc::new(AtomicU64::new(size)));
            let mut entries = Listing::new(tar.map_err(io("read a layer"))?);
            while let Some(entry) = entries.next()? {
                touched.note(clean(Path::new(OsStr::from_bytes(&entry.name))));
            }
        }
        Ok(touched)
    }

    fn note(&mut self, path: PathBuf) {
        let last = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
        let above = path.parent().unwrap_or(Path::new("/"));
        match last.strip_prefix(DELETED) {
            _ if last == OPAQUE => self.cleared.insert(above.to_owned()),
            Some(name) => self.cleared.insert(above.join(OsStr::from_bytes(name))),
            None => self.named.insert(path),
        };
    }

    fn is_below_cleared(&self, path: &Path) -> bool {
        path.ancestors().skip(1).any(|above| self.cleared.contains(above))
    }
}

/// From the finished tree to the base's.
struct Copying<'a> {
    tree: BorrowedFd<'a>,
    root: BorrowedFd<'a>,
    /// What was written of the files that have several names.
    links: HashMap<(u64, u64), PathBuf>,
    /// Times come last, as filling a directory changes them.
    directories: Vec<(PathBuf, Timestamps)>,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

impl Copying<'_> {
    fn all(mut self, touched: &Touched) -> Result<()> {
        for path in touched.cleared.iter().filter(|path| !touched.is_below_cleared(path)) {
            self.clear(path)?;
            self.whole(path)?;
        }
        let single = |path: &&PathBuf| !touched.cleared.contains(*path) && !touched.is_below_cleared(path);
        for path in touched.named.iter().filter(single) {
            if let Some((parent, name, stat)) = look(self.tree, path)? {
                self.put(path, (parent.as_fd(), &name, &stat))?;
            }
        }
        for (path, times) in self.directories.iter().rev() {
            futimens(open(self.root, path)?, times).map_err(failed("describe", path))?;
        }
        Ok(())
    }

    /// Copies a name with all that is below it.
    fn whole(&mut self, path: &Path) -> Result<()> {
        let Some((parent, name, stat)) = look(self.tree, path)? else { return Ok(()) };
        self.put(path, (parent.as_fd(), &name, &stat))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        walk(open(self.tree, path)?, &mut |found| {
            self.put(&path.join(found.path), (found.parent, found.name, found.stat))?;
            Ok(true)
        })
    }

    /// Takes away what the base has, with all that is below it.
    fn clear(&self, path: &Path) -> Result<()> {
        if path == Path::new("/") {
            let names = names(self.root).map_err(failed("list", path))?;
            return names.iter().try_for_each(|name| self.clear(&path.join(name)));
        }
        let Some((parent, name, stat)) = look(self.root, path)? else { return Ok(()) };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return unlinkat(&parent, &name, AtFlags::empty()).map_err(failed("take away", path));
        }
        let mut fresh = 0_u64;
        let text = name.to_str().ok_or(Errno::ILSEQ);
        let removed = text.and_then(|name| {
            tare_sys::tree::remove(parent.as_fd(), name, || {
                fresh += 1;
                format!(".tare-squashed-{fresh}")
            })
        });
        removed.map_err(failed("take away", path))
    }

    fn put(&mut self, path: &Path, (parent, name, stat): (BorrowedFd, &OsStr, &Stat)) -> Result<()> {
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if path == Path::new("/") {
            return self.describe(path, stat);
        }
        if let Some((.., there)) = look(self.root, path)?
            && FileType::from_raw_mode(there.st_mode) != FileType::from_raw_mode(stat.st_mode)
        {
            self.clear(path)?;
        }
        let several = stat.st_nlink > 1 && !is_directory;
        if several && let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
            return self.link(first, path);
        }
        let above = path.parent().unwrap_or(Path::new("/"));
        let mut place = Place::open(self.root, above, Owner::Kept, None)?;
        place.put(&Found { path: Path::new(name), parent, name, stat })?;
        place.finish()?;
        if several {
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        if is_directory { self.describe(path, stat) } else { Ok(()) }
    }

    /// Gives a directory what the finished one has, also where the base has it already.
    fn describe(&mut self, path: &Path, stat: &Stat) -> Result<()> {
        let (from, to) = (open(self.tree, path)?, open(self.root, path)?);
        let place = Place::open(self.root, Path::new("/"), Owner::Kept, None)?;
        let attributes = xattr::read(&from).map_err(failed("read the attributes of", path))?;
        place
            .describe(&to, stat, true)
            .and_then(|()| xattr::write(&to, &attributes))
            .map_err(failed("describe", path))?;
        self.directories.push((path.to_owned(), times(stat)));
        Ok(())
    }

    fn link(&self, first: &Path, path: &Path) -> Result<()> {
        let side = |path: &Path| {
            let above = open(self.root, path.parent().unwrap_or(Path::new("/")))?;
            Ok::<_, Error>((above, path.file_name().unwrap_or_default().to_owned()))
        };
        let ((from, old), (to, new)) = (side(first)?, side(path)?);
        match unlinkat(&to, &new, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("replace", path)(error)),
        }
        linkat(&from, &old, &to, &new, AtFlags::empty()).map_err(failed("link", path))
    }
}

fn failed(what: &str, path: &Path) -> impl FnOnce(Errno) -> Error {
    io(format!("{what} {} while layers are squashed", path.display()))
}

/// A directory by its path from the root, none of whose parts may be a link.
fn open(root: BorrowedFd, path: &Path) -> Result<OwnedFd> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let below = if below == Path::new("") { Path::new(".") } else { below };
    open_without_links(root, below, DIRECTORY)
        .map_err(io(format!("open {} while layers are squashed", path.display())))
}

/// What has a name, itself and not what it leads to, with the directory that it is in.
fn look(root: BorrowedFd, path: &Path) -> Result<Option<(OwnedFd, OsString, Stat)>> {
    let above = path.parent().unwrap_or(Path::new("/"));
    let below = above.strip_prefix("/").unwrap_or(above);
    let below = if below == Path::new("") { Path::new(".") } else { below };
    // Where something above is no directory any more, nothing is below it.
    let Ok(parent) = open_without_links(root, below, DIRECTORY) else { return Ok(None) };
    let name = path.file_name().map_or_else(|| OsString::from("."), OsStr::to_owned);
    match statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some((parent, name, stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(failed("look at", path)(error)),
    }
}
