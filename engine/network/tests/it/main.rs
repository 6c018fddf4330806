//! Networks on the real kernel: machine, containers and a neighbour on the machine's LAN are network namespaces.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod firewall;
mod lifecycle;
mod reach;
mod world;
