//! Manifests and indexes: checked before they are kept, so that what they name is there.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Map, Value};
use tare_model::Digest;
use tare_oci::image::{Descriptor, media_type};

use crate::files::{self, Shelf};
use crate::referrers;
use crate::{Depot, Error, Name, Result, Tag};

/// The largest manifest that is kept, in bytes: what the specification has registries accept at least.
pub const MANIFEST_LIMIT: usize = 4 << 20;

/// How a manifest is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// By a name that may come to mean another one.
    Tag(Tag),
    /// By its digest.
    Digest(Digest),
}

/// A manifest that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Of its bytes.
    pub digest: Digest,
    /// As it was pushed.
    pub media_type: String,
    /// The document.
    pub bytes: Vec<u8>,
}

/// What a push came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Of the manifest.
    pub digest: Digest,
    /// What it says something about, where it refers to another manifest.
    pub subject: Option<Digest>,
}

/// What counts in a document of any of the four types.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: Option<String>,
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
    #[serde(default)]
    pub(crate) config: Option<Descriptor>,
    #[serde(default)]
    pub(crate) layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    pub(crate) manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    pub(crate) subject: Option<Descriptor>,
    #[serde(default)]
    pub(crate) annotations: Option<Map<String, Value>>,
}

impl std::str::FromStr for Wanted {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.contains(':') {
            true => text.parse().map(Self::Digest).map_err(|_| Error::DigestInvalid(shortened(text))),
            false => text.parse().map(Self::Tag),
        }
    }
}

fn shortened(text: &str) -> String {
    format!("\"{}\" is no digest that is known here", text.chars().take(100).collect::<String>())
}

impl Depot {
    /// A manifest of the repository.
    pub fn manifest(&self, name: &Name, wanted: &Wanted) -> Result<Kept> {
        let digest = match wanted {
            Wanted::Digest(digest) => *digest,
            Wanted::Tag(tag) => self.tagged(name, tag)?,
        };
        self.kept(name, &digest)
    }

    /// Keeps a manifest. Everything it names has to be in the repository, but the subject that it is about.
    pub fn put_manifest(&self, name: &Name, wanted: &Wanted, kind: &str, bytes: &[u8]) -> Result<Put> {
        let mut found = [0; 32];
        found.copy_from_slice(digest(&SHA256, bytes).as_ref());
        let found = Digest::from_bytes(found);
        if let Wanted::Digest(digest) = wanted
            && *digest != found
        {
            return Err(Error::DigestInvalid(format!("it is {found} and not {digest}")));
        }
        let (kind, document) = read(kind, bytes)?;
        let _quiet = self.sweep.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.check(name, &document)?;
        let about = document.subject.as_ref().map(|subject| subject.digest);
        let entry = about.map(|_| referrers::entry(&found, &kind, bytes.len(), &document)).transpose()?;
        self.write(&self.content(&found), bytes)?;
        self.write(&self.link(name, Shelf::Manifests, &found), kind.as_bytes())?;
        // What is listed is there, also where the disk is full in between.
        if let (Some(subject), Some(entry)) = (&about, entry) {
            self.refer(name, subject, &found, &entry)?;
        }
        if let Wanted::Tag(tag) = wanted {
            self.write(&self.tag(name, tag), found.to_string().as_bytes())?;
        }
        Ok(Put { digest: found, subject: about })
    }

    /// Takes a tag away, or a manifest with all its tags.
    pub fn delete_manifest(&self, name: &Name, wanted: &Wanted) -> Result<()> {
        self.known(name)?;
        match wanted {
            Wanted::Tag(tag) => match files::remove(&self.tag(name, tag))? {
                true => Ok(()),
                false => Err(Error::ManifestUnknown(tag.to_string())),
            },
            Wanted::Digest(digest) => self.delete_by_digest(name, digest),
        }
    }

