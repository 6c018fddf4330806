//! The door from wire to spec: a create body becomes a [`ContainerSpec`], or a 400 that says which field breaks which
//! rule. Rules between fields are the engine's ([`ContainerSpec::check`]); here texts become values.

mod limit;
mod log;
mod mount;
mod network;
mod port;
mod security;

pub(crate) use port::{exposed, ports_of};

use std::collections::BTreeMap;

use tare_container::{
    CommandSpec, ContainerSpec, IdentitySpec, LifecycleSpec, LogSpec, MountSource, MountSpec, NamespaceMode,
    NamespaceSpec, RestartPolicy, StreamSpec,
};
use tare_docker_api::{ContainerConfig, ContainerCreateRequest, HostConfig};
use tare_model::Signal;

use crate::{Error, Result};

/// A checked create body.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) spec: ContainerSpec,
    /// What is accepted and has no effect here.
    pub(crate) warnings: Vec<String>,
}

/// Checks a create body. `log` is what the daemon was configured with, for those who ask for nothing else.
pub(crate) fn container(request: &ContainerCreateRequest, log: &LogSpec) -> Result<Checked> {
    let (config, host) = (&request.config, &request.host_config);
    refuse_what_is_not_there_yet(host)?;
    let spec = ContainerSpec {
        image: image(config)?,
        command: command(config)?,
        streams: streams(config, host),
        identity: IdentitySpec { hostname: given(&config.hostname), domainname: given(&config.domainname) },
        lifecycle: lifecycle(config, host, log)?,
        network: network::check(config, host, &request.networking_config)?,
        mounts: mounts(config, host)?,
        namespaces: namespaces(host)?,
        security: security::check(host)?,
        limits: limit::check(host)?,
        labels: config.labels.clone().unwrap_or_default(),
        origin: serde_json::to_string(request).unwrap_or_default(),
    };
    Ok(Checked { spec, warnings: warnings(config, host) })
}

/// A text, if it is not empty.
pub(crate) fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Another room's parser, whose words are already Docker's.
fn parsed<T: std::str::FromStr<Err = tare_container::Error>>(text: &str) -> Result<T> {
    Ok(text.parse::<T>()?)
}

fn image(config: &ContainerConfig) -> Result<String> {
    given(&config.image).ok_or_else(|| Error::invalid("no image given: the field Image must not be empty"))
}

fn command(config: &ContainerConfig) -> Result<CommandSpec> {
    let environment = config.env.clone().unwrap_or_default();
    if let Some(bad) = environment.iter().find(|variable| variable.is_empty() || variable.starts_with('=')) {
        return Err(Error::invalid(format!("invalid environment variable: {bad}")));
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        let directory = &config.working_dir;
        return Err(Error::invalid(format!(
            "the working directory '{directory}' is invalid, it needs to be an absolute path"
        )));
    }
    let entrypoint = match config.entrypoint.as_deref() {
        None | Some([]) => None,
        // The docker CLI's `--entrypoint ""`: none at all, not even the image's.
        Some([word]) if word.is_empty() => Some(Vec::new()),
        Some(words) => Some(words.to_vec()),
    };
    Ok(CommandSpec {
        entrypoint,
        arguments: config.cmd.clone().filter(|words| !words.is_empty()),
        environment,
        working_directory: given(&config.working_dir),
        user: given(&config.user),
    })
}

fn streams(config: &ContainerConfig, host: &HostConfig) -> StreamSpec {
    StreamSpec {
        tty: config.tty,
        console_size: console_size(host.console_size),
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
    }
}

/// Rows and columns, unless they are zero or make no sense.
pub(crate) fn console_size([rows, columns]: [u32; 2]) -> Option<(u16, u16)> {
    let size = (u16::try_from(rows).ok()?, u16::try_from(columns).ok()?);
    (size.0 > 0 && size.1 > 0).then_some(size)
}

