//! `tare-runtime state`.

use crate::failure::Outcome;
use crate::flags::Given;
use crate::global::Global;

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    crate::print(&global.open(Given::parse_anywhere(arguments, &[])?.id()?)?.state()?)
}
