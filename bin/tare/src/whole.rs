//! Files that are written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file under another name: half of it never has the name that was asked for. It goes with this value, unless it is kept.
/// What is there and is no file, as a pipe or a device, is written to as it is.
#[derive(Debug)]
pub(crate) struct WholeFile {
    file: File,
    /// Where it is, and where it belongs.
    names: Option<(PathBuf, PathBuf)>,
}

impl WholeFile {
    /// Begins a file, whose permissions are `mode` less the umask.
    pub(crate) fn begin(path: &Path, mode: u32) -> io::Result<Self> {
        // A link stands for what it leads to.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => {
                Ok(Self { file: OpenOptions::new().write(true).open(&path)?, names: None })
            }
            _ => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let partial = path.with_file_name(format!(".{name}.{}", std::process::id()));
                let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
                Ok(Self { file, names: Some((partial, path)) })
            }
        }
    }

    /// It has its name now.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        self.file.flush()?;
        let Some((partial, path)) = &self.names else { return Ok(()) };
        fs::rename(partial, path)?;
        self.names = None;
        Ok(())
    }

    /// Writes a file that has this text and nothing else.
    pub(crate) fn write_text(path: &Path, text: &str) -> io::Result<()> {
        let mut file = Self::begin(path, 0o666)?;
        file.write_all(text.as_bytes())?;
        file.keep()
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some((partial, _)) = &self.names {
            let _ = fs::remove_file(partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_it_was_until_it_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let mut file = WholeFile::begin(&link, 0o666).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        WholeFile::write_text(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left");
        WholeFile::write_text(Path::new("/dev/null"), "x").unwrap();
        assert_eq!(
            WholeFile::begin(directory.path(), 0o666).unwrap_err().kind(),
            io::ErrorKind::IsADirectory
        );
    }
}
