//! Unmodified engines on top: each is asked the same questions once with runc and once with this runtime, and must
//! answer the same. Standard error is left out: the words of a failure are each runtime's own.

// Tests may say loudly what is wrong.
#![allow(clippy::unwrap_used)]

mod containerd;
mod dockerd;
mod podman;
mod world;
