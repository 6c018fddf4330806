//! Rereading everything: blobs by their digests, layers by the archives that they were unpacked from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::StreamExt;
use tare_model::{Digest, Reference};
use tare_oci::image::Descriptor;
use tokio::task::spawn_blocking;

use crate::content::from_hash;
use crate::document::{KeptIndex, known_manifest};
use crate::layer::{Compression, Inflated, bounds};
use crate::{Error, Images, Result};

const BUFFER: usize = 256 << 10;

/// What is told while everything is reread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Something is as it should be.
    Sound(What),
    /// Something is not.
    Damaged {
        /// What.
        what: What,
        /// What is wrong with it, and why it was not repaired where that was asked for.
        how: String,
        /// Whether it is as it should be now.
        repaired: bool,
    },
}

/// What was reread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A blob, by its digest.
    Blob(Digest),
    /// An unpacked layer, by its chain id.
    Layer(Digest),
}

impl Images {
    /// Rereads every blob and every layer that images need and tells of each how it is. With `repair`, blobs that came from
    /// a registry are fetched again, and layers are made as their archives say. Safe while everything else goes on.
    pub async fn verify(
        self: &Arc<Self>,
        repair: bool,
        tell: impl Fn(Verified) + Send + Sync + 'static,
    ) -> Result<()> {
        verify(self, repair, tell).await
    }
}

/// Rereads every blob and every layer that an image needs.
async fn verify(
    images: &Arc<Images>,
    repair: bool,
    tell: impl Fn(Verified) + Send + Sync + 'static,
) -> Result<()> {
    let tell = Arc::new(tell);
    let needed = images.catalog().blobs();
    let here = images.content.list()?;
    for digest in needed.iter().chain(here.iter().filter(|digest| !needed.contains(digest))) {
        blob(images, *digest, repair, &*tell).await?;
    }
    for (chain, packed) in layers(images)? {
        let _quiet = images.sweep.read().await;
        let (images, tell) = (images.clone(), tell.clone());
        let work = move || tell(layer(&images, &chain, packed.as_ref(), repair));
        spawn_blocking(work).await.map_err(|_| Error::Cancelled)?;
    }
    Ok(())
}

/// Layers that images need, those below first, and the blob of each where it is known.
fn layers(images: &Images) -> Result<Vec<(Digest, Option<Descriptor>)>> {
    let mut found = BTreeMap::new();
    let all = images.catalog().images();
    for image in all {
        let manifest = known_manifest(&images.content, &images.catalog(), &image.id);
        for (depth, chain) in image.layers.iter().enumerate() {
            let blob = manifest.as_ref().and_then(|manifest| manifest.layers.get(depth).cloned());
            let blob = blob.filter(|blob| images.content.has(&blob.digest));
            let entry = found.entry(*chain).or_insert((depth, None));
            entry.1 = entry.1.take().or(blob);
        }
    }
    let mut layers: Vec<_> = found.into_iter().collect();
    layers.sort_by_key(|(_, (depth, _))| *depth);
    Ok(layers.into_iter().map(|(chain, (_, blob))| (chain, blob)).collect())
}

