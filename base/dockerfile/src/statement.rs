use std::ops::Range;

use tare_model::nearest;

use crate::heredoc::Opened;
use crate::line::Line;
use crate::words::{self, Flag, Json};
use crate::{Command, Error, Result, Span, Warning, Word};

/// One instruction, cut into keyword, flags and arguments.
pub(crate) struct Statement<'a> {
    pub(crate) line: &'a Line,
    /// In upper case.
    pub(crate) keyword: &'static str,
    /// Of the keyword.
    pub(crate) span: Span,
    pub(crate) flags: Vec<Flag>,
    /// What follows the flags.
    pub(crate) rest: Range<usize>,
    pub(crate) heredocs: Vec<Opened>,
    pub(crate) escape: char,
    pub(crate) warnings: &'a mut Vec<Warning>,
}

impl Statement<'_> {
    /// All arguments as one word; an error when there is none.
    pub(crate) fn whole(&self) -> Result<Word> {
        if self.rest.is_empty() {
            return Err(Error::at(self.span, format!("{} requires an argument", self.keyword)));
        }
        Ok(self.line.word(self.rest.clone()))
    }

    /// The arguments, cut at white space; an error when there is none.
    pub(crate) fn words(&self) -> Result<Vec<Word>> {
        self.whole()?;
        Ok(words::split(self.line, self.rest.clone(), self.escape))
    }

    /// The arguments of an instruction that takes a JSON list or words.
    pub(crate) fn list(&mut self) -> Result<Vec<Word>> {
        let whole = self.whole()?;
        match self.json(&whole)? {
            Some(items) => Ok(items.into_iter().map(|text| Word { text, span: whole.span }).collect()),
            None => self.words(),
        }
    }

    /// The arguments of an instruction that takes a program or a shell's line.
    pub(crate) fn command(&mut self) -> Result<Command> {
        let whole = self.whole()?;
        Ok(self.json(&whole)?.map_or(Command::Shell(whole.text), Command::Exec))
    }

    pub(crate) fn json(&mut self, whole: &Word) -> Result<Option<Vec<String>>> {
        match words::json(&whole.text, whole.span)? {
            Json::List(items, more) => {
                if more {
                    self.warn(
                        whole.span,
                        "what follows the closing bracket of the JSON list is ignored: remove it",
                    );
                }
                Ok(Some(items))
            }
            Json::Text(meant) => {
                if meant {
                    let message = "this looks like a JSON list and is none, so it is taken as plain text: \
                                   quote every item with \" and separate them by commas";
                    self.warn(whole.span, message);
                }
                Ok(None)
            }
        }
    }

    pub(crate) fn warn(&mut self, span: Span, message: impl Into<String>) {
        self.warnings.push(Warning { span, message: message.into() });
    }

    /// Refuses flags that are not `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Result<()> {
        let Some(flag) = self.flags.iter().find(|flag| !known.contains(&flag.name.as_str())) else {
            return Ok(());
        };
        let hint = match nearest(&flag.name, known.iter().copied()) {
            Some(near) => format!("did you mean --{near}?"),
            None if known.is_empty() => format!("{} takes no flags", self.keyword),
            None => {
                let list: Vec<String> = known.iter().map(|name| format!("--{name}")).collect();
                format!("{} takes {}", self.keyword, list.join(", "))
            }
        };
        Err(Error::at(flag.span, format!("unknown flag: --{}: {hint}", flag.name)))
    }

    /// Every value of a flag.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<Word>> {
        let given = self.flags.iter().filter(|flag| flag.name == name);
        given
            .map(|flag| {
                let value = flag.value.clone().filter(|value| !value.text.is_empty());
                value.ok_or_else(|| Error::at(flag.span, format!("--{name} needs a value: --{name}=…")))
            })
            .collect()
    }

    fn once(&self, name: &str) -> Result<Option<&Flag>> {
        let mut given = self.flags.iter().filter(|flag| flag.name == name);
        let first = given.next();
        match given.next() {
            Some(second) => Err(Error::at(second.span, format!("--{name} is given twice"))),
            None => Ok(first),
        }
    }

    /// The value of a flag that may be given once.
    pub(crate) fn value(&self, name: &str) -> Result<Option<Word>> {
        self.once(name)?;
        Ok(self.values(name)?.pop())
    }

    /// A flag that is a switch: `--name`, `--name=true`, `--name=false`.
    pub(crate) fn switch(&self, name: &str) -> Result<Option<bool>> {
        let Some(flag) = self.once(name)? else { return Ok(None) };
        let text = flag.value.as_ref().map_or("true", |value| value.text.as_str());
        let message = || format!("--{name} is true or false, not \"{text}\"");
        truth(text).map(Some).ok_or_else(|| Error::at(flag.span, message()))
    }
}

/// Go's ParseBool.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
