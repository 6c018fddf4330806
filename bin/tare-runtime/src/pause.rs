//! `tare-runtime pause` and `resume`.

use crate::failure::Outcome;
use crate::flags::Given;
use crate::global::Global;

pub(crate) fn command(global: &Global, arguments: &[&str], paused: bool) -> Outcome {
    global.open(Given::parse_anywhere(arguments, &[])?.id()?)?.pause(paused)?;
    Ok(0)
}