    fn delete_by_digest(&self, name: &Name, digest: &Digest) -> Result<()> {
        let kept = self.kept(name, digest)?;
        for tag in files::names(&self.shelf(name, Shelf::Tags))? {
            let Ok(tag) = tag.parse() else { continue };
            if self.tagged(name, &tag).is_ok_and(|at| at == *digest) {
                files::remove(&self.tag(name, &tag))?;
            }
        }
        if let Ok((_, Document { subject: Some(subject), .. })) = read(&kept.media_type, &kept.bytes) {
            self.unrefer(name, &subject.digest, digest)?;
        }
        files::remove(&self.link(name, Shelf::Manifests, digest)).map(drop)
    }

    pub(crate) fn kept(&self, name: &Name, digest: &Digest) -> Result<Kept> {
        self.known(name)?;
        let failed = |path: &Path, error: io::Error| match error.kind() {
            ErrorKind::NotFound => Error::ManifestUnknown(digest.to_string()),
            _ => Error::io("read", path)(error),
        };
        let link = self.link(name, Shelf::Manifests, digest);
        let media_type = fs::read_to_string(&link).map_err(|error| failed(&link, error))?;
        let path = self.content(digest);
        let mut bytes = Vec::new();
        let file = fs::File::open(&path).map_err(|error| failed(&path, error))?;
        file.take(MANIFEST_LIMIT as u64).read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
        Ok(Kept { digest: *digest, media_type, bytes })
    }

    pub(crate) fn tagged(&self, name: &Name, tag: &Tag) -> Result<Digest> {
        self.known(name)?;
        let path = self.tag(name, tag);
        let unknown = || Error::ManifestUnknown(tag.to_string());
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => unknown(),
            _ => Error::io("read", &path)(error),
        })?;
        text.parse().map_err(|_| unknown())
    }

    /// Whether everything is there, and as long as the document says.
    fn check(&self, name: &Name, document: &Document) -> Result<()> {
        let blobs = document.config.iter().chain(document.layers.iter().flatten());
        // What is not to be distributed may be elsewhere, and is never fetched from there.
        for blob in blobs.filter(|blob| blob.urls.is_empty()) {
            let found = self.blob(name, &blob.digest).map_err(|error| match error {
                Error::BlobUnknown(digest) => Error::ManifestBlobUnknown(digest),
                other => other,
            })?;
            sized(blob, found.size)?;
        }
        for manifest in document.manifests.iter().flatten() {
            let found = self.kept(name, &manifest.digest).map_err(|error| match error {
                Error::ManifestUnknown(_) | Error::NameUnknown(_) => {
                    Error::ManifestBlobUnknown(manifest.digest)
                }
                other => other,
            })?;
            sized(manifest, found.bytes.len() as u64)?;
        }
        Ok(())
    }
}

fn sized(named: &Descriptor, found: u64) -> Result<()> {
    if named.size == found {
        return Ok(());
    }
    Err(Error::SizeInvalid(format!("{} has {found} bytes and not {}", named.digest, named.size)))
}

/// Reads a document of one of the four types. One that could be read as two is refused (CVE-2021-41190).
pub(crate) fn read(kind: &str, bytes: &[u8]) -> Result<(String, Document)> {
    let invalid = |why: &str| Error::ManifestInvalid(why.to_owned());
    let document: Document = serde_json::from_slice(bytes).map_err(|e| invalid(&e.to_string()))?;
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let inner = document.media_type.as_deref();
    let kind = if kind.is_empty() || kind == "application/json" { inner.unwrap_or_default() } else { kind };
    if inner.is_some_and(|inner| inner != kind) {
        return Err(invalid("its type is another outside than inside"));
    }
    if document.schema_version != 2 {
        return Err(invalid("its schemaVersion is not 2"));
    }
    let (is_index, is_manifest) =
        (document.manifests.is_some(), document.config.is_some() || document.layers.is_some());
    match kind {
        _ if is_index && is_manifest => Err(invalid("it has both manifests and layers")),
        media_type::OCI_INDEX | media_type::DOCKER_INDEX if is_index => Ok((kind.to_owned(), document)),
        media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST if document.config.is_some() => {
            Ok((kind.to_owned(), document))
        }
        _ => Err(invalid(&format!(
            "it is no document of the type \"{}\"",
            kind.chars().take(100).collect::<String>()
        ))),
    }
}
