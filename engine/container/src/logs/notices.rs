use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// Tells followers when something changes in the directories of their logs: files come and go in them.
///
/// There is one inotify(7) instance for all followers, as a user can have 128 of them and no more. It is made for the first
/// follower and stays.
#[derive(Default)]
pub(crate) struct Notices(Mutex<Option<Arc<Instance>>>);

struct Instance {
    fd: AsyncFd<OwnedFd>,
    /// By watch descriptor: who is to be told. A directory has one, however many follow.
    watched: Mutex<HashMap<i32, watch::Sender<()>>>,
}

/// One follower's watch.
pub(super) struct Notice {
    instance: Arc<Instance>,
    watch: i32,
    changes: watch::Receiver<()>,
}

impl Notices {
    /// Watches the directory that `path` is in, from now on.
    pub(super) fn watch(&self, path: &Path) -> io::Result<Notice> {
        let instance = self.instance()?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        // Under the lock, so that a follower who leaves does not take the watch away again.
        let mut watched = instance.watched();
        let watch = inotify::add_watch(instance.fd.get_ref(), directory, what)?;
        let changes = watched.entry(watch).or_insert_with(|| watch::Sender::new(())).subscribe();
        drop(watched);
        Ok(Notice { instance, watch, changes })
    }

    fn instance(&self) -> io::Result<Arc<Instance>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(instance) = &*known {
            return Ok(instance.clone());
        }
        let fd = crate::readiness::watch(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)?;
        let instance = Arc::new(Instance { fd, watched: Mutex::default() });
        tokio::spawn(instance.clone().pass_on());
        Ok(known.insert(instance).clone())
    }
}

impl Instance {
    fn watched(&self) -> MutexGuard<'_, HashMap<i32, watch::Sender<()>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes everything off the queue, again and again. An overflow of the queue concerns everybody.
    async fn pass_on(self: Arc<Self>) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        while let Ok(mut guard) = self.fd.readable().await {
            let mut reader = inotify::Reader::new(self.fd.get_ref(), &mut buffer);
            while let Ok(event) = reader.next() {
                let watched = self.watched();
                if let Some(followers) = watched.get(&event.wd()) {
                    followers.send_replace(());
                } else if event.wd() < 0 {
                    watched.values().for_each(|followers| followers.send_replace(()));
                }
            }
            guard.clear_ready();
        }
    }
}

impl Notice {
    /// Returns when something has happened since the last time.
    pub(super) async fn next(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending().await // whoever follows learns of the end otherwise
        }
    }
}

impl Drop for Notice {
    /// The last follower takes the watch away.
    fn drop(&mut self) {
        let mut watched = self.instance.watched();
        if watched.get(&self.watch).is_some_and(|sender| sender.receiver_count() <= 1) {
            watched.remove(&self.watch);
            // Gone already where the directory is gone.
            let _ = inotify::remove_watch(self.instance.fd.get_ref(), self.watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hundreds_follow_and_nothing_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one/log"), dir.path().join("other/log"));
        for path in [&one, &other] {
            std::fs::create_dir(path.parent().unwrap()).unwrap();
        }
        let notices = Notices::default();
        let mut followers: Vec<Notice> = (0..300).map(|_| notices.watch(&one).unwrap()).collect();
        let mut aside = notices.watch(&other).unwrap();
        std::fs::write(&one, "x").unwrap();
        for follower in &mut followers {
            follower.next().await;
        }
        assert!(!aside.changes.has_changed().unwrap());
        let instance = aside.instance.clone();
        drop(followers.split_off(1));
        std::fs::write(&one, "y").unwrap();
        followers[0].next().await;
        drop(followers);
        assert_eq!(instance.watched().len(), 1);
        std::fs::write(&other, "z").unwrap();
        aside.next().await;
        drop(aside);
        assert!(instance.watched().is_empty());
    }
}
