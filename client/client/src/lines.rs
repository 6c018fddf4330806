/// Cuts a stream of bytes into lines, for answers that are one JSON document a line.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
}

/// No message of the API is nearly so long; a peer that never sends a line's end must not fill the memory.
const LONGEST: usize = 16 << 20;

impl Lines {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they come. False when a line grows beyond 16 MiB.
    #[must_use]
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        self.buffer.extend_from_slice(bytes);
        self.buffer.len() <= LONGEST
    }

    /// The next whole line that is not empty, without its end.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        loop {
            let end = self.buffer.iter().position(|b| *b == b'\n')?;
            let rest = self.buffer.split_off(end + 1);
            let line = std::mem::replace(&mut self.buffer, rest);
            let line = line.trim_ascii();
            if !line.is_empty() {
                return Some(line.to_vec());
            }
        }
    }

    /// Up to so many of the bytes that wait, as they are.
    pub fn take(&mut self, most: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(self.buffer.len().min(most));
        std::mem::replace(&mut self.buffer, rest)
    }

    /// What is left when the stream has ended without a line's end.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.buffer);
        let rest = rest.trim_ascii();
        (!rest.is_empty()).then(|| rest.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_arrive() {
        let mut lines = Lines::new();
        assert!(lines.feed(b"{\"a\":"));
        assert_eq!(lines.next_line(), None);
        assert!(lines.feed(b"1}\r\n\r\n{}\n{\"b\""));
        assert_eq!(lines.next_line().unwrap(), b"{\"a\":1}");
        assert_eq!(lines.next_line().unwrap(), b"{}");
        assert_eq!(lines.next_line(), None);
        assert_eq!(lines.rest().unwrap(), b"{\"b\"");
        assert_eq!(lines.rest(), None);
    }

    #[test]
    fn bytes_between_lines_are_taken_as_they_are() {
        let mut lines = Lines::new();
        assert!(lines.feed(b"{}\n\n \n{\"a\":1}\n"));
        assert_eq!(lines.next_line().unwrap(), b"{}");
        assert_eq!(lines.take(3), b"\n \n");
        assert_eq!(lines.next_line().unwrap(), b"{\"a\":1}");
        assert_eq!(lines.take(3), b"");
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut lines = Lines::new();
        assert!(lines.feed(&vec![b'x'; LONGEST]));
        assert!(!lines.feed(b"x"));
    }
}
