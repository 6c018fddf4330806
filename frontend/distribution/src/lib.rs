//! # distribution: the OCI distribution API in front of a depot
//!
//! - **Owns**: the routes, headers, status codes and error bodies of the specification (1.1), and who may do what:
//!   passwords of an htpasswd file, tokens for clients that may read without one.
//! - **In**: requests of anybody who reaches the address.
//! - **Out**: manifests, blobs and lists; what was pushed, handed to the depot piece by piece.
//! - **Leans on**: http, depot, model, oci.
//! - **Never**: keeps anything itself but the tokens that it has given out, waits for a slow client in a thread, or holds more
//!   than a megabyte of a blob in memory.
//! - **Invariant**: an answer of success to a push means that the bytes are on the disk and were verified.

mod blob;
mod error;
mod gate;
mod list;
mod manifest;
mod passwords;
mod routes;
mod upload;

use std::sync::Arc;

use tare_depot::Depot;
use tare_http::Router;

pub use error::{Error, Result};
pub use gate::Gate;
pub use passwords::Passwords;

/// What is served, and to whom.
#[derive(Debug)]
pub struct Service {
    /// What there is.
    pub depot: Arc<Depot>,
    /// Who may read and write.
    pub gate: Gate,
    /// Whether nobody may write.
    pub read_only: bool,
    /// Whether clients speak TLS with us, for addresses that we give them.
    pub tls: bool,
}

/// The route table that [`tare_http::serve`] serves.
pub fn router(service: Service) -> Router {
    routes::table(Arc::new(service))
}
