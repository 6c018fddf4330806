//! What is sent of a context, and in which order: secrets, a Dockerfile from elsewhere, further contexts, the end of these, the
//! files.

use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tare_docker_api::{CONTEXTS, DOCKERFILE, RESERVED_END};
use tare_dockerfile::{Dockerfile, Ignore, ignore_files};
use tokio::sync::mpsc::{Receiver, channel};

use super::context::{self, Given, Named};
use super::pack::{self, Pieces, Tree};
use super::request::Request;
use super::secrets::{self, Secret};
use crate::call::Call;
use crate::failure::{Failure, Result};

/// The largest `.dockerignore`, in bytes; the language refuses smaller ones already.
const IGNORE_MOST: u64 = 2 << 20;
/// How many pieces wait for the connection.
const AHEAD: usize = 8;

/// A build that is ready to be sent.
pub(crate) struct Prepared {
    pub(crate) body: Body,
    /// Parameters that the context asks for.
    pub(crate) query: Vec<(&'static str, String)>,
    /// The Dockerfile, where it is here.
    pub(crate) parsed: Option<Dockerfile>,
}

/// What goes into the body.
#[derive(Default)]
pub(crate) struct Body {
    secrets: Vec<Secret>,
    dockerfile: Option<Vec<u8>>,
    /// Further contexts: prefix in the archive, directory, what is left out.
    further: Vec<(String, PathBuf, Ignore)>,
    /// The context, where it is a directory.
    context: Option<(PathBuf, Ignore)>,
    /// An archive that came ready-made: what has been read of it, and whether it is compressed.
    archive: Option<Vec<u8>>,
}

/// Looks at the context, and reads the Dockerfile where it is here. Nothing is sent yet.
pub(crate) fn prepare(call: &Call, request: &Request) -> Result<Prepared> {
    let operand = call.given.operands.first().map_or(".", String::as_str);
    let file = call.given.text("file").filter(|file| !file.is_empty());
    let named = context::named(operand);
    let from_stdin = file == Some("-");
    if from_stdin && named == Named::Stdin {
        return Err(Failure::usage("standard input cannot be the context and the Dockerfile at once"));
    }
    let mut prepared = Prepared { body: Body::default(), query: Vec::new(), parsed: None };
    if from_stdin {
        let bytes = context::read_dockerfile(Vec::new(), io::stdin().lock())?;
        prepared.dockerfile("Dockerfile", bytes, true)?;
    }
    match named {
        Named::Remote(url) => {
            prepared.query.push(("remote", url));
            prepared.query.extend(file.filter(|_| !from_stdin).map(|file| ("dockerfile", file.to_owned())));
        }
        Named::Stdin => stdin(&mut prepared, file, request)?,
        Named::Directory(directory) => local(&mut prepared, &directory, file.filter(|_| !from_stdin))?,
    }
    further(&mut prepared, request)?;
    prepared.body.secrets.clone_from(&request.secrets);
    if prepared.body.has_reserved() {
        prepared.query.push(("tarereserved", "1".to_owned()));
    }
    Ok(prepared)
}

impl Prepared {
    /// Takes in a Dockerfile: mistakes in it are told before anything is sent.
    fn dockerfile(&mut self, name: &str, bytes: Vec<u8>, apart: bool) -> Result<()> {
        let source = String::from_utf8_lossy(&bytes);
        let parsed =
            tare_dockerfile::parse(&bytes).map_err(|error| Failure::new(error.explain(&source, name)))?;
        self.parsed = Some(parsed);
        self.query.push(("dockerfile", name.to_owned()));
        if apart {
            self.body.dockerfile = Some(bytes);
        }
        Ok(())
    }
}

fn local(prepared: &mut Prepared, directory: &Path, file: Option<&str>) -> Result<()> {
    if !directory.is_dir() {
        let why = if directory.exists() { "it is no directory" } else { "there is no such directory" };
        return Err(Failure::new(format!(
            "unable to prepare context: path \"{}\": {why}",
            directory.display()
        )));
    }
    let ignore = if prepared.body.dockerfile.is_some() {
        read_ignore(&[directory.join(".dockerignore")])?
    } else {
        let found = context::dockerfile(directory, file)?;
        let mut places: Vec<PathBuf> = match found.inside {
            true => ignore_files(&found.name).iter().map(|name| directory.join(name)).collect(),
            false => vec![PathBuf::from(format!("{}.dockerignore", file.unwrap_or_default()))],
        };
        places.push(directory.join(".dockerignore"));
        let ignore = read_ignore(&places)?;
        let apart = !found.inside || ignore.excludes(found.name.as_bytes());
        prepared.dockerfile(&found.name, found.bytes, apart)?;
        ignore
    };
    prepared.body.context = Some((directory.to_owned(), ignore));
    Ok(())
}

/// The first of the files that is there; no rules where none is.
fn read_ignore(places: &[PathBuf]) -> Result<Ignore> {
    for place in places {
        match context::read_regular(place, IGNORE_MOST) {
            Ok(bytes) => {
                let source = String::from_utf8_lossy(&bytes);
                let shown = place.display().to_string();
                return Ignore::parse(&bytes).map_err(|error| Failure::new(error.explain(&source, &shown)));
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(Failure::new(format!("{}: {error}", place.display()))),
        }
    }
    Ok(Ignore::default())
}

fn stdin(prepared: &mut Prepared, file: Option<&str>, request: &Request) -> Result<()> {
    match context::look(io::stdin())? {
        Given::Dockerfile(bytes) => prepared.dockerfile("Dockerfile", bytes, true),
        Given::Archive(_, true) if !request.secrets.is_empty() || !request.contexts.is_empty() => {
            Err(Failure::not_supported(
                "a compressed archive as the context together with --secret or --build-context",
            )
            .hint("decompress it first, as in: zcat context.tar.gz | tare build -"))
        }
        Given::Archive(head, _) => {
            prepared.query.extend(file.map(|file| ("dockerfile", file.to_owned())));
            prepared.body.archive = Some(head);
            Ok(())
        }
    }
}

/// Takes in the contexts of `--build-context`.
fn further(prepared: &mut Prepared, request: &Request) -> Result<()> {
    let mut places = serde_json::Map::new();
    for (name, place) in &request.contexts {
        let place = match context::named(place) {
            Named::Directory(directory) if !place.starts_with("docker-image://") => {
                if !directory.is_dir() {
                    return Err(Failure::new(format!("build context {name}: \"{place}\" is no directory")));
                }
                let encoded = name.replace('%', "%25").replace('/', "%2F");
                let ignore = read_ignore(&[directory.join(".dockerignore")])?;
                prepared.body.further.push((format!("{CONTEXTS}/{encoded}/"), directory, ignore));
                format!("tar:{encoded}")
            }
            _ => place.clone(),
        };
        places.insert(name.clone(), place.into());
    }
    if !places.is_empty() {
        prepared.query.push(("contexts", serde_json::Value::Object(places).to_string()));
    }
    Ok(())
}

impl Body {
    /// Begins to pack, in a thread that ends with who takes the pieces.
    pub(crate) fn start(self) -> Receiver<io::Result<Bytes>> {
        let (to, pieces) = channel(AHEAD);
        std::thread::spawn(move || {
            if let Err(error) = self.write(Pieces::new(to.clone())) {
                // Whoever took the pieces may be gone, and then knows why.
                let _ = to.blocking_send(Err(error));
            }
        });
        pieces
    }

    /// Whether entries come before the context that are no part of it.
    fn has_reserved(&self) -> bool {
        !self.secrets.is_empty() || self.dockerfile.is_some() || !self.further.is_empty()
    }

    fn write(self, to: Pieces) -> io::Result<()> {
        let mut archive = tar::Builder::new(to);
        for secret in &self.secrets {
            pack::file(&mut archive, &secrets::entry(&secret.id), 0o600, &secret.bytes)?;
        }
        if let Some(dockerfile) = &self.dockerfile {
            pack::file(&mut archive, DOCKERFILE, 0o644, dockerfile)?;
        }
        for (prefix, directory, ignore) in &self.further {
            pack::tree(&mut archive, &Tree { directory, prefix, ignore })?;
        }
        if self.has_reserved() {
            pack::file(&mut archive, RESERVED_END, 0o644, b"")?;
        }
        if let Some((directory, ignore)) = &self.context {
            pack::tree(&mut archive, &Tree { directory, prefix: "", ignore })?;
        }
        let Some(head) = self.archive else { return archive.into_inner()?.flush() };
        // The entries so far and the archive that follows make one archive.
        let to = archive.get_mut();
        io::copy(&mut Cursor::new(head).chain(io::stdin()), to)?;
        to.flush()
    }
}
