//! The program that containers are made by must not be writable through /proc/PID/exe from inside one
//! (CVE-2019-5736): it runs from a read-only, detached mount of its own file, or from a sealed copy in memory. It moves
//! there without an execve where it can: in a machine that is virtual itself, that is half a millisecond less.

use std::env;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{
    CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals,
    memfd_create, open, statvfs,
};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::mount::{self, Change};

const SELF: &str = "/proc/self/exe";
const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// The mount that the program was moved to, until [`let_go`].
static VIEW: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Makes sure that this process runs from a file that nobody can write to through it: maps or executes itself again if
/// need be. Call it first in `main`, before there are threads or open files.
///
/// # Errors
/// What the kernel says; the caller must then not make containers.
pub fn protect_self() -> io::Result<()> {
    if is_protected()? {
        return Ok(());
    }
    let program = match read_only_view(Path::new(SELF)) {
        Ok(view) => {
            if move_to(&view).is_ok() {
                keep(view);
                return Ok(());
            }
            view
        }
        Err(_) => sealed_copy(Path::new(SELF))?,
    };
    let arguments = env::args_os().map(c_string).collect::<io::Result<Vec<_>>>()?;
    let environment = env::vars_os()
        .map(|(mut variable, value)| {
            variable.push("=");
            variable.push(value);
            c_string(variable)
        })
        .collect::<io::Result<Vec<_>>>()?;
    Err(crate::exec::execveat(program.as_fd(), &arguments, &environment))
}

/// Runs on from the view, and believes that only when it has seen it.
fn move_to(view: &OwnedFd) -> io::Result<()> {
    let place = format!("/proc/self/fd/{}", view.as_raw_fd());
    let file = open(place, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    crate::program::run_from(file.as_fd())?;
    if is_protected()? { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
}

fn keep(view: OwnedFd) {
    *VIEW.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
}

/// Gives up the mount's descriptor, which the program does not need to run from it. The kernel then waits for a grace
/// period of RCU: for a moment in which there is nothing else to do.
pub fn let_go() {
    drop(VIEW.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Opens a program so that it runs protected from the start: executing `/proc/self/fd/N` of the answer (`O_PATH`,
/// close-on-exec) makes [`protect_self`] in it a matter of two system calls.
///
/// # Errors
/// What the kernel says.
pub fn protected_exe(path: &Path) -> io::Result<OwnedFd> {
    read_only_view(path).or_else(|_| sealed_copy(path))
}

/// A mount of the one file that no mount namespace holds, so that nobody can make it writable again. Costs no memory.
fn read_only_view(path: &Path) -> io::Result<OwnedFd> {
    let view = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    mount::set(view.as_fd(), false, Change { set: mount::READ_ONLY, ..Change::default() })?;
    Ok(view)
}

/// For callers that may not mount.
fn sealed_copy(path: &Path) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = memfd_create(c"tare-runtime", flags | MemfdFlags::EXEC)
        .or_else(|_| memfd_create(c"tare-runtime", flags))?;
    let mut copy = File::from(copy);
    io::copy(&mut File::open(path)?, &mut copy)?;
    fcntl_add_seals(&copy, SEALS)?;
    Ok(copy.into())
}

fn is_protected() -> io::Result<bool> {
    if statvfs(SELF)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    let program = open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(fcntl_get_seals(&program).is_ok_and(|seals| seals.contains(SEALS)))
}

fn c_string(text: std::ffi::OsString) -> io::Result<CString> {
    CString::new(text.into_vec()).map_err(io::Error::from)
}
