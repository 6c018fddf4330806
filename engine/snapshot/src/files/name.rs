//! Names of entries: bytes from an archive become a list of plain components, or are refused.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;

use crate::error::io;
use crate::{Error, Result};

/// The longest path that the kernel takes (PATH_MAX less the final NUL).
const LONGEST: usize = 4095;
/// The longest component that Linux file systems take (NAME_MAX).
const LONGEST_COMPONENT: usize = 255;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Bookkeeping of the aufs driver that early Docker left in layers; it means nothing to others.
const AUFS: &[u8] = b".wh..wh.";

/// A path below the root in its one canonical form: components parted by `/`, no `.`, no `..`, not absolute. The root
/// is the empty one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(Vec<u8>);

/// What a name of an entry says (OCI image-spec, *layer*, "Whiteouts").
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A file of this name.
    Plain(Name),
    /// This name of the layers below is hidden.
    Whiteout(Name),
    /// Everything that the layers below have in this directory is hidden.
    Opaque(Name),
    /// Nothing.
    Ignored,
}

impl Name {
    /// A leading `/` means the root of the image, as every engine reads it: some builders write all names so.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let refused = |rule| Err(refused(bytes, rule));
        if bytes.contains(&0) {
            return refused("holds a NUL");
        }
        if bytes.len() > LONGEST {
            return refused("is longer than the 4095 bytes of a path");
        }
        let mut canonical = Vec::with_capacity(bytes.len());
        for component in bytes.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return refused("holds \"..\""),
                long if long.len() > LONGEST_COMPONENT => {
                    return refused("has a component of more than 255 bytes");
                }
                _ => {}
            }
            if !canonical.is_empty() {
                canonical.push(b'/');
            }
            canonical.extend_from_slice(component);
        }
        Ok(Self(canonical))
    }

    pub(crate) const ROOT: Self = Self(Vec::new());

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The root has none.
    pub(crate) fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
    }

    /// The path without its last component.
    pub(crate) fn parent(&self) -> Name {
        let slash = self.0.iter().rposition(|byte| *byte == b'/');
        Name(slash.map(|slash| self.0[..slash].to_owned()).unwrap_or_default())
    }

    /// The last component; empty for the root.
    pub(crate) fn last(&self) -> &[u8] {
        self.0.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// The first `count` components, which there must be.
    pub(crate) fn upto(&self, count: usize) -> Name {
        let mut slashes = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let end = slashes.nth(count - 1).unwrap_or(self.0.len());
        Name(self.0[..end].to_owned())
    }

    pub(crate) fn is_below(&self, other: &Name) -> bool {
        self.0.strip_prefix(other.0.as_slice()).is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    /// The range of all names below this one: those between `name/` and `name0`, as `0` follows `/`.
    pub(crate) fn range_below(&self) -> (Name, Name) {
        (Name([self.0.as_slice(), b"/"].concat()), Name([self.0.as_slice(), b"0"].concat()))
    }

    /// What is called `last`, one plain component, in this directory.
    pub(crate) fn join(&self, last: &[u8]) -> Name {
        let separator: &[u8] = if self.is_root() { b"" } else { b"/" };
        Name([&self.0, separator, last].concat())
    }

    /// [`Name::join`] for a component that nobody measured yet; `None` where it is too long.
    pub(crate) fn child(&self, last: &[u8]) -> Option<Name> {
        let name = self.join(last);
        (last.len() <= LONGEST_COMPONENT && name.0.len() <= LONGEST).then_some(name)
    }

    /// For a system call that takes it from the root's descriptor.
    pub(crate) fn as_path(&self) -> &Path {
        Path::new(if self.is_root() { OsStr::new(".") } else { OsStr::from_bytes(&self.0) })
    }

    /// [`Name::last`], for a system call that takes it from its directory's descriptor.
    pub(crate) fn last_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.last()))
    }

    /// The rest of a name that is this one or lies below it.
    pub(crate) fn rest_of<'n>(&self, name: &'n Name) -> &'n [u8] {
        name.0.strip_prefix(self.0.as_slice()).unwrap_or_default()
    }

    /// Reads the marks that names of a layer carry.
    pub(crate) fn meaning(self) -> Result<Meaning> {
        let (parent, last) = (self.parent(), self.last());
        if self.components().any(|component| component.starts_with(AUFS) && component != OPAQUE) {
            return Ok(Meaning::Ignored);
        }
        if parent.components().any(|component| component.starts_with(WHITEOUT)) {
            return Err(refused(&self.0, "lies below a whiteout"));
        }
        match last.strip_prefix(WHITEOUT) {
            None => Ok(Meaning::Plain(self)),
            Some(_) if last == OPAQUE => Ok(Meaning::Opaque(parent)),
            Some(b"" | b"." | b"..") => Err(refused(&self.0, "is a whiteout of no name")),
            Some(hidden) => Ok(Meaning::Whiteout(parent.join(hidden))),
        }
    }
}

/// Turns a system call's failure on a name in a tree into an error.
pub(crate) fn failed(action: &'static str, name: &Name) -> impl FnOnce(Errno) -> Error {
    io(action, name.as_path().to_owned())
}

pub(crate) fn refused(name: &[u8], rule: &'static str) -> Error {
    Error::Refused { name: name[..name.len().min(512)].escape_ascii().to_string(), rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(text: &str) -> Result<Meaning> {
        Name::parse(text.as_bytes())?.meaning()
    }

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_come_to_one_form() {
        for text in ["a/b", "/a/b", "./a//b/", "//a/./b"] {
            assert_eq!(name(text).as_bytes(), b"a/b", "{text}");
        }
        assert!(name("./").is_root() && name("/").is_root() && name("").is_root());
    }

    #[test]
    fn names_that_lead_out_or_nowhere_are_refused() {
        let long = "a/".repeat(3000);
        let wide = "a".repeat(256);
        for text in
            ["..", "a/../b", "a/..", "/../etc", "a\0b", &long, &wide, ".wh.", ".wh..", ".wh...", "a/.wh.b/c"]
        {
            assert!(matches!(meaning(text), Err(Error::Refused { .. })), "{text}");
        }
    }

    #[test]
    fn whiteouts_are_told_from_files() {
        assert_eq!(meaning("a/.wh.b").unwrap(), Meaning::Whiteout(name("a/b")));
        assert_eq!(meaning(".wh.b").unwrap(), Meaning::Whiteout(name("b")));
        assert_eq!(meaning("a/.wh..wh..opq").unwrap(), Meaning::Opaque(name("a")));
        assert_eq!(meaning(".wh..wh.plnk/1.2").unwrap(), Meaning::Ignored);
        assert_eq!(meaning("a.wh.b").unwrap(), Meaning::Plain(name("a.wh.b")));
    }
}
