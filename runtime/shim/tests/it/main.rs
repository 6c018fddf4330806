//! Real containers in real shims: a busybox root, all namespaces, this machine's cgroups. The shim is a process of its
//! own, `examples/shim`; what a test makes is gone when it ends.

#![cfg(test)]

mod attached;
mod fixture;
mod life;
mod logged;
mod wedged;
