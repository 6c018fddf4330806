//! `RUN --mount`: what each kind comes to in the container of the step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tare_container::{BindPropagation, MountSource, MountSpec, TmpfsOptions};
use tare_dockerfile::{BindMount, CacheMount, Mount, Run, SecretMount, SshMount, Word};

use super::keep::{Keep, Making, Wanted};
use crate::cache::key::Key;
use crate::error::io;
use crate::files::place::{Owner, Place};
use crate::files::{Files, hash, walk_picked, within};
use crate::job::{Job, Tree};
use crate::scratch::Scrap;
use crate::stage::state::clean;
use crate::{Error, Result};

/// The mounts of one step, and what they need for as long as it runs.
#[derive(Default)]
pub(crate) struct Mounted {
    pub mounts: Vec<MountSpec>,
    /// `NAME=value`
    pub variables: Vec<String>,
    workdir: PathBuf,
    scraps: Vec<Scrap>,
    keeps: Vec<Keep>,
    trees: Vec<Tree>,
}

impl Mounted {
    /// A target as the Dockerfile names it, from the root.
    fn target(&self, text: &str) -> PathBuf {
        clean(&self.workdir.join(text))
    }

    pub(crate) fn bind(&mut self, path: &Path, target: impl AsRef<Path>, read_only: bool) {
        let (target, source) = (target.as_ref().to_owned(), bound(path.to_owned()));
        self.mounts.push(MountSpec { target, source, read_only });
    }
}

/// Adds what the mounts of a step are to its key: for binds what is in them, for secrets and agents their names alone.
pub(crate) async fn describe(job: &Arc<Job>, run: &Run<String>, key: &mut Key) -> Result<()> {
    for mount in &run.mounts {
        key.add(format!("{mount:?}"));
        if let Mount::Bind(bind) = mount {
            let (tree, what) = job.tree(bind.from.as_ref()).await?;
            match &tree {
                Tree::Layers { top, .. } => {
                    key.maybe(top.map(|top| top.to_string()));
                }
                Tree::Directory(_) => {
                    let (source, job) = (bind.source.clone().unwrap_or_default(), job.clone());
                    let digest = crate::blocking(move || {
                        let picked = tree.files(&job, what)?.open(&clean(Path::new(&source)))?;
                        let mut key = Key::new("bind");
                        hash(&mut key, &picked, &|_| false, true)?;
                        Ok(key.finish())
                    });
                    key.add(digest.await?.to_string());
                }
            }
        }
    }
    Ok(())
}

/// Makes everything that is mounted in a step.
pub(crate) async fn prepare(job: &Arc<Job>, run: &Run<String>, workdir: &Path) -> Result<Mounted> {
    let mut mounted = Mounted { workdir: workdir.to_owned(), ..Mounted::default() };
    let mut agents = 0;
    for mount in &run.mounts {
        match mount {
            Mount::Bind(bind) => self::bind(job, bind, &mut mounted).await?,
            Mount::Cache(cache) => self::cache(job, cache, &mut mounted).await?,
            Mount::Tmpfs { target, size } => {
                let options = vec!["exec".to_owned(), "suid".to_owned()];
                let source = MountSource::Tmpfs(TmpfsOptions { size: *size, mode: None, options });
                mounted.mounts.push(MountSpec { target: mounted.target(target), source, read_only: false });
            }
            Mount::Secret(secret) => self::secret(job, secret, &mut mounted)?,
            Mount::Ssh(ssh) => self::ssh(job, ssh, agents, &mut mounted).map(|()| agents += 1)?,
        }
    }
    Ok(mounted)
}

async fn bind(job: &Arc<Job>, bind: &BindMount<String>, mounted: &mut Mounted) -> Result<()> {
    let at = mounted.target(&bind.target);
    let (tree, what) = job.tree(bind.from.as_ref()).await?;
    let source = clean(Path::new(bind.source.as_deref().unwrap_or_default()));
    let (work, writable) = (job.clone(), bind.writable);
    let (shown, scrap, tree) = crate::blocking(move || {
        let shown = shown(&work, (&tree, what), &source, writable)?;
        Ok((shown.0, shown.1, tree))
    })
    .await?;
    mounted.mounts.push(MountSpec { target: at, source: shown, read_only: !bind.writable });
    mounted.scraps.extend(scrap);
    mounted.trees.push(tree);
    Ok(())
}

/// What shows a part of a tree, and what that needs while it is mounted. A copy is made only of what is to be written to and
/// cannot be covered by an overlay.
fn shown(
    job: &Job,
    (tree, what): (&Tree, String),
    source: &Path,
    writable: bool,
) -> Result<(MountSource, Option<Scrap>)> {
    match tree {
        // Nobody else writes there: its own path, links resolved inside, is what is mounted. One that is no text is copied, as
        // a mount is told in text.
        Tree::Directory(directory) if !writable => {
            let picked = tree.files(job, what.clone())?.open(source)?;
            let path = within(directory, &picked.open)?;
            if path.to_str().is_some() {
                return Ok((bound(path), None));
            }
        }
        Tree::Layers { top: Some(top), .. } => {
            let scrap = job.build.builder.on_disk.scrap()?;
            let part = job.build.builder.engine.snapshots().part(top, source, scrap.path(), writable);
            match part.map_err(|error| missing(error, &what))? {
                Some(mount) if mount.kind == "overlay" => {
                    return Ok((MountSource::Overlay { options: mount.options }, Some(scrap)));
                }
                Some(mount) => return Ok((bound(mount.source.into()), None)),
                None => {}
            }
        }
        Tree::Directory(_) | Tree::Layers { .. } => {}
    }
    let (scrap, path) = copied(job, &tree.files(job, what)?, source)?;
    Ok((bound(path), Some(scrap)))
}

