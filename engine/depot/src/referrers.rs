//! What says something about a manifest: signatures, lists of parts (distribution-spec, *listing referrers*).

use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use tare_model::Digest;

use crate::files::{self, Shelf};
use crate::manifest::{Document, read};
use crate::{Depot, Name, Result, Wanted};

impl Depot {
    /// Descriptors of everything in the repository that refers to a manifest, which need not be there itself. What clients
    /// have listed under the tag that stands for it (`sha256-<hex>`) counts too.
    pub fn referrers(&self, name: &Name, subject: &Digest) -> Result<Vec<Value>> {
        let directory = self.link(name, Shelf::Referrers, subject);
        let mut found: Vec<(String, Value)> = Vec::new();
        for file in files::names(&directory)? {
            let text = fs::read(directory.join(&file)).unwrap_or_default();
            if let Ok(descriptor) = serde_json::from_slice(&text) {
                found.push((format!("sha256:{file}"), descriptor));
            }
        }
        for descriptor in self.listed_by_tag(name, subject) {
            let digest = descriptor.get("digest").and_then(Value::as_str).unwrap_or_default().to_owned();
            if !found.iter().any(|(known, _)| *known == digest) {
                found.push((digest, descriptor));
            }
        }
        Ok(found.into_iter().map(|(_, descriptor)| descriptor).collect())
    }

    fn listed_by_tag(&self, name: &Name, subject: &Digest) -> Vec<Value> {
        let Ok(tag) = format!("sha256-{}", subject.hex()).parse() else { return Vec::new() };
        let Ok(kept) = self.manifest(name, &Wanted::Tag(tag)) else { return Vec::new() };
        let listed: Option<Value> = serde_json::from_slice(&kept.bytes).ok();
        let listed = listed.and_then(|document| document.get("manifests")?.as_array().cloned());
        listed.unwrap_or_default()
    }

    pub(crate) fn refer(
        &self,
        name: &Name,
        subject: &Digest,
        digest: &Digest,
        kind: &str,
        document: (usize, &Document),
    ) -> Result<()> {
        let (size, document) = document;
        let config = document.config.as_ref().map(|config| config.media_type.clone());
        let mut descriptor = Map::from_iter([
            ("mediaType".to_owned(), json!(kind)),
            ("digest".to_owned(), json!(digest.to_string())),
            ("size".to_owned(), json!(size)),
        ]);
        if let Some(artifact) = document.artifact_type.clone().or(config) {
            descriptor.insert("artifactType".to_owned(), json!(artifact));
        }
        if let Some(annotations) = document.annotations.clone() {
            descriptor.insert("annotations".to_owned(), Value::Object(annotations));
        }
        let text = Value::Object(descriptor).to_string();
        self.write(&self.referrer(name, subject, digest), text.as_bytes())
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
