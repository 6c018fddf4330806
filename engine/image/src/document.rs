//! Manifests, indexes and configurations, read and checked. Pure, but for what looks at those that are kept here.

mod found;
mod kept;
pub(crate) mod layout;
pub(crate) mod platform;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tare_model::Digest;
use tare_oci::image::{Descriptor, ImageConfig, Index, Manifest, media_type};

use crate::content::sha256;
use crate::settings::Limits;
use crate::{Error, Result};

pub(crate) use found::{Found, Offered};
pub(crate) use kept::{KeptIndex, KeptManifest, attested, known_descriptor, known_manifest, manifest};

/// What a registry has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    Index(Index),
    Manifest(Box<Manifest>),
}

/// The fields that tell what a document is, and of what.
const READ: [&str; 6] = ["schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers"];

/// Whether a field of this name is `name` to those who care for no case (Go's encoding/json, which folds two letters more than
/// ASCII has).
fn reads_as(key: &str, name: &str) -> bool {
    let folded = key.chars().map(|c| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    });
    folded.eq(name.chars().map(|c| c.to_ascii_lowercase()))
}

/// Reads a document of the given type. One that could be read as another type as well is refused (CVE-2021-41190).
pub(crate) fn parse(what: &str, kind: &str, bytes: &[u8]) -> Result<Document> {
    let malformed = |cause: String| Error::Document { what: what.to_owned(), cause };
    let fields: Map<String, Value> = json(what, bytes)?;
    let has = |name: &str| fields.contains_key(name);
    if let Some(odd) = fields.keys().find(|key| READ.iter().any(|name| name != key && reads_as(key, name))) {
        return Err(malformed(format!("its field {odd:?} is one of another name to some and not to others")));
    }
    if let Some(inner) = fields.get("mediaType").filter(|inner| inner.as_str() != Some(kind)) {
        return Err(malformed(format!("its type is {kind} outside and {inner} inside")));
    }
    if fields.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
        return Err(malformed("its schemaVersion is not 2".to_owned()));
    }
    let (as_index, as_manifest) = (has("manifests"), has("layers") || has("config"));
    match kind {
        _ if has("fsLayers") => Err(malformed("it has layers in the form of old".to_owned())),
        _ if as_index && as_manifest => Err(malformed("it has both manifests and layers".to_owned())),
        media_type::OCI_INDEX | media_type::DOCKER_INDEX if as_index => {
            Ok(Document::Index(json(what, bytes)?))
        }
        media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST if as_manifest => {
            Ok(Document::Manifest(json(what, bytes)?))
        }
        _ => Err(malformed(format!("it is no {kind}"))),
    }
}

/// Whether a descriptor's type is one of an index.
pub(crate) fn is_index(kind: &str) -> bool {
    matches!(kind, media_type::OCI_INDEX | media_type::DOCKER_INDEX)
}

/// Whether a descriptor's type is one of a manifest.
pub(crate) fn is_manifest(kind: &str) -> bool {
    matches!(kind, media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST)
}

/// Whether a manifest is one of an image and of nothing else.
pub(crate) fn is_image(manifest: &Manifest) -> bool {
    matches!(manifest.config.media_type.as_str(), media_type::OCI_CONFIG | media_type::DOCKER_CONFIG)
}

/// Checks that a manifest is one of an image with layers that can be unpacked.
pub(crate) fn check(reference: &str, manifest: &Manifest, limits: &Limits) -> Result<()> {
    let not = |kind: &str| Error::NotAnImage { reference: reference.to_owned(), media_type: kind.to_owned() };
    if !is_image(manifest) {
        return Err(not(&manifest.config.media_type));
    }
    if manifest.layers.len() > limits.layers {
        let cause = format!("it has {} layers, more than {}", manifest.layers.len(), limits.layers);
        return Err(Error::Document { what: format!("manifest of {reference}"), cause });
    }
    if let Some(layer) = manifest.layers.iter().find(|layer| layer.size > limits.layer_bytes) {
        let cause = format!("it has {} bytes, more than {}", layer.size, limits.layer_bytes);
        return Err(Error::Bomb { layer: layer.digest.short(), cause });
    }
    match manifest.layers.iter().find(|layer| crate::layer::announced(&layer.media_type).is_none()) {
        Some(layer) => Err(not(&layer.media_type)),
        None => Ok(()),
    }
}

