//! User namespaces that only hold maps: mount_setattr(2) takes the maps of an id-mapped mount from one. A user namespace
//! comes with a process alone, so one is made that does nothing and ends as soon as its namespace is held by a descriptor.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tare_sys::clone::{self, Cloned};
use tare_sys::process;

use super::end;
use crate::plan::IdMaps;

/// One for each pair of maps.
pub(crate) struct MappedNamespaces<'a> {
    container: Option<BorrowedFd<'a>>,
    made: Vec<(IdMaps, OwnedFd)>,
}

impl<'a> MappedNamespaces<'a> {
    /// Knows the user namespace that the container joins, if any.
    pub(crate) fn new(container: Option<BorrowedFd<'a>>) -> Self {
        Self { container, made: Vec::new() }
    }

    /// That of these maps; none = the one that the container joins.
    pub(crate) fn of(&mut self, maps: Option<&IdMaps>) -> io::Result<BorrowedFd<'_>> {
        let Some(maps) = maps else { return self.container.ok_or(Errno::INVAL.into()) };
        let at = match self.made.iter().position(|(known, _)| known == maps) {
            Some(at) => at,
            None => {
                self.made.push((maps.clone(), make(maps)?));
                self.made.len() - 1
            }
        };
        Ok(self.made[at].1.as_fd())
    }
}

fn make(maps: &IdMaps) -> io::Result<OwnedFd> {
    let (wait, go) = pipe_with(PipeFlags::CLOEXEC)?;
    let (pid, pidfd) = match clone::clone3(clone::NEW_USER, None)? {
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
        Cloned::Child => {
            // It ends with its maker, also when that is killed.
            drop(go);
            let _ = rustix::io::read(&wait, &mut [0]);
            process::exit(0)
        }
    };
    let write = |file: &str, map: &str| fs::write(format!("/proc/{pid}/{file}"), map);
    let namespace = write("uid_map", &maps.uid)
        .and_then(|()| write("gid_map", &maps.gid))
        .and_then(|()| File::open(format!("/proc/{pid}/ns/user")));
    end(pidfd.as_fd());
    namespace.map(OwnedFd::from)
}
