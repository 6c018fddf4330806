//! Files out of git repositories, fetched by the program `git` of this machine. It is given nothing to believe: no
//! configuration but ours, no hooks, no helpers for passwords, no protocol but four, and never a word that looks like a flag.

mod address;
mod left;
mod modules;
mod program;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use tare_registry::Named;
use tare_sys::path::open_in_root;

use crate::error::io;
use crate::files::within;
use crate::scratch::Scrap;
use crate::{Builder, Error, Result, blocking};

pub(crate) use address::{Address, is_git};
use left::{LIST, Left};
use program::Program;

/// Repositories in each other: more are an attack.
const DEPTH: usize = 16;

/// What a fetch may lean on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fetch {
    pub address: Address,
    pub named: Named,
    /// Whether `.git` stays.
    pub keep: bool,
    /// The agent for ssh.
    pub agent: Option<PathBuf>,
}

/// The files of a commit. They go with this value.
#[derive(Debug)]
pub(crate) struct Checkout {
    root: OwnedFd,
    /// Where they stand, for mounts.
    pub path: PathBuf,
    /// Its name in hexadecimal digits.
    pub commit: String,
    /// Who names what its files name.
    pub names: Named,
    _scrap: Arc<Scrap>,
}

impl Checkout {
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(crate) fn try_clone_root(&self) -> Result<OwnedFd> {
        self.root.try_clone().map_err(io("open a repository's files again"))
    }
}

/// Fetches one commit with its submodules and with nothing of what came before it, where the server can do that. Dropping the
/// future ends git.
pub(crate) async fn checkout(builder: &Builder, fetch: Fetch) -> Result<Checkout> {
    let mut left = Left::default();
    let Fetched { scrap, tree, commit, names } = repository(builder, &fetch, DEPTH, &mut left).await?;
    blocking(move || {
        let top = crate::job::open_directory(&tree)?;
        let directory = &fetch.address.directory;
        let root =
            open_in_root(top.as_fd(), directory, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|why| {
                let shown = fetch.address.shown();
                Error::Request(format!("{shown}: {} in the repository: {why}", directory.display()))
            })?;
        let path = within(&tree, &root)?;
        Ok(Checkout { root, path, commit, names, _scrap: Arc::new(scrap) })
    })
    .await
}

/// The files of a commit in a place of their own.
struct Fetched {
    scrap: Scrap,
    tree: PathBuf,
    commit: String,
    names: Named,
}

async fn repository(builder: &Builder, fetch: &Fetch, depth: usize, left: &mut Left) -> Result<Fetched> {
    let (url, host) = (&fetch.address.url, fetch.address.host());
    let found = builder.registry.repository(url, host, fetch.named).await?;
    // Submodules stand beside the address that was named, and are led on like it.
    let address = Address { url: found.address, ..fetch.address.clone() };
    let moved = Fetch { address, ..fetch.clone() };
    let scrap = builder.on_disk.scrap()?;
    let tree = scrap.path().join("tree");
    std::fs::create_dir(&tree).map_err(io("make a directory"))?;
    let program = Program::find(&moved, scrap.path())?.at(found.found);
    one_commit(&program, &moved.address, left).await?;
    let names = if fetch.named == Named::Elsewhere { Named::Elsewhere } else { found.names };
    let modules = modules::named(&program, fetch).await?;
    let too_many = || Error::Limit(format!("{}: too many submodules in each other", fetch.address.shown()));
    if !modules.is_empty() && depth == 0 {
        return Err(too_many());
    }
    for module in modules {
        left.modules = left.modules.checked_sub(1).ok_or_else(too_many)?;
        let below = Fetch { address: module.address.clone(), named: names, ..fetch.clone() };
        let fetched = Box::pin(repository(builder, &below, depth - 1, left)).await?;
        if Some(&fetched.commit) != below.address.reference.as_ref() {
            let shown = below.address.shown();
            return Err(Error::Request(format!(
                "{shown}: git has checked out another commit than was wanted"
            )));
        }
        let tree = tree.clone();
        blocking(move || modules::place(&tree, &module, &fetched.tree)).await?;
    }
    let (keep, shown) = (fetch.keep, fetch.address.shown());
    blocking(move || {
        let commit = settle(&tree, &scrap, keep, &shown)?;
        Ok(Fetched { scrap, tree, commit, names })
    })
    .await
}

/// Fetches what an address means, and checks it out where its files are within the limits.
async fn one_commit(program: &Program, address: &Address, left: &mut Left) -> Result<()> {
    let (url, wanted) = (address.url.as_str(), address.reference.as_deref());
    program.run(&["init", "-q", "--template="]).await?;
    let wanted = wanted.unwrap_or("HEAD");
    let shallow = ["fetch", "-q", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", url, wanted];
    let (checked, first) = match program.run(&shallow).await {
        Ok(()) => ("FETCH_HEAD", None),
        Err(full @ Error::Limit(_)) => return Err(full),
        Err(why) => {
            // A server that has no shallow answers, or gives away no commit that it does not name.
            let all =
                ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*", "+HEAD:refs/tare/head"];
            let whole = ["fetch", "-q", "--no-tags", "--no-recurse-submodules", "--", url];
            match program.run(&[&whole[..], &all].concat()).await {
                Ok(()) => {}
                Err(full @ Error::Limit(_)) => return Err(full),
                Err(_) => return Err(why),
            }
            (if wanted == "HEAD" { "refs/tare/head" } else { wanted }, Some(why))
        }
    };
    let remote = format!("refs/remotes/origin/{checked}");
    let mut list = program.ask(&[&LIST[..], &[checked]].concat()).await;
    let mut name = checked;
    if matches!(list, Err(Error::Request(_)))
        && let Ok(other) = program.ask(&[&LIST[..], &[&remote]].concat()).await
    {
        (list, name) = (Ok(other), &remote);
    }
    // What was asked for is not there, which the server has said better.
    let list = list.map_err(|why| match (why, first) {
        (Error::Request(_), Some(first)) => first,
        (why, _) => why,
    })?;
    left.take(list).map_err(|why| Error::Limit(format!("{}: {why}", address.shown())))?;
    program.run(&["checkout", "-q", "--detach", "--no-recurse-submodules", name, "--"]).await
}

/// Takes away what git keeps, or what of it differs from one fetch to the next; the name of the commit. Blocking.
fn settle(tree: &Path, scrap: &Scrap, keep: bool, shown: &str) -> Result<String> {
    let git = tree.join(".git");
    let head = std::fs::read_to_string(git.join("HEAD")).map_err(io("read which commit was fetched"))?;
    let commit = head.trim().to_owned();
    if commit.len() < 40 || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::Request(format!("{shown}: git has checked out no commit")));
    }
    if keep {
        // It says from where and when it was fetched.
        for name in ["FETCH_HEAD", "logs"].map(|name| git.join(name)) {
            let _ = std::fs::remove_file(&name).or_else(|_| scrap.end(&name));
        }
    } else {
        // Names of branches, which a server chooses, are directories in it.
        scrap.end(&git).map_err(io("remove what git keeps"))?;
    }
    Ok(commit)
}
