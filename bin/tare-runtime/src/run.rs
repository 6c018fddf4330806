//! `tare-runtime run`: create and start, in the foreground unless `--detach` is given.

use std::os::fd::AsFd;

use crate::create::{FLAGS, make};
use crate::failure::{Failure, Outcome};
use crate::flags::Given;
use crate::foreground;
use crate::global::Global;

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    let given = Given::parse_anywhere(arguments, &FLAGS)?;
    let detached = given.is("detach");
    let signals = (!detached).then(foreground::catch_signals).transpose()?;
    let making = make(global, &given, false, detached)?;
    let (kept, running) = making.start().map_err(|e| Failure::of_program(&e))?;
    let Some(signals) = signals else { return Ok(0) };
    let code = foreground::wait(running, signals.as_fd());
    if !given.is("keep") {
        kept.delete(true)?.iter().for_each(|warning| global.warn(warning));
    }
    code
}
