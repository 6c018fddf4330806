//! From the flags of `run` and `create` to the body of `POST /containers/create`.

pub(crate) mod devices;
mod flags;
mod mounts;
pub(crate) mod networks;
mod ports;
mod security;
pub(crate) mod words;

use std::collections::BTreeMap;

use tare_docker_api::{
    ContainerConfig, ContainerCreateRequest, DeviceRequest, Empty, HealthConfig, HostConfig, LogConfig,
    RestartPolicy,
};

pub(crate) use flags::{CREATE, RUN};

use self::devices::Device;
use self::mounts::Volume;
use self::words::{Said, some, some_map};
use crate::failure::{Failure, Result};
use crate::flags::Given;

/// When an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pull {
    Always,
    Missing,
    Never,
}

/// A container that is to be made.
#[derive(Debug)]
pub(crate) struct Creation {
    pub(crate) name: Option<String>,
    pub(crate) platform: Option<String>,
    pub(crate) pull: Pull,
    pub(crate) request: ContainerCreateRequest,
}

/// Reads the flags. The current directory and the environment are looked at where a flag speaks of them.
pub(crate) fn creation(given: &Given) -> Result<Creation> {
    let pull = match given.text("pull") {
        None | Some("missing" | "") => Pull::Missing,
        Some("always") => Pull::Always,
        Some("never") => Pull::Never,
        Some(other) => {
            let message = format!(
                "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
            );
            return Err(Failure::usage(message));
        }
    };
    refuse_the_unsupported(given)?;
    let (network_mode, networking_config) = networks::networks(given)?;
    let (volumes, mut host_config) = host(given)?;
    host_config.network_mode = network_mode;
    let mut ports = ports::Ports::default();
    plain(given.list("publish").iter().try_for_each(|text| ports.publish(text)))?;
    plain(given.list("expose").iter().try_for_each(|text| ports.expose(text)))?;
    host_config.port_bindings = Some(ports.bindings);
    let mut config = config(given)?;
    let exposed: BTreeMap<_, _> = ports.exposed.into_iter().map(|port| (port, Empty {})).collect();
    config.exposed_ports = (!exposed.is_empty()).then_some(exposed);
    config.volumes = Some(volumes);
    Ok(Creation {
        name: given.text("name").map(str::to_owned),
        platform: given.text("platform").map(str::to_owned),
        pull,
        request: ContainerCreateRequest { config, host_config, networking_config },
    })
}

/// A failure that concerns several flags, or one whose message names itself.
fn plain<T>(said: Said<T>) -> Result<T> {
    said.map_err(Failure::usage)
}

/// Docker's flags that ask for what no Linux daemon does.
fn refuse_the_unsupported(given: &Given) -> Result<()> {
    for flag in ["use-api-socket", "cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"] {
        if given.has(flag) {
            return Err(Failure::not_supported(&format!("--{flag}")));
        }
    }
    Ok(())
}

fn config(given: &Given) -> Result<ContainerConfig> {
    let [image, command @ ..] = &given.operands[..] else {
        return Err(Failure::usage("no image given"));
    };
    let attached = attached(given)?;
    let open_stdin = given.on("interactive");
    given.each("env", words::variable)?;
    let env = plain(words::variables(&given.list("env-file"), &given.list("env"), |name| {
        std::env::var(name).ok()
    }))?;
    let stop_timeout = given.number("stop-timeout")?;
    Ok(ContainerConfig {
        hostname: given.owned("hostname"),
        domainname: given.owned("domainname"),
        user: given.owned("user"),
        attach_stdin: attached.stdin || open_stdin,
        attach_stdout: attached.stdout,
        attach_stderr: attached.stderr,
        tty: given.on("tty"),
        open_stdin,
        stdin_once: open_stdin,
        env: some(env),
        cmd: some(command.to_vec()),
        healthcheck: health(given)?,
        image: image.clone(),
        working_dir: given.owned("workdir"),
        entrypoint: given.text("entrypoint").map(|program| vec![program.to_owned()]),
        labels: Some(plain(words::labels(&given.list("label-file"), &given.list("label")))?),
        stop_signal: given.owned("stop-signal"),
        stop_timeout,
        ..ContainerConfig::default()
    })
}

