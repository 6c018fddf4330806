//! # netlink: links, addresses, routes and firewall rules, by message
//!
//! - **Owns**: the encoding of rtnetlink, nf_tables and ctnetlink messages, and the sockets that carry them.
//! - **In**: links, addresses, routes, tables, chains, rules, maps, elements, as plain values.
//! - **Out**: acknowledged changes, and dumps read back into plain values.
//! - **Leans on**: sys for what sockets need beyond rustix; model for the kinds of errors.
//! - **Never**: starts a helper process, moves the caller's thread to another namespace, decides what should exist.
//! - **Invariant**: every request is acknowledged by the kernel before a function returns.
//!
//! Requests are [`Message`]s made by pure functions ([`route`], [`nft`]); a [`Socket`] carries them out.

pub mod conntrack;
mod error;
mod message;
mod moved;
mod namespace;
pub mod nft;
pub mod route;
mod socket;

pub use error::Error;
pub use message::Message;
pub use moved::{KeptAddress, kept_addresses, move_link};
pub use namespace::within;
pub use socket::Socket;
