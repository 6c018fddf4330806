//! What a step is known by. Two steps with the same key do the same thing upon the same files: the key holds everything that
//! can make a difference, and each part with its length, so that no two lists of parts read alike (CVE-2024-24557 and the
//! look-alikes before it). Pure.

use aws_lc_rs::digest::{Context, SHA256};
use tare_model::Digest;

/// Changes when the meaning of a step changes, so that older entries are not found any more.
const VERSION: &[u8] = b"tare-step-1";

pub(crate) struct Key(Context);

impl Key {
    /// `kind` says what sort of thing is hashed.
    pub(crate) fn new(kind: &str) -> Self {
        let mut key = Self(Context::new(&SHA256));
        key.add(VERSION);
        key.add(kind);
        key
    }

    pub(crate) fn add(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    pub(crate) fn list<T: AsRef<[u8]>>(&mut self, parts: impl IntoIterator<Item = T>) -> &mut Self {
        let parts: Vec<T> = parts.into_iter().collect();
        self.0.update(&(parts.len() as u64).to_be_bytes());
        for part in &parts {
            self.add(part);
        }
        self
    }

    pub(crate) fn maybe(&mut self, part: Option<impl AsRef<[u8]>>) -> &mut Self {
        match part {
            Some(part) => self.list([part]),
            None => self.list::<&[u8]>([]),
        }
    }

    pub(crate) fn number(&mut self, number: impl Into<i128>) -> &mut Self {
        let number: i128 = number.into();
        self.add(number.to_be_bytes())
    }

    pub(crate) fn finish(&mut self) -> Digest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.clone().finish().as_ref());
        Digest::from_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_read_alike_have_other_keys() {
        let key = |parts: &[&[&str]]| {
            let mut key = Key::new("x");
            for list in parts {
                key.list(*list);
            }
            key.finish()
        };
        let all = [
            key(&[&["ab"]]),
            key(&[&["a", "b"]]),
            key(&[&["a"], &["b"]]),
            key(&[&["", "ab"]]),
            key(&[&[], &["ab"]]),
            key(&[&["ab"], &[]]),
            Key::new("xab").finish(),
            Key::new("x").maybe(None::<&str>).finish(),
            Key::new("x").maybe(Some("")).finish(),
            Key::new("x").number(1).finish(),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other != one), "{at}");
        }
    }
}
