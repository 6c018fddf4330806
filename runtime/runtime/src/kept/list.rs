use std::fs;
use std::io;
use std::path::Path;

use super::{Kept, unreadable};
use crate::error::{Error, Result};

/// All containers below a root, by id.
///
/// # Errors
/// When the root cannot be read; that there is none is no error.
pub fn list(root: &Path) -> Result<Vec<Kept>> {
    let entries = match fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| unreadable(root, &e))?,
    };
    let mut ids: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    ids.sort_unstable();
    let mut found = Vec::new();
    for id in ids {
        match Kept::open(root, &id) {
            Ok(kept) => found.push(kept),
            // Not ours, being made, or deleted meanwhile.
            Err(Error::NoContainer | Error::Spec { .. } | Error::Foreign { .. }) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}
