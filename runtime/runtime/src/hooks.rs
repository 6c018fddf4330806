//! Programs that config.json wants called on the way, each with the container's state on its standard input.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tare_oci::runtime::{Hook, Hooks, Spec};

use crate::error::{Error, Result};
use crate::failure::{Failure, describe};
use crate::kept::{State, Status};

/// As much of what a hook complained about as fits into a message.
const LONGEST_COMPLAINT: u64 = 1024;

/// A container's hooks, checked, and the state that they are told.
#[derive(Clone, Debug)]
pub(crate) struct Occasions {
    hooks: Hooks,
    state: State,
}

impl Occasions {
    /// None where there is no hook.
    pub(crate) fn of(spec: &Spec, id: &str, bundle: &Path) -> Result<Option<Self>> {
        let Some(hooks) = spec.hooks.as_ref().filter(|hooks| **hooks != Hooks::default()) else {
            return Ok(None);
        };
        check(hooks)?;
        Ok(Some(Self { hooks: hooks.clone(), state: State::of(spec, id, bundle) }))
    }

    /// Whether init must stop before it leaves the host's root, and learn its number.
    pub(crate) fn concern_init(&self) -> bool {
        let Hooks { prestart, create_runtime, create_container, start_container, .. } = &self.hooks;
        [prestart, create_runtime, create_container, start_container].iter().any(|list| !list.is_empty())
    }

    /// By the caller, once the namespaces and mounts are there.
    pub(crate) fn create_runtime(&self, pid: i32) -> Result<(), Failure> {
        self.run("prestart", &self.hooks.prestart, pid, Status::Creating)?;
        self.run("createRuntime", &self.hooks.create_runtime, pid, Status::Creating)
    }

    /// By init, which still has the host's root.
    pub(crate) fn create_container(&self, pid: i32) -> Result<(), Failure> {
        self.run("createContainer", &self.hooks.create_container, pid, Status::Creating)
    }

    /// By init, in its place, before it becomes the program.
    pub(crate) fn start_container(&self, pid: i32) -> Result<(), Failure> {
        self.run("startContainer", &self.hooks.start_container, pid, Status::Created)
    }

    /// By who started it.
    pub(crate) fn poststart(&self, pid: i32) -> Result<(), Failure> {
        self.run("poststart", &self.hooks.poststart, pid, Status::Running)
    }

    /// By who deleted it. All are called, whatever becomes of one: the container is gone already.
    pub(crate) fn poststop(&self) -> Vec<String> {
        let state = self.state(0, Status::Stopped);
        let one = |(i, hook)| run(hook, &state).map_err(|why| format!("poststop hook {i}: {why}"));
        self.hooks.poststop.iter().enumerate().map(one).filter_map(Result::err).collect()
    }

    fn run(&self, kind: &str, hooks: &[Hook], pid: i32, status: Status) -> Result<(), Failure> {
        let state = self.state(pid, status);
        hooks.iter().enumerate().try_for_each(|(i, hook)| {
            run(hook, &state).map_err(|why| Failure::rule(format!("{kind} hook {i}: {why}")))
        })
    }

    fn state(&self, pid: i32, status: Status) -> State {
        State { pid, status, ..self.state.clone() }
    }
}

fn check(hooks: &Hooks) -> Result<()> {
    let Hooks { prestart, create_runtime, create_container, start_container, poststart, poststop } = hooks;
    for (kind, list) in [
        ("prestart", prestart),
        ("createRuntime", create_runtime),
        ("createContainer", create_container),
        ("startContainer", start_container),
        ("poststart", poststart),
        ("poststop", poststop),
    ] {
        for (i, hook) in list.iter().enumerate() {
            if !hook.path.is_absolute() {
                return Err(Error::spec(format!("hooks.{kind}[{i}].path"), "must be absolute"));
            }
            let texts = hook.args.iter().chain(&hook.env).map(String::as_bytes);
            if texts.chain([hook.path.as_os_str().as_encoded_bytes()]).any(|text| text.contains(&0)) {
                return Err(Error::spec(format!("hooks.{kind}[{i}]"), "must hold no NUL"));
            }
            if hook.timeout == Some(0) {
                return Err(Error::spec(format!("hooks.{kind}[{i}].timeout"), "must be positive"));
            }
        }
    }
    Ok(())
}

