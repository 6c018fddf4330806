use std::sync::Arc;

use tare_container::{Container, MountKind, MountPoint as EngineMount, Status};
use tare_docker_api::{
    ContainerConfig, ContainerInspect, ContainerState, GraphDriver, HostConfig, MountPoint,
};
use tare_http::{Reply, Request, StatusCode};
use tare_oci::image::ExecutionConfig;

use super::{labels, origin, ports, sizes};
use crate::{Result, Rooms, parameter};

/// `/dev/shm` where nothing else is asked for.
const SHM_SIZE: i64 = 64 << 20;

/// `GET /containers/{id}/json`.
pub(crate) async fn inspect(rooms: Arc<Rooms>, request: Request) -> Result<Reply> {
    let container = rooms.engine.inspect(request.parameter("id"))?;
    let mut answer = answer(&rooms, &container);
    if parameter::flag(&request.query, "size") {
        (answer.size_rw, answer.size_root_fs) = sizes(&rooms, &container).await;
    }
    Ok(Reply::json(StatusCode::OK, &answer))
}

fn answer(rooms: &Rooms, container: &Container) -> ContainerInspect {
    let mut command = container.command_line();
    let path = if command.is_empty() { String::new() } else { command.remove(0) };
    let (origin, execs) = (origin(container), rooms.engine.execs_of(&container.id));
    let bundle = |file: &str| {
        let folder = rooms.daemon.data_root.join("containers").join(container.id.as_str());
        folder.join(file).display().to_string()
    };
    ContainerInspect {
        id: container.id.to_string(),
        created: container.created.to_string(),
        path,
        args: command,
        state: state(container),
        image: container.image.id.to_string(),
        resolv_conf_path: bundle("resolv.conf"),
        hostname_path: bundle("hostname"),
        hosts_path: bundle("hosts"),
        log_path: container.log_path.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        name: format!("/{}", container.name),
        restart_count: container.restart_count.into(),
        driver: rooms.engine.snapshots().driver().name().to_owned(),
        platform: "linux".to_owned(),
        exec_ids: (!execs.is_empty()).then(|| execs.iter().map(ToString::to_string).collect()),
        host_config: host_config(origin.host_config, container),
        graph_driver: GraphDriver {
            data: places(rooms, container),
            name: rooms.engine.snapshots().driver().name().to_owned(),
        },
        mounts: mount_points(container),
        config: config(origin.config, container),
        network_settings: ports::network_settings(rooms, container),
        ..ContainerInspect::default()
    }
}

/// Where the container's own tree lies, for tools that look into it.
fn places(rooms: &Rooms, container: &Container) -> Option<std::collections::BTreeMap<String, String>> {
    let upper = rooms.engine.snapshots().upper(container.id.as_str()).ok()?;
    Some([("UpperDir".to_owned(), upper.display().to_string())].into())
}

fn state(container: &Container) -> ContainerState {
    let state = &container.state;
    ContainerState {
        status: state.status.word().to_owned(),
        running: state.status.is_alive() || state.status == Status::Restarting,
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: state.pid.unwrap_or(0).into(),
        exit_code: state.exit_code.into(),
        error: state.error.clone(),
        started_at: state.started_at.to_string(),
        finished_at: state.finished_at.to_string(),
    }
}

/// What the client gave, with dockerd's words for what it left open.
fn host_config(mut host: HostConfig, container: &Container) -> HostConfig {
    let or = |field: &mut String, default: &str| {
        if field.is_empty() {
            default.clone_into(field);
        }
    };
    or(&mut host.log_config.kind, "json-file");
    or(&mut host.restart_policy.name, "no");
    or(&mut host.runtime, "tare");
    or(&mut host.ipc_mode, "private");
    host.network_mode = container.spec.network.mode.to_string();
    if host.shm_size == 0 {
        host.shm_size = SHM_SIZE;
    }
    // What the docker CLI sends for "not limited".
    host.memory_swappiness = host.memory_swappiness.filter(|swappiness| *swappiness != -1);
    host.pids_limit = host.pids_limit.filter(|limit| *limit > 0);
    host.port_bindings.get_or_insert_default();
    host
}

