//! # registry: what a registry says, believed only as far as it can be checked
//!
//! - **Owns**: the client side of the OCI distribution API: which addresses a name stands for, TLS or not and whose
//!   certificates, mirrors and proxies, logging in, redirects, retries, resumption of downloads and uploads.
//! - **In**: references, descriptors, credentials; the bytes of what is pushed.
//! - **Out**: manifests (verified when asked for by digest, never above 4 MiB) and blobs as streams of exactly the size
//!   that their descriptor tells; tags, repositories, what a search finds.
//! - **Leans on**: model, oci; reqwest with rustls.
//! - **Never**: writes to disk, follows the addresses of foreign layers, sends a credential to a host that it was not
//!   given for, or speaks plain HTTP with a host that is neither on this machine nor listed as insecure.
//! - **Invariant**: every wait has an end: connecting, a silent peer and the number of tries are bounded.

mod ask;
mod blob;
mod client;
mod credentials;
mod download;
mod error;
mod listing;
mod login;
mod manifest;
mod put;
mod search;
mod upload;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tare_model::{Digest, Reference};
use tare_oci::image::Descriptor;

pub use ask::parcel::BlobSource;
pub use client::{Config, HostConfig, Proxies, Registry};
pub use credentials::Credentials;
pub use download::{Download, Named, Repository, shown};
pub use error::{Error, Result};
pub use listing::Referrer;
pub use login::LoginResult;
pub use manifest::{FetchedManifest, MANIFEST_LIMIT};
pub use search::SearchHit;
pub use upload::{Upload, Uploaded};

impl Registry {
    /// A client for all registries. It opens no connection and reads no certificate before it is asked for something.
    /// A mirror or insecure entry that cannot be meant is [`Error::Config`].
    pub fn new(config: Config) -> Result<Arc<Self>> {
        client::new(config)
    }

    /// Goes on by other settings. What is under way ends by the old ones; settings that cannot be meant are
    /// [`Error::Config`] and change nothing.
    pub fn reload(&self, config: Config) -> Result<()> {
        self.set(config)
    }

    /// The settings as they are now.
    pub fn config(&self) -> Config {
        self.rules().config.clone()
    }

    /// Whether `server` (`docker.io`, `https://index.docker.io/v1/`, `host:port`) takes these credentials.
    pub async fn check_login(
        self: &Arc<Self>,
        server: &str,
        credentials: &Credentials,
    ) -> Result<LoginResult> {
        login::check(self, server, credentials).await
    }

    /// The document that a reference names: an index or a manifest. Its digest is the one asked for or, with a tag, that
    /// which the registry declared, and in any case that of the bytes.
    pub async fn manifest(
        self: &Arc<Self>,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<FetchedManifest> {
        manifest::fetch(self, reference, credentials).await
    }

    /// A blob from byte `offset` to its end. The stream yields exactly `descriptor.size - offset` bytes or an error; a
    /// connection that breaks is taken up again where it broke. The digest is for the reader to check.
    pub async fn blob(
        self: &Arc<Self>,
        reference: &Reference,
        descriptor: &Descriptor,
        credentials: Option<&Credentials>,
        offset: u64,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        blob::open(self, reference, descriptor, credentials, offset).await
    }

    /// The tags of the reference's repository, in the registry's order.
    pub async fn tags(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<String>> {
        listing::tags(self, reference, credentials).await
    }

    /// Manifests of the reference's repository that refer to one with this digest, the first ten thousand; none where the registry
    /// knows of none.
    pub async fn referrers(
        &self,
        reference: &Reference,
        digest: &Digest,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<Referrer>> {
        listing::referrers(self, reference, digest, credentials).await
    }

    /// Repositories that fit a term, at most `limit`: of Docker's registry, or of the one that the term begins with
    /// (`registry.example:5000/word`). One that cannot be searched is [`Error::NoSearch`].
    pub async fn search(
        &self,
        term: &str,
        limit: usize,
        credentials: Option<&Credentials>,
    ) -> Result<Vec<SearchHit>> {
        search::search(self, term, limit, credentials).await
    }

    /// Whether the reference's repository has this blob, asked by one who is about to push.
    pub async fn has_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        credentials: Option<&Credentials>,
    ) -> Result<bool> {
        put::has_blob(self, reference, digest, credentials).await
    }

    /// Brings a blob into a repository: by mounting it from another one of the same registry, else in one piece, else
    /// in several. A connection that breaks is taken up again where the registry says that it broke.
    pub async fn upload(&self, upload: &Upload) -> Result<Uploaded> {
        upload::upload(self, upload).await
    }

    /// Gives a manifest or an index, whose parts are there already, the reference's name; without a tag it is known by
    /// its digest only. An answer with another digest than that of `bytes` is [`Error::Digest`].
    pub async fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Bytes,
        credentials: Option<&Credentials>,
    ) -> Result<Digest> {
        put::manifest(self, reference, media_type, bytes, credentials).await
    }
}
