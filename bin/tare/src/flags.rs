//! Flags as tables, and the reader that takes a command line apart by them.
//!
//! The grammar is that of the field's tools: `--name value`, `--name=value`, `-n value`, `-nvalue`, clusters of short
//! switches (`-it`), switches that take `=true` and `=false`, `--` before operands. Verbs that run a program of the
//! container end their own flags at the first operand. The tables also feed help, completions and manual pages.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use tare_model::{nearest, parse_bytes, parse_duration};

use crate::failure::{Failure, Result};

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing, or `=true`/`=false`; the value is what holds when it is not given.
    Nothing(bool),
    /// A value; the last one counts.
    Value,
    /// A value, as often as wanted.
    Values,
}

/// One flag of a verb.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) takes: Takes,
    pub(crate) value: &'static str,
    pub(crate) help: &'static str,
    pub(crate) hidden: bool,
}

const fn flag(long: &'static str, takes: Takes, value: &'static str, help: &'static str) -> Flag {
    Flag { long, short: None, takes, value, help, hidden: false }
}

/// A switch that is off unless given.
pub(crate) const fn switch(long: &'static str, help: &'static str) -> Flag {
    flag(long, Takes::Nothing(false), "", help)
}

/// A switch that is on unless given as `=false`.
pub(crate) const fn switch_on(long: &'static str, help: &'static str) -> Flag {
    flag(long, Takes::Nothing(true), "", help)
}

/// A flag with one value.
pub(crate) const fn text(long: &'static str, value: &'static str, help: &'static str) -> Flag {
    flag(long, Takes::Value, value, help)
}

/// A flag with any number of values.
pub(crate) const fn list(long: &'static str, value: &'static str, help: &'static str) -> Flag {
    flag(long, Takes::Values, value, help)
}

impl Flag {
    pub(crate) const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    pub(crate) const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }

    /// As messages name it: `-m, --memory`.
    fn title(&self) -> String {
        self.short.map(|short| format!("-{short}, ")).unwrap_or_default() + "--" + self.long
    }
}

/// A command line, taken apart.
#[derive(Debug)]
pub(crate) struct Given {
    tables: &'static [&'static [Flag]],
    values: Vec<(&'static Flag, String)>,
    /// What is no flag, in order.
    pub(crate) operands: Vec<String>,
}

/// Reads `arguments` by `tables`. With `verbatim` everything from the first operand on is an operand.
pub(crate) fn read(
    tables: &'static [&'static [Flag]],
    verbatim: bool,
    arguments: &[String],
) -> Result<Given> {
    let mut given = Given { tables, values: Vec::new(), operands: Vec::new() };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            given.operands.extend(rest.cloned());
            break;
        }
        let next = &mut rest;
        if let Some(long) = argument.strip_prefix("--") {
            given.read_long(long, || next.next().cloned())?;
        } else if let Some(shorts) = argument.strip_prefix('-').filter(|s| !s.is_empty()) {
            given.read_shorts(shorts, || next.next().cloned())?;
        } else {
            given.operands.push(argument.clone());
            if verbatim {
                given.operands.extend(rest.cloned());
                break;
            }
        }
    }
    Ok(given)
}

