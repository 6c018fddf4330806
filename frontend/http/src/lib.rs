//! # http: HTTP/1.1 on a socket, and no protocol above it
//!
//! - **Owns**: listeners (unix, tcp, public with or without TLS, inherited), the accept loop, connections, the route table, limits.
//! - **In**: bytes of clients that are not trusted; handlers of a front end.
//! - **Out**: a [`Request`] with a clean path for the handler; its [`Reply`] for the client: whole, streamed, or the
//!   connection itself handed over ([`Reply::hijack`]).
//! - **Leans on**: hyper for the syntax of HTTP/1.1, rustls, tokio, model.
//! - **Never**: knows a Docker word, keeps state between requests, lets one client's doings touch another's.
//! - **Invariant**: a handler that panics is a 500 for its own client; a client that has gone takes its reading
//!   requests with it, while a request that changes something (not GET or HEAD) runs to its end.

mod connection;
mod error;
mod hangup;
mod listener;
mod origin;
mod paced;
mod path;
mod query;
mod reply;
mod request;
mod router;
mod serve;
mod stream;

pub use error::{Error, Result};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
pub use listener::{Listener, group_id};
pub use query::Query;
pub use reply::Reply;
pub use request::Request;
pub use router::Router;
pub use serve::serve;
pub use stream::Upgraded;
