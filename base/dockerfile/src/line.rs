use std::ops::Range;

use crate::{Span, Word};

/// An instruction's line with its continuations joined, that still knows where each byte came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) text: String,
    pieces: Vec<Piece>,
}

/// A run of bytes that stand together in the file, too.
#[derive(Clone, Copy, Debug)]
struct Piece {
    at: usize,
    source: usize,
    line: u32,
}

impl Line {
    /// Appends what stands at `source` in the file, on line `line`.
    pub(crate) fn push(&mut self, text: &str, source: usize, line: u32) {
        self.pieces.push(Piece { at: self.text.len(), source, line });
        self.text.push_str(text);
    }

    /// A line that stands in no file, as the trigger of a base image.
    pub(crate) fn detached(text: &str) -> Self {
        Self { text: text.to_owned(), pieces: Vec::new() }
    }

    fn piece(&self, at: usize) -> Option<&Piece> {
        let after = self.pieces.partition_point(|piece| piece.at <= at);
        self.pieces.get(after.saturating_sub(1))
    }

    /// Where a range of the joined text stands in the file.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        let place =
            |at: usize| self.piece(at).map(|piece| (piece.source + (at - piece.at.min(at)), piece.line));
        let (Some((start, line)), Some((last, _))) =
            (place(range.start), place(range.end.saturating_sub(1).max(range.start)))
        else {
            return Span::default();
        };
        let end = last + usize::from(range.end > range.start);
        Span { line, start: offset(start), end: offset(end) }
    }

    /// The piece of text with its place.
    pub(crate) fn word(&self, range: Range<usize>) -> Word {
        Word { text: self.text[range.clone()].to_owned(), span: self.span(range) }
    }

    /// The range without white space at its ends.
    pub(crate) fn trim(&self, range: Range<usize>) -> Range<usize> {
        let text = &self.text[range.clone()];
        let start = range.start + (text.len() - text.trim_start().len());
        start..start + text.trim().len()
    }
}

/// Files are far smaller than 4 GiB ([`crate::LARGEST`]).
pub(crate) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
