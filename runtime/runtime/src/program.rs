//! The last steps: working directory, rights, the program itself.

pub(crate) mod identity;
pub(crate) mod labels;
pub(crate) mod schedule;

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, accessat, stat};
use rustix::io::Errno;
use rustix::process::umask;
use rustix::thread::set_no_new_privs;
use tare_sys::{exec, fd, process};

use crate::channel::{self, Order};
use crate::child;
use crate::door::Door;
use crate::failure::{Failure, Step, describe};
use crate::hooks::Occasions;
use crate::plan::ProcessPlan;
use crate::root::devices::Terminal;
use crate::root::{RootDir, change_directory};
use crate::seccomp::Filter;

/// A program, and how it is told when to begin.
pub(crate) struct Program<'a> {
    pub(crate) plan: &'a ProcessPlan,
    pub(crate) filter: Option<&'a Filter>,
    pub(crate) socket: BorrowedFd<'a>,
    pub(crate) terminal: Option<&'a Terminal>,
    pub(crate) preserve_fds: u32,
    pub(crate) door: Option<&'a Door>,
    /// Called when the start has come, with init's number.
    pub(crate) hooks: Option<(&'a Occasions, i32)>,
    pub(crate) warnings: Vec<String>,
}

/// Becomes the program. The root is "/" and the streams are in place.
pub(crate) fn run(mut program: Program<'_>, root: &RootDir) -> Result<Infallible, Failure> {
    let plan = program.plan;
    let environment = environment(plan, root);
    if let Some(terminal) = program.terminal {
        channel::console(program.socket, terminal.master.as_fd()).at("send the terminal")?;
    }
    schedule::apply(&plan.schedule)?;
    identity::limit(&plan.rlimits, &mut program.warnings)?;
    let entered = change_directory(&plan.cwd);
    labels::ask(&plan.labels)?;
    // Loading a filter takes CAP_SYS_ADMIN unless no_new_privs is set, so it cannot wait until that is gone.
    if !plan.no_new_privileges {
        program.load()?;
    }
    identity::assume(&plan.identity, plan.capabilities)?;
    enter(plan, entered)?;
    umask(Mode::from_raw_mode(plan.identity.umask));
    if plan.no_new_privileges {
        set_no_new_privs(true).at("set no_new_privs")?;
        // The caller, who knows the agent, may not be there any more when the start comes.
        if program.filter.is_some_and(Filter::notifies) {
            program.load()?;
        }
    }
    let path = find(plan, &environment)?;
    channel::ready(program.socket, &program.warnings).at("report")?;
    let door = match (channel::wait_order(program.socket), program.door) {
        (Order::Start, _) => None,
        (Order::Keep, Some(door)) if door.wait() => Some(door),
        _ => process::exit(1),
    };
    let failure = execute(&program, &path, &environment);
    // Its maker is gone: who started it listens elsewhere.
    if let (Err(failure), Some(door)) = (&failure, door) {
        door.failed(failure);
    }
    failure
}

/// Nothing but this is left once the start has come.
fn execute(program: &Program<'_>, path: &CStr, environment: &[CString]) -> Result<Infallible, Failure> {
    let plan = program.plan;
    if let Some((hooks, pid)) = program.hooks {
        hooks.start_container(pid)?;
    }
    for number in 0..program.preserve_fds {
        fd::keep_on_exec(number as i32 + 3).at("keep the preserved descriptors")?;
    }
    if plan.no_new_privileges && !program.filter.is_some_and(Filter::notifies) {
        program.load()?;
    }
    let cause = exec::execve(path, &plan.args, environment);
    Err(refused(plan, &cause))
}

/// Root may be able to enter where the user cannot, and the user where root cannot (a network file system): either will do.
fn enter(plan: &ProcessPlan, as_root: io::Result<()>) -> Result<(), Failure> {
    let Err(first) = as_root else { return Ok(()) };
    match change_directory(&plan.cwd) {
        Ok(()) => Ok(()),
        Err(_) => {
            let exit_code = if first.raw_os_error() == Some(Errno::NOENT.raw_os_error()) { 127 } else { 126 };
            let cwd = plan.cwd.display();
            Err(Failure::exec(
                format!("chdir to cwd (\"{cwd}\") set in config.json failed: {}", describe(&first)),
                exit_code,
            ))
        }
    }
}

