use crate::{Error, Result};

/// Decodes the percent signs of a request path, once, and refuses what a file system or a proxy might read
/// differently from the route table: empty, `.` and `..` segments, control characters, bytes that are no UTF-8.
/// An encoded slash becomes a slash: names of images have them, and clients differ in how they send them.
pub(crate) fn clean(raw: &str) -> Result<String> {
    let refused = || Error::Path(raw.chars().take(200).collect());
    let bytes = decode_percent(raw, false).ok_or_else(refused)?;
    let path = String::from_utf8(bytes).map_err(|_| refused())?;
    let segments = path.strip_prefix('/').ok_or_else(refused)?;
    let sound = |segment: &str| !matches!(segment, "" | "." | "..") && !segment.chars().any(char::is_control);
    if segments.is_empty() || segments.split('/').all(sound) { Ok(path) } else { Err(refused()) }
}

/// The bytes that `%41` and, in a query, `+` stand for; `None` where a percent sign is not followed by two digits.
pub(crate) fn decode_percent(text: &str, plus_is_space: bool) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_and_encoded_paths_read_alike() {
        assert_eq!(clean("/").unwrap(), "/");
        assert_eq!(clean("/images/127.0.0.1:5000/a/json").unwrap(), "/images/127.0.0.1:5000/a/json");
        assert_eq!(clean("/images/a%2Fb/json").unwrap(), "/images/a/b/json");
        assert_eq!(clean("/a%20b%252e").unwrap(), "/a b%2e");
    }

    #[test]
    fn tricks_are_refused() {
        for bad in [
            "",
            "a",
            "//",
            "/a//b",
            "/a/",
            "/../a",
            "/a/..",
            "/a/./b",
            "/%2e%2e/a",
            "/a/%2E./b",
            "/a%2f%2e%2e%2fb",
            "/a%2f/b",
            "/a%00",
            "/a%0d%0ab",
            "/%zz",
            "/%4",
            "/%ff",
            "*",
        ] {
            assert!(clean(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_has_no_way_up(raw in "/[a-zA-Z0-9/%.+é\\x00-\\x20]{0,60}") {
            if let Ok(path) = clean(&raw) {
                prop_assert!(path == "/" || path[1..].split('/').all(|s| !matches!(s, "" | "." | "..")));
            }
        }
    }
}
