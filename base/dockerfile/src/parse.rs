//! Bytes → [`Dockerfile`].

mod files;
mod from;
mod health;
mod lint;
mod mount;
mod pairs;
mod run;

use std::ops::Range;

use tare_model::nearest;

use crate::heredoc::{self, Opened};
use crate::line::Line;
use crate::read::{Reader, decode};
use crate::statement::Statement;
use crate::words;
use crate::{Dockerfile, Error, Instruction, Located, Result, Span, Stage, Step, Warning};

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];
/// The most stages of a file: no build comes near, and finding names takes the square of it.
const MOST_STAGES: usize = 1000;
/// The instructions that read here-documents.
const WITH_HEREDOCS: [&str; 3] = ["ADD", "COPY", "RUN"];

/// Reads a Dockerfile of at most [`crate::LARGEST`] bytes of UTF-8. The first mistake is the error; what is allowed and yet
/// probably not meant is in [`Dockerfile::warnings`].
pub fn parse(bytes: &[u8]) -> Result<Dockerfile> {
    let mut reader = Reader::new(decode(bytes)?);
    let directives = reader.directives()?;
    let escape = directives.escape;
    let mut file =
        Dockerfile { directives, global_args: Vec::new(), stages: Vec::new(), warnings: Vec::new() };
    let mut spelling = lint::Spelling::default();
    while let Some(line) = reader.instruction(escape, &mut file.warnings) {
        let parsed = read_step(
            &line,
            0..line.text.len(),
            &mut Source { reader: &mut reader, escape },
            &mut file.warnings,
        )?;
        spelling.see(&line, parsed.span());
        place(&mut file, parsed)?;
    }
    if file.stages.is_empty() {
        let message = "no FROM: a Dockerfile needs at least \"FROM image\" or \"FROM scratch\"";
        return Err(Error::at(Span::default(), message));
    }
    spelling.judge(&mut file.warnings);
    lint::stages(&mut file);
    file.warnings.sort_by_key(|warning| warning.span);
    Ok(file)
}

/// Reads what ONBUILD left in an image, to be run right after FROM. Refuses what ONBUILD may not trigger.
pub fn parse_trigger(text: &str) -> Result<Step> {
    let (line, mut reader) = heredoc::split_text(decode(text.as_bytes())?);
    let mut source = Source { reader: &mut reader, escape: '\\' };
    match read_step(&line, 0..line.text.len(), &mut source, &mut Vec::new())? {
        Parsed::Step(step)
            if !matches!(step.instruction, Instruction::Onbuild(_) | Instruction::Maintainer(_)) =>
        {
            Ok(step)
        }
        _ => Err(Error::at(Span::default(), format!("ONBUILD may not trigger this: {text}"))),
    }
}

struct Source<'r, 's> {
    reader: &'r mut Reader<'s>,
    escape: char,
}

enum Parsed {
    From(Stage),
    Step(Step),
}

impl Parsed {
    fn span(&self) -> Span {
        match self {
            Self::From(stage) => stage.span,
            Self::Step(step) => step.span,
        }
    }
}

/// Puts an instruction where it belongs.
fn place(file: &mut Dockerfile, parsed: Parsed) -> Result<()> {
    let full = file.stages.len() == MOST_STAGES;
    match (parsed, file.stages.last_mut()) {
        (Parsed::From(stage), _) if full => {
            return Err(Error::at(stage.span, format!("more than {MOST_STAGES} stages: split the file")));
        }
        (Parsed::From(stage), _) => file.stages.push(stage),
        (Parsed::Step(step), Some(stage)) => stage.steps.push(step),
        (Parsed::Step(Step { span, instruction: Instruction::Arg(value), .. }), None) => {
            file.global_args.push(Located { span, value });
        }
        (Parsed::Step(step), None) => {
            let message = "only ARG may stand before the first FROM: begin the stage with FROM";
            return Err(Error::at(step.span, message));
        }
    }
    Ok(())
}

/// Reads the instruction in a part of a line, and the here-documents below it.
fn read_step(
    line: &Line,
    range: Range<usize>,
    source: &mut Source<'_, '_>,
    warnings: &mut Vec<Warning>,
) -> Result<Parsed> {
    let range = line.trim(range);
    let text = &line.text[range.clone()];
    let length = text.find(char::is_whitespace).unwrap_or(text.len());
    let named = range.start..range.start + length;
    let keyword = keyword(line, named.clone())?;
    let (flags, rest) = words::flags(line, named.end..range.end, source.escape);
    let mut heredocs = Vec::new();
    if WITH_HEREDOCS.contains(&keyword) && !line.text[rest.clone()].starts_with('[') {
        heredocs = heredoc::read(source.reader, &words::split(line, rest.clone(), source.escape))?;
    }
    let end = source.reader.position();
    let opened = !heredocs.is_empty();
    let shown = format!("{keyword} {}", line.text[named.end..range.end].trim());
    let span = line.span(named);
    let whole = line.span(range);
    let mut statement =
        Statement { line, keyword, span, flags, rest, heredocs, escape: source.escape, warnings };
    if keyword == "FROM" {
        return Ok(Parsed::From(from::read(&statement, whole)?));
    }
    let (instruction, inner) = match keyword {
        "ONBUILD" => onbuild(&mut statement, source)?,
        _ => (instruction(&mut statement)?, false),
    };
    let end = if opened {
        end
    } else if inner {
        source.reader.position()
    } else {
        whole.end
    };
    let span = Span { end: end.max(whole.end), ..whole };
    Ok(Parsed::Step(Step { span, text: shown.trim_end().to_owned(), instruction }))
}

