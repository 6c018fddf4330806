//! `tare-runtime restore`: a container that was written to disk runs again, by criu.

use std::os::fd::AsFd;
use std::path::Path;

use tare_runtime::Relaxed;
use tare_runtime::kept::{self, Request, Restore, replace};

use crate::console::Sockets;
use crate::failure::{Failure, Outcome};
use crate::flags::{Flag, Given, switch, value};
use crate::foreground;
use crate::global::Global;
use crate::images;

const FLAGS: [Flag; 9] = [
    value("bundle", "b"),
    value("console-socket", ""),
    value("pid-file", ""),
    switch("detach", "d"),
    // Both without effect: criu has its own way into the root, and nothing is left to be reaped.
    switch("no-pivot", ""),
    switch("no-subreaper", ""),
    switch("keep", ""),
    value("lsm-profile", ""),
    value("lsm-mount-context", ""),
];

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    let given = Given::parse_anywhere(arguments, &[&FLAGS[..], &images::FLAGS[..]].concat())?;
    let detached = given.is("detach");
    let sockets = Sockets::of(&given)?;
    if sockets.take_terminal() && !detached {
        return Err(Failure::new("--console-socket needs --detach"));
    }
    let request = Request {
        id: given.id()?,
        bundle: Path::new(given.value("bundle").unwrap_or(".")),
        preserve_fds: 0,
        listen_fds: 0,
        relaxed: Relaxed::default(),
        rootless: global.rootless(),
        systemd: global.systemd,
        keep: false,
        terminal: detached.then_some(sockets.take_terminal()),
    };
    let images = images::images(global, &given)?;
    let label = |name: &str| given.value(name).filter(|label| !label.is_empty());
    let wanted = Restore { label: label("lsm-profile"), mount_label: label("lsm-mount-context") };
    let signals = (!detached).then(foreground::catch_signals).transpose()?;
    let (kept, mut running) = kept::restore(&global.root, &request, &images, &wanted)?;
    if detached {
        sockets.send_console(running.console.take())?;
    }
    if let Some(path) = given.value("pid-file").filter(|path| !path.is_empty()) {
        replace(Path::new(path), running.pid.to_string().as_bytes(), 0o644)
            .map_err(|e| Failure::new(format!("cannot write {path}: {e}")))?;
    }
    let Some(signals) = signals else { return Ok(0) };
    let code = foreground::wait(running, signals.as_fd());
    if !given.is("keep") {
        kept.delete(true)?.iter().for_each(|warning| global.warn(warning));
    }
    code
}
