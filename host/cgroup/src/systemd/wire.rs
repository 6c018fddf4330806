//! D-Bus messages as bytes: as much of the wire format as a few methods of systemd need.
//! <https://dbus.freedesktop.org/doc/dbus-specification.html>, "Type System" and "Message Protocol".

use std::io;

/// A value that a property of a unit can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Bool(bool),
    I32(i32),
    U32(u32),
    U64(u64),
    Text(String),
    Texts(Vec<String>),
    Bytes(Vec<u8>),
    Numbers(Vec<u32>),
    Pairs(Vec<(String, String)>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::I32(_) => "i",
            Self::U32(_) => "u",
            Self::U64(_) => "t",
            Self::Text(_) => "s",
            Self::Texts(_) => "as",
            Self::Bytes(_) => "ay",
            Self::Numbers(_) => "au",
            Self::Pairs(_) => "a(ss)",
        }
    }
}

/// A message's arguments while they are laid out; always little-endian.
#[derive(Debug, Default)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    signature: String,
}

impl Body {
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.signature.push('s');
        put_text(&mut self.bytes, text);
        self
    }

    pub(crate) fn bool(mut self, value: bool) -> Self {
        self.signature.push('b');
        put_u32(&mut self.bytes, u32::from(value));
        self
    }

    pub(crate) fn numbers(mut self, numbers: &[u32]) -> Self {
        self.signature.push_str("au");
        put_value(&mut self.bytes, &Value::Numbers(numbers.to_vec()));
        self
    }

    /// `a(sv)`.
    pub(crate) fn properties(mut self, properties: &[(String, Value)]) -> Self {
        self.signature.push_str("a(sv)");
        put_array(&mut self.bytes, 8, |bytes| {
            for (name, value) in properties {
                align(bytes, 8);
                put_text(bytes, name);
                put_signature(bytes, value.signature());
                put_value(bytes, value);
            }
        });
        self
    }

    /// `a(sa(sv))`, the units that come along with one: none.
    pub(crate) fn no_units(mut self) -> Self {
        self.signature.push_str("a(sa(sv))");
        put_array(&mut self.bytes, 8, |_| {});
        self
    }
}

/// What is called on what.
pub(crate) struct Call<'a> {
    /// None on a connection without a bus between.
    pub(crate) destination: Option<&'a str>,
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
    pub(crate) member: &'a str,
    pub(crate) body: Body,
}

impl Call<'_> {
    /// The whole message.
    pub(crate) fn bytes(&self, serial: u32) -> Vec<u8> {
        const METHOD_CALL: u8 = 1;
        let mut bytes = vec![b'l', METHOD_CALL, 0, 1];
        put_u32(&mut bytes, self.body.bytes.len() as u32);
        put_u32(&mut bytes, serial);
        put_array(&mut bytes, 8, |bytes| {
            put_field(bytes, PATH, "o", self.path);
            put_field(bytes, INTERFACE, "s", self.interface);
            put_field(bytes, MEMBER, "s", self.member);
            if let Some(destination) = self.destination {
                put_field(bytes, DESTINATION, "s", destination);
            }
            if !self.body.signature.is_empty() {
                align(bytes, 8);
                bytes.push(SIGNATURE);
                put_signature(bytes, "g");
                put_signature(bytes, &self.body.signature);
            }
        });
        align(&mut bytes, 8);
        bytes.extend_from_slice(&self.body.bytes);
        bytes
    }
}

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

