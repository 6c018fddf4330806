//! The daemon itself: ping, version, info.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use tare_docker_api::{
    API_VERSION, Commit, Component, IndexInfo, MIN_API_VERSION, PlatformName, PluginsInfo,
    RegistryServiceConfig, Runtime, SwarmInfo, SystemInfo, SystemVersion,
};
use tare_http::{HeaderName, HeaderValue, Reply, Request, StatusCode};
use tare_model::{Platform, Timestamp};
use tare_registry::Config;

use crate::{Daemon, Result, Rooms, machine};

const HUB: &str = "docker.io";

/// `GET` and `HEAD /_ping`: how clients learn which version to speak.
pub(crate) async fn ping(_rooms: Arc<Rooms>, _request: Request) -> Result<Reply> {
    let header = |reply: Reply, name, value| {
        reply.with(HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let mut reply = Reply::bytes(StatusCode::OK, "text/plain; charset=utf-8", "OK");
    for (name, value) in [
        ("builder-version", "1"),
        ("swarm", "inactive"),
        ("cache-control", "no-cache, no-store, must-revalidate"),
        ("pragma", "no-cache"),
    ] {
        reply = header(reply, name, value);
    }
    Ok(reply)
}

/// `GET /version`.
pub(crate) async fn version(rooms: Arc<Rooms>, _request: Request) -> Result<Reply> {
    let Daemon { version, commit, built, .. } = &rooms.daemon;
    let platform = Platform::host();
    let detail = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let details = BTreeMap::from([
        detail("ApiVersion", API_VERSION),
        detail("Arch", &platform.architecture),
        detail("BuildTime", built),
        detail("Experimental", "false"),
        detail("GitCommit", commit),
        detail("GoVersion", ""),
        detail("KernelVersion", &machine::kernel()),
        detail("MinAPIVersion", MIN_API_VERSION),
        detail("Os", &platform.os),
    ]);
    let component = |name: &str, details| Component {
        name: name.to_owned(),
        version: version.clone(),
        details: Some(details),
    };
    let answer = SystemVersion {
        platform: PlatformName { name: "Tare".to_owned() },
        components: vec![
            component("Engine", details),
            component("tare-runtime", BTreeMap::from([detail("GitCommit", commit)])),
            component("tare-init", BTreeMap::from([detail("GitCommit", commit)])),
        ],
        version: version.clone(),
        api_version: API_VERSION.to_owned(),
        min_api_version: MIN_API_VERSION.to_owned(),
        git_commit: commit.clone(),
        go_version: String::new(),
        os: platform.os,
        arch: platform.architecture,
        kernel_version: machine::kernel(),
        experimental: false,
        build_time: built.clone(),
    };
    Ok(Reply::json(StatusCode::OK, &answer))
}

/// `GET /info`.
pub(crate) async fn info(rooms: Arc<Rooms>, _request: Request) -> Result<Reply> {
    let images = rooms.images.list()?.len();
    Ok(Reply::json(StatusCode::OK, &with_counts(&rooms, with_machine(of_daemon(&rooms.daemon)), images)))
}

fn with_counts(rooms: &Rooms, info: SystemInfo, images: usize) -> SystemInfo {
    let counts = rooms.engine.counts();
    let warnings: Vec<String> =
        rooms.daemon.warnings.iter().cloned().chain(rooms.networks.notices()).collect();
    SystemInfo {
        registry_config: registries(&rooms.registry.config()),
        containers: counts.total as u64,
        containers_running: counts.running as u64,
        containers_paused: counts.paused as u64,
        containers_stopped: counts.stopped as u64,
        images: images as u64,
        n_events_listener: rooms.engine.event_listeners() as u64,
        driver: rooms.engine.snapshots().driver().name().to_owned(),
        warnings: (!warnings.is_empty()).then_some(warnings),
        ..info
    }
}

fn with_machine(info: SystemInfo) -> SystemInfo {
    let (operating_system, os_version) = machine::system();
    SystemInfo {
        memory_limit: true,
        swap_limit: true,
        cpu_cfs_period: true,
        cpu_cfs_quota: true,
        cpu_shares: true,
        cpu_set: true,
        pids_limit: true,
        oom_kill_disable: info.cgroup_version == "1",
        ipv4_forwarding: machine::forwards_ipv4(),
        n_fd: machine::descriptors(),
        system_time: Timestamp::from(SystemTime::now()).to_string(),
        kernel_version: machine::kernel(),
        operating_system,
        os_version,
        os_type: "linux".to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        ncpu: machine::processors(),
        mem_total: machine::memory(),
        name: machine::hostname(),
        ..info
    }
}

fn of_daemon(daemon: &Daemon) -> SystemInfo {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let commit = || Commit { id: daemon.commit.clone() };
    SystemInfo {
        id: daemon.id.clone(),
        driver_status: vec![["Data Root".to_owned(), daemon.data_root.display().to_string()]],
        plugins: PluginsInfo {
            volume: words(&["local"]),
            network: words(&["bridge", "host", "null"]),
            authorization: None,
            log: words(&["json-file", "none"]),
        },
        logging_driver: "json-file".to_owned(),
        cgroup_driver: "cgroupfs".to_owned(),
        cgroup_version: daemon.cgroup_version.clone(),
        index_server_address: "https://index.docker.io/v1/".to_owned(),
        registry_config: RegistryServiceConfig::default(),
        docker_root_dir: daemon.data_root.display().to_string(),
        server_version: daemon.version.clone(),
        runtimes: ["tare", "runc", "io.containerd.runc.v2"].map(runtime).into(),
        default_runtime: "tare".to_owned(),
        swarm: SwarmInfo { local_node_state: "inactive".to_owned(), ..SwarmInfo::default() },
        live_restore_enabled: true,
        init_binary: "tare-init".to_owned(),
        containerd_commit: commit(),
        runc_commit: commit(),
        init_commit: commit(),
        security_options: security_options(daemon),
        ..SystemInfo::default()
    }
}

/// All names that a client may ask for; there is one runtime.
fn runtime(name: &str) -> (String, Runtime) {
    (name.to_owned(), Runtime { path: "tare-runtime".to_owned(), runtime_args: None })
}

fn security_options(daemon: &Daemon) -> Vec<String> {
    let mut options = vec!["name=seccomp,profile=builtin".to_owned()];
    if daemon.cgroup_version == "2" {
        options.push("name=cgroupns".to_owned());
    }
    options
}

fn registries(config: &Config) -> RegistryServiceConfig {
    let own = config.registries.iter().filter(|(_, host)| host.insecure).map(|(name, _)| name);
    let insecure = config.insecure.iter().chain(own);
    let (ranges, hosts): (Vec<String>, Vec<String>) =
        insecure.cloned().partition(|entry| entry.contains('/'));
    let loopback = ["127.0.0.0/8", "::1/128"].map(str::to_owned);
    let index = |name: &str, secure, mirrors: &[String]| {
        let official = name == HUB;
        (name.to_owned(), IndexInfo { name: name.to_owned(), mirrors: mirrors.to_vec(), secure, official })
    };
    let hub = index(HUB, true, &config.mirrors);
    RegistryServiceConfig {
        insecure_registry_cidrs: loopback.into_iter().chain(ranges).collect(),
        index_configs: hosts.iter().map(|host| index(host, false, &[])).chain([hub]).collect(),
        mirrors: (!config.mirrors.is_empty()).then(|| config.mirrors.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_sorted_into_ranges_and_hosts() {
        let insecure = vec!["10.0.0.0/8".into(), "reg:5000".into()];
        let config = registries(&Config { insecure, ..Config::default() });
        assert_eq!(config.insecure_registry_cidrs.len(), 3);
        assert!(!config.index_configs["reg:5000"].secure && config.index_configs["docker.io"].official);
    }

    #[test]
    fn info_describes_a_linux_daemon() {
        let info = with_machine(of_daemon(&Daemon {
            version: "0.1.0".into(),
            cgroup_version: "2".into(),
            ..Daemon::default()
        }));
        assert_eq!((info.os_type.as_str(), info.swarm.local_node_state.as_str()), ("linux", "inactive"));
        assert_eq!(info.security_options.len(), 2);
    }
}