fn keyword(line: &Line, range: Range<usize>) -> Result<&'static str> {
    let text = &line.text[range.clone()];
    let known = KEYWORDS.into_iter().find(|known| known.eq_ignore_ascii_case(text));
    known.ok_or_else(|| {
        let hint = match nearest(text, KEYWORDS) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known are {}", KEYWORDS.join(", ")),
        };
        let shown: String = text.chars().take(40).collect();
        Error::at(line.span(range), format!("unknown instruction: {shown}: {hint}"))
    })
}

fn instruction(statement: &mut Statement<'_>) -> Result<Instruction> {
    match statement.keyword {
        "ADD" => return files::add(statement),
        "COPY" => return files::copy(statement),
        "HEALTHCHECK" => return health::read(statement),
        "RUN" => return run::read(statement),
        _ => statement.only(&[])?,
    }
    Ok(match statement.keyword {
        "ARG" => Instruction::Arg(pairs::arguments(statement)?),
        "CMD" => Instruction::Cmd(statement.command()?),
        "ENTRYPOINT" => Instruction::Entrypoint(statement.command()?),
        "ENV" => Instruction::Env(pairs::read(statement)?),
        "EXPOSE" => Instruction::Expose(statement.words()?),
        "LABEL" => Instruction::Label(pairs::read(statement)?),
        "SHELL" => Instruction::Shell(shell(statement)?),
        "STOPSIGNAL" => Instruction::Stopsignal(statement.whole()?),
        "USER" => Instruction::User(statement.whole()?),
        "VOLUME" => Instruction::Volume(volumes(statement)?),
        "WORKDIR" => Instruction::Workdir(statement.whole()?),
        _ => maintainer(statement)?,
    })
}

fn maintainer(statement: &mut Statement<'_>) -> Result<Instruction> {
    statement.warn(
        statement.span,
        "MAINTAINER is deprecated: write LABEL org.opencontainers.image.authors=\"…\" instead",
    );
    Ok(Instruction::Maintainer(statement.whole()?.text))
}

fn shell(statement: &mut Statement<'_>) -> Result<Vec<String>> {
    let whole = statement.whole()?;
    match statement.json(&whole)? {
        Some(words) if !words.is_empty() => Ok(words),
        _ => Err(Error::at(whole.span, "SHELL requires the JSON form: SHELL [\"/bin/sh\", \"-c\"]")),
    }
}

fn volumes(statement: &mut Statement<'_>) -> Result<Vec<crate::Word>> {
    let volumes = statement.list()?;
    match volumes.iter().find(|volume| volume.text.trim().is_empty()) {
        Some(empty) => Err(Error::at(empty.span, "VOLUME takes paths, and this one is empty")),
        None => Ok(volumes),
    }
}

/// Reads the instruction behind ONBUILD to see that it is one, and keeps its text. The flag says that it read more lines.
fn onbuild(statement: &mut Statement<'_>, source: &mut Source<'_, '_>) -> Result<(Instruction, bool)> {
    statement.only(&[])?;
    let mut text = statement.whole()?.text;
    let trigger = statement.line.span(statement.rest.clone());
    let named = text.split(char::is_whitespace).next().unwrap_or_default().to_ascii_uppercase();
    if ["FROM", "MAINTAINER", "ONBUILD"].contains(&named.as_str()) {
        return Err(Error::at(trigger, format!("{named} is not allowed as an ONBUILD trigger")));
    }
    let from = source.reader.position();
    read_step(statement.line, statement.rest.clone(), source, statement.warnings)?;
    let body = source.reader.since(from);
    if !body.is_empty() {
        text.push('\n');
        text.push_str(body.trim_end_matches(['\r', '\n']));
    }
    Ok((Instruction::Onbuild(text), !body.is_empty()))
}

/// Pairs the words that open a here-document with what was read.
fn matching<'a>(opened: &'a [Opened], word: &crate::Word) -> Option<&'a Opened> {
    heredoc::open(word)?;
    // They stand in the order of their words.
    opened.binary_search_by_key(&word.span, |heredoc| heredoc.span).ok().map(|at| &opened[at])
}
