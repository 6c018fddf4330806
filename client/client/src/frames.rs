use thiserror::Error;

/// Which of a container's streams a piece of output belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard input, echoed by the daemon; shown as output.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The daemon's own word about a failure in the middle of a stream.
    System,
}

/// A header that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unrecognized stream header {0:02x?}: the daemon's output is not multiplexed as it says")]
pub struct FrameError([u8; HEADER]);

const HEADER: usize = 8;

/// Cuts Docker's multiplexed output into pieces: each frame is a header of eight bytes (stream, three zeros, length in
/// big endian) and that many bytes of output. Pieces are handed on as they come; a frame is never collected, so that
/// no length a peer claims costs memory.
#[derive(Debug, Default)]
pub struct Frames {
    header: [u8; HEADER],
    have: usize,
    left: usize,
}

impl Frames {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece of output from the front of `input`; `None` when `input` is used up.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Result<(Stream, &'a [u8]), FrameError>> {
        loop {
            if self.have < HEADER {
                let take = input.len().min(HEADER - self.have);
                self.header[self.have..self.have + take].copy_from_slice(&input[..take]);
                *input = &input[take..];
                self.have += take;
                if self.have < HEADER {
                    return None;
                }
                let [_, _, _, _, length @ ..] = self.header;
                self.left = u32::from_be_bytes(length) as usize;
            }
            let stream = match self.header {
                [0, 0, 0, 0, ..] => Stream::Stdin,
                [1, 0, 0, 0, ..] => Stream::Stdout,
                [2, 0, 0, 0, ..] => Stream::Stderr,
                [3, 0, 0, 0, ..] => Stream::System,
                _ => return Some(Err(FrameError(self.header))),
            };
            if self.left == 0 {
                self.have = 0;
                continue;
            }
            if input.is_empty() {
                return None;
            }
            let (piece, rest) = input.split_at(input.len().min(self.left));
            *input = rest;
            self.left -= piece.len();
            self.have = if self.left == 0 { 0 } else { HEADER };
            return Some(Ok((stream, piece)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(stream: u8, text: &[u8]) -> Vec<u8> {
        let mut bytes = vec![stream, 0, 0, 0];
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text);
        bytes
    }

    fn decode(chunks: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>), FrameError> {
        let (mut frames, mut out, mut err) = (Frames::new(), Vec::new(), Vec::new());
        for chunk in chunks {
            let mut input = *chunk;
            while let Some(piece) = frames.next(&mut input) {
                match piece? {
                    (Stream::Stderr | Stream::System, bytes) => err.extend(bytes),
                    (_, bytes) => out.extend(bytes),
                }
            }
        }
        Ok((out, err))
    }

    #[test]
    fn empty_frames_and_split_headers_are_no_obstacle() {
        let bytes = [frame(1, b"hello "), frame(2, b""), frame(2, b"oops"), frame(1, b"world")].concat();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&single).unwrap(), (b"hello world".to_vec(), b"oops".to_vec()));
        assert_eq!(decode(&[&bytes]).unwrap(), (b"hello world".to_vec(), b"oops".to_vec()));
    }

    #[test]
    fn what_is_no_header_is_an_error() {
        assert!(decode(&[b"plain text, not multiplexed"]).is_err());
        assert!(decode(&[&[4, 0, 0, 0, 0, 0, 0, 1, 65]]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let _ = decode(&chunks);
        }

        #[test]
        fn every_cut_gives_the_same_output(texts in proptest::collection::vec((1_u8..3, ".{0,12}"), 0..8), size in 1_usize..30) {
            let bytes: Vec<u8> = texts.iter().flat_map(|(stream, text)| frame(*stream, text.as_bytes())).collect();
            let cut: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(decode(&cut).unwrap(), decode(&[&bytes]).unwrap());
        }
    }
}
