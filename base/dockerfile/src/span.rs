use std::fmt;

/// Where something stands in a file: for messages that show the line with a caret.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The line of the first byte, counted from 1; 0 where there is no place to show.
    pub line: u32,
    /// Offset of the first byte in the file.
    pub start: u32,
    /// Offset after the last byte; the span may reach over several lines.
    pub end: u32,
}

/// A piece of text as the author wrote it: quotes, escapes and variables still in it. [`crate::Scope::expand`] makes the
/// final text of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// As written, continuations joined.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}..{}", self.line, self.start, self.end)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{:?}", self.text, self.span)
    }
}

/// The widest part of a source line that an excerpt shows, in characters.
const SHOWN: usize = 120;

/// The source line of a span with carets under it, ready to print below a message; empty for a span without a place.
///
/// ```text
///    3 | COPY --form=build /a /b
///      |      ^^^^^^^^^^^^
/// ```
pub fn excerpt(source: &str, name: &str, span: Span) -> String {
    let (start, end) = (span.start as usize, span.end as usize);
    if span.line == 0 || start > source.len() || !source.is_char_boundary(start) {
        return String::new();
    }
    let from = source[..start].rfind('\n').map_or(0, |at| at + 1);
    let until = source[start..].find('\n').map_or(source.len(), |at| start + at);
    let (line, column) = (&source[from..until], source[from..start].chars().count());
    let marked = source.get(start..end.min(until)).map_or(1, |marked| marked.trim_end().chars().count());
    // A line that is longer than a screen is shown around the place that matters.
    let skipped = column.saturating_sub(SHOWN / 2);
    let shown: String = line.chars().skip(skipped).take(SHOWN).map(printable).collect();
    let column = column - skipped;
    let carets = "^".repeat(marked.clamp(1, SHOWN.saturating_sub(column).max(1)));
    let (number, blank) = (format!("{:>4}", span.line), " ".repeat(4.max(span.line.to_string().len())));
    format!(
        "{blank} --> {name}:{}\n{number} | {}\n{blank} | {}{carets}",
        span.line,
        shown.trim_end(),
        " ".repeat(column)
    )
}

/// Control characters would move the caret or command the terminal.
fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_points_at_the_word() {
        let source = "FROM a\nCOPY --form=b /a /b\n";
        let shown = excerpt(source, "Dockerfile", Span { line: 2, start: 12, end: 20 });
        assert_eq!(shown, "     --> Dockerfile:2\n   2 | COPY --form=b /a /b\n     |      ^^^^^^^^");
    }

    #[test]
    fn an_excerpt_of_a_very_long_line_stays_short_and_of_no_place_is_empty() {
        let source = format!("RUN {}\x1b[2Jz", "é".repeat(5000));
        let start = u32::try_from(source.len() - 1).unwrap();
        let shown = excerpt(&source, "f", Span { line: 1, start, end: start + 1 });
        assert!(shown.lines().all(|line| line.chars().count() < 140) && !shown.contains('\x1b'), "{shown}");
        assert!(shown.ends_with('^'));
        assert_eq!(excerpt("a", "f", Span::default()), "");
        assert_eq!(excerpt("a", "f", Span { line: 9, start: 90, end: 91 }), "");
    }
}
