use std::ops::Range;

use crate::line::Line;
use crate::{Error, Result, Span, Word};

/// Cuts a part of a line at white space. Quotes and escapes hold words together and stay in them.
pub(crate) fn split(line: &Line, range: Range<usize>, escape: char) -> Vec<Word> {
    ranges(&line.text[range.clone()], escape)
        .into_iter()
        .map(|word| line.word(range.start + word.start..range.start + word.end))
        .collect()
}

fn ranges(text: &str, escape: char) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut from = 0;
    while let Some(word) = next(text, from, escape) {
        from = word.end;
        words.push(word);
    }
    words
}

/// The first word at or after an offset.
fn next(text: &str, from: usize, escape: char) -> Option<Range<usize>> {
    let start = from + text[from..].find(|c: char| !c.is_whitespace())?;
    let mut quote = None;
    let mut letters = text[start..].char_indices();
    while let Some((at, c)) = letters.next() {
        match quote {
            None if c.is_whitespace() => return Some(start..start + at),
            Some(open) if c == open => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some('\'') => {}
            _ if c == escape => {
                letters.next();
            }
            _ => {}
        }
    }
    Some(start..text.len())
}

/// A flag before an instruction's arguments.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    pub(crate) name: String,
    /// Its quotes are gone.
    pub(crate) value: Option<Word>,
    pub(crate) span: Span,
}

/// Takes the `--name[=value]` words from the front of a range; what is left comes second. `--` alone ends them.
pub(crate) fn flags(line: &Line, range: Range<usize>, escape: char) -> (Vec<Flag>, Range<usize>) {
    let mut flags = Vec::new();
    let mut rest = line.trim(range);
    while line.text[rest.clone()].starts_with("--") {
        let Some(first) = next(&line.text[rest.clone()], 0, escape) else { break };
        let word = line.word(rest.start..rest.start + first.end);
        rest = line.trim(rest.start + first.end..rest.end);
        if word.text == "--" {
            break;
        }
        let bare = unquote(&word.text[2..], escape);
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(Word { text: value.to_owned(), span: word.span })),
            None => (bare, None),
        };
        flags.push(Flag { name, value, span: word.span });
    }
    (flags, rest)
}

/// Takes quotes and escapes away, variables stay.
pub(crate) fn unquote(text: &str, escape: char) -> String {
    let mut plain = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        match quote {
            Some(open) if c == open => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some(_) => plain.push(c),
            None if c == escape => plain.extend(letters.next()),
            None => plain.push(c),
        }
    }
    plain
}

/// What the JSON form of an instruction turned out to be.
pub(crate) enum Json {
    /// A list of strings; the flag says that something follows it.
    List(Vec<String>, bool),
    /// No JSON; the flag says that it was probably meant to be.
    Text(bool),
}

/// Reads `["a", "b"]`, as Go does: the first JSON value counts.
pub(crate) fn json(text: &str, span: Span) -> Result<Json> {
    if !text.starts_with('[') {
        return Ok(Json::Text(false));
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    let Some(Ok(serde_json::Value::Array(items))) = values.next() else {
        return Ok(Json::Text(text.ends_with(']')));
    };
    let more = !text[values.byte_offset()..].trim().is_empty();
    let strings: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
    strings
        .map(|strings| Json::List(strings, more))
        .ok_or_else(|| Error::at(span, "a JSON list here must hold strings only: quote every item with \""))
}
