//! The guest's life: QEMU without acceleration, which every machine can run.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Machine;
use super::image::Image;

/// A guest that hangs is ended; one that works takes a few minutes.
const PATIENCE: Duration = Duration::from_secs(1800);

/// How the guest's last line begins and ends, around the number of suites that failed.
const VERDICT: (&str, &str) = ("tare-vm: ", " suites failed");

/// What systemd is told to mount v1's hierarchies, and v2 without controllers beside them, as a hybrid machine has it. It
/// can for the last time in version 257.
const HYBRID: &str = "systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1";

/// One of the two at most: the suites load a policy, before that nothing is known to be wrong.
const SELINUX: &str = "security=selinux selinux=1 enforcing=0";

/// Boots the image, prints what the suites print, and returns how many failed.
pub(crate) fn boot(image: &Image, suites: &Path, console: &Path, machine: Machine) -> Result<i32> {
    let words = match machine {
        Machine::Unified => "",
        Machine::Hybrid => HYBRID,
        Machine::Selinux => SELINUX,
    };
    let mut guest = start(image, suites, console, words)?;
    let lines = lines(&mut guest)?;
    let verdict = listen(&lines, console);
    // It has switched itself off, or will not any more.
    if verdict.is_err() {
        guest.kill()?;
    }
    guest.wait()?;
    verdict
}

fn start(image: &Image, suites: &Path, console: &Path, more: &str) -> Result<Child> {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2G"]);
    command.args(["-display", "none", "-monitor", "none", "-no-reboot", "-nic", "none"]);
    command.arg("-serial").arg(format!("file:{}", console.display())).args(["-serial", "stdio"]);
    command.arg("-kernel").arg(&image.kernel);
    // The kernel's own driver for NVMe is built in: no initramfs is unpacked by an emulated processor.
    // A busy host may be too slow for the kernel's test of its timer, which would be a panic.
    const WORDS: &str = "root=/dev/nvme0n1 rw console=ttyS0 panic=-1 no_timer_check mitigations=off systemd.show_status=1 quiet";
    command.arg("-append").arg(format!("{WORDS} {more}"));
    // Two disks of one kind would be numbered as they happen to be found.
    let disks = [("root", image.disk.as_path(), "nvme,serial=root,"), ("suites", suites, "virtio-blk-pci,")];
    for (name, file, device) in disks {
        // What the guest writes is forgotten: the image stays as it was made.
        let drive = format!("id={name},file={},format=raw,if=none,snapshot=on", file.display());
        command.arg("-drive").arg(drive).arg("-device").arg(format!("{device}drive={name}"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().context("qemu-system-x86_64 cannot be run")
}

/// The lines of the second serial port, from a thread, so that one can wait for them with a bound.
fn lines(guest: &mut Child) -> Result<mpsc::Receiver<String>> {
    let output = guest.stdout.take().context("the guest has an output")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
        let texts = lines.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned());
        texts.map_while(|text| sender.send(text).ok()).for_each(drop);
    });
    Ok(receiver)
}

fn listen(lines: &mpsc::Receiver<String>, console: &Path) -> Result<i32> {
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                println!("{line}");
                if let Some(failed) = verdict(&line) {
                    return Ok(failed);
                }
            }
            Err(_) => {
                bail!("the guest ended, or hung, without a verdict: its console is in {}", console.display())
            }
        }
    }
}

fn verdict(line: &str) -> Option<i32> {
    line.strip_prefix(VERDICT.0)?.strip_suffix(VERDICT.1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_guests_own_last_line_is_a_verdict() {
        assert_eq!(verdict("tare-vm: 3 suites failed"), Some(3));
        assert_eq!(verdict("tare-vm:  suites failed"), None);
        assert_eq!(verdict("test tare-vm: 0 suites failed"), None);
    }
}
