use std::collections::HashMap;
use std::path::PathBuf;

use tare_model::{Capability, DEFAULT_CAPABILITIES};
use tare_oci::image::ExecutionConfig;
use tare_oci::runtime::{Capabilities, ConsoleSize, Process, Rlimit, User};

use super::{INIT_TARGET, Input};
use crate::options::ExecSpec;
use crate::spec::{CommandSpec, SecuritySpec, Ulimit};
use crate::user::ResolvedUser;
use crate::{Error, Result};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The container's first process.
pub(super) fn process(input: &Input, capabilities: &[Capability]) -> Result<Process> {
    let spec = input.spec;
    let mut args = command_line(&spec.command, &input.image.config);
    if args.first().is_none_or(String::is_empty) {
        return Err(Error::InvalidSpec("no command specified".to_owned()));
    }
    if has_init(input) {
        args.splice(0..0, [INIT_TARGET.to_owned(), "--".to_owned()]);
    }
    let directory = spec.command.working_directory.as_deref().filter(|directory| !directory.is_empty());
    Ok(Process {
        terminal: spec.streams.tty,
        console_size: console_size(spec.streams.console_size),
        user: user(input.user),
        args,
        env: environment(input),
        cwd: working_directory(directory.unwrap_or(&input.image.config.working_dir)),
        capabilities: Some(sets(capabilities)),
        rlimits: rlimits(&spec.limits.ulimits, &input.host.ulimits),
        no_new_privileges: spec.security.no_new_privileges,
        oom_score_adj: Some(spec.limits.memory.oom_score_adj),
        ..Process::default()
    })
}

/// A further process, from that of the container.
pub(crate) fn exec_process(
    container: &Process,
    spec: &ExecSpec,
    user: Option<&ResolvedUser>,
) -> Result<Process> {
    if spec.command.first().is_none_or(String::is_empty) {
        return Err(Error::InvalidSpec("No exec command specified".to_owned()));
    }
    let mut process = Process { args: spec.command.clone(), ..container.clone() };
    let mut env = Environment::default();
    process.env.iter().for_each(|variable| env.set(variable, true));
    process.terminal = spec.tty;
    process.console_size = console_size(spec.console_size);
    if spec.tty {
        env.set("TERM=xterm", false);
    }
    if let Some(user) = user {
        process.user = self::user(user);
        env.set(&format!("HOME={}", user.home), true);
    }
    spec.environment.iter().for_each(|variable| env.set(variable, true));
    process.env = env.list();
    if let Some(directory) = spec.working_directory.as_deref().filter(|directory| !directory.is_empty()) {
        process.cwd = working_directory(directory);
    }
    if spec.privileged {
        process.capabilities = Some(sets(&Capability::all().collect::<Vec<_>>()));
    }
    Ok(process)
}

/// Entrypoint and arguments: the user's entrypoint drops the image's command, the user's command only replaces it.
pub(crate) fn command_line(command: &CommandSpec, image: &ExecutionConfig) -> Vec<String> {
    let of_image = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    // `--entrypoint ""` comes as one empty word and means none.
    let words =
        |list: &Vec<String>| if list.len() == 1 && list[0].is_empty() { Vec::new() } else { list.clone() };
    let (mut line, default) = match &command.entrypoint {
        Some(entrypoint) => (words(entrypoint), Vec::new()),
        None => (of_image(&image.entrypoint), of_image(&image.cmd)),
    };
    line.extend(command.arguments.clone().filter(|arguments| !arguments.is_empty()).unwrap_or(default));
    line
}

/// The capabilities a container has: the default ones, less those dropped, plus those added.
pub(super) fn capabilities(security: &SecuritySpec) -> Vec<Capability> {
    if security.privileged {
        return Capability::all().collect();
    }
    let kept = DEFAULT_CAPABILITIES
        .into_iter()
        .filter(|capability| !security.capabilities_dropped.contains(capability));
    let mut capabilities: Vec<Capability> = kept.chain(security.capabilities_added.iter().copied()).collect();
    capabilities.sort_unstable();
    capabilities.dedup();
    capabilities
}

/// None is inheritable, so that no program inside gets them by file capabilities alone (CVE-2022-24769).
fn sets(capabilities: &[Capability]) -> Capabilities {
    let all = capabilities.to_vec();
    Capabilities { bounding: all.clone(), effective: all.clone(), permitted: all, ..Capabilities::default() }
}

fn has_init(input: &Input) -> bool {
    super::mounts::has_init(input)
}

fn user(user: &ResolvedUser) -> User {
    User { uid: user.uid, gid: user.gid, umask: None, additional_gids: user.groups.clone() }
}

fn console_size(size: Option<(u16, u16)>) -> Option<ConsoleSize> {
    size.filter(|size| *size != (0, 0)).map(|(height, width)| ConsoleSize { height, width })
}

fn working_directory(directory: &str) -> PathBuf {
    crate::spec::clean(directory.as_ref())
}

/// The daemon's variables first, then the image's, then the user's; a later one wins in the place of the earlier.
fn environment(input: &Input) -> Vec<String> {
    let mut env = Environment::default();
    env.set(&format!("PATH={DEFAULT_PATH}"), true);
    env.set(&format!("HOSTNAME={}", super::hostname(input)), true);
    if input.spec.streams.tty {
        env.set("TERM=xterm", true);
    }
    // An entry without "=" in an image would otherwise take the daemon's own variable of that name.
    let of_image = input.image.config.env.iter().flatten().filter(|variable| variable.contains('='));
    of_image.for_each(|variable| env.set(variable, true));
    input.spec.command.environment.iter().for_each(|variable| env.set(variable, true));
    env.set(&format!("HOME={}", input.user.home), false);
    env.list()
}

/// Variables in their order, found by name: an image may have a million of them.
#[derive(Default)]
struct Environment {
    entries: Vec<Option<String>>,
    places: HashMap<String, usize>,
}

impl Environment {
    fn list(self) -> Vec<String> {
        self.entries.into_iter().flatten().collect()
    }

    /// Sets `NAME=value`; `NAME` alone takes the variable away.
    fn set(&mut self, variable: &str, replace: bool) {
        let Some((name, _)) = variable.split_once('=') else {
            if let Some(place) = self.places.remove(variable) {
                self.entries[place] = None;
            }
            return;
        };
        match self.places.get(name) {
            Some(place) if replace => self.entries[*place] = Some(variable.to_owned()),
            Some(_) => {}
            None => {
                self.places.insert(name.to_owned(), self.entries.len());
                self.entries.push(Some(variable.to_owned()));
            }
        }
    }
}

fn rlimits(own: &[Ulimit], default: &[Ulimit]) -> Vec<Rlimit> {
    let unsaid = default.iter().filter(|limit| !own.iter().any(|mine| mine.name == limit.name));
    let value = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    let rlimit = |limit: &Ulimit| Rlimit {
        kind: format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
        soft: value(limit.soft),
        hard: value(limit.hard),
    };
    own.iter().chain(unsaid).map(rlimit).collect()
}
