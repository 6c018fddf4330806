use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::CWD;
use tare_model::{Name, Timestamp};

use crate::error::io;
use crate::{DRIVER, Error, GRAVES, Inner, Result, Volume, Volumes, make_directory};

impl Volumes {
    /// Makes disk and records agree after a crash: what was being removed goes, a directory without a record becomes a
    /// volume if there is anything in it, a record without a directory gets an empty one. For the daemon's start.
    pub async fn reconcile(&self) -> Result<()> {
        self.blocking(Inner::reconcile).await
    }
}

impl Inner {
    fn reconcile(&self) -> Result<()> {
        let _changing = self.changing();
        for grave in names(&self.root.join(GRAVES))? {
            if let Err(error) = self.clear(&grave) {
                left_over(&error);
            }
        }
        for volume in self.list()? {
            make_directory(&self.data(&volume.name), 0o755)?;
            let filling = self.directory(&volume.name).join("_filling");
            self.end(&filling);
        }
        for name in names(&self.root)? {
            // Only what could be a volume's name is one; [`GRAVES`] is not.
            if let Ok(name) = name.parse::<Name>() {
                self.adopt(name)?;
            }
        }
        Ok(())
    }

    fn adopt(&self, name: Name) -> Result<()> {
        let data = self.data(&name);
        if self.get(name.as_str())?.is_some() || !data.is_dir() {
            return Ok(());
        }
        if names(&data)?.is_empty() {
            let directory = self.directory(&name);
            self.end(&directory);
            return Ok(());
        }
        let changed =
            fs::metadata(&data).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        tracing::warn!("volume {name} had no record and has one again; its labels are lost");
        let (labels, options) = (BTreeMap::new(), BTreeMap::new());
        let adopted =
            Volume { name, driver: DRIVER.to_owned(), labels, options, created: Timestamp::from(changed) };
        self.record(&adopted, None)
    }

    /// Takes away what is of no use, if it is there. An image may have shaped it, so it may be a tree of any depth.
    pub(crate) fn end(&self, path: &Path) {
        match self.graves.end(CWD, path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                left_over(&io("remove", path)(error));
            }
            _ => {}
        }
    }
}

/// Nobody fails because of it, and no start of the daemon.
fn left_over(error: &Error) {
    tracing::warn!("left for the next start of the daemon to remove: {error}");
}

/// The names in a directory; none when it is missing.
pub(crate) fn names(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io("list", path)(error)),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.collect::<std::io::Result<_>>().map_err(io("list", path))
}
