//! Records of pax extended headers (POSIX.1-2017, *pax*, "pax Extended Header"), read by their stated lengths: the
//! values of attributes are binary and hold newlines, which is why the `tar` crate's reader does not serve.

use crate::files::{Time, Xattr, is_welcome};
use crate::{Error, Result};

/// The most attributes one entry may have.
const MOST_XATTRS: usize = 256;
/// The largest map of a sparse file, in numbers; two an extent.
const LONGEST_MAP: usize = 1 << 17;

/// What the extended header of one entry overrides. Unknown keys are passed over, as POSIX wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub modified: Option<Time>,
    pub accessed: Option<Time>,
    pub xattrs: Vec<Xattr>,
    pub sparse: Sparse,
}

/// GNU's three ways to note a sparse file (GNU tar manual, "Storing Sparse Files").
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// Version 1.0: the map stands before the content.
    pub map_in_content: bool,
    pub name: Option<Vec<u8>>,
    pub real_size: Option<u64>,
    /// Versions 0.0 and 0.1: offset and length, alternating.
    pub map: Vec<u64>,
}

const MALFORMED: Error = Error::Malformed { why: "an extended header cannot be read" };

impl Pax {
    pub(crate) fn parse(mut bytes: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes).ok_or(MALFORMED)?;
            pax.take(key, value)?;
            bytes = rest;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            b"path" => self.path = text(value),
            b"linkpath" => self.link = text(value),
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"mtime" => self.modified = time(value)?,
            b"atime" => self.accessed = time(value)?,
            b"GNU.sparse.name" => self.sparse.name = text(value),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.real_size = number(value)?,
            b"GNU.sparse.major" => self.sparse.map_in_content = value == b"1",
            b"GNU.sparse.map" => self.sparse.map = map(value)?,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.map.extend(number(value)?),
            _ => self.take_xattr(key, value)?,
        }
        let crowded = self.xattrs.len() > MOST_XATTRS || self.sparse.map.len() > LONGEST_MAP;
        if crowded {
            Err(Error::Malformed { why: "an extended header has too many records" })
        } else {
            Ok(())
        }
    }

    fn take_xattr(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let Some(name) = key.strip_prefix(b"SCHILY.xattr.") else { return Ok(()) };
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| is_welcome(name)) else {
            return Ok(());
        };
        self.xattrs.retain(|xattr| xattr.name != name);
        self.xattrs.push(Xattr { name: name.to_owned(), value: value.to_owned() });
        Ok(())
    }
}

/// Splits `25 key=value\n` off: the length counts itself and the newline.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    (equals > 0).then_some((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

/// An empty value takes an earlier one back.
fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_owned())
}

pub(crate) fn number(value: &[u8]) -> Result<Option<u64>> {
    if value.is_empty() {
        return Ok(None);
    }
    let digits = value.iter().all(u8::is_ascii_digit);
    let parsed = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or(MALFORMED)
}

fn map(value: &[u8]) -> Result<Vec<u64>> {
    let numbers = value.split(|byte| *byte == b',').take(LONGEST_MAP + 1);
    numbers.map(|digits| number(digits)?.ok_or(MALFORMED)).collect()
}

/// `[-]seconds[.fraction]`; digits below the nanosecond are dropped.
fn time(value: &[u8]) -> Result<Option<Time>> {
    if value.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(value).map_err(|_| MALFORMED)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().map_err(|_| MALFORMED)?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MALFORMED);
    }
    let digits = &fraction[..fraction.len().min(9)];
    let nanoseconds: u32 = format!("{digits:0<9}").parse().map_err(|_| MALFORMED)?;
    if whole.starts_with('-') && nanoseconds > 0 {
        let seconds = seconds.checked_sub(1).ok_or(MALFORMED)?;
        return Ok(Some(Time { seconds, nanoseconds: 1_000_000_000 - nanoseconds }));
    }
    Ok(Some(Time { seconds, nanoseconds }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn binary_values_keep_their_newlines() {
        let pax = Pax::parse(b"38 SCHILY.xattr.security.capability=\n\0\n").unwrap_err();
        assert!(matches!(pax, Error::Malformed { .. }));
        let pax = Pax::parse(b"40 SCHILY.xattr.security.capability=\n\0\n\n").unwrap();
        assert_eq!(pax.xattrs, [Xattr { name: "security.capability".to_owned(), value: b"\n\0\n".to_vec() }]);
    }

    #[test]
    fn times_are_kept_to_the_nanosecond() {
        let time = |text: &[u8]| time(text).unwrap().unwrap();
        assert_eq!(time(b"1.5"), Time { seconds: 1, nanoseconds: 500_000_000 });
        assert_eq!(time(b"-1.25"), Time { seconds: -2, nanoseconds: 750_000_000 });
        assert_eq!(time(b"-0.25"), Time { seconds: -1, nanoseconds: 750_000_000 });
        assert_eq!(time(b"7.1234567899"), Time { seconds: 7, nanoseconds: 123_456_789 });
    }

    #[test]
    fn lying_lengths_are_refused() {
        for bad in [
            &b"5 a=b\n"[..],
            b"7 a=b\n",
            b"99 a=b\n",
            b"x a=b\n",
            b"6 ab\n",
            b"18446744073709551615 a=b\n",
            b"0 \n",
            b"5 =b\n",
        ] {
            assert!(Pax::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(Pax::parse(b"12 size=+42\n").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Pax::parse(&bytes);
        }

        #[test]
        fn no_value_makes_it_panic(value in "[-0-9.,]{0,40}") {
            for key in ["size", "mtime", "GNU.sparse.map", "GNU.sparse.offset"] {
                let body = format!(" {key}={value}\n");
                let length = body.len() + if body.len() + 2 < 100 && body.len() + 2 >= 10 { 2 } else { 1 };
                let _ = Pax::parse(format!("{length}{body}").as_bytes());
            }
        }
    }
}