async fn blob(
    images: &Arc<Images>,
    digest: Digest,
    repair: bool,
    tell: &(dyn Fn(Verified) + Send + Sync),
) -> Result<()> {
    let _quiet = images.sweep.read().await;
    let path = images.content.path(&digest);
    let reading = spawn_blocking(move || hash(&path)).await.map_err(|_| Error::Cancelled)?;
    let what = What::Blob(digest);
    let how = match reading {
        Ok(found) if found == digest => {
            tell(Verified::Sound(what));
            return Ok(());
        }
        Ok(found) => format!("its content has the digest {found}"),
        // Of those that nobody needs some may just have gone.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && !images.catalog().blobs().contains(&digest) =>
        {
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => "it is missing".to_owned(),
        Err(error) => format!("it cannot be read: {error}"),
    };
    let told = match (repair, fetch(images, &digest, repair).await) {
        (true, Ok(())) => Verified::Damaged { what, how, repaired: true },
        (true, Err(error)) => Verified::Damaged { what, how: format!("{how}; {error}"), repaired: false },
        (false, _) => Verified::Damaged { what, how, repaired: false },
    };
    tell(told);
    Ok(())
}

fn hash(path: &PathBuf) -> io::Result<Digest> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Context::new(&SHA256), vec![0; BUFFER]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(from_hash(&hash.finish())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Brings a blob once more from the registry that it came from.
async fn fetch(images: &Arc<Images>, digest: &Digest, wanted: bool) -> Result<()> {
    if !wanted {
        return Ok(());
    }
    let Origin { reference, descriptor, document } = origin(images, digest).ok_or_else(|| {
        Error::Archive("it did not come from a registry that could be asked for it".to_owned())
    })?;
    let bytes = if document {
        let found = images.registry.manifest(&reference.with_digest(*digest), None).await?;
        futures_util::stream::iter([Ok(found.bytes)]).boxed()
    } else {
        let stream = images.registry.blob(&reference, &descriptor, None, 0).await?;
        stream.map(|chunk| chunk.map_err(Error::from)).boxed()
    };
    images.content.receive(digest, bytes).await
}

/// Where a blob came from.
struct Origin {
    reference: Reference,
    descriptor: Descriptor,
    /// Whether it is a manifest or an index, which registries serve elsewhere.
    document: bool,
}

fn origin(images: &Images, digest: &Digest) -> Option<Origin> {
    let catalog = images.catalog();
    for (id, record) in &catalog.records {
        let Some(source) = record.sources.iter().find(|source| source.blobs.contains(digest)) else {
            continue;
        };
        let came = |name: &Reference| catalog.references.get(name).is_some_and(|target| target.top.is_some());
        let Some(reference) = catalog.names(id).into_iter().find(came) else { continue };
        let mut descriptor = crate::document::descriptor("", b"");
        descriptor.digest = *digest;
        if source.top == *digest || source.manifest == *digest {
            return Some(Origin { reference, descriptor, document: true });
        }
        let own = known_manifest(&images.content, &catalog, id).into_iter();
        let mut own = own.flat_map(|manifest| manifest.layers.into_iter().chain([manifest.config]));
        if let Some(blob) = own.find(|blob| blob.digest == *digest) {
            return Some(Origin { reference, descriptor: blob, document: false });
        }
        // What came with the image because the index names it: how it was made.
        let kept = KeptIndex::of(&images.content, &source.top).map(|kept| kept.manifests).unwrap_or_default();
        let document = kept.iter().any(|kept| kept.entry.digest == *digest);
        let manifests = kept.into_iter().filter_map(|kept| kept.manifest);
        let mut named =
            manifests.flat_map(|(manifest, _)| manifest.layers.into_iter().chain([manifest.config]));
        let descriptor = named.find(|blob| blob.digest == *digest).unwrap_or(descriptor);
        return Some(Origin { reference, descriptor, document });
    }
    None
}

fn layer(images: &Images, chain: &Digest, packed: Option<&Descriptor>, repair: bool) -> Verified {
    let what = What::Layer(*chain);
    let damaged = |how: String, repaired| Verified::Damaged { what, how, repaired };
    let Some(packed) = packed else {
        return damaged("its archive is not here, so that it cannot be compared".to_owned(), false);
    };
    match compare(images, chain, packed, repair) {
        Ok(paths) if paths.is_empty() => Verified::Sound(what),
        Ok(paths) => {
            let named: Vec<_> = paths.iter().take(5).map(|path| path.display().to_string()).collect();
            let more = if paths.len() > 5 { format!(" and {} more", paths.len() - 5) } else { String::new() };
            damaged(format!("{}{more} differ from its archive", named.join(", ")), repair)
        }
        Err(error) => damaged(format!("it cannot be compared: {error}"), false),
    }
}

fn compare(images: &Images, chain: &Digest, packed: &Descriptor, repair: bool) -> Result<Vec<PathBuf>> {
    let name = packed.digest.short();
    let mut file = images.content.blob(&packed.digest)?;
    let mut magic = [0; 4];
    let length = file.read(&mut magic).map_err(Error::io("read", &images.content.path(&packed.digest)))?;
    let file = images.content.blob(&packed.digest)?;
    let taken = Arc::new(AtomicU64::new(packed.size));
    let source = BufReader::with_capacity(BUFFER, file);
    let limits = images.settings.limits.of_kept();
    let inflated = Inflated::new(&name, Compression::of(&magic[..length]), source, taken, limits)?;
    let tar = BufReader::with_capacity(BUFFER, inflated);
    let fresh = images.snapshots.unpack(tar, &bounds(limits))?;
    Ok(images.snapshots.verify_layer(chain, fresh, repair)?)
}