impl Program<'_> {
    /// The filter is in force from here on, also for this process.
    fn load(&self) -> Result<(), Failure> {
        let Some(filter) = self.filter else { return Ok(()) };
        let listener = tare_sys::seccomp::load(&filter.instructions, filter.flags);
        let Some(listener) = listener.at("load the seccomp filter")? else { return Ok(()) };
        // It closes with the execve: until the agent has it, a call of our own might wait for the agent.
        if channel::give_listener(self.socket, listener.into_raw_fd()) { Ok(()) } else { process::exit(1) }
    }
}

/// Programs expect HOME.
fn environment(plan: &ProcessPlan, root: &RootDir) -> Vec<CString> {
    let mut environment = plan.env.clone();
    if variable(&environment, "HOME").is_none() {
        let home = child::home(root, plan.identity.uid);
        environment.extend(CString::new(format!("HOME={home}")));
    }
    environment
}

fn variable<'a>(environment: &'a [CString], name: &str) -> Option<&'a OsStr> {
    let value = |pair: &'a CString| pair.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=");
    environment.iter().rev().find_map(value).map(OsStr::from_bytes)
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds the program as a shell would, in the words that Docker's clients turn into 126 and 127.
fn find(plan: &ProcessPlan, environment: &[CString]) -> Result<CString, Failure> {
    let name = name(plan);
    if name.as_os_str().as_bytes().contains(&b'/') {
        return match executable(&name) {
            Ok(()) => Ok(plan.args[0].clone()),
            Err(e) => Err(unusable(&name, &e)),
        };
    }
    let path = variable(environment, "PATH").unwrap_or(OsStr::new(DEFAULT_PATH));
    let candidates = std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(&name));
    let found = candidates.into_iter().find(|candidate| executable(candidate).is_ok());
    let found = found.and_then(|path| CString::new(path.into_os_string().into_vec()).ok());
    found.ok_or_else(|| {
        Failure::exec(format!("exec: \"{}\": executable file not found in $PATH", name.display()), 127)
    })
}

fn name(plan: &ProcessPlan) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(plan.args[0].to_bytes()))
}

/// Why a path cannot be executed, as far as one can tell before trying.
enum Unusable {
    Missing(io::Error),
    Directory,
    Forbidden,
}

fn executable(path: &Path) -> Result<(), Unusable> {
    let found = stat(path).map_err(|e| Unusable::Missing(e.into()))?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        return Err(Unusable::Directory);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).map_err(|_| Unusable::Forbidden)
}

fn unusable(name: &Path, why: &Unusable) -> Failure {
    let name = name.display();
    match why {
        Unusable::Missing(cause) => {
            let code = if cause.raw_os_error() == Some(Errno::ACCESS.raw_os_error()) { 126 } else { 127 };
            Failure::exec(format!("exec: \"{name}\": stat {name}: {}", describe(cause)), code)
        }
        Unusable::Directory => Failure::exec(format!("exec: \"{name}\": is a directory"), 126),
        Unusable::Forbidden => Failure::exec(format!("exec: \"{name}\": permission denied"), 126),
    }
}

fn refused(plan: &ProcessPlan, cause: &io::Error) -> Failure {
    let name = name(plan);
    let name = name.display();
    match cause.raw_os_error().map(Errno::from_raw_os_error) {
        // The file is there: what is missing is the interpreter that its first line or its ELF header names.
        Some(Errno::NOENT) => Failure::exec(format!("exec {name}: {}", describe(cause)), 127),
        Some(Errno::ACCESS) => Failure::exec(format!("exec: \"{name}\": {}", describe(cause)), 126),
        _ => Failure::exec(format!("exec {name}: {}", describe(cause)), 126),
    }
}
