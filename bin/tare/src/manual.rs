//! Help, completions and manual pages, all from the tables of verbs and flags.

use std::path::Path;

use clap::{Arg, ArgAction, Command};
use clap_complete::Shell;

use crate::GLOBAL;
use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::flags::{Flag, Takes};
use crate::output::print;
use crate::verbs::{GROUPS, VERBS, Verb};

/// What `--help` prints for `words`, the verb or group that a person named.
pub(crate) fn help(words: &[&str]) -> String {
    let mut command = whole();
    command.build();
    for word in words {
        if let Some(sub) = command.find_subcommand(word) {
            command = sub.clone();
        }
    }
    command.render_help().to_string()
}

/// `Usage:  tare stop [OPTIONS] CONTAINER [CONTAINER...]`
pub(crate) fn usage(verb: &Verb, spelled: &str) -> String {
    let options = if verb.flags.is_empty() { "" } else { " [OPTIONS]" };
    let operands = if verb.operands.is_empty() { String::new() } else { format!(" {}", verb.operands) };
    format!("Usage:  {spelled}{options}{operands}")
}

fn whole() -> Command {
    let mut command = Command::new("tare")
        .about("Runs containers: as isolated as a machine, as light as a process")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .override_usage("tare [OPTIONS] COMMAND")
        .after_help("Run 'tare COMMAND --help' for more information on a command.")
        .args(GLOBAL.iter().map(argument));
    for (group, about) in GROUPS {
        let verbs = VERBS.iter().filter(|verb| verb.group == group);
        let verbs =
            verbs.map(|verb| verb_command(verb, verb.names[0], &format!("tare {group} {}", verb.names[0])));
        let usage = format!("tare {group} COMMAND");
        command = command.subcommand(
            Command::new(group)
                .about(about)
                .override_usage(usage)
                .disable_help_subcommand(true)
                .subcommands(verbs),
        );
    }
    let shorts = VERBS.iter().filter(|verb| !verb.short.is_empty());
    command.subcommands(shorts.map(|verb| verb_command(verb, verb.short, &format!("tare {}", verb.short))))
}

fn verb_command(verb: &Verb, name: &'static str, spelled: &str) -> Command {
    let others: &'static [&'static str] =
        if spelled.split(' ').count() > 2 { verb.names.get(1..).unwrap_or_default() } else { &[] };
    let mut flags: Vec<&Flag> = verb.flags.iter().flat_map(|table| table.iter()).collect();
    flags.sort_by_key(|flag| flag.long);
    let usage = usage(verb, spelled);
    let command = Command::new(name)
        .about(verb.about)
        .aliases(others)
        .override_usage(usage.trim_start_matches("Usage:").trim().to_owned())
        .hide(name == "man")
        .disable_help_flag(true)
        .next_line_help(false)
        .arg(Arg::new("help").long("help").help("Print help").action(ArgAction::Help))
        .args(flags.into_iter().map(argument));
    match verb.operands {
        "" => command,
        words => command.arg(Arg::new("operands").value_name(words).num_args(0..).hide(true)),
    }
}

fn argument(flag: &Flag) -> Arg {
    let arg = Arg::new(flag.long).long(flag.long).help(flag.help).hide(flag.hidden);
    let arg = match flag.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    match flag.takes {
        Takes::Nothing(_) => arg.action(ArgAction::SetTrue),
        Takes::Value => arg.value_name(flag.value).action(ArgAction::Set),
        Takes::Values => arg.value_name(flag.value).action(ArgAction::Append),
    }
}

/// `tare completion SHELL`
pub(crate) async fn completion(call: Call) -> Result<u8> {
    let name = &call.given.operands[0];
    let shell: Shell = name.parse().map_err(|_| {
        Failure::usage(format!("no completions for the shell \"{name}\""))
            .hint("there are some for bash, zsh, fish, elvish and powershell")
    })?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut whole(), "tare", &mut script);
    print(script)?;
    Ok(0)
}

/// `tare man DIRECTORY`
pub(crate) async fn man(call: Call) -> Result<u8> {
    let directory = Path::new(&call.given.operands[0]);
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(whole(), directory)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_make_a_valid_command() {
        whole().debug_assert();
    }

    #[test]
    fn help_names_verbs_and_flags() {
        assert!(help(&[]).contains("run"));
        let run = help(&["run"]);
        assert!(run.contains("Usage: tare run [OPTIONS] IMAGE [COMMAND] [ARG...]"), "{run}");
        assert!(run.contains("-m, --memory <bytes>") && !run.contains("--cpu-count"), "{run}");
        assert!(help(&["volume", "create"]).contains("--driver"));
    }
}
