//! Where the files of a build come from.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::failure::{Failure, Result};

/// The most that is read of a Dockerfile from standard input, in bytes; the daemon has the same limit.
const DOCKERFILE_MOST: u64 = tare_dockerfile::LARGEST as u64;
/// Where a tar's magic stands, and it.
const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");
/// How compressed archives begin: gzip, bzip2, xz, zstd.
const COMPRESSED: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];

/// What the operand of `build` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Directory(PathBuf),
    Stdin,
    /// Fetched by the daemon: a git repository, an archive or a Dockerfile.
    Remote(String),
}

/// Tells remote contexts from directories, as Docker does. A directory that exists is one, whatever its name.
pub(crate) fn named(operand: &str) -> Named {
    let url = ["http://", "https://"].iter().any(|scheme| operand.starts_with(scheme));
    let git = ["git://", "git@", "ssh://", "github.com/"].iter().any(|start| operand.starts_with(start));
    match operand {
        "-" => Named::Stdin,
        _ if url => Named::Remote(operand.to_owned()),
        _ if git && !Path::new(operand).is_dir() => Named::Remote(operand.to_owned()),
        _ => Named::Directory(PathBuf::from(operand)),
    }
}

/// What came on standard input.
pub(crate) enum Given {
    /// An archive that begins with these bytes; the flag says that it is compressed.
    Archive(Vec<u8>, bool),
    /// A Dockerfile without any context.
    Dockerfile(Vec<u8>),
}

/// Looks at the beginning of standard input.
pub(crate) fn look(mut input: impl Read) -> Result<Given> {
    let mut head = Vec::new();
    input.by_ref().take(512).read_to_end(&mut head)?;
    let tar = head.get(TAR_MAGIC.0..).is_some_and(|at| at.starts_with(TAR_MAGIC.1));
    let compressed = COMPRESSED.iter().any(|magic| head.starts_with(magic));
    if tar || compressed {
        return Ok(Given::Archive(head, compressed));
    }
    read_dockerfile(head, input).map(Given::Dockerfile)
}

/// Reads a Dockerfile to its end.
pub(crate) fn read_dockerfile(mut head: Vec<u8>, input: impl Read) -> Result<Vec<u8>> {
    input.take(DOCKERFILE_MOST + 1).read_to_end(&mut head)?;
    if head.len() as u64 > DOCKERFILE_MOST {
        let message = format!(
            "what came on standard input is no archive, and too large for a Dockerfile ({DOCKERFILE_MOST} bytes are the limit)"
        );
        return Err(Failure::new(message));
    }
    if head.trim_ascii().is_empty() {
        return Err(Failure::new("standard input held neither an archive nor a Dockerfile"));
    }
    Ok(head)
}

/// The Dockerfile of a directory: the path that the build knows it by, and its bytes.
pub(crate) struct Dockerfile {
    /// As messages name it: relative to the context where it lies in it.
    pub(crate) name: String,
    /// Whether it lies in the context under this name.
    pub(crate) inside: bool,
    pub(crate) bytes: Vec<u8>,
}

/// Finds and reads it. `file` is what `--file` says: relative to where the command runs, or to the context, as Docker allows both.
pub(crate) fn dockerfile(directory: &Path, file: Option<&str>) -> Result<Dockerfile> {
    let path = match file {
        None => {
            ["Dockerfile", "dockerfile"].iter().map(|name| directory.join(name)).find(|path| path.exists())
        }
        Some(file) => {
            let from_here = PathBuf::from(file);
            Some(if from_here.exists() { from_here } else { directory.join(file) })
        }
    };
    let path = path.unwrap_or_else(|| directory.join("Dockerfile"));
    let bytes = read_file(&path, file.is_some())?;
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    // The name counts, not what a symlink leads to.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let base = path.file_name().unwrap_or_default();
    let relative = real(parent).join(base);
    match relative.strip_prefix(real(directory)).ok().and_then(Path::to_str) {
        Some(name) => Ok(Dockerfile { name: name.to_owned(), inside: true, bytes }),
        None => Ok(Dockerfile { name: base.to_string_lossy().into_owned(), inside: false, bytes }),
    }
}

/// Reads a file that nobody has named, which a context could make anything of: a pipe would be waited for for ever.
pub(crate) fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// What a person has named may be a pipe, as in `-f <(make-dockerfile)`.
fn read_file(path: &Path, named: bool) -> Result<Vec<u8>> {
    let failure = |error: &io::Error| {
        let failure = Failure::new(format!("failed to read dockerfile: {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::NotFound => failure.hint("name it with -f FILE, or run the command where it is"),
            _ => failure,
        }
    };
    let read = || match named {
        false => read_regular(path, DOCKERFILE_MOST),
        true => {
            let mut bytes = Vec::new();
            File::open(path)?.take(DOCKERFILE_MOST + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        }
    };
    read().map_err(|error| failure(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_repositories_are_told_from_directories() {
        for remote in [
            "https://x/y.tar.gz",
            "http://x/Dockerfile",
            "git://x/y",
            "git@x:y.git",
            "ssh://x/y",
            "github.com/a/b",
        ] {
            assert_eq!(named(remote), Named::Remote(remote.into()));
        }
        assert_eq!(named("-"), Named::Stdin);
        assert_eq!(named("src"), Named::Directory("src".into()));
    }

    #[test]
    fn standard_input_is_an_archive_or_a_dockerfile() {
        let mut tar = vec![0; 600];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(matches!(look(&tar[..]).unwrap(), Given::Archive(head, false) if head.len() == 512));
        assert!(matches!(look(&b"\x1f\x8b..."[..]).unwrap(), Given::Archive(_, true)));
        assert!(matches!(look(&b"FROM a\n"[..]).unwrap(), Given::Dockerfile(text) if text == b"FROM a\n"));
        assert!(look(&b" \n"[..]).is_err());
        assert!(look(io::repeat(b'x')).is_err());
    }

    #[test]
    fn the_dockerfile_is_found_here_and_in_the_context() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("sub")).unwrap();
        std::fs::write(directory.path().join("sub/App"), "FROM a").unwrap();
        let found = dockerfile(directory.path(), Some("sub/App")).unwrap();
        assert_eq!((found.name.as_str(), found.inside), ("sub/App", true));
        let outside = directory.path().join("sub/App");
        let found = dockerfile(&directory.path().join("sub/.."), outside.to_str()).unwrap();
        assert_eq!((found.name.as_str(), found.inside), ("sub/App", true));
        let pipe = tempfile::tempdir().unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, pipe.path().join("Dockerfile"), Mode::RWXU).unwrap();
        let refused = dockerfile(pipe.path(), None).err().unwrap();
        assert!(refused.message.ends_with("it is no file"), "{}", refused.message);
        let other = tempfile::tempdir().unwrap();
        let found = dockerfile(other.path(), outside.to_str()).unwrap();
        assert_eq!((found.name.as_str(), found.inside, &found.bytes[..]), ("App", false, &b"FROM a"[..]));
        let missing = dockerfile(other.path(), None).err().unwrap();
        assert!(missing.message.contains("Dockerfile: No such file") && missing.hint.is_some());
    }
}
