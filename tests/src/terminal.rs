use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::Instant;

use anyhow::{Result, bail};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::world::PATIENCE;

/// A command on a real terminal, typed at and read from as a person would.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    child: Child,
    seen: String,
}

impl Terminal {
    /// Starts the command with a new pty of 40 × 120 as its three streams and controlling terminal.
    pub fn start(command: &mut Command) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        tcsetwinsize(&master, Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 })?;
        let slave: OwnedFd = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        // setsid --ctty makes the pty the controlling terminal, so that signals and sizes work as for a person.
        let mut session = Command::new("setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        let child = session.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave).spawn()?;
        rustix::fs::fcntl_setfl(&master, rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self { master: File::from(master), child, seen: String::new() })
    }

    /// Types these characters.
    pub fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.master.write_all(text.as_bytes())?)
    }

    /// Another size of the window.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        Ok(tcsetwinsize(&self.master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?)
    }

    /// Reads until this text has been shown, at most 20 s, and returns all that came before and with it.
    pub fn expect(&mut self, text: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return Ok(std::mem::replace(&mut self.seen, rest));
            }
            if Instant::now() > deadline || !self.read(deadline)? {
                bail!("\"{text}\" was never shown; what was: {:?}", self.seen);
            }
        }
    }

    /// Waits for the end of the command and returns its exit code.
    pub fn end(mut self) -> Result<i32> {
        while self.read(Instant::now() + PATIENCE)? {}
        Ok(self.child.wait()?.code().unwrap_or(-1))
    }

    fn read(&mut self, deadline: Instant) -> Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            rustix::time::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut ready = [rustix::event::PollFd::new(&self.master, rustix::event::PollFlags::IN)];
        if rustix::event::poll(&mut ready, Some(&timeout))? == 0 {
            bail!("nothing more is shown; what was: {:?}", self.seen);
        }
        let mut bytes = [0; 4096];
        match self.master.read(&mut bytes) {
            // EIO is how a pty says that its other side is closed.
            Ok(0) | Err(_) => Ok(false),
            Ok(count) => {
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
                Ok(true)
            }
        }
    }
}
