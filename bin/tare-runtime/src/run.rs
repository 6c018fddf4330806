//! `tare-runtime run`: one container in the foreground.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};
use tare_cgroup::{Cgroup, Hierarchies};
use tare_oci::runtime::Spec;
use tare_runtime::{Error, Launch, Result, Running, Stdio};
use tare_sys::signal;

/// Passed on to the container.
const FORWARDED: [i32; 7] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH];

/// Reads the arguments and runs the container.
pub(crate) fn command(arguments: &[&str]) -> ExitCode {
    let (bundle, id) = match arguments {
        [id] => (".", *id),
        ["--bundle" | "-b", bundle, id] => (*bundle, *id),
        _ => return crate::fail("usage: tare-runtime run [--bundle DIR] ID"),
    };
    match run(Path::new(bundle), id) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("tare-runtime: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(bundle: &Path, id: &str) -> Result<u8> {
    let name: tare_model::Name = id.parse().map_err(|e| invalid("id", format!("{e}")))?;
    let bundle = fs::canonicalize(bundle).map_err(|e| unreadable(bundle, &e))?;
    let config = bundle.join("config.json");
    let text = fs::read(&config).map_err(|e| unreadable(&config, &e))?;
    let spec: Spec = serde_json::from_slice(&text).map_err(|e| invalid("config.json", e.to_string()))?;
    if spec.process.as_ref().is_some_and(|process| process.terminal) {
        return Err(Error::NotSupported { what: "process.terminal with run".to_owned() });
    }
    let cgroup = Cgroup::create(&Hierarchies::detect()?, &cgroup_path(&spec, &name.to_string()))?;
    let outcome = in_cgroup(&spec, &bundle, id, &cgroup);
    let killed = cgroup.kill();
    let removed = cgroup.remove();
    let code = outcome?;
    killed.and(removed)?;
    Ok(code)
}

fn cgroup_path(spec: &Spec, id: &str) -> PathBuf {
    let given =
        spec.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref()).filter(|path| !path.is_empty());
    Path::new("/").join(given.map_or_else(|| format!("tare/{id}"), str::to_owned))
}

fn in_cgroup(spec: &Spec, bundle: &Path, id: &str, cgroup: &Cgroup) -> Result<u8> {
    if let Some(resources) = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref()) {
        cgroup.apply(resources)?;
    }
    let signals = signal::signal_fd(&FORWARDED).map_err(|e| Error::Step(format!("block signals: {e}")))?;
    let mut created = tare_runtime::clone_init(Launch {
        id,
        bundle,
        spec,
        rootfs: &[],
        stdio: Stdio::Inherit,
        seccomp_cache: None,
        cgroup: Some(cgroup),
        preserve_fds: 0,
        door: None,
    })?;
    created.ready()?;
    let running = created.start()?;
    for warning in &running.warnings {
        eprintln!("tare-runtime: warning: {warning}");
    }
    wait(&running, signals.as_fd())
}

fn wait(running: &Running, signals: std::os::fd::BorrowedFd<'_>) -> Result<u8> {
    let failed = |e: rustix::io::Errno| Error::Step(format!("wait for the container: {e}"));
    loop {
        let mut fds =
            [PollFd::new(&running.pidfd, PollFlags::IN), PollFd::from_borrowed_fd(signals, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None)).map_err(failed)?;
        if !fds[1].revents().is_empty() {
            while let Ok(Some(signal)) = signal::next_signal(signals) {
                // The container may have ended meanwhile.
                drop(signal::send(&running.pidfd, signal.number));
            }
        }
        if !fds[0].revents().is_empty() {
            let status =
                waitid(WaitId::PidFd(running.pidfd.as_fd()), WaitIdOptions::EXITED).map_err(failed)?;
            return Ok(status.map_or(125, exit_code));
        }
    }
}

/// 128 and the signal's number for a container that was killed.
fn exit_code(status: WaitIdStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(125)
}

fn invalid(field: &str, rule: String) -> Error {
    Error::Spec { field: field.to_owned(), rule }
}

fn unreadable(path: &Path, cause: &std::io::Error) -> Error {
    Error::Bundle { path: path.display().to_string(), reason: cause.to_string() }
}
