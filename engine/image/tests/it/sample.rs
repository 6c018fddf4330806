//! Images made on the spot.

use std::io::Write;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use tare_model::Digest;
use tare_oci::image::media_type;

use crate::fake::{Answer, Fake, Manner};

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(digest(&SHA256, bytes).as_ref().try_into().unwrap())
}

/// A layer: its tar, what travels, and how that is called.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) tar: Vec<u8>,
    pub(crate) blob: Vec<u8>,
    pub(crate) kind: &'static str,
}

impl Layer {
    /// A gzip layer with these files.
    pub(crate) fn gzip(files: &[(&str, &[u8])]) -> Self {
        Self::gzip_of(archive(files))
    }

    pub(crate) fn gzip_of(tar: Vec<u8>) -> Self {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&tar).unwrap();
        Self { tar, blob: encoder.finish().unwrap(), kind: media_type::OCI_LAYER_GZIP }
    }

    pub(crate) fn zstd(files: &[(&str, &[u8])]) -> Self {
        let tar = archive(files);
        Self { blob: zstd::stream::encode_all(&tar[..], 1).unwrap(), tar, kind: media_type::OCI_LAYER_ZSTD }
    }

    pub(crate) fn plain(files: &[(&str, &[u8])]) -> Self {
        let tar = archive(files);
        Self { blob: tar.clone(), tar, kind: media_type::OCI_LAYER }
    }

    pub(crate) fn path(&self, repository: &str) -> String {
        format!("/v2/{repository}/blobs/{}", sha256(&self.blob))
    }
}

pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Written by hand: the library refuses the names that tests of bad input need.
        let name = &mut header.as_mut_bytes()[..path.len()];
        name.copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Bytes that do not compress, different for each seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).take(length.div_ceil(8)).flatten().take(length).collect()
}

/// An image; tests change the documents before they are served.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) layers: Vec<Layer>,
    pub(crate) config: Value,
    pub(crate) manifest: Value,
}

impl Sample {
    pub(crate) fn new(layers: &[Layer]) -> Self {
        let diffs: Vec<_> = layers.iter().map(|layer| sha256(&layer.tar)).collect();
        let history: Vec<_> = (0..layers.len()).map(|n| json!({"created_by": format!("step {n}")})).collect();
        let config = json!({
            "created": "2026-01-02T03:04:05Z", "architecture": "amd64", "os": "linux",
            "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diffs}, "history": history,
        });
        let mut sample = Self { layers: layers.to_vec(), config, manifest: Value::Null };
        sample.describe();
        sample
    }

    /// Writes the manifest anew, after the configuration was changed.
    pub(crate) fn describe(&mut self) {
        let config = self.config.to_string();
        let layer = |layer: &Layer| descriptor(layer.kind, &layer.blob);
        let layers: Vec<_> = self.layers.iter().map(layer).collect();
        self.manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": descriptor(media_type::OCI_CONFIG, config.as_bytes()), "layers": layers,
        });
    }

    pub(crate) fn id(&self) -> Digest {
        sha256(self.config.to_string().as_bytes())
    }

    pub(crate) fn digest(&self) -> Digest {
        sha256(self.manifest.to_string().as_bytes())
    }

    /// Puts everything into a registry.
    pub(crate) fn serve(&self, fake: &Fake, repository: &str, tag: &str) {
        let manifest = document(media_type::OCI_MANIFEST, &self.manifest);
        fake.always(&format!("/v2/{repository}/manifests/{tag}"), manifest.clone());
        fake.always(&format!("/v2/{repository}/manifests/{}", self.digest()), manifest);
        fake.always(
            &format!("/v2/{repository}/blobs/{}", self.id()),
            Answer::new(200, self.config.to_string()),
        );
        for layer in &self.layers {
            let answer = Answer::new(200, layer.blob.clone()).manner(Manner::Ranges);
            fake.always(&layer.path(repository), answer);
        }
    }

    /// Writes an OCI layout (image-spec, *image-layout*) with the image as `latest`.
    pub(crate) fn write_layout(&self, directory: &Path) {
        let blobs = directory.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let manifest = self.manifest.to_string();
        let documents = [manifest.as_bytes().to_vec(), self.config.to_string().into_bytes()];
        for blob in documents.iter().chain(self.layers.iter().map(|layer| &layer.blob)) {
            std::fs::write(blobs.join(sha256(blob).hex()), blob).unwrap();
        }
        let mut entry = descriptor(media_type::OCI_MANIFEST, manifest.as_bytes());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
        std::fs::write(directory.join("index.json"), index).unwrap();
        std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

pub(crate) fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": sha256(bytes), "size": bytes.len()})
}

pub(crate) fn document(kind: &str, document: &Value) -> Answer {
    Answer::new(200, document.to_string()).header("Content-Type", kind)
}
