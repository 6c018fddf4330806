//! What the given values mean: checked, with defaults, paths absolute.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tare_container::{Defaults, LogSpec, Ulimit};
use tare_registry::{HostConfig, Proxies};
use tracing::level_filters::LevelFilter;

use crate::given::{
    CommandLine, Given, GivenBuilder, GivenContainers, GivenProxies, GivenRegistries, GivenRegistry,
};

/// What the daemon works by.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub hosts: Vec<Host>,
    pub data_root: PathBuf,
    pub exec_root: PathBuf,
    pub pidfile: PathBuf,
    pub group: Option<String>,
    pub network: tare_network::Config,
    pub registry: tare_registry::Config,
    pub images: tare_image::Settings,
    /// What is wanted of images.
    pub policy: tare_image::Policy,
    /// Absent: the best that works.
    pub storage_driver: Option<tare_snapshot::Driver>,
    pub containers: Containers,
    /// What builds may do where whoever asks for one allows it.
    pub entitlements: tare_build::Entitlements,
    pub log_level: LevelFilter,
    pub validate_only: bool,
}

/// Where Docker looks for registries' certificates; second to the directory `certs.d` beside the configuration file.
const DOCKERS_CERTIFICATES: &str = "/etc/docker/certs.d";

/// What containers are run with.
#[derive(Clone, Debug)]
pub(crate) struct Containers {
    pub runtime: PathBuf,
    pub init: PathBuf,
    pub defaults: Defaults,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Unix(PathBuf),
    Tcp(SocketAddr),
    /// Sockets that systemd opened (sd_listen_fds(3)).
    Inherited,
}

/// Where things are when nobody says.
struct Places {
    data_root: PathBuf,
    exec_root: PathBuf,
}

impl Settings {
    /// Reads flags and file; the first thing that is wrong is the error.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let line = CommandLine::read(arguments)?;
        let given = line.merge_file()?;
        let mut settings = check(given, &places())?;
        let directory = absolute(line.file())?.parent().map(Path::to_path_buf).unwrap_or_default();
        settings.registry.certificates = vec![directory.join("certs.d"), DOCKERS_CERTIFICATES.into()];
        settings.policy = tare_image::Policy::read(&directory.join("policy.json"))?;
        settings.validate_only = line.validate;
        Ok(settings)
    }
}

