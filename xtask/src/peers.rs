//! The newest runc, crun and dockerd that Debian has, unpacked below target/ and never installed: what was released this month is a
//! better judge than what the machine's own release froze.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tare_tests::unpacked_peers;

/// They are linked against a newer C library than the machine's, which therefore lies beside them.
const PACKAGES: [&str; 13] = [
    "crun",
    "runc",
    "docker.io",
    "containerd",
    "libblake3-0",
    "libc6",
    "libcap2",
    "libjson-c5",
    "libseccomp2",
    "libsystemd0",
    "libtbb12",
    "libstdc++6",
    "libgcc-s1",
];
const SOURCE: &str =
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main\n";

pub(crate) fn run() -> Result<()> {
    let bin = unpacked_peers();
    let dir = bin.parent().context("a directory below target")?;
    std::fs::create_dir_all(&bin)?;
    let dir = dir.canonicalize()?;
    let conf = configure(&dir)?;
    let debs = dir.join("debs");
    std::fs::create_dir_all(&debs)?;
    ensured(Command::new("apt-get").args(["-q", "update"]).env("APT_CONFIG", &conf))?;
    ensured(
        Command::new("apt-get")
            .args(["-q", "download"])
            .args(PACKAGES)
            .env("APT_CONFIG", &conf)
            .current_dir(&debs),
    )?;
    if Command::new("patchelf").arg("--version").output().is_err() {
        ensured(Command::new("apt-get").args([
            "-q",
            "install",
            "-y",
            "--no-install-recommends",
            "patchelf",
        ]))?;
    }
    let root = dir.join("root");
    for deb in std::fs::read_dir(&debs)?.flatten() {
        ensured(Command::new("dpkg").arg("-x").arg(deb.path()).arg(&root))?;
    }
    for (name, path) in [("crun", "usr/bin/crun"), ("runc", "usr/sbin/runc")] {
        link(&root, &root.join(path), &bin.join(name))?;
        ensured(Command::new(bin.join(name)).arg("--version"))?;
    }
    // These two run with the machine's own C library.
    for (name, path) in [("dockerd", "usr/sbin/dockerd"), ("containerd", "usr/bin/containerd")] {
        std::fs::copy(root.join(path), bin.join(name)).with_context(|| path.to_owned())?;
        ensured(Command::new(bin.join(name)).arg("--version"))?;
    }
    Ok(())
}

/// apt with lists, status and cache of its own: nothing of the machine's is read or changed.
fn configure(dir: &Path) -> Result<PathBuf> {
    let apt = dir.join("apt");
    for folder in ["lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(apt.join(folder))?;
    }
    std::fs::write(apt.join("status"), "")?;
    std::fs::write(apt.join("sources.list"), SOURCE)?;
    let at = apt.display();
    let text = format!(
        "Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\nDir::State::lists \"{at}/lists\";\n\
         Dir::State::status \"{at}/status\";\nDir::Cache \"{at}/cache\";\nAcquire::Languages \"none\";\n"
    );
    let conf = apt.join("apt.conf");
    std::fs::write(&conf, text)?;
    Ok(conf)
}

/// A copy that is loaded by the library it came with. The names are in the file, so that it may execute itself again.
fn link(root: &Path, program: &Path, copy: &Path) -> Result<()> {
    let libraries = root.join("usr/lib/x86_64-linux-gnu");
    let _ = std::fs::remove_file(copy);
    std::fs::copy(program, copy).with_context(|| program.display().to_string())?;
    let mut patch = Command::new("patchelf");
    patch.arg("--set-interpreter").arg(libraries.join("ld-linux-x86-64.so.2"));
    ensured(patch.arg("--set-rpath").arg(&libraries).arg(copy))
}

fn ensured(command: &mut Command) -> Result<()> {
    ensure!(command.status().with_context(|| format!("{command:?}"))?.success(), "{command:?} failed");
    Ok(())
}
