//! `tare-runtime kill`.

use tare_model::Signal;

use crate::failure::{Failure, Outcome};
use crate::flags::{Given, switch};
use crate::global::Global;

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    let given = Given::parse_anywhere(arguments, &[switch("all", "a")])?;
    let (id, signal) = match given.rest.as_slice() {
        [id] => (*id, Signal::TERM),
        [id, signal] => (*id, signal.parse().map_err(Failure::new)?),
        _ => return Err(Failure::new("usage: tare-runtime kill [--all] ID [SIGNAL]")),
    };
    global.open(id)?.kill(signal, given.is("all"))?;
    Ok(0)
}
