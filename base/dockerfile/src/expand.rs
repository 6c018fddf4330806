//! One word: quotes, escapes and variables become the final text.

mod pattern;

use crate::{Error, Result, Span};

/// How a text is read.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) escape: char,
    /// Whether quotes are quotes; in a here-document they are letters.
    pub(crate) quotes: bool,
    pub(crate) span: Span,
}

/// What variables hold; `None` = not set.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The deepest nesting of `${a:-${b:-…}}`.
const DEEPEST: usize = 64;
/// The longest text that the words of one instruction may become together: `${a//x/$a}` doubles with every line.
pub(crate) const LONGEST: usize = 8 << 20;

/// The final text of a word.
pub(crate) fn expand(text: &str, reading: Reading, variables: Lookup<'_>) -> Result<String> {
    let mut walk = Walk { rest: text, reading, variables, depth: 0 };
    let pieces = walk.until(None)?;
    Ok(pieces.into_iter().map(|piece| piece.text).collect())
}

/// The final words of a text: cut at white space that is neither quoted nor escaped, also where it came out of a variable.
pub(crate) fn expand_words(text: &str, reading: Reading, variables: Lookup<'_>) -> Result<Vec<String>> {
    let mut walk = Walk { rest: text, reading, variables, depth: 0 };
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    for piece in walk.until(None)? {
        if piece.whole {
            if !std::mem::replace(&mut open, true) {
                words.push(String::new());
            }
            words.last_mut().into_iter().for_each(|word| word.push_str(&piece.text));
            continue;
        }
        for c in piece.text.chars() {
            if c.is_whitespace() {
                open = false;
                continue;
            }
            if !std::mem::replace(&mut open, true) {
                words.push(String::new());
            }
            words.last_mut().into_iter().for_each(|word| word.push(c));
        }
    }
    Ok(words)
}

/// A part of a word; `whole` when it is not cut at white space, since it was quoted or escaped.
struct Piece {
    text: String,
    whole: bool,
}

struct Walk<'a> {
    rest: &'a str,
    reading: Reading,
    variables: Lookup<'a>,
    depth: usize,
}

