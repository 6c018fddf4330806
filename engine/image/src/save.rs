//! Saving: images as one tar that is both an archive of Docker's and an OCI layout, written while it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tare_model::{Digest, Platform, Reference};
use tare_oci::image::{Descriptor, Index as OciIndex, media_type};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::index::Index;
use crate::layout::{self, DockerImage};
use crate::reading;
use crate::shipment::{Shipment, pack};
use crate::{Error, Images, Result};

const CHUNK: usize = 256 << 10;
const BLOCK: u64 = 512;
/// Chunks between the disk and who takes them.
const AHEAD: usize = 8;

/// An image that is saved, under these names.
struct Chosen {
    shipment: Shipment,
    platform: Platform,
    names: BTreeSet<Reference>,
}

/// A file of the archive.
enum Part {
    Directory,
    Bytes(Vec<u8>),
    Blob { path: PathBuf, size: u64 },
}

pub(crate) async fn save(
    images: &Arc<Images>,
    names: &[String],
    platform: Option<&Platform>,
) -> Result<BoxStream<'static, io::Result<Bytes>>> {
    let mut chosen = Vec::new();
    let meant = meant(&images.index(), names)?;
    for (id, names) in meant {
        chosen.push(choose(images, id, names, platform).await?);
    }
    let parts = parts(images, &chosen)?;
    let (to, from) = mpsc::channel(AHEAD);
    spawn_blocking(move || {
        if let Err(error) = write(&parts, &to) {
            let _ = to.blocking_send(Err(error));
        }
        // Until here nothing of the images may go.
        drop(chosen);
    });
    Ok(reading::received(from))
}

/// Which images the names mean, and the tags among the names: a repository stands for all its tags.
fn meant(index: &Index, names: &[String]) -> Result<BTreeMap<Digest, BTreeSet<Reference>>> {
    let mut meant: BTreeMap<Digest, BTreeSet<Reference>> = BTreeMap::new();
    for name in names {
        let reference = name.parse::<Reference>().ok();
        let repository = reference.as_ref().filter(|r| r.tag().is_none() && r.digest().is_none());
        let tags = |wanted: &Reference| {
            let known = index.references.iter();
            let known = known.filter(|(r, _)| r.tag().is_some() && r.repository() == *wanted);
            known.map(|(reference, target)| (reference.clone(), target.image)).collect::<Vec<_>>()
        };
        let all = repository.map(tags).unwrap_or_default();
        if all.is_empty() {
            let id = index.find(name)?;
            let entry = meant.entry(id).or_default();
            entry.extend(reference.filter(|r| r.tag().is_some() && index.references.contains_key(r)));
        }
        for (reference, id) in all {
            meant.entry(id).or_default().insert(reference);
        }
    }
    Ok(meant)
}

async fn choose(
    images: &Arc<Images>,
    id: Digest,
    names: BTreeSet<Reference>,
    wanted: Option<&Platform>,
) -> Result<Chosen> {
    let image = images.index().image(&id).ok_or_else(|| Error::NotFound(id.to_string()))?;
    let platform = image.platform();
    if let Some(wanted) = wanted.filter(|wanted| !platform.satisfies(wanted)) {
        let reference = names.first().map_or_else(|| id.to_string(), Reference::familiar);
        return Err(Error::Platform { reference, wanted: wanted.to_string(), actual: platform.to_string() });
    }
    let top = names.first().and_then(|name| images.index().references.get(name)?.top);
    let shipment = pack(images, id, top).await?;
    Ok(Chosen { shipment, platform, names })
}