struct Attached {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

/// `--attach`; output where it is not given.
fn attached(given: &Given) -> Result<Attached> {
    let mut attached = Attached { stdin: false, stdout: false, stderr: false };
    for stream in given.each("attach", |text| Said::Ok(text.to_lowercase()))? {
        match stream.as_str() {
            "stdin" => attached.stdin = true,
            "stdout" => attached.stdout = true,
            "stderr" => attached.stderr = true,
            _ => {
                given.parsed("attach", |_| Err::<(), _>("valid streams are STDIN, STDOUT and STDERR"))?;
            }
        }
    }
    if !given.has("attach") {
        (attached.stdout, attached.stderr) = (true, true);
    }
    Ok(attached)
}

fn health(given: &Given) -> Result<Option<HealthConfig>> {
    let times = ["health-interval", "health-timeout", "health-start-period", "health-start-interval"];
    let asked = times.iter().chain(&["health-cmd", "health-retries"]).any(|flag| given.has(flag));
    if given.on("no-healthcheck") {
        return match asked {
            true => Err(Failure::usage("--no-healthcheck conflicts with --health-* options")),
            false => Ok(Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() })),
        };
    }
    if !asked {
        return Ok(None);
    }
    let retries = given.number::<i64>("health-retries")?.unwrap_or(0);
    if retries < 0 {
        return Err(Failure::usage("--health-retries cannot be negative"));
    }
    Ok(Some(HealthConfig {
        test: given
            .text("health-cmd")
            .filter(|c| !c.is_empty())
            .map(|command| vec!["CMD-SHELL".into(), command.into()]),
        interval: given.nanoseconds("health-interval")?,
        timeout: given.nanoseconds("health-timeout")?,
        start_period: given.nanoseconds("health-start-period")?,
        start_interval: given.nanoseconds("health-start-interval")?,
        retries,
    }))
}

/// The host's side, and the paths that get volumes without names.
fn host(given: &Given) -> Result<(BTreeMap<String, Empty>, HostConfig)> {
    let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let mut volumes = BTreeMap::new();
    let mut binds = Vec::new();
    for value in
        plain(given.list("volume").iter().map(|text| mounts::volume(text, &here)).collect::<Said<Vec<_>>>())?
    {
        match value {
            Volume::Anonymous(path) => drop(volumes.insert(path, Empty {})),
            Volume::Bind(text) => binds.push(text),
        }
    }
    let restart_policy = match given.text("restart") {
        None | Some("") => RestartPolicy { name: "no".into(), maximum_retry_count: 0 },
        Some(text) => plain(devices::restart(text))?,
    };
    if given.on("rm") && restart_policy.name != "no" {
        return Err(Failure::usage("conflicting options: cannot specify both --restart and --rm"));
    }
    let tmpfs: BTreeMap<_, _> = given.list("tmpfs").iter().map(|text| mounts::tmpfs(text)).collect();
    let mut host = HostConfig {
        binds: some(binds),
        container_id_file: given.owned("cidfile"),
        log_config: log(given)?,
        restart_policy,
        auto_remove: given.on("rm"),
        volume_driver: given.owned("volume-driver"),
        volumes_from: some(given.list("volumes-from")),
        annotations: some_map(&given.list("annotation")),
        dns: Some(given.each("dns", networks::address)?),
        dns_options: Some([given.list("dns-option"), given.list("dns-opt")].concat()),
        dns_search: Some(given.list("dns-search")),
        extra_hosts: some(given.each("add-host", networks::host)?),
        links: some(given.list("link")),
        publish_all_ports: given.on("publish-all"),
        readonly_rootfs: given.on("read-only"),
        storage_opt: some_map(&given.list("storage-opt")),
        tmpfs: (!tmpfs.is_empty()).then_some(tmpfs),
        shm_size: given.bytes("shm-size")?,
        sysctls: some_map(&given.list("sysctl")),
        runtime: given.owned("runtime"),
        isolation: given.owned("isolation"),
        mounts: some(given.each("mount", |text| mounts::mount(text, &here))?),
        init: given.has("init").then(|| given.on("init")),
        ..HostConfig::default()
    };
    confine(given, &mut host)?;
    limit(given, &mut host)?;
    Ok((volumes, host))
}

