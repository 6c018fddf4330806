//! What an archive offers: its images, each with documents that fit each other and layers that are there.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tare_model::{Digest, Platform, Reference};
use tare_oci::image::{Descriptor, Index as OciIndex, Manifest, media_type};
use tare_registry::MANIFEST_LIMIT;

use super::archive::{Archive, ArchiveFile};
use crate::content::{Content, sha256};
use crate::document::layout::{self, DockerImage};
use crate::document::{Document, Found, Offered, attested, descriptor, platform};
use crate::layer::Compression;
use crate::records::{Arrival, plan};
use crate::settings::{CONFIG_LIMIT, Limits};
use crate::{Error, Result, document};

/// Images of an archive.
const MOST_IMAGES: usize = 1000;

/// An image, or one for each of several platforms, that an archive holds under these names.
pub(crate) struct Offer {
    pub(crate) names: BTreeSet<Reference>,
    /// One at least.
    pub(crate) arrivals: Vec<Arrival>,
    pub(crate) attestations: Vec<(Option<Digest>, Found)>,
}

/// Where an archive's files are looked for.
pub(crate) struct Source<'a> {
    pub(crate) archive: &'a Archive,
    /// A blob that is here already need not be in the archive.
    pub(crate) content: &'a Content,
    pub(crate) limits: &'a Limits,
    pub(crate) platform: Option<&'a Platform>,
}

