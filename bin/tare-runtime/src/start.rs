//! `tare-runtime start`.

use crate::failure::Outcome;
use crate::flags::Given;
use crate::global::Global;

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    global.open(Given::parse_anywhere(arguments, &[])?.id()?)?.start()?;
    Ok(0)
}