/// Root's places, or those of an ordinary user, for whom running containers comes later.
fn places() -> Places {
    if rustix::process::geteuid().is_root() {
        return Places { data_root: "/var/lib/tare".into(), exec_root: "/run/tare".into() };
    }
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = variable("HOME").unwrap_or_else(|| "/".into());
    let data = variable("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
    let run = variable("XDG_RUNTIME_DIR")
        .unwrap_or_else(|| format!("/run/user/{}", rustix::process::geteuid().as_raw()).into());
    Places { data_root: data.join("tare"), exec_root: run.join("tare") }
}

fn check(given: Given, places: &Places) -> Result<Settings> {
    let data_root = absolute(given.data_root.as_ref().unwrap_or(&places.data_root))?;
    let exec_root = absolute(given.exec_root.as_ref().unwrap_or(&places.exec_root))?;
    // Tells this daemon's bridge and firewall table from those of others on the machine.
    let instance = instance(&data_root, places);
    let pidfile = given.pidfile.as_ref().map_or_else(|| Ok(exec_root.join("tared.pid")), absolute)?;
    let hosts = match given.hosts.is_empty() {
        true => vec![Host::Unix(places.exec_root.join("tare.sock"))],
        false => given.hosts.iter().map(|host| host.parse()).collect::<Result<_>>()?,
    };
    let subnet = given
        .network
        .bip
        .as_deref()
        .map(|bip| bip.parse().with_context(|| format!("--bip {bip}")))
        .transpose()?;
    let network = tare_network::Config {
        instance,
        bridge: given.network.bridge.clone(),
        subnet,
        mtu: given.network.mtu,
    };
    Ok(Settings {
        containers: containers(&given)?,
        log_level: log_level(&given)?,
        hosts,
        data_root,
        exec_root,
        pidfile,
        group: given.group,
        network,
        registry: registry(&given.registries)?,
        images: images(&given.registries)?,
        policy: tare_image::Policy::default(),
        storage_driver: storage_driver(given.storage_driver.as_deref())?,
        entitlements: entitlements(given.builder.as_ref()),
        validate_only: false,
    })
}

fn registry(given: &GivenRegistries) -> Result<tare_registry::Config> {
    let host = |(name, given): (&String, &GivenRegistry)| {
        let host = HostConfig { mirrors: given.mirrors.clone(), insecure: given.insecure };
        (name.clone(), host)
    };
    let GivenProxies { http_proxy, https_proxy, no_proxy } = given.proxies.clone();
    let some = http_proxy.is_some() || https_proxy.is_some() || no_proxy.is_some();
    // As for dockerd: what is not said is the environment's.
    let or_environment = |given: Option<String>, name: &str| {
        let from = |name: String| std::env::var(name).ok().filter(|value| !value.is_empty());
        given.or_else(|| from(name.to_owned())).or_else(|| from(name.to_lowercase())).unwrap_or_default()
    };
    let proxies = some.then(|| Proxies {
        http: or_environment(http_proxy, "HTTP_PROXY"),
        https: or_environment(https_proxy, "HTTPS_PROXY"),
        none: or_environment(no_proxy, "NO_PROXY"),
    });
    let mut config = tare_registry::Config {
        insecure: given.insecure_registries.clone(),
        mirrors: given.registry_mirrors.clone(),
        registries: given.registries.iter().map(host).collect(),
        proxies,
        ..tare_registry::Config::default()
    };
    if let Some(attempts) = given.max_download_attempts {
        ensure!(attempts > 0, "max-download-attempts: {attempts} is not enough to download anything");
        config.retries = attempts - 1;
    }
    Ok(config)
}

/// As Docker: the host's network unless it is forbidden, and no RUN without confinement unless that is granted.
fn entitlements(given: Option<&GivenBuilder>) -> tare_build::Entitlements {
    let given = given.map(|builder| builder.entitlements.clone()).unwrap_or_default();
    tare_build::Entitlements {
        host_network: given.network_host.unwrap_or(true),
        insecure: given.security_insecure.unwrap_or(false),
    }
}

fn storage_driver(given: Option<&str>) -> Result<Option<tare_snapshot::Driver>> {
    match given {
        Some(name) => Ok(Some(name.parse().with_context(|| format!("storage-driver: {name}"))?)),
        None => Ok(None),
    }
}

fn images(given: &GivenRegistries) -> Result<tare_image::Settings> {
    let mut settings = tare_image::Settings::default();
    settings.downloads = given.max_concurrent_downloads.unwrap_or(settings.downloads);
    settings.uploads = given.max_concurrent_uploads.unwrap_or(settings.uploads);
    let is_some = settings.downloads > 0 && settings.uploads > 0;
    ensure!(is_some, "max-concurrent-downloads and max-concurrent-uploads: 1 at least");
    match given.max_unpack_ratio {
        Some(0) => settings.limits.ratio = u64::MAX,
        Some(ratio) => settings.limits.ratio = ratio,
        None => {}
    }
    Ok(settings)
}

fn absolute(path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    std::path::absolute(path).with_context(|| format!("cannot tell where {} is", path.display()))
}

/// Nothing for the machine's main daemon; for others eight digits that follow from the data root, so that a daemon finds its
/// own bridge again (FNV-1a: short, stable, and nobody's secret).
fn instance(data_root: &Path, places: &Places) -> String {
    use std::os::unix::ffi::OsStrExt;
    if data_root == places.data_root {
        return String::new();
    }
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let hash = data_root.as_os_str().as_bytes().iter().fold(0x811c_9dc5, step);
    format!("{hash:08x}")
}

fn log_level(given: &Given) -> Result<LevelFilter> {
    let word = given.log_level.as_deref().unwrap_or("info");
    let level = match word {
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" => LevelFilter::WARN,
        "error" | "fatal" => LevelFilter::ERROR,
        _ => bail!("invalid log level \"{word}\": error, warn, info or debug is wanted"),
    };
    Ok(if given.debug == Some(true) { LevelFilter::DEBUG } else { level })
}

fn containers(given: &Given) -> Result<Containers> {
    let own = &given.containers;
    let dns: Result<Vec<IpAddr>> =
        given.network.dns.iter().map(|text| text.parse().with_context(|| format!("--dns {text}"))).collect();
    let limit = |(name, limit): (&String, &crate::given::GivenUlimit)| Ulimit {
        name: name.clone(),
        soft: limit.soft,
        hard: limit.hard,
    };
    let defaults = Defaults {
        init: own.init.unwrap_or(false),
        ulimits: own.default_ulimits.iter().map(limit).collect(),
        dns: dns?,
        dns_search: given.network.dns_search.clone(),
        dns_options: given.network.dns_opts.clone(),
        log: log(own)?,
    };
    let init = match &own.init_path {
        Some(path) => absolute(path)?,
        None => program("tare-init")?,
    };
    Ok(Containers { runtime: program("tare-runtime")?, init, defaults })
}

fn log(given: &GivenContainers) -> Result<LogSpec> {
    let mut log = LogSpec::default();
    match given.log_driver.as_deref() {
        None | Some("json-file" | "") => {}
        Some("none") => log.enabled = false,
        Some(other) => bail!("the log driver \"{other}\" is not supported yet: json-file or none"),
    }
    for (name, value) in &given.log_opts {
        match name.as_str() {
            "max-size" if value == "-1" => log.max_size = 0,
            "max-size" => log.max_size = tare_model::parse_bytes(value)?,
            "max-file" => {
                log.max_files = value
                    .parse()
                    .ok()
                    .filter(|files| *files > 0)
                    .with_context(|| format!("max-file={value}"))?
            }
            _ => bail!("unknown log opt '{name}' for json-file log driver"),
        }
    }
    Ok(log)
}

/// A program of ours: beside this one, else where the system's are.
fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where tared is")?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = own.parent().map(Path::to_path_buf).into_iter().chain(std::env::split_paths(&path));
    let found = dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("cannot find {name}, neither beside {} nor in PATH", own.display()))
}

