//! Names that lead through symlinks, read as a process would read them whose root the image is.

use super::{Name, refused};
use crate::Result;

/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;
/// More components than the longest name has. Forty links of the longest sort would come to eighty thousand, for each
/// entry of an archive.
const MOST_STEPS: usize = 4096;

/// The same place by a name with no symlink in it. `link` answers where a name leads that is a symlink, and `None` for
/// everything else, also for what is not there. Absolute targets and `..` stay inside the image.
pub(crate) fn follow(name: &Name, mut link: impl FnMut(&Name) -> Result<Option<Vec<u8>>>) -> Result<Name> {
    let refuse = |rule| Err(refused(name.as_bytes(), rule));
    let mut ahead: Vec<Vec<u8>> = name.components().rev().map(<[u8]>::to_vec).collect();
    let (mut at, mut links, mut steps) = (Name::ROOT, 0, 0);
    while let Some(component) = ahead.pop() {
        steps += 1;
        match component.as_slice() {
            b"" | b"." => continue,
            b".." => {
                at = at.parent();
                continue;
            }
            _ => {}
        }
        let Some(next) = at.child(&component) else {
            return refuse("leads through a symlink to a name that is too long");
        };
        let Some(target) = link(&next)? else {
            at = next;
            continue;
        };
        links += 1;
        if target.starts_with(b"/") {
            at = Name::ROOT;
        }
        ahead.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
        if links > MOST_LINKS || steps + ahead.len() > MOST_STEPS {
            return refuse("leads through symlinks without end");
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    fn followed(links: &[(&str, &str)], start: &str) -> Result<String> {
        let links: BTreeMap<&str, &str> = links.iter().copied().collect();
        let link = |name: &Name| {
            let text = std::str::from_utf8(name.as_bytes()).unwrap();
            Ok(links.get(text).map(|target| target.as_bytes().to_vec()))
        };
        follow(&name(start), link).map(|name| String::from_utf8(name.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn links_lead_where_they_would_lead_a_process_inside() {
        let links = [
            ("lib", "usr/lib"),
            ("abs", "/usr/./bin//"),
            ("usr/up", "../opt"),
            ("out", "../../../../etc"),
            ("chain", "lib/x"),
            ("usr/lib/x", "../../abs"),
            // The link comes before the dots: not `usr`, but what is above `opt/deep`.
            ("twist", "usr/far/../file"),
            ("usr/far", "/opt/deep"),
            ("self", "."),
        ];
        for (start, end) in [
            ("plain/path", "plain/path"),
            ("lib/a/b", "usr/lib/a/b"),
            ("abs/sh", "usr/bin/sh"),
            ("usr/up/a", "opt/a"),
            ("out/passwd", "etc/passwd"),
            ("chain/y", "usr/bin/y"),
            ("twist", "opt/file"),
            ("self/self/a", "a"),
            ("", ""),
        ] {
            assert_eq!(followed(&links, start).unwrap(), end, "{start}");
        }
    }

    #[test]
    fn links_without_end_and_names_without_end_are_refused() {
        let long = "l/".repeat(1500);
        for links in
            [vec![("l", "l")], vec![("l", "m"), ("m", "l")], vec![("l", "l/l/l")], vec![("l", long.as_str())]]
        {
            assert!(followed(&links, "l/x").is_err(), "{links:?}");
        }
        let (long, wide) = ("a/".repeat(2040), "a".repeat(256));
        assert!(followed(&[("l", &long)], &format!("l/{}", "b/".repeat(20))).is_err());
        assert!(followed(&[("l", &wide)], "l").is_err());
        let round = "d/../".repeat(800);
        let links = [("a", round.as_str()), ("b", round.as_str()), ("c", round.as_str())];
        assert_eq!(followed(&links, "a/b/x").unwrap(), "x");
        assert!(followed(&links, "a/b/c/x").is_err());
    }

    proptest! {
        #[test]
        fn what_comes_out_is_a_plain_name_or_an_error(
            links in prop::collection::btree_map("[ab](/[ab]){0,2}", "/?([ab]|\\.\\.|\\.|)(/([ab]|\\.\\.|\\.)){0,3}", 0..6),
            start in "[ab](/[ab]){0,4}",
        ) {
            let links: Vec<(&str, &str)> = links.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
            if let Ok(end) = followed(&links, &start) {
                prop_assert!(end.split('/').all(|component| component != ".." && component != "."));
                prop_assert_eq!(followed(&links, &end).unwrap(), end);
            }
        }
    }
}
