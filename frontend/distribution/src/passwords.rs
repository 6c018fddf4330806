//! An htpasswd file (Apache's `htpasswd -B`): names and bcrypt hashes. It is read again when it changes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::{Error, Result};

/// What the file says.
#[derive(Debug)]
struct Users {
    hashes: HashMap<String, String>,
    /// A hash of nobody's password, which costs as much as the dearest of the file's: a name that is not there takes as long as
    /// one that is.
    nobody: String,
}

/// The file.
#[derive(Debug)]
pub struct Passwords {
    path: PathBuf,
    read: Mutex<(Option<SystemTime>, Arc<Users>)>,
}

/// Salt and hash of a password that nobody has.
const NOBODY: &str = "abcdefghijklmnopqrstuuZf7bYJyeYXkDsoy2qzM0G1z2fWGxKxW";

impl Passwords {
    /// Reads the file. Other hashes than bcrypt's are refused: they are quick to guess.
    pub fn open(path: &Path) -> Result<Self> {
        let users = read(path)?;
        Ok(Self { path: path.to_owned(), read: Mutex::new((changed(path), Arc::new(users))) })
    }

    /// Whether this is the user's password. Takes the better part of a tenth of a second.
    pub(crate) fn fit(&self, user: &str, password: &str) -> bool {
        let users = self.users();
        let known = users.hashes.get(user);
        let fits = bcrypt::verify(password, known.unwrap_or(&users.nobody)).unwrap_or(false);
        known.is_some() && fits
    }

    /// The hash that is kept for a user, by which an answer given before can be told to hold still.
    pub(crate) fn hash(&self, user: &str) -> Option<String> {
        self.users().hashes.get(user).cloned()
    }

    fn users(&self) -> Arc<Users> {
        let mut kept = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = changed(&self.path);
        if kept.0 != now {
            match read(&self.path) {
                Ok(users) => *kept = (now, Arc::new(users)),
                Err(error) => tracing::warn!("the old passwords go on to count: {error}"),
            }
        }
        Arc::clone(&kept.1)
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}

fn read(path: &Path) -> Result<Users> {
    let failed = |why: String| Error::Passwords(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let (mut hashes, mut dearest) = (HashMap::new(), 4);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wanted = || failed(format!("line {}: NAME:HASH is wanted", number + 1));
        let (user, hash) = line.split_once(':').filter(|(user, _)| !user.is_empty()).ok_or_else(wanted)?;
        if !["$2a$", "$2b$", "$2y$"].iter().any(|kind| hash.starts_with(kind)) {
            let why = format!("line {}: only bcrypt is accepted (htpasswd -B)", number + 1);
            return Err(failed(why));
        }
        let cost = hash.get(4..6).and_then(|cost| cost.parse().ok()).filter(|cost| (4..=31).contains(cost));
        let cost: u32 = cost.ok_or_else(|| failed(format!("line {}: it is no bcrypt hash", number + 1)))?;
        dearest = dearest.max(cost);
        hashes.insert(user.to_owned(), hash.to_owned());
    }
    let nobody = format!("$2b${dearest:02}${NOBODY}");
    if hashes.is_empty() { Err(failed("it names nobody".to_owned())) } else { Ok(Users { hashes, nobody }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("htpasswd");
        fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn only_the_right_password_fits_and_a_changed_file_counts() {
        let hash = bcrypt::hash("s3cret", 4).unwrap();
        let (_dir, path) = file(&format!("# people\nada:{hash}\n\n"));
        let passwords = Passwords::open(&path).unwrap();
        assert!(passwords.fit("ada", "s3cret"));
        assert!(!passwords.fit("ada", "secret") && !passwords.fit("bob", "s3cret") && !passwords.fit("", ""));
        let other = bcrypt::hash("other", 4).unwrap();
        fs::write(&path, format!("bob:{}", other.replacen("$2b$", "$2y$", 1))).unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert!(passwords.fit("bob", "other") && !passwords.fit("ada", "s3cret"));
    }

    #[test]
    fn a_name_that_is_not_there_costs_what_the_others_do() {
        let [cheap, dear] = [4, 7].map(|cost| bcrypt::hash("s3cret", cost).unwrap());
        for (text, cost) in [(format!("ada:{cheap}"), 4), (format!("ada:{cheap}\nbob:{dear}"), 7)] {
            let (_dir, path) = file(&text);
            let users = read(&path).unwrap();
            let parts: bcrypt::HashParts = users.nobody.parse().unwrap();
            assert_eq!(parts.get_cost(), cost);
        }
    }

    #[test]
    fn weak_and_broken_files_are_refused() {
        for (text, why) in [
            ("ada:$apr1$x$y", "only bcrypt"),
            ("ada:{SHA}x", "only bcrypt"),
            ("ada:$2b$", "no bcrypt hash"),
            ("ada:$2b$99$x", "no bcrypt hash"),
            ("ada", "NAME:HASH"),
            (":x", "NAME:HASH"),
            ("\n#\n", "names nobody"),
        ] {
            let (_dir, path) = file(text);
            let error = Passwords::open(&path).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(Passwords::open(Path::new("/no/such/file")).is_err());
    }
}