/// Reads the configuration of an image and checks that it fits the manifest.
pub(crate) fn config(what: &str, bytes: &[u8], layers: usize) -> Result<ImageConfig> {
    let malformed = |cause: String| Error::Document { what: what.to_owned(), cause };
    let config: ImageConfig = json(what, bytes)?;
    let diffs = config.rootfs.diff_ids.len();
    if config.rootfs.kind != "layers" {
        return Err(malformed(format!("its rootfs is of the type \"{}\"", config.rootfs.kind)));
    }
    if diffs != layers {
        return Err(malformed(format!("it tells of {diffs} layers, its manifest of {layers}")));
    }
    if !matches!(config.os.as_str(), "linux" | "") {
        return Err(malformed(format!("operating system \"{}\" cannot be used on this platform", config.os)));
    }
    Ok(config)
}

fn json<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::Document { what: what.to_owned(), cause: e.to_string() })
}

/// The chain ids of layers, lowest first (image-spec, *config*, "Layer ChainID").
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let step = |below: &mut Option<Digest>, diff: &Digest| {
        let chain = match below {
            None => *diff,
            Some(below) => sha256(format!("{below} {diff}").as_bytes()),
        };
        *below = Some(chain);
        Some(chain)
    };
    diff_ids.iter().scan(None, step).collect()
}