fn lifecycle(config: &ContainerConfig, host: &HostConfig, log: &LogSpec) -> Result<LifecycleSpec> {
    let restart = restart_policy(&host.restart_policy)?;
    if host.auto_remove && restart != RestartPolicy::No {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    Ok(LifecycleSpec {
        stop_signal: given(&config.stop_signal).map(|text| signal(&text)).transpose()?,
        stop_timeout: config.stop_timeout,
        restart,
        auto_remove: host.auto_remove,
        init: host.init,
        log: log::check(&host.log_config, log)?,
    })
}

/// A signal by number or name.
pub(crate) fn signal(text: &str) -> Result<Signal> {
    text.parse().map_err(|_| Error::invalid(format!("invalid signal: {text}")))
}

fn restart_policy(policy: &tare_docker_api::RestartPolicy) -> Result<RestartPolicy> {
    let refused = |why: &str| Err(Error::invalid(format!("invalid restart policy: {why}")));
    let count = policy.maximum_retry_count;
    if count < 0 {
        return refused("maximum retry count cannot be negative");
    }
    if count > 0 && policy.name != "on-failure" {
        return refused("maximum retry count can only be used with 'on-failure'");
    }
    match policy.name.as_str() {
        "" | "no" => Ok(RestartPolicy::No),
        "always" => Ok(RestartPolicy::Always),
        "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
        "on-failure" => Ok(RestartPolicy::OnFailure(u32::try_from(count).unwrap_or(u32::MAX))),
        other => refused(&format!(
            "unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )),
    }
}

/// `-v`, `--mount`, `--tmpfs`, and the anonymous volumes, which step back where another mount has their place.
fn mounts(config: &ContainerConfig, host: &HostConfig) -> Result<Vec<MountSpec>> {
    if !matches!(host.volume_driver.as_str(), "" | "local") {
        return Err(Error::unsupported(format!("the volume driver \"{}\"", host.volume_driver)));
    }
    let mut mounts = Vec::new();
    for text in host.binds.iter().flatten() {
        mounts.push(MountSpec::parse_bind(text)?);
    }
    for mount in host.mounts.iter().flatten() {
        mounts.push(mount::check(mount)?);
    }
    for (target, options) in host.tmpfs.iter().flatten() {
        mounts.push(MountSpec::parse_tmpfs(target, options)?);
    }
    for target in config.volumes.iter().flat_map(BTreeMap::keys) {
        let mount = MountSpec::parse_bind(target)?;
        if !matches!(mount.source, MountSource::Volume { name: None, .. }) {
            return Err(Error::invalid(format!(
                "invalid volume specification: '{target}' is no path inside the container"
            )));
        }
        if mounts.iter().all(|other| other.target != mount.target) {
            mounts.push(mount);
        }
    }
    Ok(mounts)
}

fn namespaces(host: &HostConfig) -> Result<NamespaceSpec> {
    let user = match host.userns_mode.as_str() {
        "" => NamespaceMode::Private,
        "host" => NamespaceMode::Host,
        _ => return Err(Error::invalid("invalid user namespace mode")),
    };
    let cgroup = match host.cgroupns_mode.as_str() {
        "" => NamespaceSpec::default().cgroup,
        mode @ ("host" | "private") => parsed(mode)?,
        other => return Err(Error::invalid(format!("invalid cgroup namespace mode: {other}"))),
    };
    Ok(NamespaceSpec {
        pid: parsed(&host.pid_mode)?,
        ipc: parsed(&host.ipc_mode)?,
        uts: parsed(&host.uts_mode)?,
        user,
        cgroup,
    })
}

fn refuse_what_is_not_there_yet(host: &HostConfig) -> Result<()> {
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let refused = [
        (given(&host.volumes_from), "volumes from another container (--volumes-from)"),
        (given(&host.links), "links between containers (--link)"),
        (host.storage_opt.as_ref().is_some_and(|map| !map.is_empty()), "storage options (--storage-opt)"),
        (host.device_requests.as_ref().is_some_and(|list| !list.is_empty()), "device requests (--gpus)"),
        (
            host.cpu_realtime_period != 0 || host.cpu_realtime_runtime != 0,
            "real-time processor limits (--cpu-rt-*)",
        ),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(asked, _)| *asked) {
        return Err(Error::unsupported(what));
    }
    if !matches!(host.runtime.as_str(), "" | "tare" | "runc" | "io.containerd.runc.v2") {
        return Err(Error::invalid(format!("unknown or invalid runtime name: {}", host.runtime)));
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        return Err(Error::invalid(format!("invalid isolation '{}' on linux", host.isolation)));
    }
    Ok(())
}

fn warnings(config: &ContainerConfig, host: &HostConfig) -> Vec<String> {
    let probes = |test: &Vec<String>| test.first().is_some_and(|first| !first.is_empty() && first != "NONE");
    let health = config.healthcheck.as_ref().and_then(|health| health.test.as_ref()).is_some_and(probes);
    let noted = [
        (health, "not supported yet: health checks; the container runs without."),
        (
            host.kernel_memory != 0,
            "Your kernel does not support kernel memory limit capabilities. Limitation discarded.",
        ),
        (
            host.kernel_memory_tcp != 0,
            "Your kernel does not support kernel memory TCP limit. Limitation discarded.",
        ),
        (
            config.on_build.as_ref().is_some_and(|list| !list.is_empty()),
            "OnBuild has no effect on containers.",
        ),
    ];
    noted.into_iter().filter(|(asked, _)| *asked).map(|(_, text)| text.to_owned()).collect()
}

#[cfg(test)]
mod tests;
