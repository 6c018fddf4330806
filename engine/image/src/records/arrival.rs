//! An image that comes in, from a registry or an archive: what its documents say of it, and the records that are made of it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tare_model::{Digest, Platform, Reference};
use tare_oci::image::{Descriptor, ImageConfig};

use super::{Catalog, Layer, Record, Source, Target};
use crate::document::{Found, chain_ids, platform};
use crate::layer::Planned;
use crate::policy::Verified;
use crate::{Images, Result};

/// An image as its documents describe it, before any layer is here.
pub(crate) struct Arrival {
    pub(crate) found: Found,
    pub(crate) config: ImageConfig,
    pub(crate) config_bytes: Bytes,
    pub(crate) layers: Vec<Planned>,
    pub(crate) verified: Option<Verified>,
}

impl Arrival {
    pub(crate) fn id(&self) -> Digest {
        self.found.manifest.config.digest
    }

    /// Blobs and layers that the image is made of.
    pub(crate) fn needs(&self) -> Vec<Digest> {
        self.found.blobs().into_iter().chain(self.layers.iter().map(|layer| layer.chain)).collect()
    }
}

/// The layers of an image, lowest first.
pub(crate) fn plan(blobs: &[Descriptor], config: &ImageConfig) -> Vec<Planned> {
    let chains = chain_ids(&config.rootfs.diff_ids);
    let parents = std::iter::once(None).chain(chains.iter().copied().map(Some));
    let layers = blobs.iter().cloned().zip(&config.rootfs.diff_ids).zip(chains.iter().zip(parents));
    layers
        .map(|((blob, diff), (chain, parent))| Planned { blob, diff: *diff, chain: *chain, parent })
        .collect()
}

/// The records of images that have come, each with the attestations about it; those about none of them go to the first.
pub(crate) fn records(
    images: &Images,
    catalog: &Catalog,
    arrivals: &[Arrival],
    attestations: &[(Option<Digest>, Found)],
) -> Result<Vec<(Digest, Record)>> {
    let manifests: Vec<Digest> = arrivals.iter().map(|arrival| arrival.found.manifest_digest).collect();
    let mut records: Vec<(Digest, Record)> = Vec::new();
    for (at, arrival) in arrivals.iter().enumerate() {
        let about =
            |about: &Option<Digest>| about.and_then(|about| manifests.iter().position(|m| *m == about));
        let about = attestations.iter().filter(|(digest, _)| about(digest).unwrap_or(0) == at);
        let attested = about.flat_map(|(_, found)| found.blobs());
        let mut layers = Vec::with_capacity(arrival.layers.len());
        for layer in &arrival.layers {
            layers.push(Layer { chain: layer.chain, size: images.snapshots.layer_size(&layer.chain)? });
        }
        let (id, found) = (arrival.id(), &arrival.found);
        let blobs = found.blobs().into_iter().chain(attested).collect();
        let source = Source { top: found.top, manifest: found.manifest_digest, blobs };
        let known = records.iter().find(|(known, _)| *known == id).map(|(_, record)| record);
        let known = known.or_else(|| catalog.records.get(&id));
        let mut record = arrived(known, &arrival.config, layers, source);
        if let Some(verified) = &arrival.verified {
            let same = |old: &Verified| {
                old.repository == verified.repository && old.fingerprint == verified.fingerprint
            };
            record.verified.retain(|old| !same(old));
            record.verified.push(verified.clone());
        }
        records.retain(|(other, _)| *other != id);
        records.push((id, record));
    }
    Ok(records)
}

/// What a name stands for once these images have come: of the index that it stood for before also what was here. It means the
/// image for this machine, else the first that came now; none where none came.
pub(crate) fn target(catalog: &Catalog, reference: &Reference, arrivals: &[Arrival]) -> Option<Target> {
    let of_index = arrivals.iter().find_map(|arrival| arrival.found.index());
    let known =
        catalog.references.get(reference).filter(|known| of_index.is_some() && known.document() == of_index);
    let known = known.map(|known| catalog.behind(known)).unwrap_or_default();
    let mut offers: Vec<(Platform, Digest)> =
        arrivals.iter().map(|arrival| (platform::of(&arrival.config), arrival.id())).collect();
    let of = |id: &Digest| Some((platform::of(&catalog.records.get(id)?.config), *id));
    offers.extend(known.iter().filter_map(of));
    let first = offers.first().map(|(_, id)| *id);
    let image = platform::best(offers, &Platform::host()).or(first)?;
    Some(Target { index: of_index, ..Target::of(image) })
}

/// The record of an image that has come here, whether it was here before or not.
pub(crate) fn arrived(
    known: Option<&Record>,
    config: &ImageConfig,
    layers: Vec<Layer>,
    source: Source,
) -> Record {
    let mut record = known.cloned().unwrap_or_else(|| Record {
        config: Arc::new(config.clone()),
        layers,
        sources: Vec::new(),
        pulled: SystemTime::now().into(),
        tagged: None,
        dropped: false,
        parent: None,
        verified: Vec::new(),
    });
    record.dropped = false;
    match record.sources.iter_mut().find(|old| old.top == source.top && old.manifest == source.manifest) {
        // What else came with it then is still here.
        Some(old) => {
            let more = source.blobs.into_iter().filter(|blob| !old.blobs.contains(blob)).collect::<Vec<_>>();
            old.blobs.extend(more);
        }
        None => record.sources.push(source),
    }
    record
}
