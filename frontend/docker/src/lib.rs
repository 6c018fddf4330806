//! # docker: the Docker Engine API, v1.24 to v1.51
//!
//! - **Owns**: the routes, the check from wire to spec, the words of statuses and errors, the framing of streams.
//! - **In**: HTTP requests of the docker CLI, of libraries and of `tare`.
//! - **Out**: one engine call each, and its result in Docker's JSON.
//! - **Leans on**: http, docker-api, and the engine's rooms.
//! - **Never**: keeps state, changes anything but through the engine, or decides what the engine can decide. Of the machine
//!   it reads what `info` tells.
//! - **Invariant**: input is checked here once; a handler that calls the engine holds a spec, not wire types.
//!
//! `routes` says which handler answers which endpoint. Handlers stand by object of the API: container, image, build, exec, volume,
//! network, system, …; `own` has what Tare answers beyond it. `parameter`, `filter` and `body` read requests, `check` makes
//! specs of them, `stream` serves connections that are handed over, `version` knows what differs between versions.

mod auth;
mod body;
mod build;
mod change;
mod check;
mod container;
mod error;
mod event;
mod exec;
mod filter;
mod image;
mod machine;
mod network;
mod own;
mod parameter;
mod pattern;
mod prune;
mod routes;
mod stream;
mod system;
mod unsupported;
mod usage;
mod version;
mod volume;

use std::path::PathBuf;
use std::sync::Arc;

use tare_build::Builder;
use tare_container::Engine;
use tare_http::Router;
use tare_image::Images;
use tare_network::Networks;
use tare_registry::Registry;
use tare_volume::Volumes;

pub use error::{Error, Result};

/// What the daemon has opened, for the handlers.
pub struct Rooms {
    /// Containers.
    pub engine: Arc<Engine>,
    /// Builds.
    pub builder: Arc<Builder>,
    /// Images.
    pub images: Arc<Images>,
    /// Networks.
    pub networks: Arc<Networks>,
    /// Volumes.
    pub volumes: Arc<Volumes>,
    /// Registries, for logins.
    pub registry: Arc<Registry>,
    /// What the daemon says of itself.
    pub daemon: Daemon,
}

/// What the daemon says of itself in `info` and `version`.
#[derive(Clone, Debug, Default)]
pub struct Daemon {
    /// A stable id of this data root.
    pub id: String,
    /// Its version, `0.1.0`.
    pub version: String,
    /// The revision it was built from; may be empty.
    pub commit: String,
    /// When it was built; may be empty.
    pub built: String,
    /// Where its data lies.
    pub data_root: PathBuf,
    /// The version of the control groups it uses: `1` or `2`.
    pub cgroup_version: String,
    /// What the administrator should know, one sentence each.
    pub warnings: Vec<String>,
}

/// The route table that [`tare_http::serve`] serves.
pub fn router(rooms: Rooms) -> Router {
    let mut router = Router::new();
    router.before(version::negotiate).after(version::sign).refuse_with(error::refusal);
    routes::add(&mut router, &Arc::new(rooms));
    unsupported::add(&mut router);
    router
}
