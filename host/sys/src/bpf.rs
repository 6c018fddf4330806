//! bpf(2), as far as the device filter of a cgroup needs it: load, attach, ask, detach.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;

const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;

/// The head of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The same for BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
}

/// The same for BPF_PROG_QUERY.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
    /// Ids of links and their flags, and the revision: nothing is asked for them, but a kernel that answers must have room.
    more: [u64; 4],
}

/// The same for BPF_PROG_GET_FD_BY_ID.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    flags: u32,
}

/// Loads a program of type `BPF_PROG_TYPE_CGROUP_DEVICE`; each word is a `struct bpf_insn`.
///
/// # Errors
/// EACCES or EINVAL where the kernel's verifier refuses it, EPERM without CAP_BPF.
pub fn load_device_filter(program: &[u64]) -> io::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut name = [0; 16];
    name[..12].copy_from_slice(b"tare_devices");
    let mut attributes = Load {
        kind: TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        name,
        ..Load::default()
    };
    let fd = call(PROG_LOAD, &mut attributes)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a device filter to a cgroup v2 directory, beside those that are attached already: all must allow.
pub fn attach_device_filter(cgroup: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let mut attributes = attach_to(cgroup.as_fd(), program.as_fd());
    attributes.flags = ALLOW_MULTI;
    call(PROG_ATTACH, &mut attributes).map(drop)
}

/// Detaches a device filter.
pub fn detach_device_filter(cgroup: impl AsFd, program: impl AsFd) -> io::Result<()> {
    call(PROG_DETACH, &mut attach_to(cgroup.as_fd(), program.as_fd())).map(drop)
}

/// The device filters that are attached to a cgroup v2 directory itself, 64 at most.
pub fn device_filters(cgroup: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; 64];
    let mut attributes = Query {
        target: cgroup.as_fd().as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        ..Query::default()
    };
    call(PROG_QUERY, &mut attributes)?;
    let count = ids.len().min(attributes.count as usize);
    ids[..count].iter().map(|id| by_id(*id)).collect()
}

fn by_id(id: u32) -> io::Result<OwnedFd> {
    let fd = call(PROG_GET_FD_BY_ID, &mut ById { id, ..ById::default() })?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attach_to(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Attach {
    Attach {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        ..Attach::default()
    }
}

fn call<T>(command: libc::c_int, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: `attributes` is a `repr(C)` prefix of `union bpf_attr` of the size that is passed, and every address in it
    // is of memory that outlives the call and has the length that is given beside it.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}