fn log(given: &Given) -> Result<LogConfig> {
    let (kind, options) = (given.owned("log-driver"), given.list("log-opt"));
    if kind == "none" && !options.is_empty() {
        return Err(Failure::usage("invalid logging opts for driver none"));
    }
    Ok(LogConfig { kind, config: words::map(&options) })
}

fn confine(given: &Given, host: &mut HostConfig) -> Result<()> {
    let security = plain(security::security(&given.list("security-opt")))?;
    host.security_opt = some(security.options);
    if security.all_paths {
        (host.masked_paths, host.readonly_paths) = (Some(Vec::new()), Some(Vec::new()));
    }
    host.cap_add = security::capabilities(&given.list("cap-add"));
    host.cap_drop = security::capabilities(&given.list("cap-drop"));
    host.group_add = some(given.list("group-add"));
    host.privileged = given.on("privileged");
    host.ipc_mode = given.owned("ipc");
    host.pid_mode = security::mode(given, "pid", "PID", &["host"], true)?;
    host.uts_mode = security::mode(given, "uts", "UTS", &["host"], false)?;
    host.userns_mode = security::mode(given, "userns", "USER", &["host"], false)?;
    host.cgroupns_mode = security::mode(given, "cgroupns", "CGROUP", &["host", "private"], false)?;
    Ok(())
}

fn limit(given: &Given, host: &mut HostConfig) -> Result<()> {
    let swappiness = given.number::<i64>("memory-swappiness")?.unwrap_or(-1);
    if !(-1..=100).contains(&swappiness) {
        return Err(Failure::usage(format!(
            "invalid value: {swappiness}. Valid memory swappiness range is 0-100"
        )));
    }
    let number = |flag: &str| given.number::<i64>(flag).map(Option::unwrap_or_default);
    host.cpu_shares = number("cpu-shares")?;
    host.cpu_period = number("cpu-period")?;
    host.cpu_quota = number("cpu-quota")?;
    host.cpu_realtime_period = number("cpu-rt-period")?;
    host.cpu_realtime_runtime = number("cpu-rt-runtime")?;
    host.oom_score_adj = number("oom-score-adj")?;
    host.pids_limit = Some(number("pids-limit")?);
    host.cpuset_cpus = given.owned("cpuset-cpus");
    host.cpuset_mems = given.owned("cpuset-mems");
    host.cgroup_parent = given.owned("cgroup-parent");
    host.nano_cpus = given.parsed("cpus", devices::cpus)?.unwrap_or_default();
    host.memory = given.bytes("memory")?;
    host.memory_reservation = given.bytes("memory-reservation")?;
    host.memory_swap = given.parsed("memory-swap", devices::swap)?.unwrap_or_default();
    host.memory_swappiness = Some(swappiness);
    host.kernel_memory = given.bytes("kernel-memory")?;
    host.oom_kill_disable = Some(given.on("oom-kill-disable"));
    host.ulimits = Some(given.each("ulimit", devices::ulimit)?);
    host.blkio_weight = given.number("blkio-weight")?.unwrap_or_default();
    host.blkio_weight_device = Some(given.each("blkio-weight-device", devices::weight)?);
    host.blkio_device_read_bps = Some(given.each("device-read-bps", devices::bytes_a_second)?);
    host.blkio_device_write_bps = Some(given.each("device-write-bps", devices::bytes_a_second)?);
    host.blkio_device_read_iops = Some(given.each("device-read-iops", devices::operations_a_second)?);
    host.blkio_device_write_iops = Some(given.each("device-write-iops", devices::operations_a_second)?);
    host.device_cgroup_rules = some(given.list("device-cgroup-rule"));
    let mut requests = given.each("gpus", devices::gpus)?;
    let mut paths = Vec::new();
    for device in
        plain(given.list("device").iter().map(|text| devices::device(text)).collect::<Said<Vec<_>>>())?
    {
        match device {
            Device::Path(mapping) => paths.push(mapping),
            Device::Named(name) => requests.push(DeviceRequest {
                driver: "cdi".into(),
                device_ids: Some(vec![name]),
                ..DeviceRequest::default()
            }),
        }
    }
    (host.devices, host.device_requests) = (Some(paths), some(requests));
    Ok(())
}

#[cfg(test)]
mod tests;
