use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tare_container::{Limits, NetworkMode};
use tare_image::LayerCompression;
use tare_model::{Platform, Reference};
use tare_registry::Credentials;

/// What is to be built.
#[derive(Default)]
pub struct BuildRequest {
    /// Where the Dockerfile lies in the context; empty = `Dockerfile`.
    pub dockerfile: String,
    /// Where the context comes from.
    pub source: Source,
    /// Names with tags that the image gets.
    pub names: Vec<Reference>,
    /// The stage that is wanted, by name or number; absent = the last one.
    pub target: Option<String>,
    /// What images are for, each once; none = this machine. More than one make an index.
    pub platforms: Vec<Platform>,
    /// `--build-arg`
    pub args: BTreeMap<String, String>,
    /// Added to the image.
    pub labels: BTreeMap<String, String>,
    /// Whether all that is added to a base becomes one layer.
    pub squash: bool,
    /// What may be reused.
    pub reuse: Reuse,
    /// How RUN runs.
    pub run: RunSettings,
    /// For registries, by host.
    pub credentials: BTreeMap<String, Credentials>,
    /// `--build-context`: a name and what it stands for.
    pub contexts: BTreeMap<String, NamedContext>,
    /// What is wanted beside the image in the store, or instead of it.
    pub exports: Vec<Export>,
}

/// What is wanted of the last stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// The image in the store.
    Image,
    /// The image at the registries of its names, its layers in this compression or as they are kept.
    Push(Option<LayerCompression>),
    /// The image as an archive, likewise.
    Archive(Option<LayerCompression>),
    /// Its files as a tar.
    Files,
}

/// Where a context comes from.
#[derive(Default)]
pub enum Source {
    /// Nowhere: the build has no files.
    #[default]
    Nothing,
    /// A tar, plain or compressed by gzip or zstd.
    Archive {
        /// Its bytes.
        archive: BoxStream<'static, io::Result<Bytes>>,
        /// Whether secrets, further contexts or a Dockerfile come before the context.
        reserved: bool,
    },
    /// A Dockerfile alone.
    Dockerfile(Vec<u8>),
    /// An archive, a Dockerfile or a git repository by its address.
    Address {
        /// `https://…`, `git@…`.
        address: String,
        /// An archive that begins with secrets, further contexts or a Dockerfile; its context counts for nothing.
        beside: Option<BoxStream<'static, io::Result<Bytes>>>,
    },
}

/// What may be reused.
#[derive(Clone, Debug, Default)]
pub struct Reuse {
    /// No step is taken from the cache.
    pub no_cache: bool,
    /// Images of FROM are asked for at their registry even if they are here.
    pub pull: bool,
    /// Images whose steps may be taken.
    pub cache_from: Vec<String>,
}

/// How RUN runs.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// The network of steps that do not say otherwise.
    pub network: NetworkMode,
    /// `host:ip` for /etc/hosts.
    pub extra_hosts: Vec<String>,
    /// What each step may use.
    pub limits: Limits,
    /// Sockets of ssh agents on this machine, by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// What whoever asks for the build lets its Dockerfile do.
    pub allowed: Entitlements,
}

impl Default for RunSettings {
    fn default() -> Self {
        let (extra_hosts, limits, ssh) = (Vec::new(), Limits::default(), BTreeMap::new());
        Self { network: NetworkMode::Bridge, extra_hosts, limits, ssh, allowed: Entitlements::default() }
    }
}

/// What takes a RUN out of its confinement. Two have to agree to it: whoever runs the daemon, and whoever asks for the build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`: RUN --network=host
    pub host_network: bool,
    /// `security.insecure`: RUN --security=insecure
    pub insecure: bool,
}

/// What a name given by `--build-context` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// An image.
    Image(String),
    /// Files that came with the context.
    Directory(String),
}
