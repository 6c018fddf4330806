//! Starting another program with posix_spawn(3): no copy of this process's memory map is made, unlike fork(2), and the
//! child inherits exactly the descriptors that are named.

use std::ffi::{CString, c_char};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

/// The first number of the descriptors that a child is given after the three standard ones.
pub const FIRST_FD: RawFd = 3;

/// What a child is started with.
#[derive(Debug)]
pub struct Program<'a> {
    /// Absolute path of the program.
    pub path: &'a CString,
    /// Arguments, the program's name first.
    pub args: &'a [CString],
    /// `NAME=value`, all of it.
    pub env: &'a [CString],
    /// Its standard output; /dev/null where there is none, as its standard input always is.
    pub stdout: Option<BorrowedFd<'a>>,
    /// Its standard error.
    pub stderr: BorrowedFd<'a>,
    /// Descriptors that the child finds at 3, 4, …
    pub fds: &'a [BorrowedFd<'a>],
}

/// Starts a program in a session of its own, with no signal blocked and SIGPIPE at its default, and returns its process
/// id. The caller reaps it.
///
/// Nothing else can leak into the child as long as every descriptor of this process is close-on-exec, which is how Rust
/// opens them.
pub fn spawn(program: &Program) -> io::Result<i32> {
    let (first, last) = (FIRST_FD, FIRST_FD + program.fds.len() as RawFd);
    // Sources are moved above all targets first, so that no dup2 of the child overwrites the source of a later one.
    let outputs = program.stdout.iter().map(|fd| (fd, 1)).chain([(&program.stderr, 2)]);
    let lifted: Vec<(OwnedFd, RawFd)> = outputs
        .chain(program.fds.iter().zip(first..last))
        .map(|(fd, target)| Ok((rustix::io::fcntl_dupfd_cloexec(fd, last)?, target)))
        .collect::<io::Result<_>>()?;
    let mut actions = Actions::new()?;
    actions.open_null(0, libc::O_RDONLY)?;
    actions.open_null(1, libc::O_WRONLY)?;
    for (fd, target) in &lifted {
        actions.dup2(fd.as_raw_fd(), *target)?;
    }
    let attributes = Attributes::new()?;
    let (args, env) = (pointers(program.args), pointers(program.env));
    let mut pid = 0;
    // SAFETY: every pointer is to memory that lives through the call: `path` and the texts behind `args` and `env` are
    // borrowed by `program`, both arrays end with null, actions and attributes are initialised by their constructors.
    let error = unsafe {
        libc::posix_spawn(
            &mut pid,
            program.path.as_ptr(),
            &actions.0,
            &attributes.0,
            args.as_ptr().cast(),
            env.as_ptr().cast(),
        )
    };
    result(error).map(|()| pid)
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

fn result(error: i32) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the function initialises what it is given a pointer to.
        result(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: initialised just above.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn open_null(&mut self, target: RawFd, flags: i32) -> io::Result<()> {
        // SAFETY: the actions are initialised, the path is a static text that ends with zero.
        result(unsafe {
            libc::posix_spawn_file_actions_addopen(&mut self.0, target, c"/dev/null".as_ptr(), flags, 0)
        })
    }

    fn dup2(&mut self, from: RawFd, to: RawFd) -> io::Result<()> {
        // SAFETY: the actions are initialised; the numbers are used in the child only.
        result(unsafe { libc::posix_spawn_file_actions_adddup2(&mut self.0, from, to) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised by the constructor and destroyed here alone.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the function initialises what it is given a pointer to.
        result(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised just above.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let none = signals(&[])?;
        let default = signals(&[libc::SIGPIPE])?;
        // SAFETY: both are initialised.
        result(unsafe { libc::posix_spawnattr_setsigmask(&mut attributes.0, &none) })?;
        // SAFETY: both are initialised.
        result(unsafe { libc::posix_spawnattr_setsigdefault(&mut attributes.0, &default) })?;
        let flags = libc::POSIX_SPAWN_SETSIGMASK as libc::c_short
            | libc::POSIX_SPAWN_SETSIGDEF as libc::c_short
            | libc::POSIX_SPAWN_SETSID;
        // SAFETY: the attributes are initialised.
        result(unsafe { libc::posix_spawnattr_setflags(&mut attributes.0, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by the constructor and destroyed here alone.
        unsafe { libc::posix_spawnattr_destroy(&mut self.0) };
    }
}

fn signals(numbers: &[i32]) -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the function initialises what it is given a pointer to.
    super::check(unsafe { libc::sigemptyset(set.as_mut_ptr()) }.into())?;
    // SAFETY: initialised just above.
    let mut set: libc::sigset_t = unsafe { set.assume_init() };
    for number in numbers {
        // SAFETY: the set is initialised.
        super::check(unsafe { libc::sigaddset(&mut set, *number) }.into())?;
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_child_gets_exactly_its_descriptors_and_a_session_of_its_own() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut errors, stderr) = UnixStream::pair().unwrap();
        let script = c"exec 9>&2; echo fds: /proc/self/fd/* >&3; cut -d' ' -f1,6 /proc/self/stat >&9";
        let program = Program {
            path: &c"/bin/sh".to_owned(),
            args: &[c"sh".to_owned(), c"-c".to_owned(), script.to_owned()],
            env: &[],
            stdout: None,
            stderr: stderr.as_fd(),
            fds: &[theirs.as_fd(), theirs.as_fd()],
        };
        let pid = spawn(&program).unwrap();
        drop((theirs, stderr));
        let (mut fds, mut session) = (String::new(), String::new());
        let mut ours = ours;
        ours.read_to_string(&mut fds).unwrap();
        errors.read_to_string(&mut session).unwrap();
        rustix::process::waitpid(rustix::process::Pid::from_raw(pid), rustix::process::WaitOptions::empty())
            .unwrap();
        let numbers: Vec<&str> =
            fds.trim().split(' ').skip(1).filter_map(|f| f.strip_prefix("/proc/self/fd/")).collect();
        assert!(["0", "1", "2", "3", "4"].iter().all(|n| numbers.contains(n)), "{fds}");
        assert!(session.trim().ends_with(&format!(" {pid}")), "{session}");
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let (path, stderr) = (&c"/no/such".to_owned(), null.as_fd());
        let program = Program { path, args: &[], env: &[], stdout: None, stderr, fds: &[] };
        assert_eq!(spawn(&program).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
