//! Submodules: repositories that a repository names by an address and a commit. `git submodule` takes no part, which would
//! work within files that somebody else has made (CVE-2018-11235, CVE-2018-17456, CVE-2024-32002): each one is fetched like
//! the repository itself, into a place of its own, and moved where the commit has an empty directory for it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, renameat};
use tare_sys::path::open_without_links;

use super::program::Program;
use super::{Address, Fetch};
use crate::error::io;
use crate::{Error, Result};

/// The most bytes of a `.gitmodules`.
const LARGEST: u64 = 4 << 20;

/// A repository that another one names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// Where it goes, from the top of the one that names it.
    pub path: PathBuf,
    pub address: Address,
}

/// What the commit that was checked out names.
pub(super) async fn named(program: &Program, fetch: &Fetch) -> Result<Vec<Module>> {
    let links = links(program.ask(&["ls-files", "-s", "-z"]).await?)?;
    if links.is_empty() {
        return Ok(Vec::new());
    }
    // Out of the commit and not out of the files, where it could be a link.
    let asked =
        ["config", "--blob=HEAD:.gitmodules", "-z", "--get-regexp", r"^submodule\..*\.(path|url|update)$"];
    let mut told = Vec::new();
    match program.ask(&asked).await {
        Ok(answer) => {
            answer.take(LARGEST).read_to_end(&mut told).map_err(io("read which submodules there are"))?;
        }
        // The commit has no such file.
        Err(Error::Request(_)) => {}
        Err(why) => return Err(why),
    }
    join(links, &told, fetch)
}

/// The commits in an index, each with its path (git-ls-files(1), "OUTPUT").
fn links(listed: impl Read) -> Result<Vec<(PathBuf, String)>> {
    let mut links = Vec::new();
    for line in BufReader::new(listed).split(0) {
        let line = line.map_err(io("read which submodules there are"))?;
        let Some(rest) = line.strip_prefix(b"160000 ") else { continue };
        let Some(at) = rest.iter().position(|byte| *byte == b'\t') else { continue };
        let commit = String::from_utf8_lossy(&rest[..at]).split(' ').next().unwrap_or_default().to_owned();
        links.push((PathBuf::from(OsStr::from_bytes(&rest[at + 1..])), commit));
    }
    Ok(links)
}

/// Finds the address of each link in what `.gitmodules` says.
fn join(links: Vec<(PathBuf, String)>, told: &[u8], fetch: &Fetch) -> Result<Vec<Module>> {
    let mut sections: BTreeMap<&[u8], BTreeMap<&[u8], &[u8]>> = BTreeMap::new();
    for pair in told.split(|byte| *byte == 0) {
        let Some(end) = pair.iter().position(|byte| *byte == b'\n') else { continue };
        let Some(dot) = pair[..end].iter().rposition(|byte| *byte == b'.') else { continue };
        sections.entry(&pair[..dot]).or_default().insert(&pair[dot + 1..end], &pair[end + 1..]);
    }
    let mut modules = Vec::new();
    for (path, commit) in links {
        let is_it = |keys: &&BTreeMap<&[u8], &[u8]>| {
            keys.get(&b"path"[..]).is_some_and(|told| Path::new(OsStr::from_bytes(told)) == path)
        };
        let keys = sections.values().find(is_it);
        if keys.is_some_and(|keys| keys.get(&b"update"[..]) == Some(&&b"none"[..])) {
            continue;
        }
        let shown = || format!("the submodule {} of {}", path.display(), fetch.address.shown());
        let url = keys.and_then(|keys| keys.get(&b"url"[..])).and_then(|url| std::str::from_utf8(url).ok());
        let url =
            url.ok_or_else(|| Error::Request(format!("{}: .gitmodules tells no url for it", shown())))?;
        let address = fetch.address.beside(url, commit);
        let address = address.map_err(|why| Error::Request(format!("{}: {why}", shown())))?;
        modules.push(Module { path, address });
    }
    Ok(modules)
}

/// Moves the files of a submodule to where the commit has an empty directory for them. Blocking.
pub(super) fn place(tree: &Path, module: &Module, files: &Path) -> Result<()> {
    let failed = || format!("put the submodule {} in its place", module.path.display());
    let top = crate::job::open_directory(tree)?;
    let above = module.path.parent().filter(|above| *above != Path::new("")).unwrap_or(Path::new("."));
    let above = open_without_links(top.as_fd(), above, OFlags::RDONLY | OFlags::DIRECTORY);
    let above = above.map_err(io(failed()))?;
    let name = module.path.file_name().unwrap_or_default();
    // Nothing but an empty directory can be replaced so.
    renameat(CWD, files, &above, name).map_err(io(failed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(text: &str) -> Fetch {
        Fetch { address: Address::parse(text).unwrap(), ..Fetch::default() }
    }

    #[test]
    fn links_of_the_index_find_their_addresses() {
        let listed =
            b"100644 aa 0\ta\x00160000 1234 0\tlib/one\x00160000 5678 0\ttwo\x00160000 9999 0\tnever\0";
        let told = b"submodule.x.path\nlib/one\0submodule.x.url\n../one.git\0submodule.a.b.path\ntwo\0\
            submodule.a.b.url\nhttps://o/two\0submodule.n.path\nnever\0submodule.n.update\nnone\0";
        let links = links(&listed[..]).unwrap();
        let modules = join(links, told, &fetch("https://h/g/app.git#v1:sub")).unwrap();
        let found: Vec<_> = modules
            .iter()
            .map(|module| {
                (
                    module.path.to_str().unwrap(),
                    module.address.url.as_str(),
                    module.address.reference.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [("lib/one", "https://h/g/one.git", Some("1234")), ("two", "https://o/two", Some("5678"))]
        );
    }

    #[test]
    fn a_link_without_an_address_is_named() {
        for told in
            [&b""[..], b"submodule.x.path\nother\0submodule.x.url\n../one.git\0", b"submodule.x.path\nlib\0"]
        {
            let links = vec![(PathBuf::from("lib"), "1234".to_owned())];
            let said = join(links, told, &fetch("https://u:pw@h/app.git")).unwrap_err().to_string();
            assert_eq!(said, "the submodule lib of https://h/app.git: .gitmodules tells no url for it");
        }
    }

    #[test]
    fn files_go_nowhere_but_into_an_empty_directory() {
        let home = tempfile::tempdir().unwrap();
        let (tree, outside) = (home.path().join("tree"), home.path().join("outside"));
        for made in [&tree.join("dir/empty"), &tree.join("full/x"), &outside.join("empty")] {
            std::fs::create_dir_all(made).unwrap();
        }
        std::os::unix::fs::symlink(&outside, tree.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.join("empty"), tree.join("leads")).unwrap();
        let put = |path: &str| {
            let files = home.path().join("files");
            std::fs::create_dir_all(&files).unwrap();
            std::fs::write(files.join("f"), "x").unwrap();
            let module = Module { path: path.into(), address: Address::default() };
            place(&tree, &module, &files)
        };
        put("dir/empty").unwrap();
        assert!(tree.join("dir/empty/f").exists());
        for bad in ["link/empty", "leads", "full", "../outside/empty", "missing/dir"] {
            assert!(put(bad).is_err(), "{bad}");
        }
        assert_eq!(std::fs::read_dir(outside.join("empty")).unwrap().count(), 0);
    }
}
