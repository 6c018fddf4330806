//! The client itself: settings, and one connection pool for each way of trusting a host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::redirect::Policy;

use crate::endpoint::{Directory, Trust};
use crate::{Error, Result, token};

/// How registries are spoken to.
#[derive(Clone, Debug)]
pub struct Config {
    /// Registries that may be spoken to without a valid certificate or without TLS: `host`, `host:port` or a network
    /// (`10.0.0.0/8`, which matches addresses, not names). This machine need not be listed.
    pub insecure: Vec<String>,
    /// Addresses that are asked before Docker's own registry for its images: `https://mirror.example`.
    pub mirrors: Vec<String>,
    /// How long a connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long a registry may be silent in the middle of an answer.
    pub read_timeout: Duration,
    /// How often a failed request or a broken blob is tried again.
    pub retries: u32,
    /// Before the first retry; doubled each time, at most [`Config::max_wait`].
    pub first_wait: Duration,
    /// The longest pause that is made, also where the registry asks for a longer one (then its error is returned).
    pub max_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(30),
            retries: 3,
            first_wait: Duration::from_millis(250),
            max_wait: Duration::from_secs(10),
        }
    }
}

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Https,
    Http,
}

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// A connection pool for each way of trusting a host.
#[derive(Debug, Default)]
struct Pools {
    verified: OnceLock<reqwest::Client>,
    insecure: OnceLock<reqwest::Client>,
    loopback: OnceLock<reqwest::Client>,
}

impl Pools {
    fn get(
        &self,
        trust: Trust,
        make: impl FnOnce() -> reqwest::Result<reqwest::Client>,
    ) -> Result<&reqwest::Client> {
        let slot = match trust {
            Trust::Verified => &self.verified,
            Trust::Insecure => &self.insecure,
            Trust::Loopback => &self.loopback,
        };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = make().map_err(|e| Error::Tls(root_cause(&e)))?;
        Ok(slot.get_or_init(|| client))
    }
}

/// A client for all registries; see the methods in the crate's root.
#[derive(Debug)]
pub struct Registry {
    pub(crate) config: Config,
    pub(crate) directory: Directory,
    pub(crate) tokens: token::Cache,
    /// For questions: their answer has to come and go on coming.
    reading: Pools,
    /// For uploads: while they send nothing comes back, so that their own watch is kept over them.
    sending: Pools,
    /// What the hosts that may do without TLS were found to speak.
    schemes: Mutex<HashMap<String, Scheme>>,
}

pub(crate) fn new(config: Config) -> Result<Arc<Registry>> {
    let directory = Directory::new(&config)?;
    Ok(Arc::new(Registry {
        config,
        directory,
        tokens: token::Cache::default(),
        reading: Pools::default(),
        sending: Pools::default(),
        schemes: Mutex::default(),
    }))
}

impl Registry {
    /// The connection pool for hosts of this trust. Made at first use: reading the system's certificates takes
    /// milliseconds and memory that a daemon which pulls nothing should not spend.
    pub(crate) fn http(&self, trust: Trust) -> Result<&reqwest::Client> {
        self.reading.get(trust, || build(&self.config, trust).read_timeout(self.config.read_timeout).build())
    }

    /// The same without a watch over how long an answer takes.
    pub(crate) fn http_for_uploads(&self, trust: Trust) -> Result<&reqwest::Client> {
        self.sending.get(trust, || build(&self.config, trust).build())
    }

    /// What a host speaks, if it was asked before.
    pub(crate) fn known_scheme(&self, authority: &str) -> Option<Scheme> {
        self.schemes.lock().unwrap_or_else(PoisonError::into_inner).get(authority).copied()
    }

    /// Remembers what a host speaks.
    pub(crate) fn learn_scheme(&self, authority: &str, scheme: Scheme) {
        self.schemes.lock().unwrap_or_else(PoisonError::into_inner).insert(authority.to_owned(), scheme);
    }

    /// Forgets it, so that a registry that was set up anew with TLS is found again.
    pub(crate) fn forget_scheme(&self, authority: &str) {
        self.schemes.lock().unwrap_or_else(PoisonError::into_inner).remove(authority);
    }
}

fn build(config: &Config, trust: Trust) -> reqwest::ClientBuilder {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // A second caller at the same moment installs the same one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let builder = reqwest::Client::builder()
        .user_agent(concat!("tare/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(config.connect_timeout);
    match trust {
        Trust::Verified => builder,
        Trust::Insecure => builder.tls_danger_accept_invalid_certs(true),
        Trust::Loopback => builder.tls_danger_accept_invalid_certs(true).no_proxy(),
    }
}

/// The innermost cause of an error: "connection refused" rather than "error sending request".
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
