//! The guest's root file system, made once of Debian's packages.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A kernel of 6.12, which has all of cgroup v2 that Tare uses, and a systemd of 257.
const SUITE: &str = "trixie";

const PACKAGES: [&str; 19] = [
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "kmod",
    "busybox-static",
    "procps",
    "iproute2",
    "uidmap",
    "nftables",
    "libseccomp2",
    "runc",
    "crun",
    "criu",
    "iptables",
    "jq",
    "apparmor",
    "secilc",
];

/// Runs inside the new tree: a user without privileges whose systemd is there from the boot on, and the tests as a
/// service. Their output goes to the second serial port, where the host listens.
const FURNISH: &str = r#"set -e
useradd --create-home --shell /bin/sh --uid 1000 tester
mkdir -p /var/lib/systemd/linger; : > /var/lib/systemd/linger/tester
echo tare-vm > /etc/hostname
printf '127.0.0.1 localhost tare-vm\n' > /etc/hosts
mkdir -p /etc/systemd/system/user@.service.d
printf '[Service]\nDelegate=cpu cpuset io memory pids\n' > /etc/systemd/system/user@.service.d/delegate.conf
cat > /usr/local/sbin/tare-suites <<'END'
#!/bin/sh
mkdir -p /suites
modprobe virtio_blk && mount /dev/vda /suites && sh /suites/run.sh
echo "tare-vm: $? suites failed"
sync
systemctl poweroff --force --force
END
chmod 755 /usr/local/sbin/tare-suites
cat > /etc/systemd/system/tare-suites.service <<'END'
[Unit]
Description=Tare's suites
After=systemd-logind.service dbus.service user@1000.service
[Service]
ExecStart=/usr/local/sbin/tare-suites
StandardInput=null
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
Environment=HOME=/root
TasksMax=infinity
[Install]
WantedBy=multi-user.target
END
systemctl enable tare-suites.service
systemctl mask apt-daily.timer apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer dpkg-db-backup.timer \
  systemd-networkd-wait-online.service getty@tty1.service serial-getty@ttyS0.service systemd-journal-catalog-update.service \
  systemd-hwdb-update.service systemd-update-done.service apparmor.service
"#;

/// What QEMU boots.
pub(crate) struct Image {
    pub(crate) kernel: PathBuf,
    pub(crate) disk: PathBuf,
}

/// The image for this list of packages, made now if it is not there.
pub(crate) fn make(dir: &Path) -> Result<Image> {
    let done = dir.join(format!("image-{:016x}", key()));
    let image = Image { kernel: done.join("vmlinuz"), disk: done.join("root.ext4") };
    if done.exists() {
        return Ok(image);
    }
    println!("vm: making a Debian {SUITE} of {} packages and what they need", PACKAGES.len());
    let making = dir.join("making");
    if making.exists() {
        fs::remove_dir_all(&making)?;
    }
    fs::create_dir_all(&making)?;
    let tree = making.join("tree");
    bootstrap(&tree)?;
    fs::copy(kernel(&tree)?, making.join("vmlinuz"))?;
    file_system(&tree, &making.join("root.ext4"), "1536M")?;
    fs::remove_dir_all(&tree)?;
    for old in
        fs::read_dir(dir)?.flatten().filter(|e| e.file_name().as_encoded_bytes().starts_with(b"image-"))
    {
        fs::remove_dir_all(old.path())?;
    }
    fs::rename(&making, &done)?;
    Ok(image)
}

fn key() -> u64 {
    let mut hasher = DefaultHasher::new();
    (SUITE, PACKAGES, FURNISH).hash(&mut hasher);
    hasher.finish()
}

fn bootstrap(tree: &Path) -> Result<()> {
    // Directories of the host would hide what the packages bring, so nothing is mounted that the scripts do not need.
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--aptopt=Acquire::Check-Valid-Until \"false\""]);
    command.arg(format!("--include={}", PACKAGES.join(",")));
    command.arg(format!("--customize-hook=chroot \"$1\" sh -c '{}'", FURNISH.replace('\'', r"'\''")));
    checked(command.args([SUITE]).arg(tree).arg("http://deb.debian.org/debian"))
}

fn kernel(tree: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(tree.join("boot"))?.flatten().map(|entry| entry.path());
    entries
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"vmlinuz-")))
        .context("the image has no kernel")
}

/// An ext4 image of a directory. No journal: nothing in it is worth one.
pub(crate) fn file_system(tree: &Path, image: &Path, size: &str) -> Result<()> {
    let _ = fs::remove_file(image);
    let mut command = Command::new("mke2fs");
    command
        .args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
        .arg(tree)
        .arg(image)
        .arg(size);
    checked(&mut command)
}

fn checked(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be run"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