/// Everything in the archive, by path, which puts every directory before what is in it.
fn parts(images: &Images, chosen: &[Chosen]) -> Result<BTreeMap<String, Part>> {
    let mut parts = BTreeMap::from([
        ("blobs/".to_owned(), Part::Directory),
        ("blobs/sha256/".to_owned(), Part::Directory),
        (layout::MARK.to_owned(), Part::Bytes(layout::MARKED.into())),
        (layout::INDEX.to_owned(), Part::Bytes(json(&oci_index(chosen))?)),
        (layout::DOCKER.to_owned(), Part::Bytes(json(&docker_images(chosen))?)),
    ]);
    for Chosen { shipment, .. } in chosen {
        let document = Part::Bytes(shipment.bytes.to_vec());
        parts.insert(layout::blob(&shipment.descriptor.digest), document);
        for blob in shipment.manifest.layers.iter().chain([&shipment.manifest.config]) {
            let path = images.content.path(&blob.digest);
            parts.insert(layout::blob(&blob.digest), Part::Blob { path, size: blob.size });
        }
    }
    Ok(parts)
}

fn json(document: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(document)
        .map_err(|e| Error::Document { what: "list of images".to_owned(), cause: e.to_string() })
}

fn oci_index(chosen: &[Chosen]) -> OciIndex {
    OciIndex {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: chosen.iter().flat_map(entries).collect(),
        annotations: BTreeMap::new(),
    }
}

/// One for every name, and one for an image without any.
fn entries(chosen: &Chosen) -> Vec<Descriptor> {
    let plain = Descriptor { platform: Some(chosen.platform.clone()), ..chosen.shipment.descriptor.clone() };
    if chosen.names.is_empty() {
        return vec![plain];
    }
    let named = |name: &Reference| Descriptor {
        annotations: BTreeMap::from([
            (layout::FULL_NAME.to_owned(), name.to_string()),
            (layout::REF_NAME.to_owned(), name.identifier()),
        ]),
        ..plain.clone()
    };
    chosen.names.iter().map(named).collect()
}

fn docker_images(chosen: &[Chosen]) -> Vec<DockerImage> {
    let image = |Chosen { shipment, names, .. }: &Chosen| DockerImage {
        config: layout::blob(&shipment.manifest.config.digest),
        repo_tags: Some(names.iter().map(Reference::familiar).collect()),
        layers: Some(shipment.manifest.layers.iter().map(|layer| layout::blob(&layer.digest)).collect()),
    };
    chosen.iter().map(image).collect()
}

type Sender = mpsc::Sender<io::Result<Bytes>>;

fn write(parts: &BTreeMap<String, Part>, to: &Sender) -> io::Result<()> {
    for (name, part) in parts {
        match part {
            Part::Directory => send(to, header(name, 0, true)?)?,
            Part::Bytes(bytes) => {
                send(to, header(name, bytes.len() as u64, false)?)?;
                send(to, bytes.clone().into())?;
                send(to, padding(bytes.len() as u64))?;
            }
            Part::Blob { path, size } => {
                send(to, header(name, *size, false)?)?;
                blob(path, *size, to)?;
                send(to, padding(*size))?;
            }
        }
    }
    // Two blocks of zeros end an archive.
    send(to, vec![0; 2 * BLOCK as usize].into())
}

/// No times and no owners: the same images make the same archive.
fn header(name: &str, size: u64, directory: bool) -> io::Result<Bytes> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_entry_type(if directory { tar::EntryType::Directory } else { tar::EntryType::Regular });
    header.set_mode(if directory { 0o755 } else { 0o444 });
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(Bytes::copy_from_slice(header.as_bytes()))
}

fn padding(size: u64) -> Bytes {
    let missing = (BLOCK - size % BLOCK) % BLOCK;
    vec![0; usize::try_from(missing).unwrap_or(0)].into()
}

fn blob(path: &Path, size: u64, to: &Sender) -> io::Result<()> {
    let mut file = File::open(path)?.take(size);
    let mut sent = 0;
    loop {
        let mut buffer = vec![0; CHUNK];
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        buffer.truncate(read);
        sent += read as u64;
        send(to, buffer.into())?;
    }
    if sent == size {
        return Ok(());
    }
    Err(io::Error::other(format!("{} has {sent} bytes instead of {size}", path.display())))
}

fn send(to: &Sender, bytes: Bytes) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    to.blocking_send(Ok(bytes)).map_err(|_| io::Error::other("nobody wants the rest"))
}
