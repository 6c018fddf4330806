//! Flags as the field's runtimes take them: `--name value`, `--name=value`, also with one dash; before the arguments, or,
//! where no argument is a program's, anywhere.

use crate::failure::Failure;

/// One flag of a command.
#[derive(Clone, Copy)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    /// One letter, or nothing.
    pub(crate) short: &'static str,
    pub(crate) takes_value: bool,
}

/// A flag with a value.
pub(crate) const fn value(name: &'static str, short: &'static str) -> Flag {
    Flag { name, short, takes_value: true }
}

/// A flag that is there or not.
pub(crate) const fn switch(name: &'static str, short: &'static str) -> Flag {
    Flag { name, short, takes_value: false }
}

/// What was given.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    flags: Vec<(&'static str, &'a str)>,
    /// What is no flag.
    pub(crate) rest: Vec<&'a str>,
}

impl<'a> Given<'a> {
    /// Flags end at the first argument: what follows it is a program's.
    pub(crate) fn parse(words: &[&'a str], known: &[Flag]) -> Result<Self, Failure> {
        let mut given = Self { flags: Vec::new(), rest: Vec::new() };
        let rest = given.take_flags(words, known)?;
        given.rest.extend(rest);
        Ok(given)
    }

    /// Flags may also stand behind arguments, up to `--`.
    pub(crate) fn parse_anywhere(mut words: &[&'a str], known: &[Flag]) -> Result<Self, Failure> {
        let mut given = Self { flags: Vec::new(), rest: Vec::new() };
        loop {
            let rest = given.take_flags(words, known)?;
            let ended = rest.len() < words.len() && words[words.len() - rest.len() - 1] == "--";
            match rest {
                [argument, after @ ..] if !ended => {
                    given.rest.push(argument);
                    words = after;
                }
                rest => {
                    given.rest.extend(rest);
                    return Ok(given);
                }
            }
        }
    }

    /// The flags that `words` begin with; answers what follows them.
    fn take_flags<'w>(&mut self, mut rest: &'w [&'a str], known: &[Flag]) -> Result<&'w [&'a str], Failure> {
        while let [word, after @ ..] = rest {
            let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else { break };
            rest = after;
            if name == "-" {
                break;
            }
            let name = name.strip_prefix('-').unwrap_or(name);
            let (name, attached) = name.split_once('=').map_or((name, None), |(n, v)| (n, Some(v)));
            let flag =
                known.iter().find(|flag| flag.name == name || (flag.short == name && !name.is_empty()));
            let Some(flag) = flag else { return Err(Failure::new(format!("unknown flag {word}"))) };
            let value = match (flag.takes_value, attached, rest) {
                (_, Some(value), _) => value,
                (false, None, _) => "true",
                (true, None, [value, after @ ..]) => {
                    rest = after;
                    value
                }
                (true, None, []) => return Err(Failure::new(format!("flag {word} needs a value"))),
            };
            self.flags.push((flag.name, value));
        }
        Ok(rest)
    }

    /// The last value of a flag.
    pub(crate) fn value(&self, name: &str) -> Option<&'a str> {
        self.values(name).last()
    }

    /// All of them.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(move |(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// A switch.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value != "false")
    }

    /// A value of some type.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let parse = |value: &str| {
            value.parse().map_err(|_| Failure::new(format!("invalid value \"{value}\" of --{name}")))
        };
        self.value(name).map(parse).transpose()
    }

    /// The one argument.
    pub(crate) fn id(&self) -> Result<&'a str, Failure> {
        match self.rest.as_slice() {
            [id] => Ok(*id),
            [] => Err(Failure::new("a container's id is needed")),
            [_, extra, ..] => Err(Failure::new(format!("unexpected argument {extra}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Flag; 3] = [value("bundle", "b"), switch("force", "f"), value("env", "e")];

    #[test]
    fn every_spelling_is_read() {
        let words = ["--bundle", "/x", "-env=A=1", "-e", "B=2", "--force", "id", "--force"];
        let given = Given::parse(&words, &KNOWN).unwrap();
        assert_eq!(given.value("bundle"), Some("/x"));
        assert_eq!(given.values("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
        assert!(given.is("force"));
        assert_eq!(given.rest, ["id", "--force"], "what follows the first argument is the program's");
        let given = Given::parse(&["--force=false", "--", "-x"], &KNOWN).unwrap();
        assert!(!given.is("force"));
        assert_eq!(given.rest, ["-x"]);
    }

    #[test]
    fn flags_may_stand_behind_arguments_that_are_no_programs() {
        let words = ["id", "--force", "KILL", "-b", "/x", "--", "--env"];
        let given = Given::parse_anywhere(&words, &KNOWN).unwrap();
        assert!(given.is("force"));
        assert_eq!(given.value("bundle"), Some("/x"));
        assert_eq!(given.rest, ["id", "KILL", "--env"]);
        assert!(Given::parse_anywhere(&["id", "--frce"], &KNOWN).is_err());
        assert_eq!(Given::parse_anywhere(&[], &KNOWN).unwrap().rest.len(), 0);
    }

    #[test]
    fn mistakes_are_named() {
        let refusal = |words: &[&str]| Given::parse(words, &KNOWN).unwrap_err().message;
        assert_eq!(refusal(&["--frce"]), "unknown flag --frce");
        assert_eq!(refusal(&["--bundle"]), "flag --bundle needs a value");
        assert!(Given::parse(&["a", "b"], &KNOWN).unwrap().id().is_err());
    }
}
