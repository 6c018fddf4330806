use crate::line::{Line, offset};
use crate::{Directives, Error, Result, Span, Warning};

/// The largest Dockerfile that is read, in bytes: here-documents may carry whole scripts, nobody writes more by hand.
pub const LARGEST: usize = 16 << 20;

/// The lines of a file, one after the other.
pub(crate) struct Reader<'a> {
    source: &'a str,
    at: usize,
    line: u32,
}

/// A line as it stands in the file, without its end.
#[derive(Clone, Copy)]
struct Raw<'a> {
    text: &'a str,
    start: usize,
    number: u32,
}

impl Raw<'_> {
    fn span(&self) -> Span {
        Span { line: self.number, start: offset(self.start), end: offset(self.start + self.text.len()) }
    }
}

/// Makes text of the bytes of a file.
pub(crate) fn decode(bytes: &[u8]) -> Result<&str> {
    if bytes.len() > LARGEST {
        let message = format!(
            "the file has {} bytes, {LARGEST} are the limit: copy large content from the build context instead",
            bytes.len()
        );
        return Err(Error::at(Span::default(), message));
    }
    let place = |at: usize| {
        let line = bytes[..at].iter().filter(|b| **b == b'\n').count() + 1;
        Span { line: offset(line), start: offset(at), end: offset(at + 1) }
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let span = place(error.valid_up_to());
        let message = format!(
            "line {} is not UTF-8 (byte 0x{:02x}): save the file as UTF-8",
            span.line,
            bytes[error.valid_up_to()]
        );
        Error::at(Span { line: 0, ..span }, message)
    })?;
    if let Some(at) = text.find('\0') {
        return Err(Error::at(place(at), "the file holds a NUL byte: it is no text file"));
    }
    Ok(text)
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: &'a str) -> Self {
        let at = if source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Self { source, at, line: 0 }
    }

    fn peek(&self) -> Option<Raw<'a>> {
        let rest = self.source.get(self.at..).filter(|rest| !rest.is_empty())?;
        let text = rest.split('\n').next().unwrap_or(rest);
        Some(Raw { text: text.strip_suffix('\r').unwrap_or(text), start: self.at, number: self.line + 1 })
    }

    fn next_raw(&mut self) -> Option<Raw<'a>> {
        let raw = self.peek()?;
        self.line += 1;
        let end = self.source[self.at..].find('\n');
        self.at = end.map_or(self.source.len(), |end| self.at + end + 1);
        Some(raw)
    }

    /// Reads the directives, which only the very first lines can be.
    pub(crate) fn directives(&mut self) -> Result<Directives> {
        let mut directives = Directives::default();
        let mut seen = Vec::new();
        while let Some(raw) = self.peek() {
            let Some((key, value)) = directive(raw.text) else { break };
            self.next_raw();
            let slot = match key.as_str() {
                "syntax" => &mut directives.syntax,
                "check" => &mut directives.check,
                "escape" => {
                    directives.escape = escape(raw, value)?;
                    &mut None
                }
                _ => continue,
            };
            *slot = Some(value.to_owned());
            if seen.contains(&key) {
                return Err(Error::at(
                    raw.span(),
                    format!("only one directive \"{key}\" is allowed: remove this one"),
                ));
            }
            seen.push(key);
        }
        Ok(directives)
    }

    /// The next instruction: comments and empty lines passed over, continuations joined.
    pub(crate) fn instruction(&mut self, escape: char, warnings: &mut Vec<Warning>) -> Option<Line> {
        let mut line = Line::default();
        let mut continued = false;
        let mut hole = None;
        while let Some(raw) = self.next_raw() {
            let body = raw.text.trim_start();
            if body.starts_with('#') {
                continue;
            }
            if body.is_empty() {
                hole = hole.or(continued.then_some(raw));
                continue;
            }
            let kept = if continued { raw.text } else { body };
            let (kept, more) = without_continuation(kept, escape);
            if !continued && kept.is_empty() {
                continue;
            }
            let indent = if continued { 0 } else { raw.text.len() - body.len() };
            line.push(kept, raw.start + indent, raw.number);
            continued = more;
            if !more {
                break;
            }
        }
        if let Some(raw) = hole {
            let message =
                "an empty line inside an instruction: end the line before it without a continuation";
            warnings.push(Warning { span: raw.span(), message: message.to_owned() });
        }
        (!line.text.trim().is_empty()).then_some(line)
    }

    /// The lines of a here-document up to `name`, as they stand; `tabs` lets the delimiter be indented by tabs.
    pub(crate) fn heredoc(&mut self, name: &str, tabs: bool, opened: Span) -> Result<&'a str> {
        let start = self.at;
        while let Some(raw) = self.next_raw() {
            let text = if tabs { raw.text.trim_start_matches('\t') } else { raw.text };
            if text == name {
                return Ok(&self.source[start..raw.start]);
            }
        }
        let message =
            format!("the here-document \"{name}\" is not closed: end it with a line that holds {name} alone");
        Err(Error::at(opened, message))
    }

    /// What has been read from a position on.
    pub(crate) fn since(&self, from: u32) -> &'a str {
        self.source.get(from as usize..self.at).unwrap_or_default()
    }

    /// Where reading has come to.
    pub(crate) fn position(&self) -> u32 {
        offset(self.at)
    }
}

/// `# key=value`
fn directive(text: &str) -> Option<(String, &str)> {
    let (key, value) = text.trim_start().strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let word =
        key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    (word && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value))
}

fn escape(raw: Raw<'_>, value: &str) -> Result<char> {
    match value {
        "\\" => Ok('\\'),
        "`" => Ok('`'),
        _ => Err(Error::at(raw.span(), format!("invalid escape directive \"{value}\": it must be ` or \\"))),
    }
}

/// Cuts the escape character that ends a line, unless it is itself escaped. White space may follow it.
fn without_continuation(text: &str, escape: char) -> (&str, bool) {
    let trimmed = text.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(kept) if !kept.ends_with(escape) => (kept, true),
        _ => (text, false),
    }
}
