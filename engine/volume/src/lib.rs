//! # volume: directories that outlive their containers
//!
//! - **Owns**: `<data-root>/volumes`: named and anonymous volumes of the driver `local`.
//! - **In**: names, labels, the tree of an image to fill an empty volume with. **Out**: the directory to mount.
//! - **Leans on**: store for records and leases, sys for confined paths, model.
//! - **Never**: mounts anything, knows a container: "in use" is a lease `volume/<name>` that somebody else keeps.
//! - **Invariant**: what a user wrote is removed only by [`Volumes::remove`] and [`Volumes::prune`]; a directory whose
//!   record got lost becomes a volume again at the next start.
//!
//! ```text
//! <name>/_data     what is mounted
//! <name>/_filling  content of an image on its way into an empty volume; replaces `_data` by one rename
//! .removed/        dying
//! ```

mod copy;
mod error;
mod populate;
mod prune;
mod reconcile;
mod remove;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tare_model::{Id, Name, Timestamp};
use tare_store::{Batch, Store};
use tare_sys::graves::Graves;

pub use error::{Error, Result};
pub use prune::Pruned;

const TABLE: &str = "volume";
/// No volume's name.
const GRAVES: &str = ".removed";
const DRIVER: &str = "local";
/// The label by which Docker's clients tell volumes that nobody named.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name; 64 hexadecimal digits where nobody gave one.
    pub name: Name,
    /// Always `local`.
    pub driver: String,
    /// As given.
    pub labels: BTreeMap<String, String>,
    /// Always empty yet: see [`Error::Option`].
    pub options: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
}

impl Volume {
    /// Whether nobody gave it a name.
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }
}

/// All volumes of one data root.
pub struct Volumes {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    store: Arc<Store>,
    graves: Graves,
    /// Directory and record change together, one volume at a time.
    changing: Mutex<()>,
}

impl Volumes {
    /// Opens the volumes below `root`, which is made with mode 0700 if it is missing.
    pub fn open(root: &Path, store: Arc<Store>) -> Result<Arc<Self>> {
        make_directory(root, 0o700)?;
        let path = root.join(GRAVES);
        make_directory(&path, 0o700)?;
        let graves = Graves::new(File::open(&path).map_err(error::io("open", path))?.into(), |error| {
            tracing::warn!(
                "what is left of a removed volume is removed at the next start of the daemon: {error}"
            );
        });
        let inner = Inner { root: root.to_owned(), store, graves, changing: Mutex::new(()) };
        Ok(Arc::new(Self { inner: Arc::new(inner) }))
    }

    /// Makes a volume, named by 64 random digits if `name` is `None`; one of this name that is there already is returned
    /// as it is.
    pub async fn create(
        &self,
        name: Option<Name>,
        driver: &str,
        options: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
    ) -> Result<Volume> {
        check(driver, &options)?;
        self.blocking(move |inner| inner.create(name, labels, None)).await
    }

    /// Makes a volume named by 64 random digits that `holder` has a lease on from its first moment, so that a crash
    /// between the two cannot leave one that nobody knows of.
    pub async fn create_held(
        &self,
        holder: &'static str,
        driver: &str,
        options: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
    ) -> Result<Volume> {
        check(driver, &options)?;
        self.blocking(move |inner| inner.create(None, labels, Some(holder))).await
    }

    /// The volume of this name.
    pub fn get(&self, name: &str) -> Result<Volume> {
        self.inner.get(name)?.ok_or_else(|| Error::Missing(name.to_owned()))
    }

    /// Every volume, by name.
    pub fn list(&self) -> Result<Vec<Volume>> {
        self.inner.list()
    }

    /// The directory to mount. It exists as long as the volume does.
    pub fn path(&self, volume: &Volume) -> PathBuf {
        self.inner.data(&volume.name)
    }

    /// Who holds a lease on the volume.
    pub fn holders(&self, name: &Name) -> Result<Vec<String>> {
        Ok(self.inner.store.holders(&lease(name))?)
    }

    /// Bytes of its files.
    pub async fn usage(&self, volume: &Volume) -> Result<u64> {
        let path = self.path(volume);
        self.blocking(move |_| remove::usage(&path)).await
    }

    /// Runs what waits for the disk where waiting hurts nobody.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = self.inner.clone();
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

impl Inner {
    fn create(
        &self,
        name: Option<Name>,
        mut labels: BTreeMap<String, String>,
        holder: Option<&str>,
    ) -> Result<Volume> {
        let _changing = self.changing();
        if let Some(existing) = name.as_ref().map(|name| self.get(name.as_str())).transpose()?.flatten() {
            return Ok(existing);
        }
        let name = match name {
            Some(name) => name,
            None => {
                labels.insert(ANONYMOUS.to_owned(), String::new());
                random_name()?
            }
        };
        make_directory(&self.data(&name), 0o755)?;
        let volume = Volume {
            name,
            driver: DRIVER.to_owned(),
            labels,
            options: BTreeMap::new(),
            created: SystemTime::now().into(),
        };
        self.record(&volume, holder)?;
        Ok(volume)
    }

    fn record(&self, volume: &Volume, holder: Option<&str>) -> Result<()> {
        let mut batch = Batch::default();
        batch.put(TABLE, volume.name.as_str(), volume);
        if let Some(holder) = holder {
            batch.lease(holder, &lease(&volume.name));
        }
        Ok(self.store.commit_blocking(batch)?)
    }

    fn get(&self, name: &str) -> Result<Option<Volume>> {
        Ok(self.store.get(TABLE, name)?)
    }

    fn list(&self) -> Result<Vec<Volume>> {
        Ok(self.store.list(TABLE)?.into_iter().map(|(_, volume)| volume).collect())
    }

    fn directory(&self, name: &Name) -> PathBuf {
        self.root.join(name.as_str())
    }

    fn data(&self, name: &Name) -> PathBuf {
        self.directory(name).join("_data")
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lease(name: &Name) -> String {
    format!("volume/{name}")
}

fn check(driver: &str, options: &BTreeMap<String, String>) -> Result<()> {
    if !driver.is_empty() && driver != DRIVER {
        return Err(Error::Driver(driver.to_owned()));
    }
    options.keys().next().map_or(Ok(()), |option| Err(Error::Option(option.clone())))
}

fn random_name() -> Result<Name> {
    let mut bytes = [0; 32];
    let random = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    random.map_err(error::io("make a name for", "a volume"))?;
    Ok(Id::from_random(bytes).as_str().parse().expect("64 hexadecimal digits are a name"))
}

/// Makes a directory and those above it; the last gets `mode` whatever the umask is.
fn make_directory(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(parent) = path.parent() {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(error::io("make the directory", parent))?;
    }
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error::io("make the directory", path)(error)),
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(error::io("make the directory", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_drivers_and_options_are_told_apart() {
        let options = BTreeMap::from([("type".to_owned(), "nfs".to_owned())]);
        assert!(check("", &BTreeMap::new()).is_ok());
        assert!(matches!(check("nfs", &options), Err(Error::Driver(driver)) if driver == "nfs"));
        assert!(matches!(check("local", &options), Err(Error::Option(option)) if option == "type"));
    }
}
