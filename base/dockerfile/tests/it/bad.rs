use insta::assert_snapshot;
use tare_dockerfile::{LARGEST, parse};
use tare_model::{HasKind as _, Kind};

use crate::fault;

#[test]
fn every_mistake_is_named_with_its_line_and_a_way_out() {
    let bad = [
        "",
        "# only a comment\n",
        "RUN x\n",
        "FORM debian\n",
        "FROM a\nPRINT x\n",
        "FROM\n",
        "FROM a b\n",
        "FROM a AS 1x\n",
        "FROM --plattform=x a\n",
        "FROM a\nCOPY --form=build /a /b\n",
        "FROM a\nCOPY one\n",
        "FROM a\nCOPY --from=$x a b\n",
        "FROM a\nCOPY a <<EOF\nEOF\n",
        "FROM a\nCOPY --link=perhaps a b\n",
        "FROM a\nCOPY --chown=1 --chown=2 a b\n",
        "FROM a\nCOPY --chown a b\n",
        "FROM a\nRUN\n",
        "FROM a\nRUN []\n",
        "FROM a\nRUN [1]\n",
        "FROM a\nRUN <<EOF\nnever closed\n",
        "FROM a\nRUN --mount=type=cahce,target=/x y\n",
        "FROM a\nRUN --mount=type=cache y\n",
        "FROM a\nRUN --mount=type=tmpfs,target=/x,sise=1 y\n",
        "FROM a\nRUN --mount=type=tmpfs,target=/x,size=lots y\n",
        "FROM a\nRUN --mount=type=cache,target=/x,mode=99 y\n",
        "FROM a\nRUN --mount=type=secret y\n",
        "FROM a\nRUN --mount=type=bind,target=/x,from=$y z\n",
        "FROM a\nRUN --network=some y\n",
        "FROM a\nRUN --device=nvidia y\n",
        "FROM a\nENV a\n",
        "FROM a\nENV a=b c\n",
        "FROM a\nENV =b\n",
        "FROM a\nARG =b\n",
        "FROM a\nSHELL /bin/sh\n",
        "FROM a\nHEALTHCHECK\n",
        "FROM a\nHEALTHCHECK NONE x\n",
        "FROM a\nHEALTHCHECK CMD\n",
        "FROM a\nHEALTHCHECK RUN x\n",
        "FROM a\nHEALTHCHECK --interval=1us CMD x\n",
        "FROM a\nHEALTHCHECK --retries=-1 CMD x\n",
        "FROM a\nONBUILD ONBUILD RUN x\n",
        "FROM a\nONBUILD from b\n",
        "FROM a\nONBUILD MAINTAINER x\n",
        "FROM a\nONBUILD\n",
        "FROM a\nCMD --x\n",
        "FROM a\nVOLUME [\"\"]\n",
        "# escape=x\nFROM a\n",
        "# escape=`\n# escape=`\nFROM a\n",
        "FROM a\nRUN \\\n  x \\\n  y\nCOPPY a b\n",
    ];
    assert_snapshot!(bad.map(|source| format!("{source:?}\n{}\n", fault(source))).join("\n"));
}

#[test]
fn what_is_no_text_is_refused_early() {
    let error = parse(b"FROM a\nRUN \xff\n").unwrap_err();
    assert_eq!(error.message, "line 2 is not UTF-8 (byte 0xff): save the file as UTF-8");
    assert!(fault("FROM a\nRUN \0\n").starts_with("the file holds a NUL byte"));
    let error = parse(&vec![b'#'; LARGEST + 1]).unwrap_err();
    assert!(error.message.contains("the limit"), "{error}");
    assert_eq!(error.kind(), Kind::InvalidInput);
}

#[test]
fn what_tare_lacks_is_told_apart_from_mistakes() {
    assert_eq!(parse(b"FROM a\nRUN --device=x y\n").unwrap_err().kind(), Kind::NotSupported);
}

#[test]
fn large_files_of_small_things_are_read_in_time_that_grows_with_them() {
    for (head, piece) in [
        ("FROM a\nRUN ", "--mount=type=cache,target=/x "),
        ("FROM a\nENV ", "a=b "),
        ("FROM a\nCOPY ", "<<a "),
        ("FROM a\n", "CMD x\n"),
        ("FROM a\nONBUILD ", "ONBUILD "),
        ("FROM a\nRUN x", "\\\n"),
        ("FROM a\nRUN ", "'\""),
        ("", "FROM a\n"),
    ] {
        let source = format!("{head}{}", piece.repeat((1 << 20) / piece.len()));
        let begun = std::time::Instant::now();
        let _ = parse(source.as_bytes());
        // The square of the size would take hours.
        assert!(begun.elapsed().as_secs() < 60, "{piece:?} took {:?}", begun.elapsed());
    }
}

/// COPY and ADD make files by the names of here-documents; to a shell they are words like any other.
#[test]
fn a_here_document_that_is_a_file_is_called_like_one() {
    for name in ["a/b", "../a", "/etc/a", "..", ".", "'../a'", "-a/b"] {
        let end = name.trim_start_matches('-').trim_matches('\'');
        for keyword in ["COPY", "ADD", "ONBUILD COPY"] {
            let refused = parse(format!("FROM a\n{keyword} x <<{name} /\n{end}\n").as_bytes()).unwrap_err();
            assert!(refused.message.contains("without slashes"), "{name}: {refused}");
        }
        assert!(parse(format!("FROM a\nRUN <<{name}\n{end}\n").as_bytes()).is_err(), "{name}");
        parse(format!("FROM a\nRUN cat <<{name}\n{end}\n").as_bytes()).unwrap();
    }
    parse(b"FROM a\nCOPY <<a..b <<.c <<... /\na..b\n.c\n...\n").unwrap();
}
