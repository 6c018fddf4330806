//! What says something about a manifest: signatures, lists of parts (distribution-spec, *listing referrers*).

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use tare_model::Digest;

use crate::files::{self, Shelf};
use crate::manifest::{Document, read};
use crate::{Depot, Error, Name, Result, Wanted};

/// Bytes of a descriptor in a list. Annotations are the manifest's to show where they are longer.
const LONGEST: usize = 16 << 10;
/// Bytes of all descriptors in an answer; the next page has the others.
const PAGE: usize = 2 << 20;

/// A part of the list of what refers to a manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Referrers {
    /// In the order of their digests.
    pub descriptors: Vec<Value>,
    /// The last one's digest, where others come after it.
    pub more: Option<String>,
}

impl Depot {
    /// Descriptors of everything in the repository that refers to a manifest, which need not be there itself, after the one with
    /// the digest `last`. What clients have listed under the tag that stands for it (`sha256-<hex>`) counts too.
    pub fn referrers(&self, name: &Name, subject: &Digest, last: Option<&str>) -> Result<Referrers> {
        let directory = self.link(name, Shelf::Referrers, subject);
        let after = |digest: &str| last.is_none_or(|last| digest > last);
        let listed = self.listed_by_tag(name, subject).into_iter().filter_map(|descriptor| {
            let digest = descriptor.get("digest")?.as_str().filter(|digest| after(digest))?.to_owned();
            Some((digest, Some(descriptor)))
        });
        let mut all: BTreeMap<String, Option<Value>> = listed.collect();
        let kept = files::names(&directory)?.into_iter().map(|file| format!("sha256:{file}"));
        all.extend(kept.filter(|digest| after(digest)).map(|digest| (digest, None)));
        let (mut page, mut bytes) = (Referrers::default(), 0);
        let mut end = None;
        for (digest, listed) in all {
            let text = match listed {
                Some(descriptor) => descriptor.to_string().into_bytes(),
                None => fs::read(directory.join(digest.trim_start_matches("sha256:"))).unwrap_or_default(),
            };
            bytes += text.len();
            if bytes > PAGE && end.is_some() {
                page.more = end;
                break;
            }
            page.descriptors.extend(serde_json::from_slice::<Value>(&text));
            end = Some(digest);
        }
        Ok(page)
    }

    fn listed_by_tag(&self, name: &Name, subject: &Digest) -> Vec<Value> {
        let Ok(tag) = format!("sha256-{}", subject.hex()).parse() else { return Vec::new() };
        let Ok(kept) = self.manifest(name, &Wanted::Tag(tag)) else { return Vec::new() };
        let listed: Option<Value> = serde_json::from_slice(&kept.bytes).ok();
        let listed = listed.and_then(|document| document.get("manifests")?.as_array().cloned());
        listed.unwrap_or_default()
    }

    /// Notes that a manifest refers to another one; `entry` is made by [`entry`].
    pub(crate) fn refer(&self, name: &Name, subject: &Digest, digest: &Digest, entry: &str) -> Result<()> {
        self.write(&self.referrer(name, subject, digest), entry.as_bytes())
    }

    pub(crate) fn unrefer(&self, name: &Name, subject: &Digest, digest: &Digest) -> Result<()> {
        files::remove(&self.referrer(name, subject, digest)).map(drop)
    }

    fn referrer(&self, name: &Name, subject: &Digest, digest: &Digest) -> PathBuf {
        self.link(name, Shelf::Referrers, subject).join(digest.hex())
    }

    /// What a kept document names, itself left out.
    pub(crate) fn named_by(&self, kind: &str, bytes: &[u8]) -> Vec<Digest> {
        let Ok((_, document)) = read(kind, bytes) else { return Vec::new() };
        let Document { config, layers, manifests, .. } = document;
        let all =
            config.into_iter().chain(layers.into_iter().flatten()).chain(manifests.into_iter().flatten());
        all.map(|descriptor| descriptor.digest).collect()
    }
}

/// How a manifest of `size` bytes stands in the list of what refers to another one.
pub(crate) fn entry(digest: &Digest, kind: &str, size: usize, document: &Document) -> Result<String> {
    let config = document.config.as_ref().map(|config| config.media_type.clone());
    let mut descriptor = Map::from_iter([
        ("mediaType".to_owned(), json!(kind)),
        ("digest".to_owned(), json!(digest.to_string())),
        ("size".to_owned(), json!(size)),
    ]);
    if let Some(artifact) = document.artifact_type.clone().or(config) {
        descriptor.insert("artifactType".to_owned(), json!(artifact));
    }
    let bare = Value::Object(descriptor.clone()).to_string();
    if bare.len() > LONGEST {
        return Err(Error::ManifestInvalid("the type of its artifact is too long".to_owned()));
    }
    if let Some(annotations) = document.annotations.clone() {
        descriptor.insert("annotations".to_owned(), Value::Object(annotations));
    }
    let whole = Value::Object(descriptor).to_string();
    Ok(if whole.len() > LONGEST { bare } else { whole })
}
