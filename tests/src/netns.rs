use std::ffi::OsStr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};

use crate::capture;

/// A network namespace of our own with loopback up, removed on drop. What runs in it can reach nothing outside.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Netns {
    /// A new one, named after this process.
    pub fn new() -> Result<Self> {
        let name = format!("tare-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let made = capture(Command::new("ip").args(["netns", "add", &name]))?;
        ensure!(made.code == 0, "ip netns add {name}: {}", made.err);
        let netns = Self { name };
        let up = capture(netns.command("ip").args(["link", "set", "lo", "up"]))?;
        ensure!(up.code == 0, "ip link set lo up: {}", up.err);
        Ok(netns)
    }

    /// A command that will run inside. Not `ip netns exec`: that mounts another /sys, without the cgroups.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = capture(Command::new("ip").args(["netns", "del", &self.name]));
    }
}
