//! The keys that leave a container alone.

/// Watches what is typed for a sequence of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    sequence: Vec<u8>,
    /// What may yet become the sequence.
    held: Vec<u8>,
}

impl DetachKeys {
    /// Ctrl-P, Ctrl-Q.
    const DEFAULT: [u8; 2] = [16, 17];

    /// Reads `ctrl-p,ctrl-q` or `a,b`; Docker's keys where nothing is given.
    pub(crate) fn new(text: Option<&str>) -> Result<Self, String> {
        let sequence = match text.filter(|text| !text.is_empty()) {
            Some(text) => text.split(',').map(key).collect::<Result<_, _>>()?,
            None => Self::DEFAULT.to_vec(),
        };
        Ok(Self { sequence, held: Vec::new() })
    }

    /// Passes on what was typed, without the sequence; true when the sequence is complete. Its beginning is held back
    /// until the next key tells whether it was meant.
    pub(crate) fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for &byte in typed {
            self.held.push(byte);
            while !self.sequence.starts_with(&self.held) {
                passed.push(self.held.remove(0));
            }
            if self.held.len() == self.sequence.len() {
                self.held.clear();
                return (passed, true);
            }
        }
        (passed, false)
    }
}

fn key(name: &str) -> Result<u8, String> {
    let control = |letter: u8| match letter {
        b'a'..=b'z' => Some(letter - b'a' + 1),
        b'@' => Some(0),
        b'[' => Some(27),
        b'\\' => Some(28),
        b']' => Some(29),
        b'^' => Some(30),
        b'_' => Some(31),
        _ => None,
    };
    let lower = name.to_ascii_lowercase();
    let key = match (name.as_bytes(), lower.strip_prefix("ctrl-").map(str::as_bytes)) {
        (&[byte], _) if byte.is_ascii() => Some(byte),
        (_, Some(&[letter])) => control(letter),
        _ => None,
    };
    key.ok_or_else(|| {
        format!("invalid detach keys: \"{name}\" is neither one letter nor ctrl- and one of a-z @ [ \\ ] ^ _")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(keys: Option<&str>, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut watch = DetachKeys::new(keys).unwrap();
        let mut all = Vec::new();
        for piece in pieces {
            let (passed, detached) = watch.pass(piece);
            all.extend(passed);
            if detached {
                return (all, true);
            }
        }
        (all, false)
    }

    #[test]
    fn the_sequence_is_seen_whole_in_pieces_and_after_a_false_start() {
        assert_eq!(typed(None, &[b"ls\r\x10\x11rest"]), (b"ls\r".to_vec(), true));
        assert_eq!(typed(None, &[b"\x10", b"\x11"]), (Vec::new(), true));
        assert_eq!(typed(None, &[b"\x10a"]), (b"\x10a".to_vec(), false));
        assert_eq!(typed(None, &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(typed(Some("x,y,z"), &[b"axyb", b"xyz"]), (b"axyb".to_vec(), true));
        assert_eq!(typed(Some("a,a,b"), &[b"aaab"]), (b"a".to_vec(), true));
        assert_eq!(typed(Some("ctrl-]"), &[b"a\x1db"]), (b"a".to_vec(), true));
    }

    #[test]
    fn keys_that_do_not_exist_are_refused() {
        for bad in ["ctrl-", "ctrl-1", "ab", "a,,b", "é", "ctrl-ab"] {
            assert!(DetachKeys::new(Some(bad)).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn without_the_sequence_everything_passes(bytes in proptest::collection::vec(32_u8..127, 0..50)) {
            prop_assert_eq!(typed(None, &[&bytes]), (bytes, false));
        }
    }
}
