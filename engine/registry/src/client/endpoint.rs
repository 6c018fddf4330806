//! Which addresses stand behind a registry's name, and how far each is trusted. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use reqwest::Url;

use crate::{Config, Error, Registry, Result};

/// How the connection to a host is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// TLS with a certificate that the system's authorities vouch for.
    Verified,
    /// Listed as insecure: TLS with any certificate, else plain HTTP.
    Insecure,
    /// This machine: as insecure, and never through a proxy.
    Loopback,
}

/// One address that answers for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host and port as they stand in an address: `registry-1.docker.io`, `127.0.0.1:5000`.
    pub(crate) authority: String,
    /// How the connection is secured.
    pub(crate) trust: Trust,
    /// A mirror never gets the credentials meant for the registry it mirrors.
    pub(crate) mirror: bool,
}

/// What the configuration says about hosts.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    insecure: Vec<Rule>,
    /// By the registry's name.
    mirrors: BTreeMap<String, Vec<Endpoint>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Rule {
    /// A host with or without a port.
    Host(String),
    /// All addresses of a network.
    Network(IpAddr, u8),
}

const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";

impl Directory {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let listed = config.registries.iter().filter(|(_, host)| host.insecure).map(|(name, _)| name);
        let insecure = config.insecure.iter().chain(listed).map(|text| rule(text)).collect::<Result<_>>()?;
        let mut directory = Self { insecure, mirrors: BTreeMap::new() };
        let of_hub = config.mirrors.iter().map(|text| (HUB, text));
        let of_others = config.registries.iter().map(|(name, host)| (registry_name(name), &host.mirrors));
        let mut all: Vec<(&str, &String)> = of_hub.collect();
        for (name, mirrors) in of_others {
            let name = name?;
            all.extend(mirrors.iter().map(|mirror| (name, mirror)));
        }
        for (name, mirror) in all {
            let mirror = directory.mirror(mirror)?;
            directory.mirrors.entry(name.to_owned()).or_default().push(mirror);
        }
        Ok(directory)
    }

    /// The addresses to ask for a registry's images, in order.
    pub(crate) fn endpoints(&self, domain: &str) -> Vec<Endpoint> {
        let mirrors = self.mirrors.get(domain).into_iter().flatten().cloned();
        let own = if domain == HUB {
            Endpoint { authority: HUB_HOST.into(), trust: Trust::Verified, mirror: false }
        } else {
            Endpoint { authority: domain.to_owned(), trust: self.trust(domain), mirror: false }
        };
        mirrors.chain([own]).collect()
    }

    /// How far `host` or `host:port` is trusted.
    pub(crate) fn trust(&self, authority: &str) -> Trust {
        let host = host_of(authority);
        if is_loopback(host) {
            return Trust::Loopback;
        }
        let address: Option<IpAddr> = host.parse().ok();
        let listed = self.insecure.iter().any(|rule| match rule {
            Rule::Host(name) => name.eq_ignore_ascii_case(authority) || name.eq_ignore_ascii_case(host),
            Rule::Network(network, bits) => address.is_some_and(|address| within(address, *network, *bits)),
        });
        if listed { Trust::Insecure } else { Trust::Verified }
    }

    fn mirror(&self, text: &str) -> Result<Endpoint> {
        let bad = |why: &str| Error::Config(format!("mirror \"{text}\": {why}"));
        let url = Url::parse(text).map_err(|e| bad(&e.to_string()))?;
        let authority = authority_of(&url).ok_or_else(|| bad("no host"))?;
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(bad("only scheme, host and port are allowed"));
        }
        let trust = self.trust(&authority);
        match url.scheme() {
            "https" => Ok(Endpoint { authority, trust, mirror: true }),
            "http" if trust != Trust::Verified => Ok(Endpoint { authority, trust, mirror: true }),
            "http" => Err(bad("plain http is only spoken with this machine and with insecure registries")),
            _ => Err(bad("the scheme must be https or http")),
        }
    }
}

/// The registry itself, never one of its mirrors.
pub(crate) fn own(registry: &Registry, domain: &str) -> Endpoint {
    let directory = &registry.rules().directory;
    let mut endpoints = directory.endpoints(domain);
    endpoints.pop().unwrap_or_else(|| Endpoint {
        authority: domain.to_owned(),
        trust: directory.trust(domain),
        mirror: false,
    })
}

/// `host` or `host:port` of an address; `None` where it has no host.
pub(crate) fn authority_of(url: &Url) -> Option<String> {
    let host = url.host_str().filter(|host| !host.is_empty())?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Whether a host, without port, is this machine: 127.0.0.0/8, ::1, `localhost`, or the address of any host, which reaches this
/// one.
fn is_loopback(host: &str) -> bool {
    let is_here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| is_here(ip.to_canonical()))
}

/// Whether an address leads to this machine or to what serves it alone: loopback, and the network of its own link, where clouds
/// have what knows a machine's secrets (169.254.169.254). Nobody elsewhere has a reason to send us there.
pub(crate) fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_unspecified() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local(),
    }
}

/// [`is_near`] of the host of an address as it is written; a name is near that is this machine's.
pub(crate) fn leads_near(url: &Url) -> bool {
    is_near_host(&authority_of(url).unwrap_or_default())
}

/// The same of `host` or `host:port`.
pub(crate) fn is_near_host(authority: &str) -> bool {
    let host = host_of(authority);
    is_loopback(host) || host.parse().is_ok_and(is_near)
}

