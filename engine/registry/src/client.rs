//! The client itself: settings, and one connection pool for each way of trusting a host; which addresses stand behind a name.

pub(crate) mod endpoint;
mod papers;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{NoProxy, Proxy, Url};

use crate::ask::token;
use crate::{Error, Result};
use endpoint::{Directory, Trust, authority_of};
use papers::Papers;

/// How registries are spoken to.
#[derive(Clone, Debug)]
pub struct Config {
    /// Registries that may be spoken to without a valid certificate or without TLS: `host`, `host:port` or a network
    /// (`10.0.0.0/8`, which matches addresses, not names). This machine need not be listed.
    pub insecure: Vec<String>,
    /// Addresses that are asked before Docker's own registry for its images: `https://mirror.example`.
    pub mirrors: Vec<String>,
    /// The same for every registry, by its name in references (`quay.io`, `registry.example:5000`).
    pub registries: BTreeMap<String, HostConfig>,
    /// Where certificates are looked for, the first place first: `PLACE/HOST[:PORT]/{*.crt,NAME.cert,NAME.key}`.
    pub certificates: Vec<PathBuf>,
    /// Proxies; those of the environment (`HTTPS_PROXY` and so on) where nothing is said.
    pub proxies: Option<Proxies>,
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

/// What is particular about one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// Asked before the registry itself, in this order. They are only read, and never get its credentials.
    pub mirrors: Vec<String>,
    /// As if it stood in [`Config::insecure`].
    pub insecure: bool,
}

/// Proxies by the scheme of what is asked for; empty where none is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For plain HTTP.
    pub http: String,
    /// For TLS.
    pub https: String,
    /// Hosts, domains and networks that are spoken to directly, with commas between them.
    pub none: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            registries: BTreeMap::new(),
            certificates: Vec::new(),
            proxies: None,
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

/// Which connections are alike. Questions have to be answered, and to go on being answered; while an upload sends, nothing
/// comes back, so that it is watched over in its own way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Way {
    trust: Trust,
    uploads: bool,
    papers: Option<(String, Papers)>,
}

/// Pools are dropped together when a host's files have changed so often.
const POOLS: usize = 64;

/// Settings, what follows from them, and the connections that were made by them.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) config: Config,
    pub(crate) directory: Directory,
    /// Made at first use: reading the system's certificates takes milliseconds and memory that a daemon which pulls
    /// nothing should not spend.
    pools: Mutex<HashMap<Way, reqwest::Client>>,
}

/// A client for all registries; see the methods in the crate's root.
#[derive(Debug)]
pub struct Registry {
    rules: RwLock<Arc<Rules>>,
    pub(crate) tokens: token::Cache,
    /// What the hosts that may do without TLS were found to speak.
    schemes: Mutex<HashMap<String, Scheme>>,
}

pub(crate) fn new(config: Config) -> Result<Arc<Registry>> {
    let rules = RwLock::new(Arc::new(Rules::new(config)?));
    Ok(Arc::new(Registry { rules, tokens: token::Cache::default(), schemes: Mutex::default() }))
}

impl Registry {
    /// The settings as they are now.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, config: Config) -> Result<()> {
        let rules = Arc::new(Rules::new(config)?);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        self.schemes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
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

impl Rules {
    fn new(config: Config) -> Result<Self> {
        let directory = Directory::new(&config)?;
        // An address that is none is found out now and not at the first pull.
        drop(through(reqwest::Client::builder(), config.proxies.as_ref())?);
        Ok(Self { config, directory, pools: Mutex::default() })
    }

    /// Whether this host has to be vouched for: then plain HTTP is never spoken with it.
    pub(crate) fn tls_only(&self, authority: &str) -> Result<bool> {
        Ok(match self.directory.trust(authority) {
            Trust::Verified => true,
            Trust::Insecure => false,
            Trust::Loopback => Papers::find(&self.config.certificates, authority)?.vouch(),
        })
    }

    /// Connections to the host of this address, for questions.
    pub(crate) fn http(&self, url: &Url) -> Result<reqwest::Client> {
        self.pool(url, false)
    }

