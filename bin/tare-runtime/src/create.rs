//! `tare-runtime create`: a container whose init waits for its start.

use std::path::Path;

use tare_runtime::kept::{self, Making, Request};

use crate::console;
use crate::failure::{Failure, Outcome};
use crate::flags::{Flag, Given, switch, value};
use crate::global::Global;

/// Those of create, and of run.
pub(crate) const FLAGS: [Flag; 9] = [
    value("bundle", "b"),
    value("console-socket", ""),
    value("pid-file", ""),
    value("preserve-fds", ""),
    value("pidfd-socket", ""),
    switch("no-pivot", ""),
    switch("no-new-keyring", ""),
    switch("detach", "d"),
    switch("keep", ""),
];

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    let given = Given::parse(arguments, &FLAGS)?;
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
    given.refuse(&["no-pivot", "no-new-keyring", "pidfd-socket"])?;
    let socket = console::socket(given)?;
    if socket.is_some() && !detached {
        return Err(Failure::new("--console-socket needs --detach"));
    }
    let request = Request {
        id: given.id()?,
        bundle: Path::new(given.value("bundle").unwrap_or(".")),
        preserve_fds: given.parsed("preserve-fds")?.unwrap_or(0),
        keep,
        terminal: detached.then_some(socket.is_some()),
    };
    let mut making = kept::create(&global.root, &request).map_err(|e| Failure::of_program(&e))?;
    making.warnings().iter().for_each(|warning| global.warn(warning));
    if detached {
        console::send(making.take_console(), socket.as_ref())?;
    }
    if let Some(path) = given.value("pid-file").filter(|path| !path.is_empty()) {
        making.write_pid(Path::new(path))?;
    }
    Ok(making)
}
