//! All records at hand, and what can be found out from them. Pure but for [`Catalog::load`].

use std::collections::{BTreeMap, BTreeSet};

use tare_model::{Digest, Platform, Reference};
use tare_store::Store;

use super::{Image, Record, Target};
use crate::document::platform;
use crate::{Error, Result};

/// The table of image records, by id.
pub(crate) const IMAGES: &str = "images";
/// The table of names.
pub(crate) const REFERENCES: &str = "references";

/// Every image and every name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) records: BTreeMap<Digest, Record>,
    pub(crate) references: BTreeMap<Reference, Target>,
}

impl Catalog {
    pub(crate) fn load(store: &Store) -> Result<Self> {
        let bad = |what: &str, key: &str| Error::Document {
            what: format!("{what} {key}"),
            cause: "no valid key".into(),
        };
        let mut catalog = Self::default();
        for (key, record) in store.list::<Record>(IMAGES)? {
            catalog.records.insert(key.parse().map_err(|_| bad("image record", &key))?, record);
        }
        for (key, target) in store.list::<Target>(REFERENCES)? {
            catalog.references.insert(key.parse().map_err(|_| bad("image name", &key))?, target);
        }
        Ok(catalog)
    }

    /// The id that a name, an id or the beginning of an id means. A name goes before an id that begins like it.
    pub(crate) fn find(&self, text: &str) -> Result<Digest> {
        if let Some(id) = text.parse().ok().or_else(|| Digest::from_hex(text).ok()) {
            return self
                .records
                .contains_key(&id)
                .then_some(id)
                .ok_or_else(|| Error::NotFound(text.to_owned()));
        }
        let reference = text.parse::<Reference>()?;
        match self.lookup(&reference) {
            Some(id) => Ok(id),
            None => self.by_prefix(text)?.ok_or_else(|| Error::NotFound(reference.or_latest().familiar())),
        }
    }

    /// [`Catalog::find`] of the image for a platform, where one is wanted, among those that a name stands for. An id stands for
    /// what the image's own names stand for.
    pub(crate) fn find_for(&self, text: &str, wanted: Option<&Platform>) -> Result<Digest> {
        let id = self.find(text)?;
        let Some(wanted) = wanted else { return Ok(id) };
        let behind = self.target(text, &id).map_or_else(|| vec![id], |target| self.behind(target));
        self.best(&behind, wanted).ok_or_else(|| {
            let of = |id| self.records.get(id).map(|record| platform::of(&record.config).to_string());
            let actual: Vec<String> = behind.iter().filter_map(of).collect();
            Error::Platform {
                reference: text.to_owned(),
                wanted: wanted.to_string(),
                actual: actual.join(", "),
            }
        })
    }

    /// The one of these images that suits a platform best.
    pub(crate) fn best(&self, ids: &[Digest], wanted: &Platform) -> Option<Digest> {
        let of = |id: &Digest| Some((platform::of(&self.records.get(id)?.config), *id));
        platform::best(ids.iter().filter_map(of), wanted)
    }

    /// The image behind a name. With a digest the tag does not matter, as in a registry.
    fn lookup(&self, reference: &Reference) -> Option<Digest> {
        self.references.get(&key(reference)).map(|target| target.image)
    }

    /// What the text of [`Catalog::find`] stands for: a name for what it has, an id for what its first name has.
    pub(crate) fn target(&self, text: &str, id: &Digest) -> Option<&Target> {
        let named = text.parse().ok().and_then(|reference| self.references.get(&key(&reference)));
        named.filter(|target| target.image == *id).or_else(|| {
            let mut own = self.references.values().filter(|target| target.image == *id);
            own.find(|target| self.index_of(target).is_some())
        })
    }

    /// The index that a name stands for, where it stands for one.
    pub(crate) fn index_of(&self, target: &Target) -> Option<Digest> {
        let document = target.document()?;
        self.records.get(&target.image)?.is_part_of(&document).then_some(document)
    }

    /// The images that a name stands for: the one that is meant where no platform is named, then those for others.
    pub(crate) fn behind(&self, target: &Target) -> Vec<Digest> {
        let others = target.document().into_iter().flat_map(|document| {
            self.records.iter().filter(move |(_, record)| record.is_part_of(&document)).map(|(id, _)| *id)
        });
        std::iter::once(target.image).chain(others.filter(|id| *id != target.image)).collect()
    }

