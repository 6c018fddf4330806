//! # tests: a small world for the whole product
//!
//! - **Owns**: what every test, the demo and the bench need around the product: a network namespace with nothing but
//!   loopback, real images made of Debian packages, a real registry, a daemon with roots of its own.
//! - **In**: the binaries of this build. **Out**: commands and what they printed; what was left behind.
//! - **Leans on**: Debian packages (`cargo xtask setup`), git and nothing of the product's code.
//! - **Never**: touches the machine's own network, data root or another's processes.
//! - **Invariant**: dropping a [`World`] ends and removes all that it made.

mod daemon;
mod fixture;
mod large;
mod leftovers;
mod netns;
mod ran;
mod registry;
mod serve;
mod terminal;
mod world;

pub use daemon::{Daemon, binaries};
pub use fixture::{busybox_image, compiler_image, debian_image};
pub use large::LargeImage;
pub use leftovers::Leftovers;
pub use netns::Netns;
pub use ran::{Ran, capture, capture_with_input};
pub use registry::Registry;
pub use serve::Served;
pub use terminal::Terminal;
pub use world::{Client, World, docker_cli, unpacked_docker, unpacked_peers, until};
