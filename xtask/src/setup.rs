//! The Debian packages that demo, tests and bench use. The product itself needs none of them.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use tare_tests::{docker_cli, unpacked_docker};

/// What makes the demo's image, what serves it, and what looks at the container's page.
const OF_THE_DEMO: [&str; 5] = ["mmdebstrap", "umoci", "skopeo", "docker-registry", "curl"];

const PACKAGES: [&str; 19] = [
    "mmdebstrap",
    "umoci",
    "skopeo",
    "docker-registry",
    "busybox-static",
    "nftables",
    "iproute2",
    "curl",
    "util-linux",
    "procps",
    "libseccomp-dev",
    "apache2-utils",
    "uidmap",
    "containerd",
    "runc",
    "podman",
    "strace",
    "fuse-overlayfs",
    "wrk",
];

/// What the demo needs, which is little: a person waits for it.
pub(crate) fn demo() -> Result<()> {
    install(&OF_THE_DEMO)
}

pub(crate) fn run() -> Result<()> {
    install(&PACKAGES)?;
    if docker_cli().is_none() {
        apt(Command::new("apt-get").arg("update"))?;
        unpack_docker()?;
    }
    Ok(())
}

/// Installs those that are missing.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&&str> = packages.iter().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {missing:?}");
    apt(Command::new("apt-get").arg("update"))?;
    apt(Command::new("apt-get").args(["install", "-y", "--no-install-recommends"]).args(missing))
}

fn apt(command: &mut Command) -> Result<()> {
    let status =
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "Dpkg::Use-Pty=0"]).status();
    ensure!(status.context("apt-get is needed: this is for Debian")?.success(), "{command:?} failed");
    Ok(())
}

/// The docker command line out of Debian's package, which is unpacked and not installed: its daemon stays away.
fn unpack_docker() -> Result<()> {
    let dir = unpacked_docker();
    std::fs::create_dir_all(&dir)?;
    println!("unpacking the docker command line below {}", dir.display());
    apt(Command::new("apt-get").args(["download", "docker.io"]).current_dir(&dir))?;
    let status = Command::new("sh")
        .args(["-c", "dpkg -x docker.io_*.deb . && rm docker.io_*.deb"])
        .current_dir(&dir)
        .status()?;
    ensure!(status.success(), "the package docker.io cannot be unpacked in {}", dir.display());
    Ok(())
}

fn installed(package: &str) -> bool {
    let asked = Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]).output();
    asked.is_ok_and(|answer| answer.stdout.ends_with(b"ok installed"))
}
