//! What ADD takes from the web: fetched each time, as what a server says of its files (ETag, dates) is no proof.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::StreamExt;
use tare_model::Digest;
use tare_registry::{Named, Registry};

use super::{From, Remote, is_header};
use crate::error::io;
use crate::files::Files;
use crate::git::{self, Checkout};
use crate::job::Job;
use crate::request::Source;
use crate::scratch::Scrap;
use crate::{Error, Result};

/// The most bytes of one file.
const LIMIT: u64 = 16 << 30;

/// What was fetched. It goes with this value.
pub(crate) enum Fetched {
    File { scrap: Scrap, name: String, unpack: bool },
    Repository { checkout: Checkout, keep: bool },
}

impl Fetched {
    /// It as something to copy from.
    pub(crate) fn from(&self) -> Result<From> {
        match self {
            Self::File { scrap, name, unpack } => {
                let root = crate::job::open_directory(scrap.path())?;
                let files = Files { root: Some(root), what: "web".to_owned() };
                // Its name is one component, and no pattern.
                let sources = vec![name.chars().flat_map(escaped).collect()];
                Ok(From { files, sources, unpack: *unpack, commit: None })
            }
            Self::Repository { checkout, keep } => {
                let files = Files { root: Some(checkout.try_clone_root()?), what: "repository".to_owned() };
                // What git keeps beside the files differs each time; the commit stands for it.
                let commit = keep.then(|| checkout.commit.clone());
                Ok(From { files, sources: vec!["/".to_owned()], unpack: false, commit })
            }
        }
    }
}

fn escaped(c: char) -> Vec<char> {
    if matches!(c, '*' | '?' | '[' | '\\') { vec!['\\', c] } else { vec![c] }
}

/// The context behind an address of the web: an archive, or a Dockerfile alone. And who names what it names.
pub(crate) async fn source(registry: &Arc<Registry>, address: &str) -> Result<(Source, Named)> {
    let download = registry.download(address, Named::Here).await?;
    let (mut body, names) = (download.body, download.names);
    let shown = tare_registry::shown(address);
    let mut first = Vec::new();
    while first.len() < 512 {
        let Some(piece) = body.next().await else { break };
        first.extend_from_slice(&piece.map_err(|why| Error::Request(format!("{shown}: {why}")))?);
    }
    if tare_image::is_wrapped(&first) || first.get(..512).is_some_and(is_header) {
        let first = futures_util::stream::once(std::future::ready(Ok(first.into())));
        return Ok((Source::Archive { archive: first.chain(body).boxed(), reserved: false }, names));
    }
    while let Some(piece) = body.next().await {
        first.extend_from_slice(&piece.map_err(|why| Error::Request(format!("{shown}: {why}")))?);
        if first.len() > tare_dockerfile::LARGEST {
            return Err(Error::Limit(format!("{shown} is no archive and too large for a Dockerfile")));
        }
    }
    Ok((Source::Dockerfile(first), names))
}

/// Fetches all files of a step, one after the other.
pub(crate) async fn all(job: &Arc<Job>, remote: &[Remote]) -> Result<Vec<Fetched>> {
    let mut fetched = Vec::new();
    for one in remote {
        fetched.push(self::one(job, one).await?);
    }
    Ok(fetched)
}

async fn one(job: &Arc<Job>, remote: &Remote) -> Result<Fetched> {
    match remote {
        Remote::File { address, checksum, unpack } => file(job, address, *checksum, *unpack).await,
        Remote::Repository { address, commit, keep } => {
            repository(job, address, commit.as_deref(), *keep).await
        }
    }
}

async fn repository(job: &Arc<Job>, address: &str, commit: Option<&str>, keep: bool) -> Result<Fetched> {
    let shown = tare_registry::shown(address);
    let agent = job.build.run.ssh.get("default").cloned();
    let named = job.build.context.names;
    let fetch = git::Fetch { address: git::Address::parse(address)?, named, keep, agent };
    let checkout = git::checkout(&job.build.builder, fetch).await?;
    if let Some(wanted) = commit.filter(|wanted| !checkout.commit.starts_with(wanted)) {
        let found = &checkout.commit;
        return Err(Error::Request(format!(
            "ADD {shown}: it is the commit {found}, and --checksum wants {wanted}"
        )));
    }
    Ok(Fetched::Repository { checkout, keep })
}

async fn file(job: &Arc<Job>, address: &str, checksum: Option<Digest>, unpack: bool) -> Result<Fetched> {
    let mut download = job.build.builder.registry.download(address, job.build.context.names).await?;
    let shown = tare_registry::shown(address);
    let name =
        download.name.take().filter(|name| !matches!(name.as_str(), "." | "..") && !name.contains('\0'));
    let name = name.ok_or_else(|| {
        Error::Request(format!(
            "ADD {shown}: the address names no file; end the destination with a file name"
        ))
    })?;
    let scrap = job.build.builder.on_disk.scrap()?;
    let step = || format!("write what comes from {shown}");
    let mut file = File::create(scrap.path().join(&name)).map_err(io(step()))?;
    let (mut hash, mut bytes) = (Context::new(&SHA256), 0_u64);
    while let Some(piece) = download.body.next().await {
        let piece = piece.map_err(|why| Error::Request(format!("ADD {shown}: {why}")))?;
        bytes += piece.len() as u64;
        if bytes > LIMIT {
            return Err(Error::Limit(format!("ADD {shown}: the file has more than {LIMIT} bytes")));
        }
        hash.update(&piece);
        file.write_all(&piece).map_err(io(step()))?;
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    let found = Digest::from_bytes(digest);
    if let Some(expected) = checksum.filter(|expected| *expected != found) {
        let message =
            format!("ADD {shown}: the file has the digest {found}, and --checksum wants {expected}");
        return Err(Error::Request(message));
    }
    let modified = download.modified.map_or(std::time::UNIX_EPOCH, |moment| {
        let seconds = u64::try_from(moment.seconds).unwrap_or(0);
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
    });
    use std::os::unix::fs::PermissionsExt;
    file.set_modified(modified)
        .and_then(|()| file.set_permissions(std::fs::Permissions::from_mode(0o600)))
        .map_err(io(step()))?;
    Ok(Fetched::File { scrap, name, unpack })
}
