//! # container: workloads of one node
//!
//! - **Owns**: container records, one task a container, bundles, the shims' sockets, exec sessions, events.
//! - **In**: a checked [`ContainerSpec`] and requests about a container by id, id prefix or name.
//! - **Out**: [`Container`] snapshots, streams of output, log and events; a container as a difference to its image: a list, an
//!   image, an archive.
//! - **Leans on**: image, snapshot, network, volume, store for resources; protocol for what is said to shims; cgroup, sys, oci, model.
//! - **Never**: runs a container in this process, waits for time to pass on a start, knows a front end's words.
//! - **Invariant**: only a container's own task changes its record; a reader never waits for the task. What the engine
//!   forgot by dying, [`Engine::reconcile`] finds again.
//!
//! Where to read:
//!
//! ```text
//! spec, check, plan          what a container shall be: described, checked, decided (seccomp, user, accounts, host: by what)
//! container, index, engine   what there is, found by id and name; the door
//! task                       the owner of one container: all that changes its record
//! create, start, exit, …     the verbs, one a file: also exec, restart (the decision), remove, prune, commit, reconcile
//! prepare, run, shim         one run: its files, its process, the talk with it
//! attachment, logs, event, top   what can be seen of it
//! step                       containers for steps of builds
//! written                    what a thread writes, as a stream: exports, of builds too
//! ```

mod accounts;
mod attachment;
mod check;
mod commit;
mod container;
mod create;
mod engine;
mod error;
mod event;
mod exec;
mod exit;
mod host;
mod index;
mod logs;
mod name;
mod options;
mod plan;
mod prepare;
mod prune;
mod readiness;
mod reconcile;
mod remove;
mod restart;
mod run;
mod seccomp;
mod shim;
mod spec;
mod start;
mod step;
mod task;
mod top;
mod user;
mod written;

pub use attachment::Attachment;
pub use commit::CommitOptions;
pub use container::{Container, ImageUse, MountKind, MountPoint, State, Status};
pub use engine::{Config, Defaults, Engine, Rooms};
pub use error::{Error, Result};
pub use event::{Event, EventKind, EventStream};
pub use options::{
    AttachOptions, Counts, CreateOptions, Created, Exec, ExecSpec, LogEntry, LogOptions, OutputStream,
    Promise, RemoveOptions, StopOptions, StopTimeout, Top, WaitCondition, WaitResult,
};
pub use prune::Pruned;
pub use spec::{
    BindPropagation, BlockIoLimits, CommandSpec, ContainerSpec, CpuLimits, DeviceAccessRule, DeviceRate,
    DeviceSpec, DeviceWeight, IdentitySpec, IpcMode, LifecycleSpec, Limits, LogSpec, MINIMUM_MEMORY,
    MemoryLimits, MountSource, MountSpec, NamespaceMode, NamespaceSpec, NetworkMode, NetworkSpec,
    RestartPolicy, SeccompChoice, SecuritySpec, StreamSpec, TmpfsOptions, Ulimit,
};
pub use user::resolve_owner;
pub use written::written;
