//! The container runtime and the shim, one program: argv → one call.

#![cfg_attr(not(test), no_main)]

mod checkpoint;
mod console;
mod create;
mod delete;
mod events;
mod exec;
mod failure;
mod features;
mod figures;
mod flags;
mod foreground;
mod global;
mod help;
mod images;
mod kill;
mod list;
mod pause;
mod ps;
mod restore;
mod run;
mod spec;
mod start;
mod state;
mod terminal;
mod update;

use std::env;
use std::ffi::OsString;
use std::path::Path;

use failure::{Failure, Outcome};
use global::Global;

#[cfg(not(test))]
tare_sys::main!(begin);

#[cfg_attr(test, allow(dead_code))]
fn begin() -> u8 {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let Some(arguments) = arguments.iter().map(|a| a.to_str()).collect::<Option<Vec<&str>>>() else {
        eprintln!("tare-runtime: arguments must be UTF-8");
        return FAILURE;
    };
    let (global, rest) = match Global::parse(&arguments) {
        Ok(parsed) => parsed,
        Err(failure) => {
            eprintln!("tare-runtime: {failure}");
            return FAILURE;
        }
    };
    if enters_containers(&rest)
        && let Err(error) = tare_sys::protect::protect_self()
    {
        eprintln!("tare-runtime: cannot run from a read-only view of this program: {error}");
        return FAILURE;
    }
    command(&global, &rest).unwrap_or_else(|failure| {
        global.log("error", &failure.message);
        eprintln!("tare-runtime: {failure}");
        failure.code
    })
}

const FAILURE: u8 = 1;

/// Whether a container's processes could come to see this one. Most commands only ask the kernel about a container from
/// outside, and a program that is executed once instead of twice answers in half the time.
fn enters_containers(arguments: &[&str]) -> bool {
    const OUTSIDE: [&str; 14] = [
        "state", "list", "ps", "start", "kill", "pause", "resume", "update", "events", "delete", "spec",
        "features", "version", "help",
    ];
    !arguments.first().is_none_or(|command| OUTSIDE.contains(command))
}

fn command(global: &Global, arguments: &[&str]) -> Outcome {
    match arguments {
        [command, "--help" | "-h"] | ["help", command] => help(Some(command)),
        ["shim", dir] => tare_shim::run(Path::new(dir)).map(|()| 0).map_err(Failure::new),
        ["create", rest @ ..] => create::command(global, rest),
        ["start", rest @ ..] => start::command(global, rest),
        ["run", rest @ ..] => run::command(global, rest),
        ["exec", rest @ ..] => exec::command(global, rest),
        ["state", rest @ ..] => state::command(global, rest),
        ["list", rest @ ..] => list::command(global, rest),
        ["ps", rest @ ..] => ps::command(global, rest),
        ["kill", rest @ ..] => kill::command(global, rest),
        ["pause", rest @ ..] => pause::command(global, rest, true),
        ["resume", rest @ ..] => pause::command(global, rest, false),
        ["update", rest @ ..] => update::command(global, rest),
        ["events", rest @ ..] => events::command(global, rest),
        ["delete", rest @ ..] => delete::command(global, rest),
        ["spec", rest @ ..] => spec::command(rest),
        ["features"] => print(&features::features()),
        ["version"] => version(),
        ["help"] => help(None),
        ["features" | "version" | "help" | "shim", ..] => {
            Err(Failure::new(format!("{} has other arguments: see tare-runtime --help", arguments[0])))
        }
        ["checkpoint", rest @ ..] => checkpoint::command(global, rest),
        ["restore", rest @ ..] => restore::command(global, rest),
        [] => Err(Failure::new("no command given: see tare-runtime --help")),
        [command, ..] => Err(Failure::new(format!("unknown command {command}: see tare-runtime --help"))),
    }
}

fn version() -> Outcome {
    println!("tare-runtime version {}\nspec: {}", env!("CARGO_PKG_VERSION"), spec::VERSION);
    Ok(0)
}

fn help(command: Option<&str>) -> Outcome {
    match help::text(command) {
        Some(text) => print!("{text}"),
        None => return Err(Failure::new(format!("unknown command {}", command.unwrap_or_default()))),
    }
    Ok(0)
}

fn print(value: &impl serde::Serialize) -> Outcome {
    println!("{}", serde_json::to_string_pretty(value).map_err(Failure::new)?);
    Ok(0)
}
