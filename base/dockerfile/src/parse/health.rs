use std::time::Duration;

use tare_model::parse_duration;

use crate::statement::Statement;
use crate::{Error, Healthcheck, Instruction, Result};

/// The shortest time that the engine keeps to.
const SHORTEST: Duration = Duration::from_millis(1);

/// `HEALTHCHECK NONE` or `HEALTHCHECK [flags] CMD command`
pub(super) fn read(statement: &mut Statement<'_>) -> Result<Instruction> {
    statement.only(&["interval", "timeout", "start-period", "start-interval", "retries"])?;
    let whole = statement.whole()?;
    let length = whole.text.find(char::is_whitespace).unwrap_or(whole.text.len());
    let kind = statement.line.word(statement.rest.start..statement.rest.start + length);
    statement.rest = statement.line.trim(statement.rest.start + length..statement.rest.end);
    match kind.text.to_ascii_uppercase().as_str() {
        "NONE" if !statement.rest.is_empty() => {
            Err(Error::at(whole.span, "HEALTHCHECK NONE takes no arguments"))
        }
        "NONE" => Ok(Instruction::Healthcheck(Healthcheck::None)),
        "CMD" if statement.rest.is_empty() => Err(Error::at(kind.span, "HEALTHCHECK CMD requires a command")),
        "CMD" => probe(statement),
        _ => {
            let message = format!("HEALTHCHECK takes CMD or NONE, not \"{kind}\"");
            Err(Error::at(kind.span, message))
        }
    }
}

fn probe(statement: &mut Statement<'_>) -> Result<Instruction> {
    Ok(Instruction::Healthcheck(Healthcheck::Probe {
        command: statement.command()?,
        interval: duration(statement, "interval")?,
        timeout: duration(statement, "timeout")?,
        start_period: duration(statement, "start-period")?,
        start_interval: duration(statement, "start-interval")?,
        retries: retries(statement)?,
    }))
}

/// Zero means that the default holds.
fn duration(statement: &Statement<'_>, name: &str) -> Result<Option<Duration>> {
    let Some(word) = statement.value(name)? else { return Ok(None) };
    let time =
        parse_duration(&word.text).map_err(|error| Error::at(word.span, format!("--{name}: {error}")))?;
    if !time.is_zero() && time < SHORTEST {
        return Err(Error::at(word.span, format!("--{name} cannot be less than 1ms")));
    }
    Ok(Some(time).filter(|time| !time.is_zero()))
}

fn retries(statement: &Statement<'_>) -> Result<Option<u32>> {
    let Some(word) = statement.value("retries")? else { return Ok(None) };
    let message = || format!("--retries takes a whole number, not \"{word}\"");
    let count = word.text.parse::<u32>().map_err(|_| Error::at(word.span, message()))?;
    Ok(Some(count).filter(|count| *count > 0))
}
