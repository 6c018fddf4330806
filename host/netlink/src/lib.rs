//! # netlink: links, addresses, routes and firewall rules, by message
//!
//! - **Owns**: the encoding of rtnetlink, nf_tables and ctnetlink messages, and the sockets that carry them.
//! - **In**: links, addresses, routes, tables, chains, rules, sets, elements, as plain values.
//! - **Out**: acknowledged changes, and dumps read back into plain values.
//! - **Leans on**: `sys` for what sockets need beyond rustix.
//! - **Never**: starts a helper process, moves the caller's thread to another namespace, decides what should exist.
//! - **Invariant**: every request is acknowledged by the kernel before a function returns.

mod error;

pub use error::Error;