impl Source<'_> {
    /// All images. One that is no good makes the whole archive no good.
    pub(crate) fn offers(&self) -> Result<Vec<Offer>> {
        let docker: Option<Vec<DockerImage>> = self.document(layout::DOCKER)?;
        let marked = self.archive.find(layout::MARK)?.is_some();
        let index = if marked { self.index()? } else { None };
        let offers = match (index, docker) {
            (Some(index), docker) => self.of_layout(&index, &docker.unwrap_or_default())?,
            (None, Some(docker)) => self.of_docker(&docker)?,
            (None, None) => {
                let cause = "it holds neither manifest.json nor an OCI layout: it is no archive of images";
                return Err(Error::Archive(cause.to_owned()));
            }
        };
        match offers.len() {
            0 => Err(Error::Archive("it holds no image that can be loaded".to_owned())),
            _ => Ok(offers),
        }
    }

    fn document<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let Some(bytes) = self.archive.read(path, MANIFEST_LIMIT)? else { return Ok(None) };
        let malformed =
            |e: serde_json::Error| Error::Document { what: path.to_owned(), cause: e.to_string() };
        serde_json::from_slice(&bytes).map(Some).map_err(malformed)
    }

    fn index(&self) -> Result<Option<OciIndex>> {
        let Some(bytes) = self.archive.read(layout::INDEX, MANIFEST_LIMIT)? else { return Ok(None) };
        match document::parse(layout::INDEX, media_type::OCI_INDEX, &bytes)? {
            Document::Index(index) => Ok(Some(index)),
            Document::Manifest(_) => Ok(None),
        }
    }

    /// The images of an OCI layout; names in Docker's list count too.
    fn of_layout(&self, index: &OciIndex, docker: &[DockerImage]) -> Result<Vec<Offer>> {
        crowded(index.manifests.len())?;
        let mut offers: BTreeMap<Digest, Offer> = BTreeMap::new();
        for entry in &index.manifests {
            let Some(offered) = self.offered(entry)? else { continue };
            let names = annotated(entry)?;
            // As for everybody who takes the entries in their order: a name means what it meant last.
            offers.values_mut().for_each(|offer| offer.names.retain(|name| !names.contains(name)));
            match offers.entry(entry.digest) {
                Entry::Occupied(mut offer) => offer.get_mut().names.extend(names),
                Entry::Vacant(place) => drop(place.insert(self.offer(offered, names)?)),
            }
        }
        for image in docker {
            let config = self.archive.find(&image.config)?.map(|file| file.digest);
            let has = |offer: &&mut Offer| offer.arrivals.iter().any(|arrival| Some(arrival.id()) == config);
            for offer in offers.values_mut().filter(has).take(1) {
                offer.names.extend(tags(image)?);
            }
        }
        Ok(offers.into_values().collect())
    }

    /// The manifests that an entry of the layout's index leads to; `None` where it is no image for us.
    fn offered(&self, entry: &Descriptor) -> Result<Option<Offered>> {
        let name = entry.digest.short();
        if platform::is_attestation(entry) {
            return Ok(None);
        }
        if document::is_manifest(&entry.media_type) {
            let (manifest, bytes) = self.manifest(entry)?;
            let images = vec![Found::alone(entry.digest, manifest, bytes)];
            return Ok(Some(Offered { images, ..Offered::default() }));
        }
        if !document::is_index(&entry.media_type) {
            return Ok(None);
        }
        let bytes = self.blob(entry, MANIFEST_LIMIT)?;
        let Document::Index(mut index) = document::parse(&name, &entry.media_type, &bytes)? else {
            return Ok(None);
        };
        // A part of a multi-platform image is an image too.
        index.manifests.retain(|inner| self.is_here(inner));
        self.inside(&(entry.digest, bytes), &index).map(Some)
    }

    /// The manifests of an index: the one of the wanted platform, else all that are for Linux.
    fn inside(&self, top: &(Digest, Bytes), index: &OciIndex) -> Result<Offered> {
        let name = top.0.short();
        let mut offered = Offered::default();
        let found = |inner| Ok::<_, Error>(Found::inside(top.clone(), inner, self.manifest(inner)?));
        if let Some(wanted) = self.platform {
            offered.images.push(found(platform::choose(&name, index, wanted)?)?);
            return Ok(offered);
        }
        for inner in platform::each(&name, index)? {
            if platform::is_attestation(inner) {
                offered.attestations.push((attested(inner), found(inner)?));
            } else if inner.platform.as_ref().is_none_or(|platform| platform.os == "linux") {
                offered.images.push(found(inner)?);
            }
        }
        if offered.images.is_empty() {
            Err(Error::NoMatch(Platform::host().to_string()))
        } else {
            Ok(offered)
        }
    }

    fn is_here(&self, blob: &Descriptor) -> bool {
        let inside = self.archive.find(&layout::blob(&blob.digest)).is_ok_and(|file| file.is_some());
        inside || self.content.has(&blob.digest)
    }

    fn manifest(&self, entry: &Descriptor) -> Result<(Manifest, Bytes)> {
        let bytes = self.blob(entry, MANIFEST_LIMIT)?;
        match document::parse(&entry.digest.short(), &entry.media_type, &bytes)? {
            Document::Manifest(manifest) => Ok((*manifest, bytes)),
            Document::Index(_) => Err(Error::NestedIndex(entry.digest.short())),
        }
    }

    /// A small blob of the layout, which is what its descriptor says.
    fn blob(&self, blob: &Descriptor, limit: u64) -> Result<Bytes> {
        if blob.size > limit {
            let cause = format!("blob {} has {} bytes, more than {limit}", blob.digest, blob.size);
            return Err(Error::Archive(cause));
        }
        match self.archive.find(&layout::blob(&blob.digest))? {
            Some(file) => {
                agrees(file, blob)?;
                let bytes = self.archive.read(&layout::blob(&blob.digest), limit)?;
                Ok(bytes.unwrap_or_default().into())
            }
            None => self.content.read(blob).map(Bytes::from).ok_or_else(|| missing(blob)),
        }
    }

    /// Reads what was found. An archive may hold only some of the platforms whole, and attestations only in part.
    fn offer(&self, offered: Offered, names: BTreeSet<Reference>) -> Result<Offer> {
        let configs = offered.images.iter().map(|found| found.manifest.config.size);
        platform::fit_together("configurations of an image", configs)?;
        let (mut arrivals, mut lacking) = (Vec::new(), None);
        for found in offered.images {
            let name = names.first().map_or_else(|| found.top.short(), Reference::familiar);
            document::check(&name, &found.manifest, self.limits)?;
            match self.lacks(&found)? {
                Some(blob) => lacking = lacking.or(Some(missing(blob))),
                None => arrivals.push(self.arrival(&name, found)?),
            }
        }
        if let Some(error) = lacking.filter(|_| arrivals.is_empty()) {
            return Err(error);
        }
        let mut attestations = Vec::new();
        for (about, found) in offered.attestations {
            if self.lacks(&found)?.is_none() {
                attestations.push((about, found));
            }
        }
        Ok(Offer { names, arrivals, attestations })
    }

    /// A blob that a manifest names and that is neither in the archive nor here.
    fn lacks<'f>(&self, found: &'f Found) -> Result<Option<&'f Descriptor>> {
        for blob in found.manifest.layers.iter().chain([&found.manifest.config]) {
            match self.archive.find(&layout::blob(&blob.digest))? {
                Some(file) => agrees(file, blob)?,
                None if self.content.has(&blob.digest)
                    || self.archive.with_digest(&blob.digest).is_some() => {}
                None => return Ok(Some(blob)),
            }
        }
        Ok(None)
    }

    fn arrival(&self, name: &str, found: Found) -> Result<Arrival> {
        let bytes = self.config(&found.manifest.config)?;
        let what = format!("configuration of {name}");
        let config = document::config(&what, &bytes, found.manifest.layers.len())?;
        let actual = platform::of(&config);
        // Of several platforms each must be what the index says, as they are told apart by it.
        if let Some(wanted) =
            self.platform.or(found.platform.as_ref()).filter(|wanted| !actual.satisfies(wanted))
        {
            let (wanted, actual) = (wanted.to_string(), actual.to_string());
            return Err(Error::Platform { reference: name.to_owned(), wanted, actual });
        }
        let layers = plan(&found.manifest.layers, &config);
        Ok(Arrival { found, config, config_bytes: bytes, layers, verified: None })
    }

    /// A configuration, under whatever name the archive has it.
    fn config(&self, config: &Descriptor) -> Result<Bytes> {
        match self.archive.with_digest(&config.digest) {
            Some(file) if file.size <= CONFIG_LIMIT => {
                agrees(file, config)?;
                std::fs::read(&file.path).map(Bytes::from).map_err(Error::io("read", &file.path))
            }
            _ => self.blob(config, CONFIG_LIMIT),
        }
    }

    /// The images of an archive that has only Docker's list: their manifests are made here.
    fn of_docker(&self, images: &[DockerImage]) -> Result<Vec<Offer>> {
        crowded(images.len())?;
        images.iter().map(|image| self.of_docker_image(image)).collect()
    }

    fn of_docker_image(&self, image: &DockerImage) -> Result<Offer> {
        let absent = |path: &str| Error::Archive(format!("{path:?} is not in it"));
        let file = self.archive.find(&image.config)?.ok_or_else(|| absent(&image.config))?;
        named_after(&image.config, file)?;
        let config =
            Descriptor { digest: file.digest, size: file.size, ..descriptor(media_type::OCI_CONFIG, b"") };
        let paths = image.layers.as_deref().unwrap_or_default();
        let layer = |path: &String| Ok(layer(self.archive.find(path)?.ok_or_else(|| absent(path))?));
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers: paths.iter().take(self.limits.layers + 1).map(layer).collect::<Result<_>>()?,
            annotations: BTreeMap::new(),
        };
        let document: Bytes = serde_json::to_vec(&manifest).unwrap_or_default().into();
        let top = sha256(&document);
        let images = vec![Found::alone(top, manifest, document)];
        self.offer(Offered { images, ..Offered::default() }, tags(image)?)
    }
}

