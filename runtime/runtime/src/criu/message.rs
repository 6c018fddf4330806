//! As much of protocol buffers as criu's requests and answers need: numbers, texts and messages in messages.
//! <https://protobuf.dev/programming-guides/encoding/>

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message(Vec<u8>);

const NUMBER: u32 = 0;
const BYTES: u32 = 2;

impl Message {
    pub(crate) fn number(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field << 3 | NUMBER));
        self.varint(value);
    }

    /// Left out where it is false, which is what it means then.
    pub(crate) fn flag(&mut self, field: u32, value: bool) {
        if value {
            self.number(field, 1);
        }
    }

    pub(crate) fn text(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field << 3 | BYTES));
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn message(&mut self, field: u32, value: &Message) {
        self.text(field, &value.0);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A field that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The last value of a field; none where the message does not have it, or is none.
pub(crate) fn field(message: &[u8], wanted: u32) -> Option<Value<'_>> {
    let mut rest = message;
    let mut found = None;
    while !rest.is_empty() {
        let (field, value, after) = next(rest)?;
        if field == wanted {
            found = Some(value);
        }
        rest = after;
    }
    found
}

pub(crate) fn number(message: &[u8], wanted: u32) -> Option<u64> {
    match field(message, wanted)? {
        Value::Number(number) => Some(number),
        Value::Bytes(_) => None,
    }
}

pub(crate) fn bytes(message: &[u8], wanted: u32) -> Option<&[u8]> {
    match field(message, wanted)? {
        Value::Bytes(bytes) => Some(bytes),
        Value::Number(_) => None,
    }
}

fn next(rest: &[u8]) -> Option<(u32, Value<'_>, &[u8])> {
    let (key, rest) = varint(rest)?;
    let field = u32::try_from(key >> 3).ok()?;
    match key as u32 & 7 {
        NUMBER => {
            let (value, rest) = varint(rest)?;
            Some((field, Value::Number(value), rest))
        }
        BYTES => {
            let (length, rest) = varint(rest)?;
            let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((field, Value::Bytes(value), rest))
        }
        // 64 and 32 bits.
        1 => Some((field, Value::Bytes(rest.get(..8)?), rest.get(8..)?)),
        5 => Some((field, Value::Bytes(rest.get(..4)?), rest.get(4..)?)),
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_is_written_as_the_encoding_says() {
        let mut message = Message::default();
        message.number(1, 150);
        message.flag(3, false);
        message.text(2, b"testing");
        assert_eq!(message.bytes(), b"\x08\x96\x01\x12\x07testing");
        assert_eq!(number(message.bytes(), 1), Some(150));
        assert_eq!(bytes(message.bytes(), 2), Some(&b"testing"[..]));
        assert_eq!(field(message.bytes(), 3), None);
    }

    #[test]
    fn what_is_cut_off_is_no_message() {
        for wrong in [&b"\x08"[..], b"\x12\x07test", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0b"]
        {
            assert_eq!(field(wrong, 1), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            field(&bytes, 1);
        }
    }
}
