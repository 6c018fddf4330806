//! The program that containers are made by must not be writable through /proc/PID/exe from inside one
//! (CVE-2019-5736): it runs from a read-only, detached mount of its own file, or from a sealed copy in memory.

use std::env;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{
    CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals, fstatvfs,
    memfd_create, open,
};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::mount::{self, Change};

const SELF: &str = "/proc/self/exe";
const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// Makes sure that this process runs from a file that nobody can write to through it: executes itself again if need be.
/// Call it first in `main`, before there are threads or open files.
///
/// # Errors
/// What the kernel says; the caller must then not make containers.
pub fn protect_self() -> io::Result<()> {
    if is_protected()? {
        return Ok(());
    }
    let program = protected_exe(Path::new(SELF))?;
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
    let program = open(SELF, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if fstatvfs(&program)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    let program = open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(fcntl_get_seals(&program).is_ok_and(|seals| seals.contains(SEALS)))
}

fn c_string(text: std::ffi::OsString) -> io::Result<CString> {
    CString::new(text.into_vec()).map_err(io::Error::from)
}