/// The descriptor of a small document.
pub(crate) fn descriptor(kind: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: kind.to_owned(),
        digest: sha256(bytes),
        size: bytes.len() as u64,
        platform: None,
        annotations: std::collections::BTreeMap::new(),
        urls: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use tare_model::{HasKind, Kind};

    use super::*;
    use crate::records::tests::digest;

    fn descriptor(kind: &str) -> Value {
        json!({"mediaType": kind, "digest": digest(1), "size": 7})
    }

    fn manifest(config: &str, layer: &str) -> Value {
        json!({"schemaVersion": 2, "config": descriptor(config), "layers": [descriptor(layer)]})
    }

    fn read(kind: &str, document: &Value) -> Result<Document> {
        parse("it", kind, document.to_string().as_bytes())
    }

    #[test]
    fn documents_are_read_as_what_they_are() {
        let plain = manifest(media_type::OCI_CONFIG, media_type::OCI_LAYER_GZIP);
        assert!(matches!(read(media_type::OCI_MANIFEST, &plain), Ok(Document::Manifest(_))));
        let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []});
        assert!(matches!(read(media_type::OCI_INDEX, &index), Ok(Document::Index(_))));
    }

    #[test]
    fn a_document_that_is_two_things_is_refused() {
        let mut both = manifest(media_type::OCI_CONFIG, media_type::OCI_LAYER);
        both["manifests"] = json!([descriptor(media_type::OCI_MANIFEST)]);
        for kind in [media_type::OCI_MANIFEST, media_type::OCI_INDEX, media_type::DOCKER_INDEX] {
            assert_eq!(read(kind, &both).unwrap_err().kind(), Kind::Corrupt);
        }
        let plain = manifest(media_type::OCI_CONFIG, media_type::OCI_LAYER);
        assert!(read(media_type::OCI_INDEX, &plain).is_err());
        let mut other = plain.clone();
        other["mediaType"] = media_type::DOCKER_MANIFEST.into();
        assert!(read(media_type::OCI_MANIFEST, &other).is_err());
        let mut old = plain;
        old["schemaVersion"] = 1.into();
        assert!(read(media_type::OCI_MANIFEST, &old).is_err());
        for (field, value) in [
            ("Manifests", json!([])),
            ("LAYERS", json!([])),
            ("layer\u{17f}", json!([])),
            ("mediatype", json!(media_type::OCI_INDEX)),
            ("schemaversion", json!(1)),
            ("fsLayers", json!([{"blobSum": digest(1)}])),
        ] {
            let mut odd = manifest(media_type::OCI_CONFIG, media_type::OCI_LAYER);
            odd[field] = value;
            assert!(read(media_type::OCI_MANIFEST, &odd).is_err(), "{field}");
        }
        let twice =
            format!(r#"{{"schemaVersion":2,"config":{c},"config":{c},"layers":[]}}"#, c = descriptor("x"));
        assert!(parse("it", media_type::OCI_MANIFEST, twice.as_bytes()).is_err());
    }

    #[test]
    fn artifacts_are_no_images() {
        for (config, layer) in [
            ("application/vnd.cncf.helm.config.v1+json", media_type::OCI_LAYER_GZIP),
            (media_type::OCI_CONFIG, "application/vnd.in-toto+json"),
        ] {
            let Ok(Document::Manifest(manifest)) = read(media_type::OCI_MANIFEST, &manifest(config, layer))
            else {
                panic!("a manifest was expected")
            };
            assert!(matches!(check("a", &manifest, &Limits::default()), Err(Error::NotAnImage { .. })));
        }
    }

    #[test]
    fn a_configuration_must_fit_its_manifest() {
        let good = json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(1)]}});
        assert!(config("it", good.to_string().as_bytes(), 1).is_ok());
        assert!(config("it", good.to_string().as_bytes(), 2).is_err());
        for (field, value) in
            [("os", json!("windows")), ("rootfs", json!({"type": "x"})), ("rootfs", json!(null))]
        {
            let mut bad = good.clone();
            bad[field] = value;
            assert!(config("it", bad.to_string().as_bytes(), 1).is_err(), "{bad}");
        }
    }

    #[test]
    fn chain_ids_are_those_of_the_specification() {
        let diffs = [digest(1), digest(2)];
        let chains = chain_ids(&diffs);
        assert_eq!(chains[0], diffs[0]);
        assert_eq!(chains[1], crate::content::sha256(format!("{} {}", diffs[0], diffs[1]).as_bytes()));
        assert_eq!(chain_ids(&[]), []);
    }

    /// What may stand in a field, or may not.
    fn value() -> impl Strategy<Value = Value> {
        let odd = |field: &str, value: Value| {
            let mut odd = descriptor(media_type::OCI_LAYER);
            odd[field] = value;
            odd
        };
        let one = prop::sample::select(vec![
            json!(null),
            json!(2),
            json!(-1),
            json!(1e300),
            json!(u64::MAX),
            json!(""),
            json!("layers"),
            json!("linux"),
            json!(media_type::OCI_INDEX),
            json!(media_type::OCI_MANIFEST),
            json!({}),
            json!({"type": "layers", "diff_ids": [digest(1), digest(2)]}),
            json!({"a": "b"}),
            descriptor(media_type::OCI_CONFIG),
            descriptor(media_type::OCI_LAYER_GZIP),
            odd("size", json!(u64::MAX)),
            odd("digest", json!("sha256:../..")),
            odd("urls", json!(["http://127.0.0.1/"])),
            odd("annotations", json!({"a": 1})),
            odd("platform", json!({"os": "linux", "architecture": "amd64", "variant": null})),
        ]);
        (one.clone(), prop::collection::vec(one, 0..4), any::<bool>())
            .prop_map(|(one, many, list)| if list { Value::Array(many) } else { one })
    }

    /// Fields that are put into a document, or take the place of its own.
    fn changes() -> impl Strategy<Value = Vec<(&'static str, Value)>> {
        const FIELDS: [&str; 14] = [
            "schemaVersion",
            "mediaType",
            "artifactType",
            "config",
            "layers",
            "fsLayers",
            "manifests",
            "subject",
            "annotations",
            "os",
            "architecture",
            "rootfs",
            "history",
            "created",
        ];
        prop::collection::vec((prop::sample::select(&FIELDS[..]), value()), 0..4)
    }

    proptest! {
        /// One that is read is what it was taken for, and nothing else as well.
        #[test]
        fn whatever_a_document_says_it_is_one_thing_or_refused(changes in changes(), at in any::<prop::sample::Index>()) {
            let kinds = [media_type::OCI_MANIFEST, media_type::OCI_INDEX, media_type::DOCKER_MANIFEST];
            let layer = manifest(media_type::OCI_CONFIG, media_type::OCI_LAYER);
            let index = json!({"schemaVersion": 2, "manifests": [descriptor(media_type::OCI_MANIFEST)]});
            let described = json!({"os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(1)]}});
            for original in [layer, index, described] {
                let mut document = original;
                changes.iter().for_each(|(field, value)| document[*field] = value.clone());
                let text = document.to_string();
                let read: Vec<_> = kinds.iter().filter_map(|kind| parse("it", kind, text.as_bytes()).ok()).collect();
                let indexes = read.iter().filter(|read| matches!(read, Document::Index(_))).count();
                prop_assert!(indexes == 0 || indexes == read.len(), "{}", text);
                let described = config("it", text.as_bytes(), 1);
                prop_assert!(!changes.is_empty() || !read.is_empty() || described.is_ok(), "{}", text);
                for document in read {
                    if let Document::Manifest(manifest) = document {
                        let _ = check("it", &manifest, &Limits::default());
                    }
                }
                let cut = at.index(text.len());
                prop_assert!(parse("it", kinds[0], &text.as_bytes()[..cut]).is_err(), "half of it is none");
            }
        }
    }
}