impl Given {
    fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.tables.iter().flat_map(|table| table.iter())
    }

    fn read_long(&mut self, text: &str, next: impl FnOnce() -> Option<String>) -> Result<()> {
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name == "help" {
            return Err(Failure::help());
        }
        let Some(flag) = self.flags().find(|flag| flag.long == name) else {
            let known = self.flags().filter(|flag| !flag.hidden).map(|flag| flag.long);
            let hint = nearest(name, known).map(|near| format!("did you mean --{near}?"));
            return Err(Failure::usage(format!("unknown flag: --{name}")).hint_or_help(hint));
        };
        let value = match (flag.takes, attached) {
            (Takes::Nothing(_), attached) => truth(flag, attached.as_deref().unwrap_or("true"))?,
            (_, Some(value)) => value,
            (_, None) => next().ok_or_else(|| needs_value(flag))?,
        };
        self.values.push((flag, value));
        Ok(())
    }

    fn read_shorts(&mut self, cluster: &str, next: impl FnOnce() -> Option<String>) -> Result<()> {
        let mut letters = cluster.chars();
        while let Some(letter) = letters.next() {
            let Some(flag) = self.flags().find(|flag| flag.short == Some(letter)) else {
                let whole =
                    if cluster.chars().count() > 1 { format!(" in -{cluster}") } else { String::new() };
                return Err(
                    Failure::usage(format!("unknown shorthand flag: '{letter}'{whole}")).hint_or_help(None)
                );
            };
            let attached = letters.as_str();
            if let Takes::Nothing(_) = flag.takes {
                let equals = attached.strip_prefix('=');
                self.values.push((flag, truth(flag, equals.unwrap_or("true"))?));
                if equals.is_some() {
                    return Ok(());
                }
                continue;
            }
            let attached = attached.strip_prefix('=').unwrap_or(attached);
            let value = if letters.as_str().is_empty() {
                next().ok_or_else(|| needs_value(flag))?
            } else {
                attached.to_owned()
            };
            self.values.push((flag, value));
            return Ok(());
        }
        Ok(())
    }

    fn known(&self, long: &str) -> Option<&'static Flag> {
        let found = self.flags().find(|flag| flag.long == long);
        debug_assert!(found.is_some(), "no table has --{long}");
        found
    }

    /// Whether this verb has the flag at all.
    pub(crate) fn knows(&self, long: &str) -> bool {
        self.flags().any(|flag| flag.long == long)
    }

    /// Whether a switch holds.
    pub(crate) fn on(&self, long: &str) -> bool {
        let standing = matches!(self.known(long).map(|flag| flag.takes), Some(Takes::Nothing(true)));
        self.text(long).map_or(standing, |value| value == "true")
    }

    /// The value of a flag, the last where it is given several times.
    pub(crate) fn text(&self, long: &str) -> Option<&str> {
        self.known(long);
        self.values.iter().rev().find(|(flag, _)| flag.long == long).map(|(_, value)| value.as_str())
    }

    /// The same as an owned text, empty where it is not given.
    pub(crate) fn owned(&self, long: &str) -> String {
        self.text(long).unwrap_or_default().to_owned()
    }

    /// All values of a flag in their order.
    pub(crate) fn list(&self, long: &str) -> Vec<String> {
        self.known(long);
        self.values.iter().filter(|(flag, _)| flag.long == long).map(|(_, value)| value.clone()).collect()
    }

    /// Whether a flag is on the command line at all.
    pub(crate) fn has(&self, long: &str) -> bool {
        self.text(long).is_some()
    }

    /// The value, read by `read`; the message of a failure names the flag.
    pub(crate) fn parsed<T, E: Display>(
        &self,
        long: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>> {
        self.text(long).map(|value| read(value).map_err(|why| self.invalid(long, value, why))).transpose()
    }

    /// All values, each read by `read`.
    pub(crate) fn each<T, E: Display>(
        &self,
        long: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>> {
        self.list(long)
            .iter()
            .map(|value| read(value).map_err(|why| self.invalid(long, value, why)))
            .collect()
    }

    /// A number.
    pub(crate) fn number<T: FromStr>(&self, long: &str) -> Result<Option<T>> {
        self.parsed(long, |text| text.parse::<T>().map_err(|_| "a whole number in range is wanted"))
    }

    /// A size in bytes, zero where it is not given.
    pub(crate) fn bytes(&self, long: &str) -> Result<i64> {
        let read = |text: &str| {
            let bytes = parse_bytes(text).map_err(|error| error.to_string())?;
            i64::try_from(bytes).map_err(|_| "too large".to_owned())
        };
        self.parsed(long, read).map(Option::unwrap_or_default)
    }

    /// A time span in nanoseconds, zero where it is not given.
    pub(crate) fn nanoseconds(&self, long: &str) -> Result<i64> {
        let span = self.parsed(long, parse_duration)?.unwrap_or(Duration::ZERO);
        Ok(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
    }

    fn invalid(&self, long: &str, value: &str, why: impl Display) -> Failure {
        let title = self.known(long).map(Flag::title).unwrap_or_default();
        Failure::usage(format!("invalid argument \"{value}\" for \"{title}\" flag: {why}"))
    }
}

fn needs_value(flag: &Flag) -> Failure {
    Failure::usage(format!("flag needs an argument: --{} {}", flag.long, flag.value)).hint_or_help(None)
}

/// Go's strconv.ParseBool.
fn truth(flag: &Flag, text: &str) -> Result<String> {
    let truth = match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => "true",
        "0" | "f" | "F" | "false" | "FALSE" | "False" => "false",
        _ => {
            return Err(Failure::usage(format!(
                "invalid argument \"{text}\" for \"{}\" flag: true or false is wanted",
                flag.title()
            )));
        }
    };
    Ok(truth.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLES: &[&[Flag]] = &[&[
        switch("interactive", "").short('i'),
        switch("tty", "").short('t'),
        switch_on("sig-proxy", ""),
        text("memory", "bytes", "").short('m'),
        text("name", "string", ""),
        list("env", "list", "").short('e'),
    ]];

    fn given(verbatim: bool, words: &[&str]) -> Result<Given> {
        read(TABLES, verbatim, &words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn every_form_of_a_flag_is_read() {
        let given = given(
            true,
            &[
                "-it",
                "-m512m",
                "--name=a=b",
                "-e",
                "X=1",
                "-e=Y",
                "--env",
                "Z",
                "--sig-proxy=false",
                "image",
                "-i",
                "--rm",
            ],
        )
        .unwrap();
        assert!(given.on("interactive") && given.on("tty") && !given.on("sig-proxy"));
        assert_eq!(given.bytes("memory").unwrap(), 512 << 20);
        assert_eq!(given.text("name"), Some("a=b"));
        assert_eq!(given.list("env"), ["X=1", "Y", "Z"]);
        assert_eq!(given.operands, ["image", "-i", "--rm"]);
    }

    #[test]
    fn flags_may_follow_operands_where_no_program_is_run() {
        let parsed = given(false, &["a", "-t", "b", "--", "-c"]).unwrap();
        assert!(parsed.on("tty") && !parsed.on("interactive") && parsed.on("sig-proxy"));
        assert_eq!(parsed.operands, ["a", "b", "-c"]);
        assert_eq!(given(true, &["--", "-i", "-t"]).unwrap().operands, ["-i", "-t"]);
        assert_eq!(given(true, &["image", "--", "x"]).unwrap().operands, ["image", "--", "x"]);
        assert!(!given(false, &["-t=false"]).unwrap().on("tty"));
    }

    #[test]
    fn mistakes_are_named_and_the_nearest_flag_is_offered() {
        let failure = given(false, &["--nmae", "x"]).unwrap_err();
        assert_eq!(failure.message, "unknown flag: --nmae");
        assert_eq!(failure.hint.as_deref(), Some("did you mean --name?"));
        assert_eq!(given(false, &["-ix"]).unwrap_err().message, "unknown shorthand flag: 'x' in -ix");
        assert_eq!(given(false, &["--name"]).unwrap_err().message, "flag needs an argument: --name string");
        assert!(given(false, &["--tty=perhaps"]).unwrap_err().message.contains("\"-t, --tty\""));
        let wrong = given(false, &["-m", "much"]).unwrap().bytes("memory").unwrap_err();
        assert!(
            wrong.message.starts_with("invalid argument \"much\" for \"-m, --memory\" flag: "),
            "{}",
            wrong.message
        );
    }

    proptest! {
        #[test]
        fn no_command_line_panics(words in proptest::collection::vec("[-=a-zé ]{0,8}", 0..8), verbatim: bool) {
            let _ = read(TABLES, verbatim, &words);
        }
    }
}
