//! Networks on the real kernel: machine, containers and a neighbour on the machine's LAN are network namespaces.

mod firewall;
mod lifecycle;
mod reach;
mod world;
