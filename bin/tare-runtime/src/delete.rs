//! `tare-runtime delete`.

use tare_runtime::kept;

use crate::failure::Outcome;
use crate::flags::{Given, switch};
use crate::global::Global;

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    let given = Given::parse_anywhere(arguments, &[switch("force", "f")])?;
    let warnings = kept::delete(&global.root, given.id()?, given.is("force"))?;
    warnings.iter().for_each(|warning| global.warn(warning));
    Ok(0)
}
