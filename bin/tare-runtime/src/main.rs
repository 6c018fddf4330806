//! The container runtime and the shim, one program: argv → one call.

mod features;
mod run;
mod spec;

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
tare-runtime makes and runs containers as OCI bundles describe them

  tare-runtime run [--bundle DIR] ID   run a container in the foreground; exits with its exit code
  tare-runtime spec                    print a config.json to start from
  tare-runtime features                print what this runtime knows, as JSON
  tare-runtime shim DIR                be the process beside a container (for tared)
  tare-runtime --version
";

/// The rest of the OCI command line.
const LATER: [&str; 13] = [
    "create",
    "start",
    "state",
    "kill",
    "delete",
    "exec",
    "list",
    "ps",
    "pause",
    "resume",
    "update",
    "events",
    "checkpoint",
];

fn main() -> ExitCode {
    if let Err(error) = tare_runtime::protect_self() {
        return fail(&format!("cannot run from a read-only view of this program: {error}"));
    }
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let Some(arguments) = arguments.iter().map(|a| a.to_str()).collect::<Option<Vec<&str>>>() else {
        return fail("arguments must be UTF-8");
    };
    match arguments.as_slice() {
        ["shim", dir] => shim(Path::new(dir)),
        ["run", rest @ ..] => run::command(rest),
        ["spec"] => print(&spec::example()),
        ["features"] => print(&features::features()),
        ["--version" | "-v" | "version"] => {
            println!("tare-runtime version {}\nspec: {}", env!("CARGO_PKG_VERSION"), spec::VERSION);
            ExitCode::SUCCESS
        }
        ["--help" | "-h" | "help"] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        [] => fail(&format!("no command given\n\n{HELP}")),
        [command, ..] if LATER.contains(command) => fail(&format!("not supported yet: {command}")),
        [command, ..] => fail(&format!("unknown command or flag: {command}: see tare-runtime --help")),
    }
}

fn shim(dir: &Path) -> ExitCode {
    match tare_shim::run(dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn print(value: &impl serde::Serialize) -> ExitCode {
    match serde_json::to_string_pretty(value) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("tare-runtime: {message}");
    ExitCode::FAILURE
}
