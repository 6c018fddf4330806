//! Directories in which trees die: out of sight by one rename, and removed by whoever buried them, as far as that is quick.
//! A tree of a million files takes a slow disk minutes; what is left of it then goes behind the answer.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::renameat;
use rustix::path::Arg;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::tree::Removal;

/// So many things are removed before the answer: what goes in the time of an answer on any disk. Nobody sees less room
/// after a removal than there is, unless it was one of these large ones.
const AT_ONCE: usize = 10_000;

/// One such directory. What is in it when the last copy of this value goes stays there: bury it again at the next start.
#[derive(Clone)]
pub struct Graves(Arc<Inner>);

struct Inner {
    directory: OwnedFd,
    /// Told what could not be removed when nobody waits for it any more.
    complain: fn(io::Error),
    /// So many things at a time.
    most: usize,
    left: Mutex<Left>,
}

#[derive(Default)]
struct Left {
    trees: VecDeque<Removal>,
    /// Whether a thread is at work on them.
    digging: bool,
}

impl Graves {
    /// Trees are to die in `directory`. `complain` hears of errors that come after the answer.
    pub fn new(directory: OwnedFd, complain: fn(io::Error)) -> Self {
        Self(Arc::new(Inner { directory, complain, most: AT_ONCE, left: Mutex::default() }))
    }

    /// The directory itself.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.0.directory.as_fd()
    }

    /// Takes the directory `name` of `parent` away at once. It lies here under the name that is returned, for
    /// [`Graves::clear`].
    ///
    /// # Errors
    /// The rename's, `EXDEV` among them.
    pub fn bury(&self, parent: impl AsFd, name: impl Arg) -> io::Result<String> {
        let grave = fresh();
        renameat(parent, name, &self.0.directory, &grave)?;
        Ok(grave)
    }

    /// [`Graves::bury`] and [`Graves::clear`] in one. `name` may lie in this directory: then only its name is another.
    ///
    /// # Errors
    /// Theirs.
    pub fn end(&self, parent: impl AsFd, name: impl Arg) -> io::Result<()> {
        self.clear(&self.bury(parent, name)?)
    }

    /// Removes what lies here as `name`: all of it, or what is large later.
    ///
    /// # Errors
    /// [`crate::tree::remove`]'s.
    pub fn clear(&self, name: &str) -> io::Result<()> {
        let mut removal = Removal::new(name);
        if removal.go_on(self.directory(), fresh, self.0.most)? {
            return Ok(());
        }
        let mut left = self.0.left();
        left.trees.push_back(removal);
        if left.digging {
            return Ok(());
        }
        let inner = Arc::downgrade(&self.0);
        std::thread::Builder::new().name("graves".to_owned()).spawn(move || dig(&inner))?;
        left.digging = true;
        Ok(())
    }
}

/// Ends when nothing is left or nobody cares.
fn dig(inner: &Weak<Inner>) {
    while inner.upgrade().is_some_and(|inner| inner.dig_on()) {}
}

impl Inner {
    /// One step of it; false when nothing is left.
    fn dig_on(&self) -> bool {
        let mut left = self.left();
        let Some(mut removal) = left.trees.pop_front() else {
            left.digging = false;
            return false;
        };
        drop(left);
        match removal.go_on(self.directory.as_fd(), fresh, self.most) {
            Ok(true) => {}
            Ok(false) => self.left().trees.push_front(removal),
            Err(error) => (self.complain)(error.into()),
        }
        true
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that nothing has. Random, as several removals go side by side.
fn fresh() -> String {
    let mut bytes = [0; 16];
    // The call blocks at early boot and fails never for so few bytes; a clash would be an error of the rename, not harm.
    let _ = getrandom(&mut bytes, GetRandomFlags::empty());
    format!("{:032x}", u128::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    fn graves(path: &Path) -> Graves {
        let directory = File::open(path).unwrap().into();
        let (complain, left) = ((|error| panic!("{error}")) as fn(io::Error), Mutex::default());
        Graves(Arc::new(Inner { directory, complain, most: 100, left }))
    }

    fn tree(path: &Path, directories: usize, each: usize) {
        for directory in 0..directories {
            let directory = path.join(directory.to_string());
            std::fs::create_dir_all(&directory).unwrap();
            for file in 0..each {
                File::create(directory.join(file.to_string())).unwrap();
            }
        }
    }

    fn count(path: &Path) -> usize {
        path.read_dir().unwrap().count()
    }

    #[test]
    fn a_small_tree_is_gone_with_the_answer_and_a_large_one_soon_after() {
        let (home, dying) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let graves = graves(dying.path());
        let parent = File::open(home.path()).unwrap();
        tree(&home.path().join("small"), 9, 10);
        graves.clear(&graves.bury(&parent, "small").unwrap()).unwrap();
        assert_eq!((count(home.path()), count(dying.path())), (0, 0));
        ["one", "two"].iter().for_each(|large| tree(&home.path().join(large), 3, 1000));
        // As if somebody were at work already, who gets no processor.
        graves.0.left().digging = true;
        graves.clear(&graves.bury(&parent, "one").unwrap()).unwrap();
        assert_eq!(count(home.path()), 1, "out of sight at once");
        assert!(count(dying.path()) > 0, "what nobody waits for");
        graves.0.left().digging = false;
        graves.clear(&graves.bury(&parent, "two").unwrap()).unwrap();
        let begun = Instant::now();
        while count(dying.path()) > 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} trees are left", count(dying.path()));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn what_is_left_when_nobody_cares_any_more_can_be_cleared_by_the_next() {
        let dying = tempfile::tempdir().unwrap();
        tree(&dying.path().join("old"), 3, 1000);
        let first = graves(dying.path());
        first.0.left().digging = true;
        first.clear("old").unwrap();
        assert!(first.0.dig_on());
        let inner = Arc::downgrade(&first.0);
        drop(first);
        dig(&inner);
        let left: Vec<_> = dying.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.is_empty());
        let second = graves(dying.path());
        for name in left {
            second.clear(name.to_str().unwrap()).unwrap();
        }
        while count(dying.path()) > 0 {
            std::thread::yield_now();
        }
    }
}
