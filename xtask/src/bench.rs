use anyhow::Result;
pub(crate) fn run(_runs: u32) -> Result<()> { Ok(()) }
