//! Which platform an image is for, and which entry of an index is taken. Pure.

use std::collections::BTreeSet;

use tare_model::Platform;
use tare_oci::image::{Descriptor, ImageConfig, Index};
use tare_registry::MANIFEST_LIMIT;

use super::{is_index, is_manifest};
use crate::{Error, Result};

/// The entry that runs best where `wanted` is asked for.
pub(crate) fn choose<'a>(reference: &str, index: &'a Index, wanted: &Platform) -> Result<&'a Descriptor> {
    let entries = || index.manifests.iter().filter(|entry| !is_attestation(entry));
    let ranked = entries().filter_map(|entry| Some((rank(entry.platform.as_ref()?, wanted)?, entry)));
    // Of two that are as good the first wins, as everywhere in the field.
    let best = ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry);
    let only = || {
        let mut all = entries();
        all.next().filter(|entry| entry.platform.is_none() && all.next().is_none())
    };
    match best.or_else(only) {
        Some(entry) if is_manifest(&entry.media_type) => Ok(entry),
        Some(entry) if is_index(&entry.media_type) => Err(Error::NestedIndex(reference.to_owned())),
        Some(entry) => {
            Err(Error::NotAnImage { reference: reference.to_owned(), media_type: entry.media_type.clone() })
        }
        None => Err(Error::NoMatch(wanted.to_string())),
    }
}

/// Manifests of one index that are taken together.
const MOST: usize = 200;

/// Bytes of documents of one kind that are held at a time: real ones have some thousand each.
const TOGETHER: u64 = 4 * MANIFEST_LIMIT;

/// Whether so many documents can be taken together.
pub(crate) fn fit_together(what: &str, sizes: impl Iterator<Item = u64>) -> Result<()> {
    match sizes.fold(0, u64::saturating_add) {
        ..=TOGETHER => Ok(()),
        all => {
            let cause = format!("they have {all} bytes together, more than {TOGETHER}");
            Err(Error::Document { what: what.to_owned(), cause })
        }
    }
}

/// Every manifest that an index names, each once; attestations too.
pub(crate) fn each<'a>(reference: &str, index: &'a Index) -> Result<Vec<&'a Descriptor>> {
    let mut seen = BTreeSet::new();
    let entries: Vec<_> = index.manifests.iter().filter(|entry| seen.insert(entry.digest)).collect();
    if entries.len() > MOST {
        let cause = format!("it names {} manifests, more than {MOST} that are taken together", entries.len());
        return Err(Error::Document { what: format!("manifest list of {reference}"), cause });
    }
    fit_together(&format!("manifests of {reference}"), entries.iter().map(|entry| entry.size))?;
    match entries.iter().find(|entry| !is_manifest(&entry.media_type)) {
        Some(entry) if is_index(&entry.media_type) => Err(Error::NestedIndex(reference.to_owned())),
        Some(entry) => {
            Err(Error::NotAnImage { reference: reference.to_owned(), media_type: entry.media_type.clone() })
        }
        None => Ok(entries),
    }
}

/// What builders attach to say how an image was made: it has a platform nobody has.
pub(crate) fn is_attestation(entry: &Descriptor) -> bool {
    entry.platform.as_ref().is_some_and(|p| p.os == "unknown" || p.architecture == "unknown")
        || entry.annotations.contains_key("vnd.docker.reference.type")
}

/// What an image runs on, as its configuration says; one that names no operating system is for Linux.
pub(crate) fn of(config: &ImageConfig) -> Platform {
    Platform {
        os: if config.os.is_empty() { "linux".to_owned() } else { config.os.clone() },
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
    }
}

/// Of images that are here the one that suits `wanted` best; of two that are as good the first.
pub(crate) fn best<T>(offers: impl IntoIterator<Item = (Platform, T)>, wanted: &Platform) -> Option<T> {
    let fitting = offers.into_iter().filter(|(offered, _)| offered.satisfies(wanted));
    let ranked = fitting.map(|(offered, item)| (rank(&offered, wanted).unwrap_or(u32::MAX), item));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, item)| item)
}

