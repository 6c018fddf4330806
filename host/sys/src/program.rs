//! The file that this process's program is mapped from.

use std::ffi::{c_int, c_ulong, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::fs::{fstat, stat};

use crate::{check, process};

/// Maps the running program anew from `file`: its own file, opened for reading and reached by another way than the one it
/// was started by. Afterwards no mapping of this process leads back to the first way, nor does `/proc/self/exe`, which
/// the kernel changes only where that is so (prctl(2), `PR_SET_MM_EXE_FILE`). As good as an execve of `file`, and
/// cheaper: nothing begins anew.
///
/// # Errors
/// `EBUSY` when there are threads, `EINVAL` for another file, and the kernel's: it takes CAP_SYS_RESOURCE, or
/// CAP_SYS_ADMIN and Linux 5.9 with checkpoints. The program goes on in any case, but maybe where it was.
pub(crate) fn run_from(file: BorrowedFd<'_>) -> io::Result<()> {
    if !process::single_threaded() {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    let (own, other) = (stat("/proc/self/exe")?, fstat(file)?);
    if (own.st_dev, own.st_ino) != (other.st_dev, other.st_ino) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    for segment in segments() {
        if segment.writable { copy(&segment)? } else { map(&segment, file)? }
    }
    set_exe(file)
}

/// A part of the file in memory, in whole pages.
#[derive(Clone, Copy)]
struct Segment {
    start: usize,
    length: usize,
    offset: i64,
    protection: c_int,
    writable: bool,
    /// What is made read-only once it is relocated: from the start on, that much.
    relocated: usize,
}

fn segments() -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::with_capacity(8);
    // SAFETY: the callback is of the type that is asked for, its data is the list, which outlives the call, and it does
    // not unwind: the list has room.
    unsafe { libc::dl_iterate_phdr(Some(collect), (&raw mut segments).cast()) };
    segments
}

/// Called for the program itself first; any answer but 0 ends the iteration, before libraries.
extern "C" fn collect(info: *mut libc::dl_phdr_info, _size: usize, data: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr passes a valid description that lives through the call.
    let info = unsafe { &*info };
    // SAFETY: the program headers are `dlpi_phnum` elements at `dlpi_phdr`, mapped as long as the program is.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    // SAFETY: `segments` passes its own list, which nobody else uses meanwhile.
    let segments = unsafe { &mut *data.cast::<Vec<Segment>>() };
    let page = rustix::param::page_size();
    let base = info.dlpi_addr as usize;
    let pages = |header: &libc::Elf64_Phdr, size: u64| {
        let start = base + header.p_vaddr as usize;
        let first = start / page * page;
        (first, (start + size as usize).next_multiple_of(page) - first)
    };
    let relocated = headers.iter().find(|header| header.p_type == libc::PT_GNU_RELRO).map(|header| {
        let end = base + (header.p_vaddr + header.p_memsz) as usize;
        (pages(header, 0).0, end / page * page)
    });
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
        // What is behind the file's part is memory of no file already.
        let (start, length) = pages(header, header.p_filesz);
        let allows = |flag, protection| if header.p_flags & flag == 0 { 0 } else { protection };
        let segment = Segment {
            start,
            length,
            offset: (header.p_offset as usize / page * page) as i64,
            protection: allows(libc::PF_R, libc::PROT_READ) | allows(libc::PF_X, libc::PROT_EXEC),
            writable: header.p_flags & libc::PF_W != 0,
            relocated: relocated.map_or(0, |(first, end)| if first == start { end - start } else { 0 }),
        };
        if segments.len() < segments.capacity() {
            segments.push(segment);
        }
    }
    1
}

/// Puts the same pages of the same file where they are.
fn map(segment: &Segment, file: BorrowedFd<'_>) -> io::Result<()> {
    let Segment { start, length, offset, protection, .. } = *segment;
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    // SAFETY: a loaded segment that is never written to holds what the file does, and this is the same file, which
    // nobody can write to while it is executed: who reads or executes there finds the same bytes before and after.
    let mapped =
        unsafe { libc::mmap(start as *mut c_void, length, protection, flags, file.as_raw_fd(), offset) };
    done(mapped)
}

/// Puts a copy in memory where the file's pages were, in one step of the kernel.
fn copy(segment: &Segment) -> io::Result<()> {
    let Segment { start, length, relocated, .. } = *segment;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    // SAFETY: asks for new memory wherever there is room.
    let memory = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, -1, 0) };
    done(memory)?;
    // SAFETY: the segment is mapped and readable, `memory` is as long, new and so apart from it.
    unsafe { ptr::copy_nonoverlapping(start as *const u8, memory.cast(), length) };
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: nothing writes to the segment between the copy and this: there is one thread, which does nothing but this
    // call, and no handler of a signal of ours does. So what is there before and after is the same.
    let moved = unsafe { libc::mremap(memory, length, length, flags, start as *mut c_void) };
    done(moved)?;
    if relocated == 0 {
        return Ok(());
    }
    // SAFETY: that is how the C library left these pages, which nobody writes to since.
    check(unsafe { libc::mprotect(start as *mut c_void, relocated, libc::PROT_READ) }.into()).map(drop)
}

fn done(mapped: *mut c_void) -> io::Result<()> {
    if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const PR_SET_MM_MAP: c_ulong = 14;

/// `struct prctl_mm_map`.
#[repr(C)]
#[derive(Default)]
struct Map {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

fn set_exe(file: BorrowedFd<'_>) -> io::Result<()> {
    let number = file.as_raw_fd() as c_ulong;
    let option = libc::PR_SET_MM_EXE_FILE as c_ulong;
    // SAFETY: takes plain numbers; the kernel changes a link of /proc.
    let set = check(unsafe { libc::prctl(libc::PR_SET_MM, option, number, 0, 0) }.into());
    match set {
        Err(refused) if refused.raw_os_error() == Some(libc::EPERM) => {}
        set => return set.map(drop),
    }
    // The other way needs another capability, and wants to be told again how things are.
    let map = Map { exe_fd: number as u32, ..layout()? };
    let address = (&raw const map) as c_ulong;
    // SAFETY: `map` has the layout of `struct prctl_mm_map`, its size is given and it outlives the call; but for the file
    // it says what the kernel said itself.
    check(unsafe { libc::prctl(libc::PR_SET_MM, PR_SET_MM_MAP, address, size_of::<Map>(), 0) }.into())
        .map(drop)
}

/// Where the kernel has the parts of this process, as proc_pid_stat(5) numbers its fields.
fn layout() -> io::Result<Map> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit_once(") ").map_or(Vec::new(), |(_, fields)| fields.split(' ').collect());
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.trim().parse().ok());
    // SAFETY: an increment of 0 changes nothing.
    let brk = unsafe { libc::sbrk(0) } as u64;
    let read = || {
        Some(Map {
            start_code: field(26)?,
            end_code: field(27)?,
            start_stack: field(28)?,
            start_data: field(45)?,
            end_data: field(46)?,
            start_brk: field(47)?,
            brk,
            arg_start: field(48)?,
            arg_end: field(49)?,
            env_start: field(50)?,
            env_end: field(51)?,
            ..Map::default()
        })
    };
    read().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}
