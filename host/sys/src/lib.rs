//! # sys: what rustix lacks
//!
//! - **Owns**: every unsafe operation of the workspace: raw system calls, descriptors that are numbers, execve.
//! - **In**: plain values and borrowed descriptors.
//! - **Out**: owned descriptors, plain values, `io::Error` as the kernel gave it.
//! - **Leans on**: libc, rustix.
//! - **Never**: decides anything; a function here is one system call, or one invariant around a few.
//! - **Invariant**: no function of this crate can be misused from safe code to break memory safety.
//!
//! Rooms use rustix itself wherever it has the call; [`path`], [`protect`] and [`graves`] are the policies that live here,
//! because runtime, snapshot and volume must resolve untrusted paths in exactly the same way, because the daemon opens
//! the runtime as the runtime would open itself, and because what snapshots and volumes remove may be of any size.

#![allow(unsafe_code)] // this is the one room for it

pub mod bpf;
pub mod clone;
pub mod descriptors;
pub mod disk;
pub mod exec;
pub mod fd;
pub mod fuse;
pub mod graves;
pub mod heap;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod netlink;
pub mod overlay;
pub mod path;
pub mod process;
pub mod program;
pub mod protect;
pub mod seccomp;
pub mod signal;
pub mod spawn;
pub mod start;
pub mod tree;

/// The kernel's answer to a raw system call: −1 with `errno`, or a value.
fn check(result: libc::c_long) -> std::io::Result<libc::c_long> {
    if result == -1 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}
