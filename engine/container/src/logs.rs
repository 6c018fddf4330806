//! Reads what a container wrote, from its json-file log and the files it was rotated into.

mod backwards;
mod follow;
mod line;
mod notices;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::Stream;
use tokio::sync::{mpsc, watch};

use crate::container::Container;
use crate::engine::Engine;
use crate::error::Step;
use crate::options::{LogEntry, LogOptions};
use crate::{Error, Result};

use notices::Notice;
pub(crate) use notices::Notices;

/// How many entries a reader may be behind before reading stops and waits for it.
const AHEAD: usize = 256;
/// How many rotated files are looked for.
const MAX_FILES: u32 = 1000;

impl Engine {
    /// The container's log, oldest entry first. With `follow` it goes on until the container ends.
    pub async fn logs(
        &self,
        id: &str,
        options: LogOptions,
    ) -> Result<impl Stream<Item = Result<LogEntry>> + Send + 'static + use<>> {
        let handle = self.index.find(id)?;
        let container = handle.container();
        let Some(path) = container.log_path.clone() else {
            return Err(Error::NotReadable);
        };
        if !(options.stdout || options.stderr) {
            return Err(Error::InvalidSpec("Bad parameters: you must choose at least one stream".to_owned()));
        }
        // Before anything is read, so that nothing written meanwhile is missed.
        let notice = match options.follow.then(|| self.log_notices.watch(&path)).transpose() {
            // Removed in this very moment.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoSuchContainer(id.to_owned()));
            }
            notice => notice.step(|| format!("watch {}", path.display()))?,
        };
        Ok(stream(path, options, handle.view.clone(), notice))
    }
}

/// The entries of the log at `path`; with a `notice` they are followed until the container seen in `view` does not run any
/// more.
fn stream(
    path: PathBuf,
    options: LogOptions,
    view: watch::Receiver<Arc<Container>>,
    notice: Option<Notice>,
) -> impl Stream<Item = Result<LogEntry>> + Send + 'static {
    let (send, receive) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        if let Err(error) = follow::read(&path, options, view, notice, &send).await {
            let _ = send.send(Err(error)).await;
        }
    });
    futures_util::stream::unfold(receive, |mut receive| async {
        receive.recv().await.map(|entry| (entry, receive))
    })
}

/// The log's files that exist, oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let rotated = (1..MAX_FILES).map(|number| numbered(path, number)).take_while(|path| path.exists());
    let mut files: Vec<PathBuf> = rotated.collect();
    files.reverse();
    files.push(path.to_owned());
    files
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests;
