//! Saving: images as one tar that is both an archive of Docker's and an OCI layout, written while it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tare_model::{Digest, Platform, Reference};
use tare_oci::image::{Descriptor, Index as OciIndex, Manifest, media_type};
use tokio::sync::mpsc;

use super::recompress::{LayerCompression, recompress};
use super::shipment::{Shipment, Whole, pack, pack_index};
use crate::content::stream;
use crate::document::layout::{self, DockerImage};
use crate::progress::Listener;
use crate::records::{Catalog, Target};
use crate::thread::in_a_thread;
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
    /// Where the names stand for several platforms, of which these and this one are here.
    index: Option<Whole>,
}

/// A file of the archive.
enum Member {
    Directory,
    Bytes(Vec<u8>),
    Blob { path: PathBuf, size: u64 },
}

impl Images {
    /// The images with these names as an archive that `docker load` and readers of OCI layouts take; a repository without
    /// tag means all its tags. Layers are in the form in which they are kept, or in that which is wanted. What is wrong with a name is said here, what goes wrong later cuts the stream.
    pub async fn save(
        self: &Arc<Self>,
        names: &[String],
        platform: Option<&Platform>,
        compression: Option<LayerCompression>,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>> {
        save(self, names, platform, compression).await
    }
}

async fn save(
    images: &Arc<Images>,
    names: &[String],
    platform: Option<&Platform>,
    compression: Option<LayerCompression>,
) -> Result<BoxStream<'static, io::Result<Bytes>>> {
    let mut chosen = Vec::new();
    let meant = meant(&images.catalog(), names, platform)?;
    for (key, meant) in meant {
        let mut one = choose(images, key, meant).await?;
        if let Some(compression) = compression {
            if one.index.is_some() {
                let name = one.names.first().map_or_else(|| key.0.short(), Reference::familiar);
                return Err(Error::CompressedIndex(name));
            }
            one.shipment =
                recompress(images, one.shipment, compression, &(Arc::new(|_| {}) as Listener)).await?;
        }
        chosen.push(one);
    }
    let members = members(images, &chosen)?;
    let (to, from) = mpsc::channel(AHEAD);
    in_a_thread("save", move || {
        if let Err(error) = write(&members, &to) {
            let _ = to.blocking_send(Err(error));
        }
        // Until here nothing of the images may go.
        drop(chosen);
    })?;
    Ok(stream::received(from))
}

/// The image that names mean, and the index that they stand for where all of that is meant.
type Key = (Digest, Option<Digest>);

/// The names that mean the same.
#[derive(Default)]
struct Meant {
    tags: BTreeSet<Reference>,
    /// In which form the image came under the first of them.
    document: Option<Digest>,
}

/// What the names mean, and the tags among the names: a repository stands for all its tags. Of several platforms all are
/// meant where none is wanted.
fn meant(catalog: &Catalog, names: &[String], wanted: Option<&Platform>) -> Result<BTreeMap<Key, Meant>> {
    let mut meant: BTreeMap<Key, Meant> = BTreeMap::new();
    let mut put = |text: &str, tag: Option<Reference>| {
        let id = catalog.find_for(text, wanted)?;
        let target = catalog.target(text, &catalog.find(text)?);
        let whole = target.filter(|_| wanted.is_none()).and_then(|target| catalog.index_of(target));
        let entry = meant.entry((id, whole)).or_default();
        entry.document = entry.document.or(target.and_then(Target::document));
        entry.tags.extend(tag);
        Ok::<_, Error>(())
    };
    for name in names {
        let reference = name.parse::<Reference>().ok();
        let repository = reference.as_ref().filter(|r| r.tag().is_none() && r.digest().is_none());
        let tags = |wanted: &Reference| {
            let known = catalog.references.keys();
            known.filter(|r| r.tag().is_some() && r.repository() == *wanted).cloned().collect::<Vec<_>>()
        };
        let all = repository.map(tags).unwrap_or_default();
        if all.is_empty() {
            put(name, reference.filter(|r| r.tag().is_some() && catalog.references.contains_key(r)))?;
        }
        for tag in all {
            put(&tag.familiar(), Some(tag.clone()))?;
        }
    }
    Ok(meant)
}

async fn choose(images: &Arc<Images>, (id, index): Key, meant: Meant) -> Result<Chosen> {
    let image = images.catalog().image(&id).ok_or_else(|| Error::NotFound(id.to_string()))?;
    let shipment = pack(images, id, meant.document).await?;
    let index = match index {
        Some(index) => pack_index(images, index).await?,
        None => None,
    };
    // Where the image is only here in another form than the index names, it goes alone.
    let own = |whole: &Whole| {
        whole.index.manifests.iter().any(|p| p.whole && p.entry.digest == shipment.descriptor.digest)
    };
    let index = index.filter(own);
    Ok(Chosen { shipment, platform: image.platform(), names: meant.tags, index })
}

/// Everything in the archive, by path, which puts every directory before what is in it.
fn members(images: &Images, chosen: &[Chosen]) -> Result<BTreeMap<String, Member>> {
    let mut members = BTreeMap::from([
        ("blobs/".to_owned(), Member::Directory),
        ("blobs/sha256/".to_owned(), Member::Directory),
        (layout::MARK.to_owned(), Member::Bytes(layout::MARKED.into())),
        (layout::INDEX.to_owned(), Member::Bytes(json(&oci_index(chosen))?)),
        (layout::DOCKER.to_owned(), Member::Bytes(json(&docker_images(chosen))?)),
    ]);
    let mut put = |document: &Descriptor, bytes: &Bytes, manifest: Option<(&Manifest, &Shipment)>| {
        members.insert(layout::blob(&document.digest), Member::Bytes(bytes.to_vec()));
        let Some((manifest, shipment)) = manifest else { return };
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            let path = shipment.own.path(&images.content, &blob.digest);
            members.insert(layout::blob(&blob.digest), Member::Blob { path, size: blob.size });
        }
    };
    for Chosen { shipment, index, .. } in chosen {
        put(&shipment.descriptor, &shipment.bytes, Some((&shipment.manifest, shipment)));
        let Some(Whole { index, .. }) = index else { continue };
        put(&index.descriptor, &index.bytes, None);
        for kept in index.manifests.iter().filter(|kept| kept.whole) {
            if let Some((manifest, bytes)) = &kept.manifest {
                put(&kept.entry, bytes, Some((manifest, shipment)));
            }
        }
    }
    Ok(members)
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
    let plain = match &chosen.index {
        Some(whole) => whole.index.descriptor.clone(),
        None => Descriptor { platform: Some(chosen.platform.clone()), ..chosen.shipment.descriptor.clone() },
    };
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

fn write(members: &BTreeMap<String, Member>, to: &Sender) -> io::Result<()> {
    for (name, member) in members {
        match member {
            Member::Directory => send(to, header(name, 0, true)?)?,
            Member::Bytes(bytes) => {
                send(to, header(name, bytes.len() as u64, false)?)?;
                send(to, bytes.clone().into())?;
                send(to, padding(bytes.len() as u64))?;
            }
            Member::Blob { path, size } => {
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
