//! The ways in which trees are put together, and the choice of one by what the host can do: the kernel's overlayfs, the
//! program fuse-overlayfs, or copies, for which trees are duplicated and layers merged by hand.

mod duplicate;
pub(crate) mod fuse;
mod merge;
pub(crate) mod overlay;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::io;
use crate::temporary::Temporary;
use crate::{Error, Result, directory};

pub(crate) use duplicate::{Files, duplicate};
pub(crate) use merge::merge;

/// Where the choice is noted: what one driver keeps another cannot read.
const RECORD: &str = "driver";

/// How the tree of a container is put together from layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Each layer holds only what it adds, and overlayfs shows them as one.
    Overlay,
    /// The same layers, shown as one by the program fuse-overlayfs, of which one process runs for each mounted tree. For hosts
    /// whose kernel does not have overlayfs.
    Fuse,
    /// Each layer holds a whole tree, whose files it shares with the layer below by hard links, and a container's tree is a
    /// copy: by reflinks where the file system has them. For hosts without either.
    Copy,
}

impl Driver {
    /// As `info` and configuration files name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlayfs",
            Self::Fuse => "fuse-overlayfs",
            Self::Copy => "copy",
        }
    }

    /// Whether a layer's tree is what it adds to those below; otherwise it is whole.
    pub fn stacks(self) -> bool {
        self != Self::Copy
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Driver {
    type Err = Error;

    /// Reads the names that dockerd has for the same things, too.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "overlayfs" | "overlay2" | "overlay" => Ok(Self::Overlay),
            "fuse-overlayfs" => Ok(Self::Fuse),
            "copy" | "vfs" => Ok(Self::Copy),
            other => Err(Error::UnknownDriver(other.to_owned())),
        }
    }
}

/// The driver for a data root: the one that its layers were made by, else the wanted one, else the best that works.
pub(crate) fn choose(root: &Path, temporary: &Arc<Temporary>, wanted: Option<Driver>) -> Result<Driver> {
    let record = root.join(RECORD);
    let noted = std::fs::read_to_string(&record).ok().and_then(|text| text.trim().parse::<Driver>().ok());
    let empty = ["layers", "writable"].iter().try_fold(true, |empty, name| {
        Ok::<_, Error>(empty && directory::names(&root.join(name))?.is_empty())
    })?;
    let driver = match (noted.filter(|_| !empty), wanted) {
        (Some(noted), Some(wanted)) if noted != wanted => {
            return Err(Error::OtherDriver { root: root.to_owned(), noted, wanted });
        }
        (Some(driver), _) | (None, Some(driver)) => driver,
        // Layers of a time when there was one driver alone.
        (None, None) if !empty => Driver::Overlay,
        (None, None) => best(root, temporary),
    };
    check(driver, root, temporary)?;
    std::fs::write(&record, driver.name()).map_err(io("write", &record))?;
    Ok(driver)
}

/// The first that works; the reason is said of each that does not.
fn best(root: &Path, temporary: &Arc<Temporary>) -> Driver {
    let works = |driver: &Driver| match check(*driver, root, temporary) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!("{error}; another way is taken, which costs more time and space");
            false
        }
    };
    [Driver::Overlay, Driver::Fuse].into_iter().find(works).unwrap_or(Driver::Copy)
}

fn check(driver: Driver, root: &Path, temporary: &Arc<Temporary>) -> Result<()> {
    match driver {
        Driver::Overlay => overlay::check(root, temporary),
        Driver::Fuse => fuse::check(root, temporary),
        Driver::Copy => Ok(()),
    }
}
