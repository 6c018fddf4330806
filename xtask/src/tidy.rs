//! The architecture, checked: every rule that ARCHITECTURE.md states and a machine can see.

mod doors;
mod source;

use anyhow::{Result, bail};

/// Runs every check and reports all that is wrong, not just the first.
pub(crate) fn run() -> Result<()> {
    let metadata = doors::Metadata::read()?;
    let mut wrong = doors::check(&metadata)?;
    wrong.extend(source::check()?);
    if wrong.is_empty() {
        println!("tidy: {} rooms, all doors where they belong", metadata.rooms());
        return Ok(());
    }
    wrong.sort();
    bail!("tidy found {} things:\n  {}", wrong.len(), wrong.join("\n  "))
}
