//! The client against registries that lie, stall, redirect and ask for credentials.
#![allow(clippy::unwrap_used)]

mod auth;
mod blob;
mod fake;
mod hosts;
mod manifest;
mod push;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use fake::Fake;
use tare_model::{Digest, Reference};
use tare_oci::image::{Descriptor, media_type};
use tare_registry::{Config, Credentials, Registry};

fn registry() -> Arc<Registry> {
    registry_with(Config::default())
}

fn registry_with(config: Config) -> Arc<Registry> {
    let quick = Config {
        retries: 2,
        first_wait: Duration::from_millis(5),
        max_wait: Duration::from_secs(1),
        ..config
    };
    Registry::new(quick).unwrap()
}

/// Gives up soon. Only for who falls silent on purpose: a machine that has much else to do may be silent for as long.
fn impatient(read_timeout: Duration) -> Arc<Registry> {
    Registry::new(Config { read_timeout, retries: 0, ..Config::default() }).unwrap()
}

fn reference(fake: &Fake, rest: &str) -> Reference {
    format!("{}/{rest}", fake.address).parse().unwrap()
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(digest(&SHA256, bytes).as_ref().try_into().unwrap())
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type::OCI_LAYER_GZIP.into(),
        digest: sha256(bytes),
        size: bytes.len() as u64,
        platform: None,
        annotations: BTreeMap::new(),
        urls: Vec::new(),
    }
}

fn ada() -> Credentials {
    Credentials { username: "ada".into(), password: "s3cret".into(), ..Credentials::default() }
}

/// `ada:s3cret`, as basic authentication writes it.
const ADA: &str = "Basic YWRhOnMzY3JldA==";
