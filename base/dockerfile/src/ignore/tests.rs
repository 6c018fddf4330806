use proptest::prelude::*;

use super::*;

fn excludes(rules: &[&str], path: &str) -> bool {
    Ignore::of(rules.iter().copied()).unwrap().excludes(path.as_bytes())
}

/// The table of the reference, and the corners that people meet.
#[test]
fn patterns_match_as_dockers() {
    for (pattern, path, expected) in [
        ("a", "a", true),
        ("a", "a/b/c", true),
        ("a", "b/a", false),
        ("a", "ab", false),
        ("/a", "a", true),
        ("a/", "a/b", true),
        ("./a//b/../c", "a/c", true),
        ("*", "a", true),
        ("*", "a/b", true),
        ("*.md", "x.md", true),
        ("*.md", "d/x.md", false),
        ("*/temp*", "a/temporary.txt", true),
        ("*/temp*", "a/b/temp", false),
        ("*/*/temp*", "a/b/temp", true),
        ("temp?", "tempa", true),
        ("temp?", "temp", false),
        ("temp?", "temp/", false),
        ("**", "a/b", true),
        ("**/a", "a", true),
        ("**/a", "x/y/a/z", true),
        ("**/a", "xa", false),
        ("**/*.go", "x.go", true),
        ("**/*.go", "a/b/x.go", true),
        ("**/*.go", "a/b/x.god", false),
        ("a/**", "a", false),
        ("a/**", "a/b/c", true),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "a/xb", false),
        ("a**b", "a/x/b", true),
        ("a/**/*", "a/b", true),
        ("**/**/x", "x", true),
        ("a[b-d]e", "ace", true),
        ("a[^b-d]e", "ace", false),
        ("a[^b]e", "axe", true),
        ("a[\\]]e", "a]e", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("é?", "éé", true),
        ("a.b", "axb", false),
        ("a$", "a$", true),
        ("..", "a", false),
        (".", "a", false),
    ] {
        assert_eq!(excludes(&[pattern], path), expected, "{pattern} {path}");
    }
}

#[test]
fn the_last_rule_that_matches_counts() {
    for (rules, path, expected) in [
        (&["*.md", "!README.md"][..], "README.md", false),
        (&["*.md", "!README.md"], "x.md", true),
        (&["*.md", "!README*.md", "README-secret.md"], "README-secret.md", true),
        (&["*.md", "README-secret.md", "!README*.md"], "README-secret.md", false),
        (&["*", "!src"], "src/main.rs", false),
        (&["*", "!src", "src/gen"], "src/gen/x", true),
        (&["*", "!src/a"], "src/b", true),
        (&["node_modules", "!node_modules/keep"], "node_modules/keep/x", false),
        (&["**/x", "!**/keep/x"], "a/keep/x", false),
        (&["!a"], "a", false),
    ] {
        assert_eq!(excludes(rules, path), expected, "{rules:?} {path}");
    }
}

#[test]
fn an_excluded_directory_is_walked_only_where_something_may_come_back() {
    let ignore = Ignore::of(["*", "!src/*/keep", "!**/deep", "!x"]).unwrap();
    assert!(ignore.may_return(b"src") && ignore.may_return(b"anything/at/all"));
    let ignore = Ignore::of(["*", "!src/*/keep", "!x"]).unwrap();
    assert!(ignore.may_return(b"src") && ignore.may_return(b"src/a"));
    assert!(!ignore.may_return(b"sr") && !ignore.may_return(b"src/a/b") && !ignore.may_return(b"x"));
    assert!(!Ignore::of(["*"]).unwrap().may_return(b"src"));
}

#[test]
fn the_file_has_comments_spaces_and_a_mark_at_its_start() {
    let ignore = Ignore::parse("\u{feff}# comment\r\n\r\n  a  \r\n #b\n! a/c\n".as_bytes()).unwrap();
    assert!(
        ignore.excludes(b"a/x")
            && !ignore.excludes(b"a/c")
            && ignore.excludes(b"#b")
            && !ignore.excludes(b"c")
    );
    assert!(Ignore::parse(b"").unwrap().is_empty());
    assert_eq!(
        ignore_files("docker/App.Dockerfile"),
        ["docker/App.Dockerfile.dockerignore", ".dockerignore"]
    );
}

#[test]
fn bad_patterns_are_named_with_their_line() {
    for (text, part) in [
        ("a\n!\n", "a lone \"!\""),
        ("a[b", "is not closed"),
        ("a[]", "matches nothing"),
        ("a[b-]", "lacks its end"),
        ("x\\", "ends in a backslash"),
    ] {
        let error = Ignore::parse(text.as_bytes()).unwrap_err();
        assert!(error.message.contains(part), "{text}: {error}");
        assert!(error.span.line > 0);
    }
    assert!(Ignore::parse(b"a\n\xff").unwrap_err().message.starts_with("line 2 is not UTF-8"));
    assert!(Ignore::parse(&vec![b'a'; LARGEST + 1]).unwrap_err().message.contains("the limit"));
}

#[test]
fn names_that_are_no_text_are_judged() {
    assert!(Ignore::of(["*.o"]).unwrap().excludes(b"\xff\xfe.o"));
    assert!(Ignore::of(["??"]).unwrap().excludes(b"\xff\xfe"));
}

proptest! {
    #[test]
    fn nothing_panics(text in "[a-c*?/!\\[\\]\\\\^.# \n-]{0,30}", path in "[a-c/.]{0,20}") {
        if let Ok(ignore) = Ignore::parse(text.as_bytes()) {
            ignore.excludes(path.as_bytes());
            ignore.may_return(path.as_bytes());
        }
    }

    /// A directory that is not walked must hold nothing that is taken back.
    #[test]
    fn what_is_not_walked_is_left_out(rules in proptest::collection::vec("!?[ab*/]{1,6}", 1..5), path in "[ab](/[ab]){1,3}") {
        let Ok(ignore) = Ignore::of(rules.iter().map(String::as_str)) else { return Ok(()) };
        let ends: Vec<usize> = path.bytes().enumerate().filter(|(_, b)| *b == b'/').map(|(at, _)| at).collect();
        for end in ends {
            let directory = &path.as_bytes()[..end];
            if ignore.excludes(directory) && !ignore.may_return(directory) {
                prop_assert!(ignore.excludes(path.as_bytes()), "{:?} {}", rules, path);
            }
        }
    }
}

#[test]
fn patterns_have_an_end() {
    let rules = |count| Ignore::parse("a\n".repeat(count).as_bytes());
    assert!(rules(10_000).is_ok());
    assert!(rules(10_001).unwrap_err().message.contains("more than 10000 patterns"));
}
