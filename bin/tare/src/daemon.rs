//! `daemon` and `registry`: become `tared`.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::call::Call;
use crate::failure::{Failure, Result};

/// `tare daemon`
pub(crate) async fn daemon(call: Call) -> Result<u8> {
    become_tared(&call.given.operands)
}

/// `tare registry`
pub(crate) async fn registry(call: Call) -> Result<u8> {
    become_tared(&[&["registry".to_owned()], &call.given.operands[..]].concat())
}

fn become_tared(arguments: &[String]) -> Result<u8> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|me| Some(me.parent()?.join("tared")))
        .filter(|path| path.is_file());
    let program = beside.unwrap_or_else(|| PathBuf::from("tared"));
    let error = Command::new(&program).args(arguments).exec();
    Err(Failure::new(format!("{}: {error}", program.display())).hint("install tared beside tare"))
}
