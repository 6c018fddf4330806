//! `tare-runtime create`: a container whose init waits for its start.

use std::path::Path;

use tare_runtime::Relaxed;
use tare_runtime::kept::{self, Making, Request};

use crate::console::{self, Sockets};
use crate::failure::{Failure, Outcome};
use crate::flags::{Flag, Given, switch, value};
use crate::global::Global;

/// Those of create, and of run.
pub(crate) const FLAGS: [Flag; 10] = [
    value("bundle", "b"),
    value("console-socket", ""),
    value("pid-file", ""),
    value("preserve-fds", ""),
    value("pidfd-socket", ""),
    switch("no-pivot", ""),
    switch("no-new-keyring", ""),
    switch("detach", "d"),
    switch("keep", ""),
    // Accepted and without effect: what a container leaves behind is reparented to whoever is there.
    switch("no-subreaper", ""),
];

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    let given = Given::parse_anywhere(arguments, &FLAGS)?;
    make(global, &given, true, true)?.keep()?;
    Ok(0)
}

/// Makes the container; its terminal goes to the console socket, its number into the pid file.
pub(crate) fn make(
    global: &Global,
    given: &Given<'_>,
    keep: bool,
    detached: bool,
) -> Result<Making, Failure> {
    tare_sys::start::make_stack_ready();
    let sockets = Sockets::of(given)?;
    if sockets.take_terminal() && !detached {
        return Err(Failure::new("--console-socket needs --detach"));
    }
    let request = Request {
        id: given.id()?,
        bundle: Path::new(given.value("bundle").unwrap_or(".")),
        preserve_fds: given.parsed("preserve-fds")?.unwrap_or(0),
        listen_fds: console::listen_fds(),
        relaxed: Relaxed { no_pivot: given.is("no-pivot"), no_new_keyring: given.is("no-new-keyring") },
        rootless: global.rootless(),
        keep,
        terminal: detached.then_some(sockets.take_terminal()),
        systemd: global.systemd,
    };
    let mut making = kept::create(&global.root, &request).map_err(|e| Failure::of_program(&e))?;
    making.warnings().iter().for_each(|warning| global.warn(warning));
    if detached {
        sockets.send_console(making.take_console())?;
    }
    if let Some(pidfd) = making.pidfd() {
        sockets.send_pidfd(pidfd)?;
    }
    if let Some(path) = given.value("pid-file").filter(|path| !path.is_empty()) {
        making.write_pid(Path::new(path))?;
    }
    Ok(making)
}
