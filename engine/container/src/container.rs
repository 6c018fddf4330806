//! What a container is: the record that is persisted and that readers see.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tare_model::{Digest, Id, Name, Timestamp};
use tare_oci::image::ExecutionConfig;

use crate::spec::ContainerSpec;

/// One container, at one moment. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: Id,
    /// Unique among containers.
    pub name: Name,
    /// When it was created.
    pub created: Timestamp,
    /// What was asked for.
    pub spec: Arc<ContainerSpec>,
    /// What it was made from.
    pub image: Arc<ImageUse>,
    /// What is mounted in it, volumes by their final names.
    pub mounts: Vec<MountPoint>,
    /// How it is.
    pub state: State,
    /// How often it has been started again since it was last started by hand.
    pub restart_count: u32,
    /// Whether the last stop was asked for: `unless-stopped` then leaves it stopped.
    pub stopped_by_user: bool,
    /// The log file; absent where none is written.
    pub log_path: Option<PathBuf>,
    /// Whether it runs a step of a build: then it is in no list and in no record.
    #[serde(skip)]
    pub of_build: bool,
}

/// The image of a container, as it was when the container was created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageUse {
    /// The image's id.
    pub id: Digest,
    /// Chain id of its highest layer; absent for an image without layers.
    pub top: Option<Digest>,
    /// How it wants to be run.
    pub config: ExecutionConfig,
}

/// How a container is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// In one word.
    pub status: Status,
    /// Init's process id on the host, while it runs.
    pub pid: Option<i32>,
    /// Of the last run; 128+n when signal n ended it; 125 to 127 when it could not be started.
    pub exit_code: i32,
    /// Why the last start failed; empty when it did not.
    pub error: String,
    /// Whether the kernel killed something in the last run because memory was short.
    pub oom_killed: bool,
    /// [`Timestamp::ZERO`] = never.
    pub started_at: Timestamp,
    /// [`Timestamp::ZERO`] = never.
    pub finished_at: Timestamp,
}

/// A container's state in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    Created,
    /// Its program runs.
    Running,
    /// Its program is frozen.
    Paused,
    /// It ended and will be started again.
    Restarting,
    /// It is being removed.
    Removing,
    /// It ended.
    Exited,
    /// Its removal failed half way.
    Dead,
}

/// Something mounted in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// Inside the container.
    pub target: PathBuf,
    /// What is there.
    pub kind: MountKind,
    /// Whether the container may write.
    pub writable: bool,
    /// The propagation word of a bind; empty otherwise.
    pub propagation: String,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// On the host.
        source: PathBuf,
        /// Without what is mounted below it.
        non_recursive: bool,
    },
    /// A volume.
    Volume {
        /// The volume's name.
        name: Name,
        /// Its data on the host.
        source: PathBuf,
        /// Made for this container, removed with it.
        anonymous: bool,
    },
    /// A temporary file system, with its mount options.
    Tmpfs {
        /// In tmpfs(5)'s words.
        options: Vec<String>,
    },
    /// Layers put together, in a step of a build.
    Overlay {
        /// As mount(8) writes them.
        options: Vec<String>,
    },
}

impl Default for State {
    fn default() -> Self {
        Self {
            status: Status::Created,
            pid: None,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            started_at: Timestamp::ZERO,
            finished_at: Timestamp::ZERO,
        }
    }
}

impl Status {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether a program of the container exists.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl Container {
    /// The volumes that were made for it and nobody named.
    pub(crate) fn anonymous_volumes(&self) -> impl Iterator<Item = Name> + '_ {
        self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Volume { name, anonymous: true, .. } => Some(name.clone()),
            _ => None,
        })
    }

    /// Entrypoint and arguments together: what is executed, as far as it is known before the start.
    pub fn command_line(&self) -> Vec<String> {
        crate::plan::command_line(&self.spec.command, &self.image.config)
    }
}
