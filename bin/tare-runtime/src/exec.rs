//! `tare-runtime exec`: another program in a container.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use tare_model::Capability;
use tare_oci::runtime::{Capabilities, Process, Spec, User};
use tare_runtime::Stdio;
use tare_runtime::kept::{Entry, replace};

use crate::console::{self, Sockets};
use crate::failure::{Failure, Outcome};
use crate::flags::{Flag, Given, switch, value};
use crate::foreground;
use crate::global::Global;

const FLAGS: [Flag; 18] = [
    value("console-socket", ""),
    value("pidfd-socket", ""),
    value("pid-file", ""),
    value("process", "p"),
    value("preserve-fds", ""),
    value("cwd", ""),
    value("env", "e"),
    value("user", "u"),
    value("additional-gids", "g"),
    value("cap", "c"),
    value("apparmor", ""),
    value("process-label", ""),
    value("cgroup", ""),
    switch("detach", "d"),
    switch("tty", "t"),
    switch("no-new-privs", ""),
    switch("ignore-paused", ""),
    switch("no-subreaper", ""),
];

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    let given = Given::parse(arguments, &FLAGS)?;
    let [id, args @ ..] = given.rest.as_slice() else {
        return Err(Failure::new("a container's id is needed"));
    };
    let kept = global.open(id)?;
    let spec = kept.spec()?;
    let process = process(&spec, &given, args)?;
    let sockets = Sockets::of(&given)?;
    let detached = given.is("detach");
    check_terminal(&process, sockets.take_terminal(), detached)?;
    let signals = (!detached).then(foreground::catch_signals).transpose()?;
    let stdio = match process.terminal {
        true => Stdio::Terminal { size: process.console_size.unwrap_or_default() },
        false => Stdio::Inherit,
    };
    let groups: Vec<_> = given.values("cgroup").map(group).collect();
    let entry = Entry {
        preserve_fds: given.parsed("preserve-fds")?.unwrap_or(0),
        listen_fds: console::listen_fds(),
        ignore_paused: given.is("ignore-paused"),
        groups: &groups,
    };
    let mut running = kept.exec(&spec, &process, stdio, &entry).map_err(|e| Failure {
        code: if e.exit_code() == 125 { 255 } else { e.exit_code() },
        ..Failure::new(&e)
    })?;
    running.warnings.iter().for_each(|warning| global.warn(warning));
    if sockets.take_terminal() {
        sockets.send_console(running.console.take())?;
    }
    sockets.send_pidfd(running.pidfd.as_fd())?;
    if let Some(path) = given.value("pid-file").filter(|path| !path.is_empty()) {
        replace(Path::new(path), running.pid.to_string().as_bytes(), 0o644)
            .map_err(|e| Failure::new(format!("cannot write {path}: {e}")))?;
    }
    signals.map_or(Ok(0), |signals| foreground::wait(running, signals.as_fd()))
}

fn check_terminal(process: &Process, socket: bool, detached: bool) -> Result<(), Failure> {
    match (process.terminal, socket, detached) {
        (true, false, true) => Err(Failure::new("a detached program with a terminal needs --console-socket")),
        (false, true, _) => Err(Failure::new("--console-socket needs a terminal")),
        _ => Ok(()),
    }
}

/// `[controller:]path`, or several controllers with commas between them, of which the first will do: they share a hierarchy.
fn group(text: &str) -> (Option<&str>, &Path) {
    match text.split_once(':') {
        Some((controllers, path)) => (controllers.split(',').next(), Path::new(path)),
        None => (None, Path::new(text)),
    }
}

/// As a file says, or as the container's own with what the flags change.
fn process(spec: &Spec, given: &Given<'_>, args: &[&str]) -> Result<Process, Failure> {
    if let Some(path) = given.value("process") {
        let text = fs::read(path).map_err(|e| Failure::new(format!("cannot read {path}: {e}")))?;
        return serde_json::from_slice(&text).map_err(|e| Failure::new(format!("invalid {path}: {e}")));
    }
    if args.is_empty() {
        return Err(Failure::new("a command is needed"));
    }
    changed(spec.process.clone().unwrap_or_default(), given, args)
}

fn changed(mut process: Process, given: &Given<'_>, args: &[&str]) -> Result<Process, Failure> {
    process.args = args.iter().map(ToString::to_string).collect();
    process.terminal = given.is("tty");
    process.env.extend(given.values("env").map(str::to_owned));
    if let Some(cwd) = given.value("cwd") {
        process.cwd = cwd.into();
    }
    if let Some(profile) = given.value("apparmor") {
        process.apparmor_profile = Some(profile.to_owned());
    }
    if let Some(label) = given.value("process-label") {
        process.selinux_label = Some(label.to_owned());
    }
    process.no_new_privileges |= given.is("no-new-privs");
    if let Some(text) = given.value("user") {
        let umask = process.user.umask;
        process.user = User { umask, ..user(text)? };
    }
    for gid in given.values("additional-gids") {
        let gid = gid.parse().map_err(|_| Failure::new(format!("invalid group id \"{gid}\"")))?;
        process.user.additional_gids.push(gid);
    }
    for name in given.values("cap") {
        let capability: Capability = name.parse().map_err(Failure::new)?;
        permit(process.capabilities.get_or_insert_default(), capability);
    }
    Ok(process)
}

/// `uid[:gid]`.
fn user(text: &str) -> Result<User, Failure> {
    let number = |text: &str| {
        text.parse::<u32>().map_err(|_| Failure::new(format!("invalid user \"{text}\": uid[:gid] is wanted")))
    };
    let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
    Ok(User { uid: number(uid)?, gid: number(gid)?, ..User::default() })
}

fn permit(sets: &mut Capabilities, capability: Capability) {
    for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
        if !set.contains(&capability) {
            set.push(capability);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_change_the_containers_own_process() {
        let own = Process { env: vec!["A=1".into()], cwd: "/".into(), ..Process::default() };
        let words =
            ["--user", "7:8", "-e", "B=2", "--cwd", "/tmp", "--cap", "CAP_NET_ADMIN", "-g", "5", "c", "ls"];
        let given = Given::parse(&words, &FLAGS).unwrap();
        let process = changed(own.clone(), &given, &given.rest[1..]).unwrap();
        assert_eq!((process.user.uid, process.user.gid, process.user.additional_gids), (7, 8, vec![5]));
        assert_eq!((process.env, process.cwd), (vec!["A=1".to_owned(), "B=2".to_owned()], "/tmp".into()));
        assert_eq!(process.capabilities.unwrap().effective.len(), 1);
        assert_eq!(process.args, ["ls"]);
        for wrong in [["--user", "root"], ["--user", "1:x"], ["--cap", "CAP_FLY"], ["-g", "-1"]] {
            let given = Given::parse(&wrong, &FLAGS).unwrap();
            assert!(changed(own.clone(), &given, &["ls"]).is_err(), "{wrong:?}");
        }
    }
}