    fn by_prefix(&self, text: &str) -> Result<Option<Digest>> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.is_empty() || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(None);
        }
        let mut matching = self.visible().map(|(id, _)| id).filter(|id| id.hex().starts_with(hex));
        match (matching.next(), matching.next()) {
            (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
            (found, _) => Ok(found.copied()),
        }
    }

    /// An image and those for other platforms that stand under its own names.
    pub(crate) fn family(&self, id: &Digest) -> BTreeSet<Digest> {
        let own = self.references.values().filter(|target| target.image == *id);
        own.flat_map(|target| self.behind(target)).chain([*id]).collect()
    }

    /// The names that stand for an image, alone or among those of other platforms, in order, those with tags first.
    pub(crate) fn names(&self, id: &Digest) -> Vec<Reference> {
        let Some(record) = self.records.get(id) else { return Vec::new() };
        let part = |target: &Target| target.document().is_some_and(|document| record.is_part_of(&document));
        self.named(|target| target.image == *id || part(target))
    }

    /// The names that mean an image where no platform is named.
    pub(crate) fn own_names(&self, id: &Digest) -> Vec<Reference> {
        self.named(|target| target.image == *id)
    }

    fn named(&self, fits: impl Fn(&Target) -> bool) -> Vec<Reference> {
        let fitting = self.references.iter().filter(|(_, target)| fits(target));
        let mut names: Vec<Reference> = fitting.map(|(reference, _)| reference.clone()).collect();
        names.sort_by_key(|name| name.digest().is_some());
        names
    }

    /// These names, and the digests that go with them: that of an image or an index with the last tag of its repository that it
    /// is known by.
    pub(crate) fn with_digests(&self, mut names: Vec<Reference>) -> Vec<Reference> {
        let tags: Vec<Reference> = names.iter().filter(|name| name.digest().is_none()).cloned().collect();
        for tag in tags {
            let group = self.references.get(&tag).map(|target| self.behind(target)).unwrap_or_default();
            let near = |name: &Reference| name.repository() == tag.repository() && !names.contains(name);
            let others: BTreeSet<Reference> =
                group.iter().flat_map(|id| self.names(id)).filter(|name| near(name)).collect();
            let (digests, kept): (Vec<_>, Vec<_>) =
                others.into_iter().partition(|name| name.digest().is_some());
            let stays = |digest: &Reference| {
                let target = &self.references[digest];
                let known_by = |tag: &Reference| match self.index_of(target) {
                    Some(index) => self.references[tag].document() == Some(index),
                    None => self.behind(&self.references[tag]).contains(&target.image),
                };
                kept.iter().any(known_by)
            };
            names.extend(digests.into_iter().filter(|digest| !stays(digest)));
        }
        names
    }

    /// The images that have no name any more once these are gone; others that have none are not meant.
    pub(crate) fn nameless_without(&self, gone: &[Reference]) -> Vec<Digest> {
        let targets = gone.iter().filter_map(|reference| self.references.get(reference));
        let mut behind: Vec<Digest> = Vec::new();
        for id in targets.flat_map(|target| self.behind(target)) {
            if !behind.contains(&id) && self.names(&id).iter().all(|name| gone.contains(name)) {
                behind.push(id);
            }
        }
        behind
    }

    pub(crate) fn image(&self, id: &Digest) -> Option<Image> {
        let record = self.records.get(id)?;
        let (digests, tags) = self.names(id).into_iter().partition(|r| r.digest().is_some());
        Some(Image {
            id: *id,
            config: record.config.clone(),
            tags,
            digests,
            size: record.layers.iter().map(|layer| layer.size).sum(),
            layers: record.layers.iter().map(|layer| layer.chain).collect(),
            layer_sizes: record.layers.iter().map(|layer| layer.size).collect(),
            manifest: record.sources.first().map_or(*id, |source| source.manifest),
            pulled: record.pulled,
            tagged: record.tagged,
            parent: record.parent,
        })
    }

    /// Every image that is not dropped, the newest first.
    pub(crate) fn images(&self) -> Vec<Image> {
        let mut images: Vec<Image> = self.visible().filter_map(|(id, _)| self.image(id)).collect();
        images.sort_by_key(|image| std::cmp::Reverse(image.config.created));
        images
    }

    /// [`Catalog::images`] without those that only have a name together with one for another platform.
    pub(crate) fn heads(&self) -> Vec<Image> {
        let meant = |tag: bool| {
            let names = self.references.iter().filter(move |(name, _)| name.digest().is_none() == tag);
            names.map(|(_, target)| target.image).collect::<BTreeSet<Digest>>()
        };
        let (by_tag, by_digest) = (meant(true), meant(false));
        let mut images = self.images();
        images.retain(|image| match (image.tags.is_empty(), image.digests.is_empty()) {
            (false, _) => by_tag.contains(&image.id),
            (true, false) => by_digest.contains(&image.id),
            (true, true) => true,
        });
        images
    }

    fn visible(&self) -> impl Iterator<Item = (&Digest, &Record)> {
        self.records.iter().filter(|(_, record)| !record.dropped)
    }

    /// Whether another image was made from this one.
    pub(crate) fn has_children(&self, id: &Digest) -> bool {
        self.visible().any(|(_, record)| record.parent == Some(*id))
    }

    /// The chain ids that some image needs.
    pub(crate) fn chains(&self) -> BTreeSet<Digest> {
        self.records.values().flat_map(|record| &record.layers).map(|layer| layer.chain).collect()
    }

    /// The blobs that some image needs.
    pub(crate) fn blobs(&self) -> BTreeSet<Digest> {
        let sources = self.records.values().flat_map(|record| &record.sources);
        sources.flat_map(|source| &source.blobs).copied().collect()
    }
}

