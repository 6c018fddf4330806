//! Writes everything that the shim of a run reads. Blocking.

use std::path::Path;

use tare_model::RootMount;
use tare_network::Endpoint;
use tare_oci::runtime::Spec;
use tare_protocol::{Launch, LogFile};

use crate::Result;
use crate::container::Container;
use crate::engine::Engine;
use crate::error::Step;
use crate::plan::{self, Files, Joined};
use crate::spec::MountSource;
use crate::user;

/// A run that is about to begin.
pub(crate) struct Preparation<'a> {
    pub engine: &'a Engine,
    pub container: &'a Container,
    /// The run's directory.
    pub dir: &'a Path,
    /// How many sockets keep the container's ports.
    pub reserved: usize,
}

impl Preparation<'_> {
    /// Empties the run's directory and fills it.
    pub(crate) fn write(&self, joined: &Joined, endpoint: Option<&Endpoint>) -> Result<()> {
        let Self { engine, container, dir, .. } = *self;
        make_empty(dir)?;
        let mounts = engine.rooms.snapshots.mounts(container.id.as_str())?;
        let accounts = engine.accounts(container)?;
        let wanted = container.spec.command.user.as_deref().filter(|user| !user.is_empty());
        let wanted = wanted.unwrap_or(&container.image.config.user);
        let user = user::resolve(wanted, &container.spec.security.groups, &accounts)?;
        let host = crate::host::facts(&engine.config, &container.spec)?;
        let own = engine.data_dir(&container.id);
        let network_files = joined.network_files.as_deref().unwrap_or(&own);
        let files = Files {
            root: dir.join("rootfs"),
            hostname: network_files.join("hostname"),
            hosts: network_files.join("hosts"),
            resolv_conf: network_files.join("resolv.conf"),
        };
        let input = plan::Input {
            id: &container.id,
            spec: &container.spec,
            image: &container.image,
            mounts: &container.mounts,
            user: &user,
            host: &host,
            files: &files,
            joined,
        };
        let config = plan::plan(&input)?;
        if joined.network_files.is_none() {
            crate::host::write_network_files(&engine.config, &files, &input, endpoint)?;
        }
        make_bind_sources(container)?;
        self.write_bundle(&config, mounts)
    }

    fn write_bundle(&self, config: &Spec, rootfs: Vec<RootMount>) -> Result<()> {
        let Self { engine, container, dir, reserved } = *self;
        let log = &container.spec.lifecycle.log;
        let launch = Launch {
            id: container.id.to_string(),
            bundle: dir.to_owned(),
            rootfs,
            cgroup: plan::cgroup_path(&container.id, &container.spec),
            log: container.log_path.clone().map(|path| LogFile {
                path,
                max_size: log.max_size,
                max_files: log.max_files,
            }),
            open_stdin: container.spec.streams.open_stdin,
            stdin_once: container.spec.streams.stdin_once,
            seccomp_cache: Some(engine.config.exec_root.join("seccomp")),
            reserved_fds: u32::try_from(reserved).unwrap_or(u32::MAX),
        };
        write_json(&dir.join("config.json"), config)?;
        write_json(&dir.join("launch.json"), &launch)
    }
}

fn make_empty(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).step(|| format!("empty {}", dir.display()))
        }
        _ => std::fs::DirBuilder::new().mode(0o700).create(dir).step(|| format!("create {}", dir.display())),
    }
}

/// `-v /missing:/x` makes the directory, as people are used to.
fn make_bind_sources(container: &Container) -> Result<()> {
    let missing = container.spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Bind { path, create: true, .. } if std::fs::symlink_metadata(path).is_err() => {
            Some(path)
        }
        _ => None,
    });
    missing.into_iter().try_for_each(|path| {
        std::fs::create_dir_all(path).step(|| format!("create the bind source {}", path.display()))
    })
}

fn write_json<T: serde::Serialize>(path: &Path, document: &T) -> Result<()> {
    let bytes = serde_json::to_vec(document)
        .map_err(std::io::Error::from)
        .step(|| format!("write {}", path.display()))?;
    std::fs::write(path, bytes).step(|| format!("write {}", path.display()))
}
