use super::mount;
use crate::statement::Statement;
use crate::{Error, Instruction, Result, Run, RunCommand, RunNetwork, RunSecurity, Word};

/// `RUN`
pub(super) fn read(statement: &mut Statement<'_>) -> Result<Instruction> {
    statement.only(&["mount", "network", "security", "device"])?;
    if let Some(device) = statement.flags.iter().find(|flag| flag.name == "device") {
        return Err(Error::unsupported(device.span, "devices in a build (RUN --device)"));
    }
    let mounts = statement.values("mount")?.iter().map(mount::read).collect::<Result<Vec<_>>>()?;
    let network = one_of(
        statement.value("network")?,
        "network",
        &[("default", RunNetwork::Default), ("none", RunNetwork::None), ("host", RunNetwork::Host)],
    )?;
    let security = one_of(
        statement.value("security")?,
        "security",
        &[("sandbox", RunSecurity::Sandbox), ("insecure", RunSecurity::Insecure)],
    )?;
    Ok(Instruction::Run(Run { command: command(statement)?, mounts, network, security }))
}

fn one_of<T: Copy + Default>(given: Option<Word>, flag: &str, known: &[(&str, T)]) -> Result<T> {
    let Some(word) = given else { return Ok(T::default()) };
    let found = known.iter().find(|(name, _)| *name == word.text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        Error::at(word.span, format!("--{flag} is one of {}, not \"{word}\"", names.join(", ")))
    })
}

fn command(statement: &mut Statement<'_>) -> Result<RunCommand> {
    let whole = statement.whole()?;
    if let Some(words) = statement.json(&whole)? {
        if words.is_empty() {
            return Err(Error::at(whole.span, "RUN [] runs nothing: name a program"));
        }
        return Ok(RunCommand::Exec(words));
    }
    match &statement.heredocs[..] {
        [only] if only.span == whole.span => only.heredoc().map(RunCommand::Script),
        heredocs => {
            let bodies: String = heredocs.iter().map(crate::heredoc::Opened::for_shell).collect();
            Ok(RunCommand::Shell(whole.text + &bodies))
        }
    }
}
