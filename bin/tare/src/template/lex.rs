//! Text → pieces between and inside of braces.

use serde_json::{Number, Value};

use super::Result;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// A word inside of braces.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A keyword, function or constant.
    Word(String),
    /// `.` alone.
    Dot,
    /// `.Name`; `joined` when nothing stands before it, so that it belongs to the operand there.
    Field {
        name: String,
        joined: bool,
    },
    /// `$name`, `$` alone being the data as a whole.
    Variable(String),
    Literal(Value),
    Pipe,
    Open,
    Close,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// Cuts a template into pieces.
pub(super) fn lex(template: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trim_next = false;
    loop {
        let (text, after) = match rest.split_once("{{") {
            Some((text, after)) => (text, Some(after)),
            None => (rest, None),
        };
        let text = if trim_next { text.trim_start() } else { text };
        let trims =
            after.is_some_and(|after| after.starts_with('-') && after[1..].starts_with(char::is_whitespace));
        let text = if trims { text.trim_end() } else { text };
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let Some(after) = after else { return Ok(pieces) };
        let inside = if trims { &after[1..] } else { after };
        let (tokens, trims_after, left) = action(inside)?;
        pieces.extend(tokens.map(Piece::Action));
        (rest, trim_next) = (left, trims_after);
    }
}

/// What one pair of braces holds (nothing for a comment), whether the text behind it is trimmed, and that text.
fn action(inside: &str) -> Result<(Option<Vec<Token>>, bool, &str)> {
    if let Some(comment) = inside.trim_start().strip_prefix("/*") {
        let (_, after) = comment.split_once("*/").ok_or("unclosed comment")?;
        let (trims, left) = closing(after.trim_start(), after.starts_with(char::is_whitespace))
            .ok_or("comment ends before closing delimiter")?;
        return Ok((None, trims, left));
    }
    let mut tokens = Vec::new();
    let mut rest = inside;
    loop {
        let trimmed = rest.trim_start();
        let spaced = trimmed.len() != rest.len();
        if trimmed.is_empty() {
            return Err("unclosed action: }} is missing".into());
        }
        if let Some((trims, left)) = closing(trimmed, spaced) {
            return Ok((Some(tokens), trims, left));
        }
        let joined =
            !spaced && matches!(tokens.last(), Some(Token::Field { .. } | Token::Variable(_) | Token::Close));
        let (token, left) = token(trimmed, joined)?;
        tokens.push(token);
        rest = left;
    }
}

fn closing(text: &str, spaced: bool) -> Option<(bool, &str)> {
    let trimming = if spaced { text.strip_prefix("-}}").map(|left| (true, left)) } else { None };
    trimming.or_else(|| text.strip_prefix("}}").map(|left| (false, left)))
}

fn token(text: &str, joined: bool) -> Result<(Token, &str)> {
    let mut letters = text.chars();
    let first = letters.next().unwrap_or('}');
    let after = letters.as_str();
    let simple = |token| Ok((token, after));
    match first {
        '|' => simple(Token::Pipe),
        '(' => simple(Token::Open),
        ')' => simple(Token::Close),
        ',' => simple(Token::Comma),
        '=' => simple(Token::Assign),
        ':' => {
            after.strip_prefix('=').map(|left| (Token::Declare, left)).ok_or_else(|| "expected :=".to_owned())
        }
        '"' => quoted(after).map(|(text, left)| (Token::Literal(text.into()), left)),
        '`' => after
            .split_once('`')
            .map(|(raw, left)| (Token::Literal(raw.into()), left))
            .ok_or_else(|| "unterminated raw quoted string".to_owned()),
        '\'' => character(after),
        '$' => {
            let (name, left) = word(after);
            Ok((Token::Variable(name.to_owned()), left))
        }
        '.' if !after.starts_with(|c: char| c.is_ascii_digit()) => {
            let (name, left) = word(after);
            let token =
                if name.is_empty() { Token::Dot } else { Token::Field { name: name.to_owned(), joined } };
            Ok((token, left))
        }
        '0'..='9' | '-' | '+' | '.' => number(text),
        c if is_letter(c) => {
            let (name, left) = word(text);
            Ok((constant(name), left))
        }
        other => Err(format!("unexpected \"{other}\" in action")),
    }
}

fn constant(word: &str) -> Token {
    match word {
        "true" => Token::Literal(true.into()),
        "false" => Token::Literal(false.into()),
        "nil" => Token::Literal(Value::Null),
        _ => Token::Word(word.to_owned()),
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c| !is_letter(c)).unwrap_or(text.len()))
}

fn number(text: &str) -> Result<(Token, &str)> {
    let end = text
        .char_indices()
        .skip(1)
        .find(|(_, c)| !(is_letter(*c) || *c == '.'))
        .map_or(text.len(), |(at, _)| at);
    let (digits, left) = text.split_at(end);
    let bad = || format!("bad number syntax: \"{digits}\"");
    let unsigned = digits.trim_start_matches(['+', '-']);
    let integer = match unsigned.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => unsigned.parse().ok(),
    };
    let value = match integer {
        Some(integer) => Value::from(if digits.starts_with('-') { -integer } else { integer }),
        None => Value::Number(digits.parse::<f64>().ok().and_then(Number::from_f64).ok_or_else(bad)?),
    };
    Ok((Token::Literal(value), left))
}

fn character(text: &str) -> Result<(Token, &str)> {
    let mut letters = text.chars();
    let letter = match letters.next() {
        Some('\\') => letters.next().and_then(unescaped),
        other => other,
    };
    let code = letter.ok_or("unterminated character constant")?;
    let left = letters.as_str().strip_prefix('\'').ok_or("unterminated character constant")?;
    Ok((Token::Literal(u32::from(code).into()), left))
}

fn quoted(text: &str) -> Result<(String, &str)> {
    let mut out = String::new();
    let mut letters = text.chars();
    loop {
        match letters.next() {
            None | Some('\n') => return Err("unterminated quoted string".into()),
            Some('"') => return Ok((out, letters.as_str())),
            Some('\\') => {
                out.push(letters.next().and_then(unescaped).ok_or("unknown escape in quoted string")?)
            }
            Some(letter) => out.push(letter),
        }
    }
}

fn unescaped(letter: char) -> Option<char> {
    Some(match letter {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'v' => '\x0b',
        '0' => '\0',
        '\\' | '"' | '\'' => letter,
        _ => return None,
    })
}
