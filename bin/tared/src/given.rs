//! What was typed or written in the configuration file, before it means anything. One table for both: a field's flag and
//! its key stand side by side, under dockerd's names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where the configuration file is looked for when nobody names one.
const DEFAULT_FILE: &str = "/etc/tare/daemon.json";
/// A configuration larger than this is a mistake.
const MAX_FILE: u64 = 1 << 20;

/// The daemon of Tare: runs containers for clients of the Docker Engine API.
#[derive(Clone, Debug, Default, PartialEq, Parser)]
#[command(name = "tared", version, about, long_about = None)]
pub(crate) struct CommandLine {
    /// The configuration file, JSON with dockerd's keys [default: /etc/tare/daemon.json]
    #[arg(long, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Check the configuration and end
    #[arg(long)]
    pub validate: bool,
    /// Default limits of containers, NAME=SOFT[:HARD]
    #[arg(long = "default-ulimit", value_name = "LIMIT")]
    pub ulimits: Vec<String>,
    /// Default options of the log driver, NAME=VALUE
    #[arg(long = "log-opt", value_name = "OPTION")]
    pub log_options: Vec<String>,
    #[command(flatten)]
    pub given: Given,
}

/// A value that is a flag and a key of the file.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(crate) struct Given {
    /// Where to listen: unix:///PATH, tcp://127.0.0.1:PORT, fd:// (repeatable)
    #[arg(short = 'H', long = "host", value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Where everything lasting is kept [default: /var/lib/tare]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_root: Option<PathBuf>,
    /// Where everything is kept that lasts as long as the machine is up [default: /run/tare]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_root: Option<PathBuf>,
    /// The file for the process id [default: EXEC_ROOT/tared.pid]
    #[arg(short, long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pidfile: Option<PathBuf>,
    /// The group that may use the socket [default: tare, if there is such a group]
    #[arg(short = 'G', long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How layers become trees: overlayfs, fuse-overlayfs or copy [default: what the layers were made by, else the best that works]
    #[arg(short, long, value_name = "DRIVER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_driver: Option<String>,
    /// What builds may do: `{"entitlements": {"network-host": true, "security-insecure": false}}`
    #[arg(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<GivenBuilder>,
    #[command(flatten)]
    #[serde(flatten)]
    pub registries: GivenRegistries,
    #[command(flatten)]
    #[serde(flatten)]
    pub network: GivenNetwork,
    #[command(flatten)]
    #[serde(flatten)]
    pub containers: GivenContainers,
    /// error, warn, info or debug [default: info]
    #[arg(short, long, value_name = "LEVEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// As --log-level=debug
    #[arg(short = 'D', long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug: Option<bool>,
}

/// What concerns registries.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct GivenRegistries {
    /// Registries spoken to without TLS: HOST[:PORT] or a network (repeatable)
    #[arg(long = "insecure-registry", value_name = "REGISTRY")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub insecure_registries: Vec<String>,
    /// Mirrors of Docker's own registry, https://HOST (repeatable)
    #[arg(long = "registry-mirror", value_name = "URL")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub registry_mirrors: Vec<String>,
    /// By registry: `{"quay.io": {"mirrors": ["https://mirror.example"], "insecure": false}}`
    #[arg(skip)]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub registries: BTreeMap<String, GivenRegistry>,
    #[command(flatten)]
    #[serde(skip_serializing_if = "GivenProxies::is_empty")]
    pub proxies: GivenProxies,
    /// How many layers of a pull are downloaded at a time [default: 3]
    #[arg(long, value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent_downloads: Option<usize>,
    /// How many layers of a push are sent at a time [default: 5]
    #[arg(long, value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent_uploads: Option<usize>,
    /// How many bytes a layer of more than a gigabyte may have for each compressed one [default: 200; 0: any number]
    #[arg(long, value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unpack_ratio: Option<u64>,
    /// How often a download is tried [default: 4]
    #[arg(long, value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_download_attempts: Option<u32>,
}

/// What is particular about one registry, in the file's form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GivenRegistry {
    pub mirrors: Vec<String>,
    pub insecure: bool,
}