/// A layer as it lies in the archive.
fn layer(file: &ArchiveFile) -> Descriptor {
    let kind = match Compression::of(&file.magic) {
        Compression::Plain => media_type::OCI_LAYER,
        Compression::Gzip => media_type::OCI_LAYER_GZIP,
        Compression::Zstd => media_type::OCI_LAYER_ZSTD,
    };
    Descriptor { digest: file.digest, size: file.size, ..descriptor(kind, b"") }
}

fn crowded(images: usize) -> Result<()> {
    if images <= MOST_IMAGES {
        return Ok(());
    }
    Err(Error::Archive(format!("it lists {images} images, more than {MOST_IMAGES}")))
}

fn missing(blob: &Descriptor) -> Error {
    Error::Archive(format!("blob {} is not in it", blob.digest))
}

fn agrees(file: &ArchiveFile, blob: &Descriptor) -> Result<()> {
    let what = || format!("blob {}", blob.digest.short());
    if file.size != blob.size {
        return Err(Error::Size { what: what(), found: file.size, expected: blob.size });
    }
    if file.digest != blob.digest {
        return Err(Error::Digest { what: what(), found: file.digest, expected: blob.digest });
    }
    Ok(())
}

/// Docker names a configuration after its digest, with or without `.json`.
fn named_after(path: &str, file: &ArchiveFile) -> Result<()> {
    let last = path.rsplit('/').next().unwrap_or(path);
    match Digest::from_hex(last.strip_suffix(".json").unwrap_or(last)) {
        Ok(expected) if expected != file.digest => {
            Err(Error::Digest { what: format!("configuration {path}"), found: file.digest, expected })
        }
        _ => Ok(()),
    }
}

fn tags(image: &DockerImage) -> Result<BTreeSet<Reference>> {
    let tags = image.repo_tags.as_deref().unwrap_or_default();
    tags.iter().map(|tag| name(tag)).collect()
}

/// The name of an entry of a layout's index. OCI's annotation may be a bare tag, which names nothing here.
fn annotated(entry: &Descriptor) -> Result<BTreeSet<Reference>> {
    let text = |key: &str| entry.annotations.get(key).map(String::as_str);
    match (text(layout::FULL_NAME), text(layout::REF_NAME)) {
        (Some(full), _) => Ok(BTreeSet::from([name(full)?])),
        (None, Some(text)) if text.contains([':', '/']) => Ok(name(text).into_iter().collect()),
        _ => Ok(BTreeSet::new()),
    }
}

/// A digest in a name says what a registry has, which an archive cannot know.
fn name(text: &str) -> Result<Reference> {
    let reference = text.parse::<Reference>()?;
    match (reference.digest(), reference.tag()) {
        (Some(_), Some(tag)) => Ok(reference.with_tag(tag)?),
        (Some(_), None) => Err(Error::TagWithDigest(text.to_owned())),
        (None, _) => Ok(reference.or_latest()),
    }
}
