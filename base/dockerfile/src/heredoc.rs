use crate::line::Line;
use crate::read::Reader;
use crate::words::unquote;
use crate::{Error, Heredoc, Result, Span, Word};

/// A here-document, as its line opens it and its lines fill it.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    name: String,
    expand: bool,
    tabs: bool,
    /// The word that opened it.
    pub(crate) span: Span,
    /// The lines as they stand.
    pub(crate) raw: String,
}

impl Opened {
    /// The file that it is: its name, and what the body is once leading tabs are gone. A name that leads elsewhere is refused:
    /// files are made by it in trees that others have filled with links.
    pub(crate) fn heredoc(&self) -> Result<Heredoc> {
        if self.name.contains(['/', '\0']) || matches!(self.name.as_str(), "." | "..") {
            let message =
                format!("a here-document is called like a file, without slashes, not \"{}\"", self.name);
            return Err(Error::at(self.span, message));
        }
        let body = if self.tabs {
            self.raw.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
        } else {
            self.raw.clone()
        };
        Ok(Heredoc { name: self.name.clone(), expand: self.expand, body })
    }

    /// As a shell wants to read it behind its line.
    pub(crate) fn for_shell(&self) -> String {
        format!("\n{}{}", self.raw, self.name)
    }
}

/// Reads the bodies of all here-documents that the words of a line open.
pub(crate) fn read(reader: &mut Reader<'_>, words: &[Word]) -> Result<Vec<Opened>> {
    let mut opened: Vec<Opened> = words.iter().filter_map(open).collect();
    for heredoc in &mut opened {
        let body = reader.heredoc(&heredoc.name, heredoc.tabs, heredoc.span)?;
        heredoc.raw = body.replace("\r\n", "\n");
    }
    Ok(opened)
}

/// The bodies in a text that carries its own here-documents, as the trigger of a base image does.
pub(crate) fn split_text(text: &str) -> (Line, Reader<'_>) {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    (Line::detached(line), Reader::new(rest))
}

/// `[fd]<<[-]NAME` as one word, NAME perhaps quoted.
pub(crate) fn open(word: &Word) -> Option<Opened> {
    let rest = word.text.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (tabs, raw) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let name = unquote(raw, '\\');
    if name.is_empty() || raw.contains('<') || name.contains(char::is_whitespace) {
        return None;
    }
    Some(Opened { expand: name == raw, name, tabs, span: word.span, raw: String::new() })
}