/// Proxies for registries; those of the environment where none is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(crate) struct GivenProxies {
    /// The proxy for plain HTTP, instead of HTTP_PROXY
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_proxy: Option<String>,
    /// The proxy for TLS, instead of HTTPS_PROXY
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_proxy: Option<String>,
    /// Hosts that are reached without a proxy, instead of NO_PROXY
    #[arg(long, value_name = "HOSTS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_proxy: Option<String>,
}

impl GivenProxies {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What concerns networks.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct GivenNetwork {
    /// The bridge's address and subnet, 172.30.0.1/16
    #[arg(long, value_name = "ADDRESS/LENGTH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bip: Option<String>,
    /// The bridge's name
    #[arg(short, long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The largest packet of containers' links, in bytes
    #[arg(long, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Name servers of containers (repeatable)
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// resolv.conf options of containers (repeatable)
    #[arg(long = "dns-opt", value_name = "OPTION")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_opts: Vec<String>,
    /// Search domains of containers (repeatable)
    #[arg(long, value_name = "DOMAIN")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
}

/// What concerns containers.
#[derive(Clone, Debug, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct GivenContainers {
    /// Containers get a small init unless they say otherwise
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// The small init's program [default: tare-init beside tared]
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_path: Option<PathBuf>,
    /// Accepted, and always so: containers go on when the daemon ends
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_restore: Option<bool>,
    /// json-file or none
    #[arg(long, value_name = "DRIVER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_driver: Option<String>,
    #[arg(skip)]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub log_opts: BTreeMap<String, String>,
    #[arg(skip)]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub default_ulimits: BTreeMap<String, GivenUlimit>,
}

/// What concerns builds, in the file's form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GivenBuilder {
    pub entitlements: GivenEntitlements,
}

/// What a RUN may do where whoever asks for the build allows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(crate) struct GivenEntitlements {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_host: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_insecure: Option<bool>,
}

/// A limit, in the file's form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GivenUlimit {
    pub name: String,
    pub hard: i64,
    pub soft: i64,
}

impl CommandLine {
    /// Reads the command line; help and version are printed and end the program, as they do everywhere.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self> {
        let mut line = Self::parse_from(arguments);
        for text in &line.ulimits {
            let limit = parse_ulimit(text)?;
            line.given.containers.default_ulimits.insert(limit.name.clone(), limit);
        }
        for option in &line.log_options {
            let (name, value) = option
                .split_once('=')
                .with_context(|| format!("--log-opt {option}: NAME=VALUE is wanted"))?;
            line.given.containers.log_opts.insert(name.to_owned(), value.to_owned());
        }
        Ok(line)
    }

    /// Where the configuration file is, or would be.
    pub(crate) fn file(&self) -> &Path {
        self.config_file.as_deref().unwrap_or(Path::new(DEFAULT_FILE))
    }

    /// Flags and file together. What both say is an error, as nobody could know which one is meant.
    pub(crate) fn merge_file(&self) -> Result<Given> {
        let file = match &self.config_file {
            Some(path) => read_file(path)?,
            None if Path::new(DEFAULT_FILE).exists() => read_file(Path::new(DEFAULT_FILE))?,
            None => return Ok(self.given.clone()),
        };
        merge(&self.given, &file)
    }
}

fn read_file(path: &Path) -> Result<Given> {
    use std::io::Read;
    let cannot = || format!("cannot read the configuration file {}", path.display());
    let mut text = String::new();
    std::fs::File::open(path)
        .with_context(cannot)?
        .take(MAX_FILE)
        .read_to_string(&mut text)
        .with_context(cannot)?;
    if text.trim().is_empty() {
        return Ok(Given::default());
    }
    let value: Value = serde_json::from_str(&text).with_context(cannot)?;
    let unknown: Vec<&str> = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .filter(|key| !is_known(key))
        .collect();
    if !unknown.is_empty() {
        bail!(
            "{}: the following directives don't match any configuration option: {}",
            path.display(),
            unknown.join(", ")
        );
    }
    serde_json::from_value(value).with_context(cannot)
}

/// Whether a key of the file has a field: a field that has one takes `null` for it or refuses it by its type.
fn is_known(key: &str) -> bool {
    let probe = Value::Object(Map::from_iter([(key.to_owned(), Value::Null)]));
    match serde_json::from_value::<Given>(probe) {
        Ok(_) => true,
        Err(error) => !error.to_string().starts_with("unknown field"),
    }
}

