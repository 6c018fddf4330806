use crate::{Error, Result};

/// Keys that, typed one after the other, leave a terminal without ending its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them were typed last.
    typed: usize,
}

/// ctrl-p, ctrl-q.
const DEFAULT: [u8; 2] = [0x10, 0x11];

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q`: keys separated by commas, each a character or `ctrl-` with a letter or one of `@[\]^_`. Nothing
    /// means the default.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self { keys: DEFAULT.to_vec(), typed: 0 });
        }
        let keys = text.split(',').map(key).collect::<Option<Vec<u8>>>();
        let keys = keys.ok_or_else(|| Error::invalid(format!("Invalid detach keys ({text}) provided")))?;
        Ok(Self { keys, typed: 0 })
    }

    /// What of the `input` goes on to the program. `None`: the keys are complete, and what stood before them is in `before`.
    /// Keys that may turn out to be the beginning are held back until the next ones decide.
    pub(crate) fn filter(&mut self, input: &[u8]) -> Filtered {
        let mut passed = Vec::with_capacity(input.len());
        for &byte in input {
            if byte != self.keys[self.typed] {
                passed.extend_from_slice(&self.keys[..self.typed]);
                self.typed = 0;
            }
            if byte != self.keys[self.typed] {
                passed.push(byte);
                continue;
            }
            self.typed += 1;
            if self.typed == self.keys.len() {
                self.typed = 0;
                return Filtered { passed, detached: true };
            }
        }
        Filtered { passed, detached: false }
    }
}

/// What [`DetachKeys::filter`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filtered {
    /// For the program.
    pub(crate) passed: Vec<u8>,
    /// The keys were typed.
    pub(crate) detached: bool,
}

fn key(text: &str) -> Option<u8> {
    match text.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([letter @ b'a'..=b'z']) => Some(letter - b'a' + 1),
        Some([sign @ (b'@' | b'['..=b'_')]) => Some(sign - b'@'),
        Some(_) => None,
        None => match text.as_bytes() {
            [single] => Some(*single),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(keys: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = DetachKeys::parse(keys).unwrap();
        let mut all = Vec::new();
        for piece in pieces {
            let Filtered { passed, detached } = keys.filter(piece);
            all.extend(passed);
            if detached {
                return (all, true);
            }
        }
        (all, false)
    }

    #[test]
    fn the_default_is_ctrl_p_ctrl_q() {
        assert_eq!(typed("", &[b"ls\n\x10\x11rest"]), (b"ls\n".to_vec(), true));
        assert_eq!(typed("", &[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
        assert_eq!(typed("", &[b"a\x10", b"b"]), (b"a\x10b".to_vec(), false));
        assert_eq!(typed("", &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
    }

    #[test]
    fn other_keys_can_be_chosen() {
        assert_eq!(typed("ctrl-a,x", &[b"q\x01x"]), (b"q".to_vec(), true));
        assert_eq!(typed("ctrl-@,ctrl-_", &[b"\x00\x1f"]), (vec![], true));
        for bad in ["ctrl-", "ctrl-A", "ctrl-pq", "ab", ",", "é", "a,,b"] {
            assert!(DetachKeys::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_without_the_keys(input in proptest::collection::vec(0x10u8..0x13, 0..40), cut in 0usize..40) {
            let cut = cut.min(input.len());
            let (passed, detached) = typed("", &[&input[..cut], &input[cut..], b"."]);
            let at = input.windows(2).position(|two| two == DEFAULT);
            prop_assert_eq!(detached, at.is_some());
            let mut expected = input.clone();
            expected.push(b'.');
            prop_assert_eq!(passed, at.map_or(&expected[..], |at| &input[..at]));
        }
    }
}