    /// The same without a watch over how long an answer takes.
    pub(crate) fn http_for_uploads(&self, url: &Url) -> Result<reqwest::Client> {
        self.pool(url, true)
    }

    /// Connections to the host of this address at these places alone, whatever its name stands for a moment later. No place is
    /// for a name that only a proxy may know.
    pub(crate) fn http_at(&self, url: &Url, places: &[SocketAddr]) -> Result<reqwest::Client> {
        let builder = builder(&self.config, &self.way(url, false)?)?;
        let name = url.domain().unwrap_or_default();
        finished(builder.resolve_to_addrs(name, places))
    }

    fn way(&self, url: &Url, uploads: bool) -> Result<Way> {
        let authority = authority_of(url).unwrap_or_default();
        let trust = self.directory.trust(&authority);
        let papers = Papers::find(&self.config.certificates, &authority)?;
        let papers = (!papers.is_empty()).then_some((authority, papers));
        Ok(Way { trust, uploads, papers })
    }

    fn pool(&self, url: &Url, uploads: bool) -> Result<reqwest::Client> {
        let way = self.way(url, uploads)?;
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = pools.get(&way) {
            return Ok(client.clone());
        }
        let client = finished(builder(&self.config, &way)?)?;
        if pools.len() >= POOLS {
            pools.clear();
        }
        pools.insert(way, client.clone());
        Ok(client)
    }
}

fn builder(config: &Config, way: &Way) -> Result<reqwest::ClientBuilder> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // A second caller at the same moment installs the same one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("tare/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(config.connect_timeout);
    if !way.uploads {
        builder = builder.read_timeout(config.read_timeout);
    }
    let vouched = way.papers.as_ref().is_some_and(|(_, papers)| papers.vouch());
    builder = match way.trust {
        Trust::Loopback => builder.tls_danger_accept_invalid_certs(!vouched).no_proxy(),
        Trust::Insecure => through(builder.tls_danger_accept_invalid_certs(true), config.proxies.as_ref())?,
        Trust::Verified => through(builder, config.proxies.as_ref())?,
    };
    if let Some((_, papers)) = &way.papers {
        builder = papers.apply(builder)?;
    }
    Ok(builder)
}

fn finished(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder.build().map_err(|e| Error::Tls(root_cause(&e)))
}

/// The settings' proxies instead of the environment's, where there are some.
fn through(builder: reqwest::ClientBuilder, proxies: Option<&Proxies>) -> Result<reqwest::ClientBuilder> {
    let Some(proxies) = proxies else { return Ok(builder) };
    let bad = |text: &str| {
        // It may hold a password.
        let shown = text.rsplit('@').next().unwrap_or_default().to_owned();
        move |e: reqwest::Error| Error::Config(format!("proxy \"{shown}\": {}", root_cause(&e)))
    };
    let none = || NoProxy::from_string(&proxies.none);
    let mut builder = builder.no_proxy();
    if !proxies.http.is_empty() {
        let proxy = Proxy::http(&proxies.http).map_err(bad(&proxies.http))?;
        builder = builder.proxy(proxy.no_proxy(none()));
    }
    if !proxies.https.is_empty() {
        let proxy = Proxy::https(&proxies.https).map_err(bad(&proxies.https))?;
        builder = builder.proxy(proxy.no_proxy(none()));
    }
    Ok(builder)
}

/// The innermost cause of an error: "connection refused" rather than "error sending request". What the system says is told
/// as other clients tell it, without its number: scripts look for it.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = cause.to_string();
    match cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) {
        Some(_) => text.split(" (os error").next().unwrap_or(&text).to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_proxies_are_refused_without_showing_their_passwords() {
        let proxies = Proxies { https: "http://ada:s3cret@".into(), ..Proxies::default() };
        let error = new(Config { proxies: Some(proxies), ..Config::default() }).unwrap_err().to_string();
        assert!(error.contains("proxy") && !error.contains("s3cret"), "{error}");
    }
}
