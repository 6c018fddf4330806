//! The container runtime and the shim, one program: argv → one call.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Err(error) = tare_runtime::protect_self() {
        return fail(&format!("cannot run from a read-only copy of itself: {error}"));
    }
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().filter_map(|a| a.to_str()).collect();
    match arguments.as_slice() {
        ["shim", dir] => shim(Path::new(dir)),
        _ => fail("not supported yet"),
    }
}

fn shim(dir: &Path) -> ExitCode {
    match tare_shim::run(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("tare-runtime: {message}");
    ExitCode::FAILURE
}