/// How a container is run, whoever said it: the client or the image.
pub(super) fn effective_config(container: &Container) -> ContainerConfig {
    config(origin(container).config, container)
}

/// What the client gave, over what the image says.
fn config(given: ContainerConfig, container: &Container) -> ContainerConfig {
    let mut config = over(given, &container.image.config);
    if config.hostname.is_empty() {
        config.hostname = container.id.short().to_owned();
    }
    config.labels = Some(labels(container));
    config
}

/// One configuration over another: what the first leaves open is the second's.
pub(super) fn over(mut config: ContainerConfig, image: &ExecutionConfig) -> ContainerConfig {
    let own_entrypoint = config.entrypoint.as_ref().is_some_and(|words| !words.is_empty());
    if !own_entrypoint {
        config.entrypoint.clone_from(&image.entrypoint);
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
        }
    }
    config.env = Some(environment(config.env.as_deref().unwrap_or_default(), image));
    for (field, of_image) in [(&mut config.user, &image.user), (&mut config.working_dir, &image.working_dir)]
    {
        if field.is_empty() {
            field.clone_from(of_image);
        }
    }
    if config.stop_signal.is_empty() {
        config.stop_signal = image.stop_signal.clone().unwrap_or_default();
    }
    for (key, value) in image.labels.iter().flatten() {
        config.labels.get_or_insert_default().entry(key.clone()).or_insert_with(|| value.clone());
    }
    add_keys(&mut config.exposed_ports, image.exposed_ports.as_ref());
    add_keys(&mut config.volumes, image.volumes.as_ref());
    config
}

type Keys<E> = std::collections::BTreeMap<String, E>;

fn add_keys(own: &mut Option<Keys<tare_docker_api::Empty>>, of_image: Option<&Keys<tare_oci::image::Empty>>) {
    for key in of_image.into_iter().flat_map(Keys::keys) {
        own.get_or_insert_default().insert(key.clone(), tare_docker_api::Empty {});
    }
}

/// The client's variables, and those of the image that it does not name.
fn environment(own: &[String], image: &ExecutionConfig) -> Vec<String> {
    let name = |variable: &String| variable.split('=').next().unwrap_or_default().to_owned();
    let named: Vec<String> = own.iter().map(name).collect();
    let inherited = image.env.iter().flatten().filter(|variable| !named.contains(&name(variable)));
    own.iter().filter(|variable| variable.contains('=')).chain(inherited).cloned().collect()
}

/// All mounts but those of `--tmpfs`, which stand in the host configuration.
pub(super) fn mount_points(container: &Container) -> Vec<MountPoint> {
    let listed = origin(container).host_config.tmpfs.unwrap_or_default();
    let own = |mount: &&EngineMount| {
        !matches!(mount.kind, MountKind::Tmpfs { .. })
            || !listed.keys().any(|target| mount.target.as_os_str() == target.as_str())
    };
    container.mounts.iter().filter(own).map(mount_point).collect()
}

fn mount_point(mount: &EngineMount) -> MountPoint {
    let common = MountPoint {
        destination: mount.target.display().to_string(),
        rw: mount.writable,
        propagation: mount.propagation.clone(),
        ..MountPoint::default()
    };
    match &mount.kind {
        MountKind::Bind { source, .. } => {
            MountPoint { kind: "bind".into(), source: source.display().to_string(), ..common }
        }
        MountKind::Volume { name, source, .. } => MountPoint {
            kind: "volume".into(),
            name: name.to_string(),
            source: source.display().to_string(),
            driver: "local".into(),
            mode: "z".into(),
            ..common
        },
        MountKind::Tmpfs { .. } => MountPoint { kind: "tmpfs".into(), ..common },
        MountKind::Overlay { .. } => MountPoint { kind: "overlay".into(), ..common },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_variables_hide_those_of_the_image() {
        let image = ExecutionConfig {
            env: Some(vec!["PATH=/bin".into(), "A=1".into(), "B=2".into()]),
            ..Default::default()
        };
        assert_eq!(environment(&["A=3".into(), "B".into()], &image), ["A=3", "PATH=/bin"]);
    }
}