impl Walk<'_> {
    fn fault(&self, message: impl Into<String>) -> Error {
        Error::at(self.reading.span, message)
    }

    fn too_long(&self) -> Error {
        self.fault(format!("a word grows beyond {LONGEST} bytes when its variables are replaced"))
    }

    /// What a pattern made, unless it took too long or grew too large.
    fn bounded(&self, pattern: &pattern::Pattern, text: String) -> Result<String> {
        if pattern.exhausted() {
            return Err(
                self.fault("a pattern in \"${…}\" takes too long on so large a value: do it in a RUN")
            );
        }
        if text.len() > LONGEST { Err(self.too_long()) } else { Ok(text) }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn skip(&mut self, c: char) -> bool {
        self.peek() == Some(c) && self.next().is_some()
    }

    /// Reads up to a stop character (which stays) or the end.
    fn until(&mut self, stop: Option<char>) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut length = 0;
        while let Some(c) = self.peek().filter(|c| Some(*c) != stop) {
            let piece = match c {
                '\'' if self.reading.quotes => Piece { text: self.single()?, whole: true },
                '"' if self.reading.quotes => Piece { text: self.double()?, whole: true },
                '$' => Piece { text: self.dollar()?, whole: false },
                c if c == self.reading.escape => {
                    self.next();
                    Piece { text: self.next().map(String::from).unwrap_or_default(), whole: true }
                }
                _ => Piece { text: self.plain(stop), whole: false },
            };
            length += piece.text.len();
            if length > LONGEST {
                return Err(self.too_long());
            }
            pieces.push(piece);
        }
        Ok(pieces)
    }

    fn text_until(&mut self, stop: char) -> Result<String> {
        let pieces = self.until(Some(stop))?;
        if !self.skip(stop) {
            return Err(self.fault("a \"${\" is not closed: write }"));
        }
        Ok(pieces.into_iter().map(|piece| piece.text).collect())
    }

    fn plain(&mut self, stop: Option<char>) -> String {
        let special = |c: char| {
            c == '$'
                || c == self.reading.escape
                || Some(c) == stop
                || (self.reading.quotes && matches!(c, '"' | '\''))
        };
        let end = self.rest.find(special).unwrap_or(self.rest.len());
        let (plain, rest) = self.rest.split_at(end);
        self.rest = rest;
        plain.to_owned()
    }

    fn single(&mut self) -> Result<String> {
        self.next();
        let Some((inside, rest)) = self.rest.split_once('\'') else {
            return Err(self.fault("a single quote is not closed: write ' again, or \\' for the letter"));
        };
        self.rest = rest;
        Ok(inside.to_owned())
    }

    fn double(&mut self) -> Result<String> {
        self.next();
        let mut inside = String::new();
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    self.next();
                    return Ok(inside);
                }
                '$' => inside.push_str(&self.dollar()?),
                c if c == self.reading.escape => {
                    self.next();
                    match self.next() {
                        Some(next) if next == '"' || next == '$' || next == self.reading.escape => {
                            inside.push(next)
                        }
                        next => inside.extend([Some(c), next].into_iter().flatten()),
                    }
                }
                c => {
                    self.next();
                    inside.push(c);
                }
            }
            if inside.len() > LONGEST {
                return Err(self.too_long());
            }
        }
        Err(self.fault("a double quote is not closed: write \" again, or \\\" for the letter"))
    }

    fn dollar(&mut self) -> Result<String> {
        self.next();
        if !self.skip('{') {
            let name = self.name();
            return Ok(if name.is_empty() {
                "$".to_owned()
            } else {
                (self.variables)(&name).unwrap_or_default()
            });
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.fault(format!("variables are nested deeper than {DEEPEST}")));
        }
        let text = self.braced()?;
        self.depth -= 1;
        Ok(text)
    }

    /// Letters, digits and `_`; or one of the shell's own parameters, which are never set here.
    fn name(&mut self) -> String {
        let first = self.peek();
        let end = match first {
            Some('@' | '*' | '#' | '?' | '-' | '!' | '$') => 1,
            Some(c) if c.is_ascii_digit() => self.length(|c| c.is_ascii_digit()),
            _ => self.length(|c| c.is_alphanumeric() || c == '_'),
        };
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name.to_owned()
    }

    fn length(&self, belongs: impl Fn(char) -> bool) -> usize {
        self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len())
    }

    /// What follows `${`.
    fn braced(&mut self) -> Result<String> {
        let name = self.name();
        if name.is_empty() {
            return Err(
                self.fault("a \"${\" without a variable's name: write ${name}, or \\$ for the letter")
            );
        }
        let value = (self.variables)(&name);
        match self.next() {
            Some('}') => Ok(value.unwrap_or_default()),
            Some(':') => {
                let operator = self.next();
                let value = value.filter(|value| !value.is_empty());
                self.alternative(operator, &name, value, "is not set or empty")
            }
            Some(operator @ ('-' | '+' | '?')) => self.alternative(Some(operator), &name, value, "is not set"),
            Some(operator @ ('#' | '%')) => {
                let longest = self.skip(operator);
                let pattern = self.pattern_until('}')?;
                let value = value.unwrap_or_default();
                let cut = match operator {
                    '#' => pattern.without_start(&value, longest),
                    _ => pattern.without_end(&value, longest),
                };
                self.bounded(&pattern, cut.to_owned())
            }
            Some('/') => {
                let all = self.skip('/');
                let pattern = self.pattern_until('/')?;
                let by = self.text_until('}')?;
                let replaced = pattern.replace(&value.unwrap_or_default(), &by, all);
                self.bounded(&pattern, replaced)
            }
            Some(other) => Err(self.fault(format!(
                "unknown operator '{other}' in \"${{{name}{other}…}}\": known are :- - :+ + :? ? # ## % %% / //"
            ))),
            None => Err(self.fault(format!("\"${{{name}\" is not closed: write }}"))),
        }
    }

    fn alternative(
        &mut self,
        operator: Option<char>,
        name: &str,
        value: Option<String>,
        state: &str,
    ) -> Result<String> {
        let word = self.text_until('}')?;
        match (operator, value) {
            (Some('-' | '?'), Some(value)) => Ok(value),
            (Some('-'), None) | (Some('+'), Some(_)) => Ok(word),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) if word.is_empty() => {
                Err(self.fault(format!("{name}: {state}: give it a value")))
            }
            (Some('?'), None) => Err(self.fault(format!("{name}: {word}"))),
            _ => Err(self.fault(format!("unknown operator after \"${{{name}:\": known are :- :+ :?"))),
        }
    }

    /// A pattern keeps its escapes, which make its own wildcards plain.
    fn pattern_until(&mut self, stop: char) -> Result<pattern::Pattern> {
        let mut text = pattern::Pattern::default();
        while let Some(c) = self.peek().filter(|c| *c != stop) {
            match c {
                '$' => {
                    let value = self.dollar()?;
                    text.wild(&value);
                }
                '\'' if self.reading.quotes => {
                    let inside = self.single()?;
                    text.plain(&inside);
                }
                '"' if self.reading.quotes => {
                    let inside = self.double()?;
                    text.plain(&inside);
                }
                c if c == self.reading.escape => {
                    self.next();
                    let next = self.next().map(String::from).unwrap_or_default();
                    text.plain(&next);
                }
                c => {
                    self.next();
                    text.wild(c.encode_utf8(&mut [0; 4]));
                }
            }
        }
        if !self.skip(stop) {
            return Err(
                self.fault("a pattern in \"${…}\" is not closed: write }, or / and what is put instead")
            );
        }
        Ok(text)
    }
}
