use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use crate::capture;

/// Made once for this checkout; making it costs a minute.
static MAKING: Mutex<()> = Mutex::new(());

/// Prepares Debian's package configuration in a tree that is not booted: no service starts, names resolve.
const ENTER: &str = "set -e
cp /etc/resolv.conf \"$ROOT/etc/resolv.conf\"
printf '#!/bin/sh\\nexit 101\\n' > \"$ROOT/usr/sbin/policy-rc.d\"; chmod 755 \"$ROOT/usr/sbin/policy-rc.d\"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
chroot \"$ROOT\" apt-get update -q
chroot \"$ROOT\" apt-get install -q -y --no-install-recommends $PACKAGES
chroot \"$ROOT\" apt-get clean
rm -rf \"$ROOT\"/var/lib/apt/lists/* \"$ROOT/usr/sbin/policy-rc.d\" \"$ROOT\"/var/log/*.log \"$ROOT\"/var/log/apt
: > \"$ROOT/etc/resolv.conf\"";

/// A Debian bookworm image of three layers (base, nginx, python3) as `oci:DIR:web`, made from Debian's own packages.
pub fn debian_image() -> Result<String> {
    cached("debian", |dir| {
        let layout = dir.join("layout");
        let image = format!("{}:web", layout.display());
        let tar = dir.join("base.tar");
        run(Command::new("mmdebstrap").args(["--quiet", "--variant=minbase", "bookworm"]).arg(&tar))?;
        start_layout(&layout, &image)?;
        run(Command::new("umoci").args(["raw", "add-layer", "--image", &image]).arg(&tar))?;
        std::fs::remove_file(&tar)?;
        for packages in ["nginx-light", "python3-minimal"] {
            add_packages(dir, &image, packages)?;
        }
        run(Command::new("umoci").args(["config", "--image", &image]).args([
            "--config.env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "--config.cmd=nginx",
            "--config.cmd=-g",
            "--config.cmd=daemon off;",
            "--config.exposedports=80/tcp",
            "--config.stopsignal=SIGQUIT",
            "--config.label=org.example.fixture=web",
        ]))?;
        Ok(())
    })
    .map(|dir| format!("oci:{}/layout:web", dir.display()))
}

/// A Debian image of one layer with a C compiler in it, as `oci:DIR:cc`.
pub fn compiler_image() -> Result<String> {
    cached("compiler", |dir| {
        let (layout, tar) = (dir.join("layout"), dir.join("base.tar"));
        let image = format!("{}:cc", layout.display());
        let mut bootstrap = Command::new("mmdebstrap");
        run(bootstrap
            .args(["--quiet", "--variant=minbase", "--include=gcc,libc6-dev", "bookworm"])
            .arg(&tar))?;
        start_layout(&layout, &image)?;
        run(Command::new("umoci").args(["raw", "add-layer", "--image", &image]).arg(&tar))?;
        std::fs::remove_file(&tar)?;
        let path = "--config.env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        run(Command::new("umoci").args(["config", "--image", &image, path]))
    })
    .map(|dir| format!("oci:{}/layout:cc", dir.display()))
}

/// A 2 MB image of one static busybox, as `oci:DIR:bb`.
pub fn busybox_image() -> Result<String> {
    cached("busybox", |dir| {
        let layout = dir.join("layout");
        let image = format!("{}:bb", layout.display());
        let tree = dir.join("tree");
        for folder in ["bin", "etc", "tmp", "root", "var/www"] {
            std::fs::create_dir_all(tree.join(folder))?;
        }
        std::fs::copy("/bin/busybox", tree.join("bin/busybox")).context("busybox-static is not installed")?;
        let listed = capture(Command::new("/bin/busybox").arg("--list"))?;
        for applet in listed.out.lines().filter(|a| *a != "busybox") {
            std::os::unix::fs::symlink("busybox", tree.join("bin").join(applet))?;
        }
        std::fs::write(
            tree.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/tmp:/bin/sh\n",
        )?;
        std::fs::write(tree.join("etc/group"), "root:x:0:\nweb:x:1000:\nextra:x:2000:web\n")?;
        std::fs::write(tree.join("var/www/index.html"), "weighs nothing\n")?;
        let tar = dir.join("tree.tar");
        run(Command::new("tar")
            .args(["--numeric-owner", "--owner=0", "--group=0", "-C"])
            .arg(&tree)
            .arg("-cf")
            .arg(&tar)
            .arg("."))?;
        start_layout(&layout, &image)?;
        run(Command::new("umoci").args(["raw", "add-layer", "--image", &image]).arg(&tar))?;
        run(Command::new("umoci").args([
            "config",
            "--image",
            &image,
            "--config.env=PATH=/bin",
            "--config.cmd=sh",
        ]))
    })
    .map(|dir| format!("oci:{}/layout:bb", dir.display()))
}

pub(crate) fn start_layout(layout: &Path, image: &str) -> Result<()> {
    run(Command::new("umoci").args(["init", "--layout"]).arg(layout))?;
    run(Command::new("umoci").args(["new", "--image", image]))
}

pub(crate) fn add_packages(dir: &Path, image: &str, packages: &str) -> Result<()> {
    let bundle = dir.join(format!("bundle-{packages}"));
    run(Command::new("umoci").args(["unpack", "--image", image]).arg(&bundle))?;
    run(Command::new("sh").args(["-c", ENTER]).env("ROOT", bundle.join("rootfs")).env("PACKAGES", packages))?;
    run(Command::new("umoci").args(["repack", "--image", image]).arg(&bundle))?;
    Ok(std::fs::remove_dir_all(&bundle)?)
}

/// `target/fixtures/NAME`, made by `make` in a place of its own and then renamed, so that half of one is never found.
pub(crate) fn cached(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let _one_at_a_time = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fixtures");
    std::fs::create_dir_all(&fixtures)?;
    let fixtures = fixtures.canonicalize()?;
    let lock = std::fs::File::create(fixtures.join(format!("{name}.lock")))?;
    lock.lock()?;
    let done = fixtures.join(name);
    if done.exists() {
        return Ok(done);
    }
    let making = fixtures.join(format!("{name}.making"));
    if making.exists() {
        std::fs::remove_dir_all(&making)?;
    }
    std::fs::create_dir_all(&making)?;
    make(&making).with_context(|| format!("the test image \"{name}\" cannot be made"))?;
    std::fs::rename(&making, &done)?;
    Ok(done)
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let ran = capture(command)?;
    ensure!(ran.code == 0, "{} failed ({}): {}", ran.line, ran.code, ran.err);
    Ok(())
}