impl std::str::FromStr for Host {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scheme, rest) = text.split_once("://").with_context(|| {
            format!("invalid host \"{text}\": unix:///PATH, tcp://127.0.0.1:PORT or fd:// is wanted")
        })?;
        match scheme {
            "unix" => {
                ensure!(
                    rest.starts_with('/'),
                    "invalid host \"{text}\": an absolute path is wanted, unix:///run/tare/tare.sock"
                );
                Ok(Self::Unix(rest.into()))
            }
            "tcp" => tcp(text, rest),
            "fd" => Ok(Self::Inherited),
            _ => bail!("invalid host \"{text}\": the scheme {scheme}:// is not known"),
        }
    }
}

fn tcp(text: &str, address: &str) -> Result<Host> {
    let address = address.trim_end_matches('/').replace("localhost", "127.0.0.1");
    let address: SocketAddr =
        address.parse().with_context(|| format!("invalid host \"{text}\": ADDRESS:PORT is wanted"))?;
    ensure!(
        address.ip().is_loopback(),
        "{text} is refused: whoever reaches a tcp address without authentication is root on this machine, and TLS is not supported yet; listen on tcp://127.0.0.1:{} or a unix socket, and reach it through ssh",
        address.port()
    );
    Ok(Host::Tcp(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Places {
        Places { data_root: "/var/lib/tare".into(), exec_root: "/run/tare".into() }
    }

    #[test]
    fn hosts_are_read_and_open_doors_refused() {
        assert_eq!("unix:///a/b".parse::<Host>().unwrap(), Host::Unix("/a/b".into()));
        assert_eq!(
            "tcp://localhost:2375".parse::<Host>().unwrap(),
            Host::Tcp("127.0.0.1:2375".parse().unwrap())
        );
        assert_eq!("fd://".parse::<Host>().unwrap(), Host::Inherited);
        for open in ["tcp://0.0.0.0:2375", "tcp://10.0.0.1:2375", "tcp://[::]:2375"] {
            assert!(open.parse::<Host>().unwrap_err().to_string().contains("refused"), "{open}");
        }
        for bad in ["", "unix://a", "/run/x", "tcp://127.0.0.1", "npipe://x", "tcp://:2375"] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }

    #[test]
    fn daemons_with_other_data_have_other_names() {
        assert_eq!(instance(Path::new("/var/lib/tare"), &root()), "");
        let (one, two) = (instance(Path::new("/a"), &root()), instance(Path::new("/b"), &root()));
        assert!(one != two && one.len() == 8, "{one} {two}");
    }

    #[test]
    fn registries_are_spoken_to_as_dockerd_is_told() {
        let given = GivenRegistries {
            max_download_attempts: Some(1),
            max_concurrent_uploads: Some(2),
            proxies: GivenProxies { http_proxy: Some("http://p:1".into()), ..GivenProxies::default() },
            ..GivenRegistries::default()
        };
        let config = registry(&given).unwrap();
        assert_eq!((config.retries, config.proxies.unwrap().http.as_str()), (0, "http://p:1"));
        let settings = images(&given).unwrap();
        assert_eq!((settings.downloads, settings.uploads, settings.limits.ratio), (3, 2, 200));
        for (ratio, limit) in [(0, u64::MAX), (5000, 5000)] {
            let given = GivenRegistries { max_unpack_ratio: Some(ratio), ..GivenRegistries::default() };
            assert_eq!(images(&given).unwrap().limits.ratio, limit);
        }
        assert_eq!(registry(&GivenRegistries::default()).unwrap().proxies, None);
        let none = GivenRegistries { max_concurrent_downloads: Some(0), ..GivenRegistries::default() };
        assert!(images(&none).is_err());
        let never = GivenRegistries { max_download_attempts: Some(0), ..GivenRegistries::default() };
        assert!(registry(&never).is_err());
    }

    #[test]
    fn wrong_values_are_named() {
        let wrong = |change: fn(&mut Given)| {
            let mut given = Given::default();
            change(&mut given);
            log_level(&given)
                .map(drop)
                .and_then(|()| log(&given.containers).map(drop))
                .unwrap_err()
                .to_string()
        };
        assert!(wrong(|given| given.log_level = Some("loud".into())).contains("loud"));
        assert!(wrong(|given| given.containers.log_driver = Some("syslog".into())).contains("syslog"));
        assert!(
            wrong(|given| drop(given.containers.log_opts.insert("colour".into(), "red".into())))
                .contains("colour")
        );
    }
}
