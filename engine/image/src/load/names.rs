//! Names of files in an archive, and where its links lead. Pure.

use crate::{Error, Result};

/// The longest name.
const NAME: usize = 4096;

/// A name without `./` and doubled slashes; `None` for the archive's root. One that leads out is refused.
pub(super) fn name(bytes: &[u8]) -> Result<Option<String>> {
    let shown = || String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= NAME && !text.contains('\0'));
    let text = text.ok_or_else(|| Error::Archive(format!("{:?} is no valid name", shown())))?;
    if text.starts_with('/') || text.split('/').any(|word| word == "..") {
        return Err(Error::Archive(format!("{:?} leads out of it", shown())));
    }
    let words: Vec<_> = text.split('/').filter(|word| !matches!(*word, "" | ".")).collect();
    Ok((!words.is_empty()).then(|| words.join("/")))
}

/// Where a link leads inside the archive.
pub(super) fn linked(name_of_link: &str, target: &[u8], hard: bool) -> Result<String> {
    let refused = || Error::Archive(format!("the link {name_of_link:?} leads out of it"));
    let target = std::str::from_utf8(target).map_err(|_| refused())?;
    if target.starts_with('/') || target.len() > NAME {
        return Err(refused());
    }
    let mut words: Vec<&str> = if hard { Vec::new() } else { name_of_link.split('/').collect() };
    words.pop();
    for word in target.split('/') {
        match word {
            "" | "." => {}
            ".." => drop(words.pop().ok_or_else(refused)?),
            word => words.push(word),
        }
    }
    if words.is_empty() { Err(refused()) } else { Ok(words.join("/")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for (given, expected) in [
            ("manifest.json", Some("manifest.json")),
            ("./blobs//sha256/ab", Some("blobs/sha256/ab")),
            ("./", None),
            ("a/", Some("a")),
        ] {
            assert_eq!(name(given.as_bytes()).unwrap().as_deref(), expected, "{given}");
        }
        for bad in ["/etc/passwd", "../x", "a/../../x", "a/..", "a\0b"] {
            assert!(name(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(name(b"\xff").is_err() && name(&[b'a'; 5000]).is_err());
    }

    #[test]
    fn links_stay_inside() {
        for (link, target, hard, expected) in [
            ("ab/layer.tar", "../cd/layer.tar", false, "cd/layer.tar"),
            ("ab/layer.tar", "other.tar", false, "ab/other.tar"),
            ("ab/layer.tar", "cd/layer.tar", true, "cd/layer.tar"),
        ] {
            assert_eq!(linked(link, target.as_bytes(), hard).unwrap(), expected);
        }
        for (link, target, hard) in [
            ("a/b", "../../etc/passwd", false),
            ("a", "/etc/passwd", false),
            ("a", "../x", true),
            ("a", ".", true),
        ] {
            assert!(linked(link, target.as_bytes(), hard).is_err(), "{link} to {target}");
        }
    }
}
