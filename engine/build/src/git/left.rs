//! How much may still come of an address, its submodules included: a repository of a few kilobytes can name billions of files.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use crate::context::LIMITS;

/// Lists the files of a commit with their sizes, before any of them is written.
pub(super) const LIST: [&str; 5] = ["ls-tree", "-r", "-l", "-z", "--full-tree"];
/// Repositories of one address together: more are an attack.
const MODULES: usize = 1000;

/// What is left of the limits.
pub(super) struct Left {
    pub modules: usize,
    bytes: u64,
    entries: u64,
}

impl Default for Left {
    fn default() -> Self {
        Self { modules: MODULES, bytes: LIMITS.bytes, entries: LIMITS.entries }
    }
}

impl Left {
    /// Takes the files of a list away from it.
    pub(super) fn take(&mut self, list: File) -> io::Result<()> {
        let too_much = |what: &str, most: u64| {
            io::Error::other(format!("with its submodules it has more than {most} {what}"))
        };
        for line in BufReader::new(list).split(0) {
            let bytes = size(&line?);
            self.entries = self.entries.checked_sub(1).ok_or_else(|| too_much("files", LIMITS.entries))?;
            self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| too_much("bytes", LIMITS.bytes))?;
        }
        Ok(())
    }
}

/// `100644 blob 1234…     567\tname` (git-ls-tree(1), "OUTPUT FORMAT"); a submodule has no size.
fn size(line: &[u8]) -> u64 {
    let facts = line.split(|byte| *byte == b'\t').next().unwrap_or_default();
    let size = facts.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    std::str::from_utf8(size).ok().and_then(|size| size.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn list(lines: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(lines).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn files_are_counted_before_they_are_written() {
        let lines = b"100644 blob aa      12\ta\tb 7\x00160000 commit bb       -\tsub\x00120000 blob cc       3\tlink\0";
        let mut left = Left { bytes: 20, entries: 5, ..Left::default() };
        left.take(list(lines)).unwrap();
        assert_eq!((left.bytes, left.entries), (5, 2));
        assert!(left.take(list(lines)).unwrap_err().to_string().contains("bytes"));
        let mut left = Left { bytes: 20, entries: 2, ..Left::default() };
        assert!(left.take(list(lines)).unwrap_err().to_string().contains("files"));
    }
}
