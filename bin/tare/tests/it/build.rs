//! `build`: what goes over the wire, and what a person sees of what comes back.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

use crate::daemon::{Fake, Reply};
use crate::{err, out, ran, tare};

/// A daemon that builds whatever it is asked.
fn builder() -> Fake {
    Fake::start(|_| {
        let step = |json: &str| format!(r#"{{"aux":{{"tare.step":{{"Number":1,{json}}}}}}}"#);
        Reply::Lines(vec![
            step(r#""Name":"[1/1] FROM scratch","Status":"started","Time":1000000000"#),
            step(r#""Output":"\u001b[31mhello\u001b[0m\n","Time":1500000000"#),
            step(r#""Status":"done","Time":2500000000"#),
            // The bytes are followed by the next message without a line's end.
            r#"{"aux":{"tare.output":{"Index":0,"Bytes":5}}}"#.into(),
            r#"bytes{"aux":{"tare.output":{"Index":0,"End":true}}}"#.into(),
            r#"{"aux":{"tare.result":{"Digest":"sha256:aa","ConfigDigest":"sha256:bb","Names":["x:latest"]}}}"#.into(),
            r#"{"aux":{"ID":"sha256:bb"}}"#.into(),
        ])
    })
}

/// Names and contents of the archive that was sent.
fn sent(fake: &Fake) -> Vec<(String, String)> {
    let bytes = fake.bytes_of("POST /build?");
    let mut archive = tar::Archive::new(&bytes[..]);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    });
    entries.collect()
}

fn context(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_directory_goes_over_with_its_secrets_before_it_and_none_in_the_query() {
    let fake = builder();
    let files = context(&[
        ("Dockerfile", "FROM scratch\n"),
        (".dockerignore", "*.log\nDockerfile\n"),
        ("a/b", "1"),
        ("x.log", "2"),
    ]);
    let key = files.path().join("key.log");
    fs::write(&key, "s3cret").unwrap();
    let secret = format!("id=k,src={}", text(&key));
    let iid = files.path().join("iid.log");
    let built =
        ran(&fake, &["build", "-t", "x", "--secret", &secret, "--iidfile", text(&iid), text(files.path())]);
    assert_eq!(built.status.code(), Some(0), "{}", err(&built));
    let expected = [
        (".tare-secrets/k", "s3cret"),
        (".tare-dockerfile", "FROM scratch\n"),
        (".tare-end", ""),
        (".dockerignore", "*.log\nDockerfile\n"),
        ("a", ""),
        ("a/b", "1"),
    ];
    assert_eq!(sent(&fake), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    let asked = &fake.asked()[0];
    assert!(asked.contains("t=x:latest") && asked.contains("dockerfile=Dockerfile"), "{asked}");
    assert!(asked.contains("tarereserved=1"), "{asked}");
    assert!(!asked.contains("s3cret"), "{asked}");
    assert_eq!(fs::read_to_string(iid).unwrap(), "sha256:bb");
}

#[test]
fn progress_is_plain_without_a_terminal_and_steers_none() {
    let fake = builder();
    let files = context(&[("Dockerfile", "FROM scratch\n")]);
    let built = ran(&fake, &["build", text(files.path())]);
    assert_eq!(out(&built), "");
    assert_eq!(err(&built), "#1 [1/1] FROM scratch\n#1 0.500 hello\n#1 DONE 1.5s\n");
    let without = ["image", "build", "-q", "--provenance=false", "--sbom=false", text(files.path())];
    let quiet = ran(&fake, &without);
    assert_eq!((out(&quiet), err(&quiet)), ("sha256:bb\n", ""));
}

#[test]
fn an_export_lands_where_it_is_wanted() {
    let fake = builder();
    let files = context(&[("Dockerfile", "FROM scratch\n")]);
    let (to, meta) = (files.path().join("x.tar"), files.path().join("meta"));
    let output = format!("type=tar,dest={}", text(&to));
    let built = ran(&fake, &["build", "-o", &output, "--metadata-file", text(&meta), text(files.path())]);
    assert_eq!(built.status.code(), Some(0), "{}", err(&built));
    assert_eq!(fs::read(to).unwrap(), b"bytes");
    let meta: serde_json::Value = serde_json::from_str(&fs::read_to_string(meta).unwrap()).unwrap();
    assert_eq!(meta["containerimage.digest"], "sha256:aa");
}

#[test]
fn standard_input_is_a_dockerfile_or_an_archive() {
    let fake = builder();
    let piped = |fake: &Fake, words: &[&str], input: &[u8]| {
        let mut child = tare(fake).args(words).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    };
    assert_eq!(piped(&fake, &["build", "-"], b"FROM scratch\n").status.code(), Some(0));
    let only = [(".tare-dockerfile", "FROM scratch\n"), (".tare-end", "")];
    assert_eq!(sent(&fake), only.map(|(name, text)| (name.to_owned(), text.to_owned())));
    let fake = builder();
    let files = context(&[("Dockerfile", "FROM no\n"), ("a", "1")]);
    assert_eq!(
        piped(&fake, &["build", "-f", "-", text(files.path())], b"FROM scratch\n").status.code(),
        Some(0)
    );
    let names: Vec<String> = sent(&fake).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [".tare-dockerfile", ".tare-end", "Dockerfile", "a"]);
}

/// Whoever wrote the directory has no word in what the person gave beside it.
#[test]
fn files_of_a_directory_with_reserved_names_are_files_of_the_context() {
    const NAMES: [&str; 4] = [".tare-contexts/c/x", ".tare-dockerfile", ".tare-end", ".tare-secrets/k"];
    let mine = context(&[("key", "mine"), ("Dockerfile", "FROM mine\n"), ("c/x", "mine")]);
    let theirs = context(&NAMES.map(|name| (name, "theirs")));
    fs::write(theirs.path().join("Dockerfile"), "FROM theirs\n").unwrap();
    let here = |name: &str| text(mine.path()).to_owned() + "/" + name;
    let (secret, further) = (format!("id=k,src={}", here("key")), format!("c={}", here("c")));
    let reserved = ["--secret", &secret, "-f", &here("Dockerfile"), "--build-context", &further];
    for (words, announced) in [(&reserved[..], true), (&[], false)] {
        let fake = builder();
        let built = ran(&fake, &[&["build"], words, &[text(theirs.path())]].concat());
        assert_eq!(built.status.code(), Some(0), "{}", err(&built));
        assert_eq!(fake.asked()[0].contains("tarereserved"), announced);
        let sent = sent(&fake);
        let end = sent.iter().position(|(name, text)| name == ".tare-end" && text.is_empty());
        assert_eq!(end.is_some(), announced);
        let (before, after) = sent.split_at(end.map_or(0, |end| end + 1));
        assert!(before.iter().all(|(_, text)| !text.contains("theirs")), "{before:?}");
        for name in NAMES {
            assert!(after.contains(&(name.to_owned(), "theirs".to_owned())), "{name}: {after:?}");
        }
    }
}

#[test]
fn mistakes_are_told_before_anything_is_sent() {
    let fake = builder();
    let files =
        context(&[("Dockerfile", "FORM scratch\n"), ("ok", "FROM a\n"), ("ok.dockerignore", "a\n!\n")]);
    let here = text(files.path());
    let ok = files.path().join("ok");
    for (words, part) in [
        (
            &["build", here][..],
            "unknown instruction: FORM: did you mean FROM?\n     --> Dockerfile:1\n   1 | FORM scratch\n     | ^^^^",
        ),
        (&["build", "-f", text(&ok), here], "a lone \"!\" names nothing"),
        (&["build", "-f", "nowhere", here], "nowhere: No such file"),
        (&["build", "/nonexistent"], "there is no such directory"),
        (&["build", "--cache-to", "type=local,dest=x", here], "not supported yet: --cache-to type=local"),
        (&["build", "--provenance=mode=max", here], "not supported yet: --provenance mode=max"),
        (&["build", "--progress", "loud", here], "one of auto, plain, tty, quiet, rawjson"),
        (&["build", "--secret", "id=x,src=/nonexistent", here], "/nonexistent: No such file"),
    ] {
        let failed = ran(&fake, words);
        assert!(err(&failed).contains(part), "{words:?}: {}", err(&failed));
        assert_ne!(failed.status.code(), Some(0), "{words:?}");
    }
    assert!(fake.asked().is_empty(), "{:?}", fake.asked());
}

#[test]
fn the_daemons_refusal_is_shown_as_it_is() {
    let fake = Fake::start(|_| {
        Reply::Lines(vec![
            r#"{"aux":{"tare.step":{"Number":1,"Name":"[1/1] RUN x","Status":"started","Time":1}}}"#.into(),
            r#"{"aux":{"tare.step":{"Number":1,"Output":"said\n","Time":2}}}"#.into(),
            r#"{"aux":{"tare.step":{"Number":1,"Status":"failed","Error":"exit code 1\n   1 | RUN x","Time":3}}}"#.into(),
            r#"{"errorDetail":{"code":1,"message":"exit code 1\n   1 | RUN x"},"error":"exit code 1"}"#.into(),
        ])
    });
    let files = context(&[("Dockerfile", "FROM scratch\n")]);
    let failed = ran(&fake, &["build", text(files.path())]);
    assert_eq!(failed.status.code(), Some(1));
    let said = err(&failed);
    assert!(
        said.contains(
            "#1 ERROR: exit code 1\n------\n > [1/1] RUN x:\nsaid\n------\ntare: exit code 1\n   1 | RUN x\n"
        ),
        "{said}"
    );
}