fn align(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_u32(bytes: &mut Vec<u8>, value: u32) {
    align(bytes, 4);
    bytes.extend_from_slice(&value.to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_u32(bytes, text.len() as u32);
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
}

fn put_signature(bytes: &mut Vec<u8>, signature: &str) {
    bytes.push(signature.len() as u8);
    bytes.extend_from_slice(signature.as_bytes());
    bytes.push(0);
}

fn put_field(bytes: &mut Vec<u8>, field: u8, kind: &str, text: &str) {
    align(bytes, 8);
    bytes.push(field);
    put_signature(bytes, kind);
    put_text(bytes, text);
}

/// The length that stands before an array counts neither itself nor the padding before the first element.
fn put_array(bytes: &mut Vec<u8>, element: usize, fill: impl FnOnce(&mut Vec<u8>)) {
    put_u32(bytes, 0);
    let at = bytes.len() - 4;
    align(bytes, element);
    let begin = bytes.len();
    fill(bytes);
    let length = (bytes.len() - begin) as u32;
    bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_value(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Bool(value) => put_u32(bytes, u32::from(*value)),
        Value::I32(value) => put_u32(bytes, *value as u32),
        Value::U32(value) => put_u32(bytes, *value),
        Value::U64(value) => {
            align(bytes, 8);
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        Value::Text(text) => put_text(bytes, text),
        Value::Texts(texts) => {
            put_array(bytes, 4, |bytes| texts.iter().for_each(|text| put_text(bytes, text)));
        }
        Value::Bytes(list) => put_array(bytes, 1, |bytes| bytes.extend_from_slice(list)),
        Value::Numbers(list) => {
            put_array(bytes, 4, |bytes| list.iter().for_each(|number| put_u32(bytes, *number)));
        }
        Value::Pairs(list) => put_array(bytes, 8, |bytes| {
            for (first, second) in list {
                align(bytes, 8);
                put_text(bytes, first);
                put_text(bytes, second);
            }
        }),
    }
}

/// What came in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) reply_to: u32,
    pub(crate) member: String,
    pub(crate) error: String,
    pub(crate) body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    Answer,
    Error,
    Signal,
    /// A call, or something of a later version: to be passed over.
    #[default]
    Other,
}

/// Every message begins with this many bytes, which say how long it is.
pub(crate) const HEAD: usize = 16;

/// No answer of systemd comes near it.
const LONGEST: usize = 1 << 20;

/// How many bytes follow the head.
///
/// # Errors
/// What is no message, or one that is too long.
pub(crate) fn rest(head: &[u8; HEAD]) -> io::Result<usize> {
    if head[0] != b'l' || head[3] != 1 {
        return Err(invalid());
    }
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    let length = number(12).next_multiple_of(8).saturating_add(number(4));
    if length <= LONGEST { Ok(length) } else { Err(invalid()) }
}

/// Takes a message apart.
///
/// # Errors
/// What is no message.
pub(crate) fn parse(bytes: &[u8]) -> io::Result<Message> {
    let mut reader = Reader { bytes, at: 4 };
    let body = reader.u32()? as usize;
    let _serial = reader.u32()?;
    let fields = reader.u32()? as usize;
    let end = HEAD.checked_add(fields).filter(|end| *end <= bytes.len()).ok_or_else(invalid)?;
    let kind = match bytes.get(1) {
        Some(2) => Kind::Answer,
        Some(3) => Kind::Error,
        Some(4) => Kind::Signal,
        _ => Kind::Other,
    };
    let mut message = Message { kind, ..Message::default() };
    while reader.at < end {
        reader.align(8);
        field(&mut reader, &mut message)?;
    }
    let from = end.next_multiple_of(8);
    message.body = bytes.get(from..from + body).ok_or_else(invalid)?.to_owned();
    Ok(message)
}

fn field(reader: &mut Reader<'_>, message: &mut Message) -> io::Result<()> {
    let code = reader.u8()?;
    match (code, reader.signature()?) {
        (REPLY_SERIAL, "u") => message.reply_to = reader.u32()?,
        (_, "u") => drop(reader.u32()?),
        (MEMBER, "s") => message.member = reader.text()?.to_owned(),
        (ERROR_NAME, "s") => message.error = reader.text()?.to_owned(),
        (_, "s" | "o") => drop(reader.text()?),
        (_, "g") => drop(reader.signature()?),
        _ => return Err(invalid()),
    }
    Ok(())
}

/// Reads arguments.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or_else(invalid)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(invalid)?;
        self.at = end;
        Ok(taken)
    }

    fn u8(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u32(&mut self) -> io::Result<u32> {
        self.align(4);
        let taken = self.take(4)?;
        Ok(u32::from_le_bytes([taken[0], taken[1], taken[2], taken[3]]))
    }

    /// A string or an object's path.
    pub(crate) fn text(&mut self) -> io::Result<&'a str> {
        let length = self.u32()? as usize;
        let taken = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(taken).map_err(|_| invalid())
    }

    /// Also what begins a variant.
    pub(crate) fn signature(&mut self) -> io::Result<&'a str> {
        let length = self.u8()? as usize;
        let taken = self.take(length)?;
        self.take(1)?;
        std::str::from_utf8(taken).map_err(|_| invalid())
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a D-Bus message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(body: Body) -> Vec<u8> {
        let (path, interface) = ("/o", "i.f");
        Call { destination: Some("d.e"), path, interface, member: "M", body }.bytes(7)
    }

    /// Laid out by hand after the specification.
    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let bytes = call(Body::default().text("ab").bool(true));
        let mut wanted = b"l\x01\x00\x01\x0c\0\0\0\x07\0\0\0\x48\0\0\0".to_vec();
        wanted.extend_from_slice(b"\x01\x01o\0\x02\0\0\0/o\0\0\0\0\0\0");
        wanted.extend_from_slice(b"\x02\x01s\0\x03\0\0\0i.f\0\0\0\0\0");
        wanted.extend_from_slice(b"\x03\x01s\0\x01\0\0\0M\0\0\0\0\0\0\0");
        wanted.extend_from_slice(b"\x06\x01s\0\x03\0\0\0d.e\0\0\0\0\0");
        wanted.extend_from_slice(b"\x08\x01g\0\x02sb\0");
        wanted.extend_from_slice(b"\x02\0\0\0ab\0\0\x01\0\0\0");
        assert_eq!(bytes.len() % 8, 4);
        assert_eq!(bytes, wanted);
    }

    #[test]
    fn properties_are_structs_on_eight_bytes() {
        let body = Body::default().properties(&[
            ("A".to_owned(), Value::U64(5)),
            ("B".to_owned(), Value::Numbers(vec![1, 2])),
            ("C".to_owned(), Value::Bytes(vec![9])),
        ]);
        let mut wanted = b"\x41\0\0\0\0\0\0\0".to_vec();
        wanted.extend_from_slice(b"\x01\0\0\0A\0\x01t\0\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0");
        wanted.extend_from_slice(b"\x01\0\0\0B\0\x02au\0\0\0\x08\0\0\0\x01\0\0\0\x02\0\0\0");
        wanted.extend_from_slice(b"\x01\0\0\0C\0\x02ay\0\0\0\x01\0\0\0\x09");
        assert_eq!((body.bytes, body.signature.as_str()), (wanted, "a(sv)"));
    }

    #[test]
    fn pairs_are_structs_as_well() {
        let pairs = [("/d", "r"), ("c", "w")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        let body = Body::default().properties(&[("D".to_owned(), Value::Pairs(pairs.to_vec()))]);
        let mut wanted = b"\x36\0\0\0\0\0\0\0\x01\0\0\0D\0\x05a(ss)\0\0\0\0".to_vec();
        wanted.extend_from_slice(b"\x1e\0\0\0\0\0\0\0");
        wanted.extend_from_slice(b"\x02\0\0\0/d\0\0\x01\0\0\0r\0\0\0");
        wanted.extend_from_slice(b"\x01\0\0\0c\0\0\0\x01\0\0\0w\0");
        assert_eq!(body.bytes, wanted);
    }

    #[test]
    fn what_is_sent_can_be_read() {
        let bytes = call(Body::default().text("x"));
        let head: [u8; HEAD] = bytes[..HEAD].try_into().unwrap();
        assert_eq!(rest(&head).unwrap(), bytes.len() - HEAD);
        let message = parse(&bytes).unwrap();
        assert_eq!((message.member.as_str(), message.kind), ("M", Kind::Other));
        assert_eq!(Reader::new(&message.body).text().unwrap(), "x");
    }

    #[test]
    fn nonsense_is_refused_and_never_panics() {
        let good = call(Body::default().text("x"));
        for end in 0..good.len() {
            let _ = parse(&good[..end]);
        }
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let _ = parse(&bad);
                let _ = rest(&bad[..HEAD].try_into().unwrap());
            }
        }
        assert!(rest(b"l\x01\0\x01\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff").is_err());
        assert!(rest(b"B\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0\0").is_err());
    }
}
