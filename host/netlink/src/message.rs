//! One encoder for every family: netlink(7) messages, and the attributes that they nest.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Error;

/// Length, type, flags, sequence, port.
pub(crate) const HEADER: usize = 16;

pub(crate) mod flag {
    pub(crate) const REQUEST: u16 = 0x1;
    pub(crate) const ACK: u16 = 0x4;
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const EXCLUSIVE: u16 = 0x200;
    pub(crate) const CREATE: u16 = 0x400;
}

const NESTED: u16 = 0x8000;
/// The two high bits of an attribute's type are flags: nested, and network byte order.
const KIND_MASK: u16 = 0x3fff;

/// A request to the kernel: header, the family's own header, attributes. The sequence number is filled in when it is
/// sent, so that equal requests are equal bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of the type `kind` that starts with the family's `header`, whose length must be a multiple of four.
    pub(crate) fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | flag::REQUEST).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(header);
        Self { bytes }
    }

    /// Bytes as they are, for a header within a nest.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = (4 + value.len()) as u16;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// A text with the NUL at its end that the kernel wants.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// In the machine's byte order: rtnetlink.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// In network byte order: nfnetlink.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    pub(crate) fn descriptor(&mut self, kind: u16, value: BorrowedFd<'_>) -> &mut Self {
        self.attribute(kind, &value.as_raw_fd().to_ne_bytes())
    }

    /// An attribute whose value is what `fill` appends.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.attribute(kind | NESTED, &[]);
        fill(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// Asks for an acknowledgement.
    pub(crate) fn acknowledged(mut self) -> Self {
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flag::ACK;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self
    }

    /// Appends the finished message, with its sequence number, to what is to be sent.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>, sequence: u32) {
        let start = out.len();
        out.extend(&self.bytes);
        out[start..start + 4].copy_from_slice(&(self.bytes.len() as u32).to_ne_bytes());
        out[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
    }

    /// How many bytes the message has.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The message as it goes to the kernel, with sequence number 0.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len());
        self.write_to(&mut out, 0);
        out
    }
}

/// A message that the kernel sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// What follows the netlink header.
    pub(crate) payload: &'a [u8],
}

/// Splits what one read gave into messages.
pub(crate) fn split(mut bytes: &[u8]) -> impl Iterator<Item = Result<Received<'_>, Error>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let whole = bytes;
        let length = whole.get(..4).map(|field| read_u32(field) as usize);
        let Some(length) = length.filter(|length| (HEADER..=whole.len()).contains(length)) else {
            bytes = &[];
            return Some(Err(Error::Malformed("a message's length exceeds what was read")));
        };
        bytes = whole.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Ok(Received {
            kind: read_u16(&whole[4..]),
            flags: read_u16(&whole[6..]),
            sequence: read_u32(&whole[8..]),
            payload: &whole[HEADER..length],
        }))
    })
}

/// The attributes of `bytes`, each with its kind; ends at the first that does not fit.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(read_u16(bytes.get(..2)?));
        let kind = read_u16(bytes.get(2..4)?) & KIND_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// The value of the first attribute of this kind.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A text up to its NUL.
pub(crate) fn read_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The first two bytes, 0 where there are fewer.
pub(crate) fn read_u16(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(0, |field| u16::from_ne_bytes(*field))
}

/// The first four bytes, 0 where there are fewer.
pub(crate) fn read_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |field| u32::from_ne_bytes(*field))
}

/// The first four bytes in network order, 0 where there are fewer.
pub(crate) fn read_be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |field| u32::from_be_bytes(*field))
}

/// The first two bytes in network order, 0 where there are fewer.
pub(crate) fn read_be16(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(0, |field| u16::from_be_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nests_hold_their_length_and_values_are_padded() {
        let mut message = Message::new(16, flag::CREATE, &[1, 2, 3, 4]);
        message.text(3, "ab").nest(18, |inner| {
            inner.be32(1, 7);
        });
        let bytes = message.acknowledged().to_bytes();
        let wanted: &[u8] = &[
            40, 0, 0, 0, 16, 0, 5, 4, 0, 0, 0, 0, 0, 0, 0, 0, // header: CREATE, ACK, REQUEST
            1, 2, 3, 4, // the family's own
            7, 0, 3, 0, b'a', b'b', 0, 0, // a text, padded
            12, 0, 18, 0x80, 8, 0, 1, 0, 0, 0, 0, 7, // a nest
        ];
        assert_eq!(bytes, wanted);
        let received = split(&bytes).next().unwrap().unwrap();
        assert_eq!((received.kind, received.flags), (16, 0x405));
        let found: Vec<_> =
            attributes(&received.payload[4..]).map(|(kind, value)| (kind, value.len())).collect();
        assert_eq!(found, [(3, 3), (18, 8)]);
        assert_eq!(read_text(find(&received.payload[4..], 3).unwrap()), "ab");
        assert_eq!(read_be32(find(find(&received.payload[4..], 18).unwrap(), 1).unwrap()), 7);
    }

    #[test]
    fn torn_answers_end_instead_of_panicking() {
        let whole = Message::new(16, 0, &[0; 4]).to_bytes();
        for end in 1..whole.len() {
            assert!(split(&whole[..end]).next().unwrap().is_err());
            let _ = attributes(&whole[..end]).count();
        }
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0, "shorter than its own header");
        assert_eq!(attributes(&[0xff, 0xff, 1, 0, 9]).count(), 0, "longer than what is there");
    }
}
