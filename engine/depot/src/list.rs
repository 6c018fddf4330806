//! Lists in order, page by page.

use std::path::Path;

use crate::files::{self, Shelf};
use crate::{Depot, Error, Name, Result};

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of their bytes.
    pub names: Vec<String>,
    /// Whether others come after them.
    pub more: bool,
}

impl Depot {
    /// Tags of a repository after `last`, at most `limit`.
    pub fn tags(&self, name: &Name, last: Option<&str>, limit: usize) -> Result<Page> {
        self.known(name)?;
        Ok(page(files::names(&self.shelf(name, Shelf::Tags))?, last, limit))
    }

    /// Repositories after `last`, at most `limit`.
    pub fn repositories_after(&self, last: Option<&str>, limit: usize) -> Result<Page> {
        let mut names: Vec<String> = self.all()?.iter().map(ToString::to_string).collect();
        names.sort_unstable();
        Ok(page(names, last, limit))
    }

    /// Every repository that something was pushed to.
    pub(crate) fn all(&self) -> Result<Vec<Name>> {
        let mut found = Vec::new();
        walk(&self.repositories(), "", &mut found)?;
        let mut known = Vec::new();
        for name in found {
            match self.known(&name) {
                Ok(()) => known.push(name),
                Err(Error::NameUnknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(known)
    }
}

fn walk(directory: &Path, prefix: &str, found: &mut Vec<Name>) -> Result<()> {
    for component in files::names(directory)? {
        let name = if prefix.is_empty() { component.clone() } else { format!("{prefix}/{component}") };
        // Our own directories have names that no repository can have.
        if let Ok(parsed) = name.parse() {
            found.push(parsed);
            walk(&directory.join(&component), &name, found)?;
        }
    }
    Ok(())
}

fn page(names: Vec<String>, last: Option<&str>, limit: usize) -> Page {
    let mut after = names.into_iter().filter(|name| last.is_none_or(|last| name.as_str() > last));
    let names: Vec<String> = after.by_ref().take(limit).collect();
    Page { names, more: after.next().is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let all = || ["a", "b", "c"].map(str::to_owned).to_vec();
        let cut = |last, limit| {
            let page = page(all(), last, limit);
            (page.names.join(""), page.more)
        };
        assert_eq!(cut(None, 2), ("ab".to_owned(), true));
        assert_eq!(cut(Some("b"), 2), ("c".to_owned(), false));
        assert_eq!(cut(Some("ab"), 1), ("b".to_owned(), true));
        assert_eq!(cut(None, 0), (String::new(), true));
        assert_eq!(cut(Some("z"), 9), (String::new(), false));
    }
}
