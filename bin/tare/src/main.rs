//! `tare`: Docker's commands, spoken to Tare's daemon.
//!
//! A command line is read by the tables of `verbs` and `flags`, and one function of the verb's file carries it out.
//! Nothing is built, read or dialled that the command does not need: `tare run` must cost less than the kernel does.

mod archive;
mod attach;
mod build;
mod call;
mod create;
mod credentials;
mod daemon;
mod difference;
mod events;
mod failure;
mod flags;
mod images;
mod inspect;
mod layers;
mod lifecycle;
mod listing;
mod login;
mod logs;
mod manifest;
mod manual;
mod mount;
mod output;
mod port;
mod progress;
mod ps;
mod pull;
mod push;
mod run;
mod search;
mod session;
mod system;
mod template;
mod time;
mod usage;
mod verbs;
mod verify;
mod volume;
mod whole;

use tare_client::{Client, Target};
use tare_model::nearest;

use crate::call::Call;
use crate::failure::{Failure, Result, Then};
use crate::flags::{Flag, Given, switch, text};
use crate::verbs::{GROUPS, VERBS, Verb};

/// Flags that stand before the command.
pub(crate) const GLOBAL: &[Flag] = &[
    text("config", "DIR", "Location of client config files (default \"~/.docker\")"),
    text("host", "HOST", "Daemon socket to connect to (default $TARE_HOST, else /run/tare/tare.sock)")
        .short('H'),
    switch("debug", "Enable debug mode").short('D').hidden(),
    text("log-level", "LEVEL", "Set the logging level").short('l').hidden(),
    switch("version", "Print version information and quit").short('v'),
];

fn main() {
    restore_terminal_before_panicking();
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let code = carry_out(&words).unwrap_or_else(|failure| {
        session::restore();
        output::complain(&failure);
        failure.code
    });
    // Without unwinding further: a thread may still wait for input that will never come.
    std::process::exit(code.into());
}

/// A panic's message must not be lost in a raw terminal.
fn restore_terminal_before_panicking() {
    let standard = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        session::restore();
        standard(info);
    }));
}

/// What a command line names.
struct Named<'a> {
    verb: &'static Verb,
    /// `tare container ls`
    spelled: String,
    help: Vec<&'static str>,
    rest: &'a [String],
}

fn carry_out(words: &[String]) -> Result<u8> {
    let global = match flags::read(&[GLOBAL], true, words) {
        Err(failure) if failure.then == Then::ShowHelp => return show_help(&[]),
        global => global.map_err(|failure| pointed(failure, "tare"))?,
    };
    if global.on("version") {
        output::line(format!("Tare version {}", env!("CARGO_PKG_VERSION")))?;
        return Ok(0);
    }
    let Some(named) = named(&global.operands)? else { return Ok(0) };
    let given = if named.verb.short == "daemon" {
        flags::read(&[], true, &[&["--".to_owned()], named.rest].concat())
    } else {
        flags::read(named.verb.flags, named.verb.verbatim, named.rest)
    };
    let given = match given {
        Err(failure) if failure.then == Then::ShowHelp => return show_help(&named.help),
        given => given.map_err(|failure| pointed(failure, &named.spelled))?,
    };
    check_count(&named, &given)?;
    let target = Target::resolve(global.text("host"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let call = Call { client: Client::new(target), given, config: global.text("config").map(str::to_owned) };
    runtime.block_on((named.verb.carry_out)(call))
}

/// Finds the verb; nothing where help was shown instead.
fn named(words: &[String]) -> Result<Option<Named<'_>>> {
    let Some((first, rest)) = words.split_first() else {
        show_help(&[])?;
        return Ok(None);
    };
    if first == "help" {
        let known = rest.iter().filter_map(|word| known_word(word)).collect::<Vec<_>>();
        show_help(&known)?;
        return Ok(None);
    }
    let (group, word, rest) = match GROUPS.iter().find(|(group, _)| group == first) {
        Some((group, _)) => match rest.split_first() {
            Some((word, rest)) if word != "--help" => (*group, word, rest),
            _ => {
                show_help(&[group])?;
                return Ok(None);
            }
        },
        None => ("", first, rest),
    };
    match VERBS.iter().find(|verb| verb.is(group, word)) {
        Some(verb) => {
            let name = verb.name_in(group);
            let help: Vec<&'static str> = [group, name].into_iter().filter(|word| !word.is_empty()).collect();
            Ok(Some(Named { verb, spelled: format!("tare {}", help.join(" ")), help, rest }))
        }
        None => Err(unknown(group, word)),
    }
}

fn known_word(word: &str) -> Option<&'static str> {
    let groups = GROUPS.iter().map(|(group, _)| *group);
    groups
        .chain(VERBS.iter().flat_map(|verb| verb.names.iter().copied().chain([verb.short])))
        .find(|known| *known == word)
}

fn unknown(group: &str, word: &str) -> Failure {
    let spelled = if group.is_empty() { word.to_owned() } else { format!("{group} {word}") };
    if verbs::is_dockers(word) {
        return Failure::not_supported(&format!("tare {spelled}")).code(1);
    }
    let groups = GROUPS.iter().map(|(name, _)| *name).filter(|_| group.is_empty());
    let verbs =
        VERBS.iter().filter(|verb| group.is_empty() || verb.group == group).map(|verb| verb.name_in(group));
    let near = nearest(word, groups.chain(verbs).filter(|name| !name.is_empty()));
    let hint = match near {
        Some(near) => format!("did you mean {near}? 'tare --help' shows all commands"),
        None => "'tare --help' shows all commands".to_owned(),
    };
    Failure::new(format!("unknown command: tare {spelled}")).hint(hint)
}

fn check_count(named: &Named<'_>, given: &Given) -> Result<()> {
    let (least, most) = named.verb.count;
    let count = given.operands.len();
    if (least..=most).contains(&count) {
        return Ok(());
    }
    let arguments =
        |number: usize| if number == 1 { "1 argument".to_owned() } else { format!("{number} arguments") };
    let rule = match (least, most) {
        (0, 0) => "accepts no arguments".to_owned(),
        (least, most) if least == most => format!("requires {}", arguments(least)),
        (least, _) if count < least => format!("requires at least {}", arguments(least)),
        (_, most) => format!("requires at most {}", arguments(most)),
    };
    Err(Failure::new(format!("'{}' {rule}", named.spelled)).hint(manual::usage(named.verb, &named.spelled)))
}

fn pointed(failure: Failure, spelled: &str) -> Failure {
    match failure.then {
        Then::PointToHelp => failure.hint(format!("'{spelled} --help' shows what there is")),
        _ => failure,
    }
}

fn show_help(words: &[&'static str]) -> Result<u8> {
    output::print(manual::help(words))?;
    Ok(0)
}
