//! Trees of files that nobody trusts: what names mean, what describes a file, its bytes, and the walk over all of them. Every
//! step is taken from an open directory, so that no symlink leads the kernel elsewhere.

mod content;
mod follow;
mod mark;
mod metadata;
mod name;
mod open;
mod walk;

pub(crate) use content::{copy_file, holes, same_content};
pub(crate) use follow::follow;
pub(crate) use mark::{OPAQUE, REDIRECT, is_opaque, is_whiteout};
pub(crate) use metadata::{Metadata, Time, Xattr, is_welcome};
pub(crate) use name::{Meaning, Name, failed, refused};
pub(crate) use open::{
    kind, names, open_directory, open_file, open_in_tree, read_link, reopen_directory, there,
};
pub(crate) use walk::{Found, Go, walk};