/// The host of `host` or `host:port`, without brackets.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// The name of a registry as it stands in references.
fn registry_name(text: &str) -> Result<&str> {
    let reference = format!("{text}/x/x").parse::<tare_model::Reference>();
    let is_host = reference.is_ok_and(|reference| reference.domain() == text);
    is_host.then_some(text).ok_or_else(|| {
        Error::Config(format!("registry \"{text}\": a name as in references is wanted, host or host:port"))
    })
}

fn rule(text: &str) -> Result<Rule> {
    let bad = || {
        Error::Config(format!(
            "insecure registry \"{text}\": a host, host:port or network (10.0.0.0/8) is wanted"
        ))
    };
    if let Some((network, bits)) = text.split_once('/').filter(|_| !text.contains("://")) {
        let network: IpAddr = network.parse().map_err(|_| bad())?;
        let bits = bits.parse().ok().filter(|bits| *bits <= width(network)).ok_or_else(bad)?;
        return Ok(Rule::Network(network, bits));
    }
    let name = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or(text);
    let name = name.trim_end_matches('/');
    let valid = !name.is_empty() && !name.contains(['/', '@', ' ', '?', '#']);
    if valid { Ok(Rule::Host(name.to_owned())) } else { Err(bad()) }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    address.is_ipv4() == network.is_ipv4() && number(address) & mask == number(network) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(insecure: &[&str], mirrors: &[&str]) -> Result<Directory> {
        let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Directory::new(&Config { insecure: own(insecure), mirrors: own(mirrors), ..Config::default() })
    }

    #[test]
    fn only_this_machine_and_listed_hosts_are_insecure() {
        let directory =
            directory(&["10.0.0.0/8", "reg.lan:5000", "http://old.lan", "fd00::/8"], &[]).unwrap();
        for (authority, trust) in [
            ("127.0.0.1:5000", Trust::Loopback),
            ("127.8.9.10", Trust::Loopback),
            ("[::1]:5000", Trust::Loopback),
            ("0.0.0.0:5000", Trust::Loopback),
            ("[::]:5000", Trust::Loopback),
            ("[::ffff:127.0.0.1]:5000", Trust::Loopback),
            ("localhost:80", Trust::Loopback),
            ("10.1.2.3:443", Trust::Insecure),
            ("reg.lan:5000", Trust::Insecure),
            ("old.lan:1234", Trust::Insecure),
            ("[fd00::7]:1", Trust::Insecure),
            ("reg.lan", Trust::Verified),
            ("11.0.0.1", Trust::Verified),
            ("127.0.0.1.evil.example", Trust::Verified),
            ("localhost.evil.example", Trust::Verified),
            ("docker.io", Trust::Verified),
        ] {
            assert_eq!(directory.trust(authority), trust, "{authority}");
        }
    }

    #[test]
    fn docker_io_means_its_mirrors_and_then_the_hub() {
        let directory = directory(&[], &["https://mirror.example", "http://127.0.0.1:5001/"]).unwrap();
        let names: Vec<_> =
            directory.endpoints("docker.io").into_iter().map(|e| (e.authority, e.mirror)).collect();
        let expected = [("mirror.example", true), ("127.0.0.1:5001", true), ("registry-1.docker.io", false)];
        assert_eq!(names, expected.map(|(name, mirror)| (name.to_owned(), mirror)));
        assert_eq!(directory.endpoints("quay.io").len(), 1);
    }

    #[test]
    fn every_registry_can_have_mirrors() {
        let host = |mirrors: &[&str], insecure| crate::HostConfig {
            mirrors: mirrors.iter().map(ToString::to_string).collect(),
            insecure,
        };
        let with = |name: &str, host: crate::HostConfig| {
            let registries = BTreeMap::from([(name.to_owned(), host)]);
            Directory::new(&Config { registries, mirrors: vec!["https://first".into()], ..Config::default() })
        };
        let names = |directory: &Directory, domain: &str| {
            directory.endpoints(domain).into_iter().map(|e| e.authority).collect::<Vec<_>>()
        };
        let quay = with("quay.io", host(&["https://a.lan:1", "http://localhost:2"], false)).unwrap();
        assert_eq!(names(&quay, "quay.io"), ["a.lan:1", "localhost:2", "quay.io"]);
        assert_eq!(names(&quay, "ghcr.io"), ["ghcr.io"]);
        let hub = with("docker.io", host(&["https://second"], false)).unwrap();
        assert_eq!(names(&hub, "docker.io"), ["first", "second", "registry-1.docker.io"]);
        assert_eq!(with("old.lan:1", host(&[], true)).unwrap().trust("old.lan:1"), Trust::Insecure);
        for bad in ["", "a/b", "https://quay.io", "a b.c", "quay"] {
            assert!(matches!(with(bad, host(&["https://a"], false)), Err(Error::Config(_))), "{bad}");
        }
        assert!(with("quay.io", host(&["http://a.lan"], false)).is_err());
    }

    #[test]
    fn impossible_settings_are_refused() {
        for mirror in
            ["http://mirror.example", "ftp://127.0.0.1", "https://a/b", "https://u:p@a", "x", "https://a?q"]
        {
            assert!(matches!(directory(&[], &[mirror]), Err(Error::Config(_))), "{mirror}");
        }
        for insecure in ["", "10.0.0.0/33", "a/b", "a b", "user@host", "::/129"] {
            assert!(matches!(directory(&[insecure], &[]), Err(Error::Config(_))), "{insecure}");
        }
    }

    #[test]
    fn a_network_of_no_bits_is_everything_of_its_family() {
        let directory = directory(&["0.0.0.0/0"], &[]).unwrap();
        assert_eq!(directory.trust("8.8.8.8"), Trust::Insecure);
        assert_eq!(directory.trust("[2001:db8::1]"), Trust::Verified);
    }
}
