//! The Debian packages that demo, tests and bench use. The product itself needs none of them.

use std::process::Command;

use anyhow::{Result, ensure};

const PACKAGES: [&str; 12] = [
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
];

pub(crate) fn run() -> Result<()> {
    let missing: Vec<&str> = PACKAGES.into_iter().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    let apt = |words: &[&str]| -> Result<()> {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "Dpkg::Use-Pty=0"]).args(words);
        ensure!(command.status()?.success(), "apt-get {} failed", words.join(" "));
        Ok(())
    };
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"], &missing[..]].concat())
}

fn installed(package: &str) -> bool {
    let asked = Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]).output();
    asked.is_ok_and(|answer| answer.stdout.ends_with(b"ok installed"))
}