fn merge(flags: &Given, file: &Given) -> Result<Given> {
    let (flags, mut file) = (object(flags)?, object(file)?);
    let twice = flags.iter().filter_map(|(key, flag)| {
        file.get(key).map(|in_file| format!("{key}: (from flag: {flag}, from file: {in_file})"))
    });
    let twice: Vec<String> = twice.collect();
    if !twice.is_empty() {
        let list = twice.join(", ");
        bail!("the following directives are specified both as a flag and in the configuration file: {list}");
    }
    file.extend(flags);
    Ok(serde_json::from_value(Value::Object(file))?)
}

fn object(given: &Given) -> Result<Map<String, Value>> {
    match serde_json::to_value(given)? {
        Value::Object(object) => Ok(object),
        _ => Ok(Map::new()),
    }
}

fn parse_ulimit(text: &str) -> Result<GivenUlimit> {
    let wanted = || format!("--default-ulimit {text}: NAME=SOFT[:HARD] is wanted");
    let (name, limits) = text.split_once('=').with_context(wanted)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    Ok(GivenUlimit {
        name: name.to_owned(),
        hard: hard.parse().with_context(wanted)?,
        soft: soft.parse().with_context(wanted)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Given> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.json");
        std::fs::write(&path, text).unwrap();
        read_file(&path)
    }

    #[test]
    fn the_file_has_dockerds_keys_and_no_others() {
        let text = r#"{"hosts":["unix:///a"],"data-root":"/d","bip":"10.0.0.1/24","dns-opts":["x"],"live-restore":true,
            "insecure-registries":["r:5000"],"log-opts":{"max-size":"1m"},"default-ulimits":{"nofile":{"Name":"nofile","Hard":9,"Soft":8}}}"#;
        let given = read(text).unwrap();
        assert_eq!(given.network.bip.as_deref(), Some("10.0.0.1/24"));
        assert_eq!(given.containers.default_ulimits["nofile"].hard, 9);
        let text = r#"{"registries":{"quay.io":{"mirrors":["https://m"]}},"proxies":{"no-proxy":"a"},"max-concurrent-uploads":2}"#;
        let given = read(text).unwrap().registries;
        assert_eq!(given.registries["quay.io"].mirrors, ["https://m"]);
        assert_eq!((given.proxies.no_proxy.as_deref(), given.max_concurrent_uploads), (Some("a"), Some(2)));
        assert!(read(r#"{"registries":{"quay.io":{"mirror":[]}}}"#).is_err());
        let error = read(r#"{"data-root":"/d","colour":"red","shade":1}"#).unwrap_err().to_string();
        assert!(error.ends_with("don't match any configuration option: colour, shade"), "{error}");
        assert!(format!("{:#}", read(r#"{"mtu":"big"}"#).unwrap_err()).contains("invalid type"));
        assert!(read("{").is_err());
        assert_eq!(read(" ").unwrap(), Given::default());
    }

    #[test]
    fn what_flag_and_file_both_say_is_refused() {
        let line = CommandLine::read(["tared", "-D", "--dns", "10.0.0.1"].map(OsString::from)).unwrap();
        let error = merge(&line.given, &read(r#"{"debug":false}"#).unwrap()).unwrap_err().to_string();
        assert!(error.contains("debug: (from flag: true, from file: false)"), "{error}");
        let merged = merge(&line.given, &read(r#"{"mtu":1400}"#).unwrap()).unwrap();
        assert_eq!((merged.debug, merged.network.mtu, merged.network.dns.len()), (Some(true), Some(1400), 1));
    }

    #[test]
    fn flags_have_dockerds_names() {
        let line = [
            "tared",
            "-H",
            "unix:///a",
            "-H",
            "fd://",
            "--bip",
            "10.0.0.1/24",
            "-b",
            "x0",
            "--init",
            "--live-restore",
            "--default-ulimit",
            "nofile=1:2",
            "--log-opt",
            "max-file=2",
        ];
        let line = CommandLine::read(line.map(OsString::from)).unwrap();
        assert_eq!((line.given.hosts.len(), line.given.containers.init), (2, Some(true)));
        assert_eq!(line.given.containers.default_ulimits["nofile"].soft, 1);
        assert!(CommandLine::read(["tared", "--default-ulimit", "nofile"].map(OsString::from)).is_err());
    }
}
