//! A program's start without what the standard library does before `main`: it looks for the end of the stack in
//! /proc/self/maps and guards it, which costs a program that lives for a millisecond a tenth of it.

use std::io::Write;
use std::os::fd::AsRawFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::stdio::{stderr, stdin, stdout};

/// Makes a function, `fn() -> u8`, the program's `main`; what it answers is the exit code. For crates with `#![no_main]`.
#[macro_export]
macro_rules! main {
    ($begin:path) => {
        const _: () = {
            #[allow(unsafe_code)] // SAFETY: no other function of a program has the name that the C library calls
            #[unsafe(no_mangle)]
            extern "C" fn main(_count: i32, _arguments: *const *const std::ffi::c_char) -> i32 {
                $crate::start::run($begin)
            }
        };
    };
}

/// What the standard library would do, as far as it is needed.
pub fn run(begin: fn() -> u8) -> i32 {
    occupy_standard_streams();
    // SAFETY: SIG_IGN is a valid action: who writes to a pipe that nobody reads gets an error instead of its end.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let code = begin();
    // There is nobody to be told that nobody reads it.
    let _ = std::io::stdout().flush();
    code.into()
}

/// As much of the stack as a container's making takes.
const STACK: usize = 64 << 10;

/// Makes the stack present that a container's making takes: one system call in the place of a page fault for every page. The
/// kernel has mapped it at the execve, so that nothing is lost where one before Linux 5.14 refuses.
pub fn make_stack_ready() {
    let here = 0_u8;
    let page = rustix::param::page_size();
    let end = (&raw const here) as usize / page * page;
    // SAFETY: only makes pages of this thread's stack present: what is there reads as before.
    let _ = unsafe { libc::madvise((end - STACK) as *mut libc::c_void, STACK, libc::MADV_POPULATE_WRITE) };
}

/// A standard stream that is closed would be taken for one by whatever is opened next.
fn occupy_standard_streams() {
    let mut fds = [stdin(), stdout(), stderr()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::empty()));
    let polled = poll(&mut fds, Some(&Timespec::default()));
    if polled.is_ok() && fds.iter().all(|fd| !fd.revents().contains(PollFlags::NVAL)) {
        return;
    }
    loop {
        match open("/dev/null", OFlags::RDWR, Mode::empty()) {
            // The kernel gives the lowest number that is free.
            Ok(null) if null.as_raw_fd() <= 2 => std::mem::forget(null),
            Ok(_) => return,
            Err(_) => std::process::abort(),
        }
    }
}
