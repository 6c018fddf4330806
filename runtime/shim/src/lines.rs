//! Output as lines, and lines as Docker's json-file has them. Pure.

use tare_model::Timestamp;

/// The longest piece that becomes one entry: longer lines are cut, as Docker cuts them.
pub(crate) const LONGEST: usize = 16 << 10;

/// The end of a stream that has not seen its line's end yet.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// Takes what was read and calls `each` with every whole line, its line feed included, and with every piece of a line
    /// that is longer than [`LONGEST`], without one.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = &bytes[..bytes.len().min(LONGEST - self.partial.len())];
            let feed = room.iter().position(|b| *b == b'\n');
            let whole = feed.is_some() || self.partial.len() + room.len() == LONGEST;
            // A line feed right behind a full piece would belong to it; Docker makes an entry of its own of it.
            let (piece, rest) = bytes.split_at(feed.map_or(room.len(), |at| at + 1));
            bytes = rest;
            match (whole, self.partial.is_empty()) {
                (true, true) => each(piece),
                (true, false) => {
                    self.partial.extend_from_slice(piece);
                    each(&self.partial);
                    self.partial = Vec::new();
                }
                (false, _) => self.partial.extend_from_slice(piece),
            }
        }
    }

    /// The stream has ended: what is left is an entry without a line feed.
    pub(crate) fn finish(&mut self, each: impl FnOnce(&[u8])) {
        let left = std::mem::take(&mut self.partial);
        if !left.is_empty() {
            each(&left);
        }
    }
}

/// Appends one entry: `{"log":"text\n","stream":"stdout","time":"2026-01-31T12:00:00.5Z"}` and a line feed.
pub(crate) fn entry(to: &mut Vec<u8>, text: &[u8], stream: &str, time: &str) {
    to.extend_from_slice(b"{\"log\":\"");
    escape(to, text);
    for part in ["\",\"stream\":\"", stream, "\",\"time\":\"", time, "\"}\n"] {
        to.extend_from_slice(part.as_bytes());
    }
}

/// The time as entries have it.
pub(crate) fn time_of(now: Timestamp) -> String {
    now.to_string()
}

/// JSON text is Unicode: what is not becomes U+FFFD, as in Docker's logs.
fn escape(to: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        escape_str(to, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            to.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn escape_str(to: &mut Vec<u8>, text: &[u8]) {
    let mut plain = 0;
    for (at, byte) in text.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        to.extend_from_slice(&text[plain..at]);
        plain = at + 1;
        match byte {
            b'\n' => to.extend_from_slice(b"\\n"),
            b'\r' => to.extend_from_slice(b"\\r"),
            b'\t' => to.extend_from_slice(b"\\t"),
            b'"' | b'\\' => to.extend_from_slice(&[b'\\', *byte]),
            control => to.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
    }
    to.extend_from_slice(&text[plain..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.feed(chunk, |piece| found.push(piece.to_vec()));
        }
        lines.finish(|piece| found.push(piece.to_vec()));
        found
    }

    #[test]
    fn lines_come_whole_however_they_are_read() {
        assert_eq!(
            pieces(&[b"a\nb", b"c\n\n", b"d"]),
            [b"a\n".to_vec(), b"bc\n".into(), b"\n".into(), b"d".into()]
        );
        assert!(pieces(&[b"", b""]).is_empty());
    }

    #[test]
    fn long_lines_are_cut_at_16_kib() {
        let long = vec![b'x'; 2 * LONGEST + 5];
        for step in [1, 7, 4096, LONGEST, 3 * LONGEST] {
            let mut text = long.clone();
            text.push(b'\n');
            let found = pieces(&text.chunks(step).collect::<Vec<_>>());
            assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [LONGEST, LONGEST, 6], "{step}");
            assert_eq!(found.concat(), text);
        }
        let mut exact = vec![b'y'; LONGEST];
        exact.push(b'\n');
        assert_eq!(pieces(&[&exact]).iter().map(Vec::len).collect::<Vec<_>>(), [LONGEST, 1]);
    }

    #[test]
    fn entries_are_json_that_reads_back() {
        let text = b"quote \" back \\ tab \t bell \x07 e-acute \xc3\xa9 bad \xff end\n";
        let mut to = Vec::new();
        entry(&mut to, text, "stderr", "1970-01-01T00:00:00Z");
        let value: serde_json::Value = serde_json::from_slice(&to).unwrap();
        assert_eq!(value["log"], "quote \" back \\ tab \t bell \u{7} e-acute \u{e9} bad \u{fffd} end\n");
        assert_eq!((&value["stream"], &value["time"]), (&"stderr".into(), &"1970-01-01T00:00:00Z".into()));
        assert_eq!(to.last(), Some(&b'\n'));
    }
}
