use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::until;

/// Where this build's binaries are: beside the test's own, or where `TARE_BINARIES` says.
pub fn binaries() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("TARE_BINARIES") {
        return Ok(dir.into());
    }
    let own = std::env::current_exe()?;
    let near = own.ancestors().skip(1).find(|dir| dir.join("tared").exists());
    near.map(Path::to_path_buf).context("tared is not built: run cargo build first")
}

/// A `tared` with data root, exec root and socket below one directory.
#[derive(Debug)]
pub struct Daemon {
    dir: PathBuf,
    process: Child,
}

impl Daemon {
    /// Starts it and waits until it answers.
    pub fn start(dir: &Path, arguments: &[&str], wrap: &dyn Fn(&str) -> Command) -> Result<Self> {
        let tared = binaries()?.join("tared");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("tared.log"))?;
        let mut command = wrap(tared.to_str().context("a path that is text")?);
        command.arg("--data-root").arg(dir.join("data")).arg("--exec-root").arg(dir.join("exec"));
        command
            .arg("--pidfile")
            .arg(dir.join("tared.pid"))
            .arg("--host")
            .arg(format!("unix://{}", socket(dir).display()));
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().with_context(|| format!("cannot start {}", tared.display()))?;
        let mut daemon = Self { dir: dir.to_owned(), process };
        let ready = until("tared to answer", || {
            ensure!(daemon.process.try_wait()?.is_none(), "tared ended at once");
            Ok(answers(&socket(&daemon.dir)))
        });
        ready.with_context(|| std::fs::read_to_string(dir.join("tared.log")).unwrap_or_default())?;
        Ok(daemon)
    }

    /// The socket it listens on.
    pub fn socket(&self) -> PathBuf {
        socket(&self.dir)
    }

    /// One request without a body and without a client's program to start: its status.
    pub fn ask(&self, method: &str, path: &str) -> Result<u16> {
        let mut stream = std::os::unix::net::UnixStream::connect(self.socket())?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: tare\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.with_context(|| format!("{method} {path}: {answer}"))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("tared.log")).unwrap_or_default()
    }

    /// As if the machine's owner had lost patience: SIGKILL.
    pub fn kill(mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether a request is answered: the socket is there before the daemon has looked at what an earlier one left.
fn answers(socket: &Path) -> bool {
    let asked = std::os::unix::net::UnixStream::connect(socket).and_then(|mut stream| {
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: tare\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    asked.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("tare.sock")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.process.wait();
    }
}