/// How well an image for `offered` suits `wanted`: 0 is best, `None` not at all. A variant above the wanted one does
/// not run; without a wanted variant the most modest is the safest.
fn rank(offered: &Platform, wanted: &Platform) -> Option<u32> {
    if offered.os != wanted.os || offered.architecture != wanted.architecture {
        return None;
    }
    let base = base_level(&wanted.architecture);
    let (offered, level) = (level(offered, base)?, level(wanted, base)?);
    if wanted.variant.is_none() { Some(offered.abs_diff(base)) } else { level.checked_sub(offered) }
}

fn level(platform: &Platform, base: u32) -> Option<u32> {
    match &platform.variant {
        None => Some(base),
        // `v7`, and Go's newer forms such as `v8.1`, of which the first number counts.
        Some(variant) => variant.strip_prefix('v')?.split('.').next()?.parse().ok(),
    }
}

/// The variant that is meant where none is named.
fn base_level(architecture: &str) -> u32 {
    match architecture {
        "arm64" => 8,
        "arm" => 7,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tare_oci::image::media_type;

    use super::*;
    use crate::records::tests::digest;

    fn entry(platform: &str, number: u8) -> Descriptor {
        Descriptor {
            media_type: media_type::OCI_MANIFEST.into(),
            digest: digest(number),
            size: 1,
            platform: platform.parse().ok(),
            annotations: BTreeMap::new(),
            urls: Vec::new(),
        }
    }

    fn chosen(platforms: &[&str], wanted: &str) -> Option<usize> {
        let manifests = platforms.iter().zip(0..).map(|(platform, number)| entry(platform, number)).collect();
        let index = Index { schema_version: 2, media_type: None, manifests, annotations: BTreeMap::new() };
        let digest = choose("a", &index, &wanted.parse().unwrap()).ok()?.digest;
        index.manifests.iter().position(|m| m.digest == digest)
    }

    #[test]
    fn the_best_variant_that_runs_is_taken() {
        let arms = [
            "linux/amd64",
            "linux/arm/v5",
            "linux/arm/v7",
            "linux/arm64/v8",
            "linux/arm/v6",
            "windows/amd64",
        ];
        for (wanted, expected) in [
            ("linux/amd64", Some(0)),
            ("linux/arm/v7", Some(2)),
            ("linux/arm/v6", Some(4)),
            ("linux/arm", Some(2)),
            ("linux/arm64", Some(3)),
            ("linux/arm64/v8", Some(3)),
            ("linux/s390x", None),
            ("darwin/amd64", None),
        ] {
            assert_eq!(chosen(&arms, wanted), expected, "{wanted}");
        }
        assert_eq!(chosen(&["linux/arm/v7"], "linux/arm/v6"), None);
        assert_eq!(chosen(&["linux/amd64/v3", "linux/amd64"], "linux/amd64"), Some(1));
        assert_eq!(chosen(&["linux/amd64/v3"], "linux/amd64/v2"), None);
        assert_eq!(chosen(&["linux/arm64", "linux/arm64/v8"], "linux/arm64/v8"), Some(0));
    }

    #[test]
    fn attestations_are_passed_over() {
        assert_eq!(chosen(&["unknown/unknown", "linux/amd64"], "linux/amd64"), Some(1));
        assert_eq!(chosen(&["unknown/unknown"], "linux/amd64"), None);
        assert_eq!(chosen(&["unknown/unknown", ""], "linux/amd64"), Some(1));
        assert_eq!(chosen(&["", ""], "linux/amd64"), None);
    }

    #[test]
    fn an_index_in_an_index_is_refused() {
        let nested = Descriptor { media_type: media_type::OCI_INDEX.into(), ..entry("linux/amd64", 1) };
        let index = Index {
            schema_version: 2,
            media_type: None,
            manifests: vec![nested],
            annotations: BTreeMap::new(),
        };
        let error = choose("a", &index, &"linux/amd64".parse().unwrap()).unwrap_err();
        assert!(matches!(error, Error::NestedIndex(_)));
    }

    #[test]
    fn a_missing_platform_has_dockers_words() {
        let index =
            Index { schema_version: 2, media_type: None, manifests: vec![], annotations: BTreeMap::new() };
        let error = choose("a", &index, &"linux/arm64/v8".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "no matching manifest for linux/arm64/v8 in the manifest list entries");
    }
}