fn missing(error: tare_snapshot::Error, what: &str) -> Error {
    match error {
        tare_snapshot::Error::Lookup { .. } => Error::Request(format!("RUN --mount: {what}: {error}")),
        other => other.into(),
    }
}

fn bound(path: PathBuf) -> MountSource {
    MountSource::Bind { path, create: false, propagation: BindPropagation::default(), non_recursive: true }
}

/// A copy of a part of a tree.
fn copied(job: &Job, files: &Files, source: &Path) -> Result<(Scrap, PathBuf)> {
    let scrap = job.build.builder.on_disk.scrap()?;
    let picked = files.open(source)?;
    let path = scrap.path().join("tree");
    std::fs::create_dir(&path).map_err(io("make a directory"))?;
    fill(&path, files, source)?;
    let path = if picked.is_directory() { path } else { path.join(picked.name()) };
    Ok((scrap, path))
}

/// Copies what is at `source` into the directory `path`.
fn fill(path: &Path, files: &Files, source: &Path) -> Result<()> {
    let picked = files.open(source)?;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let root = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(io("open a directory"))?;
    let mut place = Place::open(std::os::fd::AsFd::as_fd(&root), Path::new("/"), Owner::Kept, None)?;
    if picked.is_directory() {
        place.describe(&root, &picked.stat, true).map_err(io("describe a directory"))?;
        walk_picked(&picked, &|_| false, &mut |found| place.put(found))?;
    } else {
        place.file_from(picked.file()?, &picked.name(), &picked.stat, &picked.path)?;
    }
    place.finish()
}

async fn cache(job: &Arc<Job>, cache: &CacheMount<String>, mounted: &mut Mounted) -> Result<()> {
    let at = mounted.target(&cache.target);
    let id = cache.id.clone().unwrap_or_else(|| at.display().to_string());
    let (mode, uid, gid) = (cache.mode, cache.uid, cache.gid);
    let wanted = Wanted { id: &id, sharing: cache.sharing, mode, uid, gid };
    let builder = &job.build.builder;
    let (keep, making) = builder.keeps.take(&builder.on_disk, &wanted).await?;
    if let Some(making) = making {
        builder.keeps.settle(&keep, filled(job, cache, making).await?).await?;
    }
    mounted.bind(&keep.path, at, cache.read_only);
    mounted.keeps.push(keep);
    Ok(())
}

/// A new directory with what it begins with.
async fn filled(job: &Arc<Job>, cache: &CacheMount<String>, making: Making) -> Result<Making> {
    if cache.from.is_none() && cache.source.is_none() {
        return Ok(making);
    }
    let (tree, what) = job.tree(cache.from.as_ref()).await?;
    let source = clean(Path::new(cache.source.as_deref().unwrap_or_default()));
    let job = job.clone();
    crate::blocking(move || {
        fill(&making.path(), &tree.files(&job, what)?, &source)?;
        Ok(making)
    })
    .await
}

fn secret(job: &Job, secret: &SecretMount<String>, mounted: &mut Mounted) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let Some(value) = job.build.context.secret(&secret.id) else {
        return if secret.required {
            let id = &secret.id;
            Err(Error::Request(format!("secret {id}: not found: give it with --secret id={id},src=FILE")))
        } else {
            Ok(())
        };
    };
    if let Some(name) = &secret.env {
        let text = std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'));
        let text =
            text.ok_or_else(|| Error::Request(format!("secret {} is no text for a variable", secret.id)))?;
        mounted.variables.push(format!("{name}={text}"));
    }
    if secret.env.is_some() && secret.target.is_none() {
        return Ok(());
    }
    let at = secret.target.clone().unwrap_or_else(|| format!("/run/secrets/{}", secret.id));
    let scrap = job.build.builder.in_memory.scrap()?;
    let file = scrap.path().join("secret");
    std::fs::write(&file, value)
        .and_then(|()| std::os::unix::fs::chown(&file, Some(secret.uid), Some(secret.gid)))
        .and_then(|()| std::fs::set_permissions(&file, PermissionsExt::from_mode(secret.mode & 0o7777)))
        .map_err(io("keep a secret in memory"))?;
    let at = mounted.target(&at);
    mounted.bind(&file, at, true);
    mounted.scraps.push(scrap);
    Ok(())
}

fn ssh(job: &Job, ssh: &SshMount<String>, number: usize, mounted: &mut Mounted) -> Result<()> {
    let id = ssh.id.as_deref().unwrap_or("default");
    let Some(socket) = job.build.run.ssh.get(id) else {
        return if ssh.required {
            Err(Error::Request(format!("ssh agent {id}: not found: give it with --ssh {id}")))
        } else {
            Ok(())
        };
    };
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::metadata(socket).is_ok_and(|found| found.file_type().is_socket());
    if !is_socket {
        return Err(Error::Request(format!("ssh agent {id}: {} is no socket", socket.display())));
    }
    let at = ssh.target.clone().unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{number}"));
    let at = mounted.target(&at);
    mounted.variables.push(format!("SSH_AUTH_SOCK={}", at.display()));
    mounted.bind(socket, at, true);
    Ok(())
}

/// For messages.
pub(crate) fn called(from: Option<&Word>) -> String {
    from.map_or_else(|| "build context".to_owned(), |word| format!("stage or image {word}"))
}