/// Under which name a reference is kept: with a digest the tag does not matter, without either `latest` is meant.
pub(crate) fn key(reference: &Reference) -> Reference {
    match reference.digest() {
        Some(digest) => reference.with_digest(digest),
        None => reference.clone().or_latest(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use tare_model::Timestamp;
    use tare_oci::image::{ImageConfig, RootFs};

    use super::*;

    pub(crate) fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    pub(crate) fn record() -> Record {
        let rootfs = RootFs { kind: "layers".into(), diff_ids: Vec::new() };
        let config = ImageConfig {
            created: None,
            author: String::new(),
            architecture: "amd64".into(),
            os: "linux".into(),
            variant: None,
            config: Default::default(),
            rootfs,
            history: Vec::new(),
        };
        let (layers, sources) = (Vec::new(), Vec::new());
        Record {
            config: Arc::new(config),
            layers,
            sources,
            pulled: Timestamp::ZERO,
            tagged: None,
            dropped: false,
            parent: None,
            verified: Vec::new(),
        }
    }

    pub(crate) fn catalog(names: &[(&str, u8)]) -> Catalog {
        let mut catalog = Catalog::default();
        for (name, id) in names {
            catalog.records.entry(digest(*id)).or_insert_with(record);
            if !name.is_empty() {
                catalog.references.insert(name.parse().unwrap(), Target::of(digest(*id)));
            }
        }
        catalog
    }

    /// As they were written before a name could stand for an index in so many words.
    #[test]
    fn older_names_are_read() {
        let text = format!(r#"{{"image":"{}","top":"{}"}}"#, digest(1), digest(2));
        let target: Target = serde_json::from_str(&text).unwrap();
        assert_eq!(target, Target { top: Some(digest(2)), ..Target::of(digest(1)) });
        assert_eq!(target.document(), Some(digest(2)));
        assert_eq!(serde_json::to_string(&target).unwrap(), text);
    }

    #[test]
    fn names_ids_and_beginnings_of_ids_are_found() {
        let at = format!("debian@{}", digest(0xee));
        let catalog = catalog(&[("debian:latest", 0xab), ("a:latest", 0xcd), (&at, 0xab)]);
        for (text, id) in [
            ("debian", 0xab),
            ("docker.io/library/debian:latest", 0xab),
            (&at, 0xab),
            (&format!("debian:12@{}", digest(0xee)), 0xab),
            ("c", 0xcd),
            ("sha256:abab", 0xab),
            (&digest(0xcd).to_string(), 0xcd),
            (&digest(0xcd).hex(), 0xcd),
            // The name goes before the id that begins like it.
            ("a", 0xcd),
        ] {
            assert_eq!(catalog.find(text).unwrap(), digest(id), "{text}");
        }
    }

    #[test]
    fn what_is_not_there_is_named_in_full() {
        let catalog = catalog(&[("debian:latest", 0xab)]);
        assert_eq!(catalog.find("nosuch").unwrap_err().to_string(), "No such image: nosuch:latest");
        assert_eq!(catalog.find("0").unwrap_err().to_string(), "No such image: 0:latest");
        assert!(matches!(catalog.find(&digest(1).to_string()), Err(Error::NotFound(_))));
        assert!(matches!(catalog.find("debian:13"), Err(Error::NotFound(_))));
        assert!(matches!(catalog.find("Debian"), Err(Error::Reference(_))));
        assert!(matches!(catalog.find(""), Err(Error::Reference(_))));
    }

    #[test]
    fn an_ambiguous_beginning_is_an_error() {
        let mut catalog = catalog(&[("", 0xab)]);
        let mut other = [0xab; 32];
        other[31] = 0;
        catalog.records.insert(Digest::from_bytes(other), record());
        assert!(matches!(catalog.find("abab"), Err(Error::Ambiguous(_))));
        assert_eq!(catalog.find(&"ab".repeat(32)).unwrap(), digest(0xab));
    }

    #[test]
    fn a_dropped_image_is_found_by_its_whole_id_only() {
        let mut catalog = catalog(&[("", 0xab)]);
        catalog.records.get_mut(&digest(0xab)).unwrap().dropped = true;
        assert!(catalog.images().is_empty());
        assert!(catalog.find("abab").is_err());
        assert!(catalog.find(&digest(0xab).to_string()).is_ok());
    }
}
