//! docs/conformance.md, written by the suite that it is the result of.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

pub(crate) fn run() -> Result<()> {
    let mut suite = Command::new(env!("CARGO"));
    suite.args(["test", "--quiet", "--package", "tare-tests", "--test", "oci", "--", "--table"]);
    let ended = suite.stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
    let table = String::from_utf8(ended.stdout)?;
    ensure!(ended.status.success() && table.contains("\n| ["), "the suite printed no table");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md");
    std::fs::write(&path, table).with_context(|| path.display().to_string())
}