/// Files in memory for both ends: neither a hook that does not read nor one that writes much can make this one wait.
fn run(hook: &Hook, state: &State) -> Result<(), String> {
    let path = hook.path.display();
    let failed = |e: io::Error| format!("{path}: {}", describe(&e));
    let mut complaint = File::from(memfd_create(c"hook", MemfdFlags::CLOEXEC).map_err(|e| failed(e.into()))?);
    let mut child = start(hook, state, &complaint).map_err(failed)?;
    let Some(status) = wait(&mut child, hook.timeout).map_err(failed)? else {
        return Err(format!("{path}: did not end within {} s", hook.timeout.unwrap_or_default()));
    };
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    // What cannot be read is left out: that the hook failed is what matters.
    let _ = complaint.rewind().and_then(|()| complaint.take(LONGEST_COMPLAINT).read_to_string(&mut text));
    let how = status.signal().map_or_else(
        || format!("exit code {}", status.code().unwrap_or_default()),
        |signal| format!("ended by signal {signal}"),
    );
    Err(format!("{path}: {how}: {}", text.trim()).trim_end_matches(": ").to_owned())
}

fn start(hook: &Hook, state: &State, complaint: &File) -> io::Result<Child> {
    let mut input = File::from(memfd_create(c"state", MemfdFlags::CLOEXEC)?);
    input.write_all(&serde_json::to_vec(state)?)?;
    input.rewind()?;
    let mut command = Command::new(&hook.path);
    if let [name, rest @ ..] = hook.args.as_slice() {
        command.arg0(name).args(rest);
    }
    let variables = hook.env.iter().filter_map(|variable| variable.split_once('='));
    command.env_clear().envs(variables);
    command.stdin(input).stdout(Stdio::null()).stderr(complaint.try_clone()?).spawn()
}

/// None: its time is over, and it was killed.
fn wait(child: &mut Child, timeout: Option<u32>) -> io::Result<Option<ExitStatus>> {
    let Some(seconds) = timeout else { return child.wait().map(Some) };
    let pidfd =
        Pid::from_raw(child.id() as i32).map(|pid| pidfd_open(pid, PidfdFlags::empty())).transpose()?;
    let Some(pidfd) = pidfd else { return child.wait().map(Some) };
    let limit = Timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
    let ended = poll(&mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)], Some(&limit));
    if matches!(ended, Ok(0)) {
        child.kill()?;
        return child.wait().map(|_| None);
    }
    child.wait().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Option<u32>) -> Hook {
        let args = ["hook", "-c", script].map(str::to_owned).to_vec();
        Hook { path: "/bin/sh".into(), args, env: vec!["MINE=x".into()], timeout }
    }

    fn state() -> State {
        let spec: Spec =
            serde_json::from_str(r#"{"ociVersion":"1.2.0","hooks":{"poststop":[{"path":"/x"}]}}"#).unwrap();
        Occasions::of(&spec, "it", Path::new("/b")).unwrap().unwrap().state(7, Status::Created)
    }

    #[test]
    fn a_hook_reads_the_state_and_has_its_own_environment() {
        let wanted = r#"{"ociVersion":"1.2.0","id":"it","pid":7,"status":"created","bundle":"/b"}"#;
        let script = format!(
            "[ \"$(cat)\" = '{wanted}' ] && [ $MINE = x ] && [ -z \"$HOME\" ] && [ $0 = hook ] || exit 3"
        );
        run(&shell(&script, None), &state()).unwrap();
    }

    #[test]
    fn a_failure_says_what_the_hook_said() {
        let why = run(&shell("echo no luck >&2; exit 3", None), &state()).unwrap_err();
        assert_eq!(why, "/bin/sh: exit code 3: no luck");
        assert_eq!(run(&shell("kill -9 $$", None), &state()).unwrap_err(), "/bin/sh: ended by signal 9");
        let missing = Hook { path: "/no/such".into(), ..Hook::default() };
        assert_eq!(run(&missing, &state()).unwrap_err(), "/no/such: no such file or directory");
        assert_eq!(
            run(&shell("exec sleep 100", Some(1)), &state()).unwrap_err(),
            "/bin/sh: did not end within 1 s"
        );
    }

    #[test]
    fn bad_hooks_are_named() {
        for (hooks, field) in [
            (r#"{"prestart":[{"path":"rel"}]}"#, "hooks.prestart[0].path"),
            (r#"{"poststart":[{"path":"/x","env":["A=\u0000"]}]}"#, "hooks.poststart[0]"),
            (r#"{"poststop":[{"path":"/x"},{"path":"/x","timeout":0}]}"#, "hooks.poststop[1].timeout"),
        ] {
            let spec = Spec { hooks: Some(serde_json::from_str(hooks).unwrap()), ..Spec::default() };
            let error = Occasions::of(&spec, "it", Path::new("/")).unwrap_err();
            assert!(matches!(error, Error::Spec { field: found, .. } if found == field));
        }
    }
}
