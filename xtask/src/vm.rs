//! A Debian guest with systemd, emulated by QEMU, in which the suites run that need one: with the unified hierarchy, which
//! a v1 or hybrid machine cannot show, or with v1's; with AppArmor or SELinux. Slow to begin with, so the image is kept
//! below `target/vm`.

mod guest;
mod image;
mod suites;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::setup;

/// What the host needs for it.
const PACKAGES: [&str; 3] = ["mmdebstrap", "qemu-system-x86", "e2fsprogs"];

/// What the guest is booted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    /// With cgroup v2 alone, and AppArmor, as Debian has it.
    Unified,
    /// With v1's hierarchies and v2 beside them.
    Hybrid,
    /// With SELinux in AppArmor's place.
    Selinux,
}

/// Runs the suites, or only the tests whose names contain one of `filters`. Ends as they do.
pub(crate) fn run(filters: &[&str], machine: Machine) -> Result<()> {
    setup::install(&PACKAGES)?;
    let begun = Instant::now();
    let dir = directory()?;
    let image = image::make(&dir)?;
    let disk = suites::pack(&dir, machine, filters)?;
    println!("vm: prepared in {:.0} s", begun.elapsed().as_secs_f64());
    let code = guest::boot(&image, &disk, &dir.join("console.log"), machine)?;
    println!("vm: done in {:.0} s", begun.elapsed().as_secs_f64());
    match code {
        0 => Ok(()),
        code => bail!("{code} suites failed in the guest; its console is in {}/console.log", dir.display()),
    }
}

fn directory() -> Result<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/vm");
    std::fs::create_dir_all(&dir)?;
    Ok(dir.canonicalize()?)
}
