use tare_dockerfile::{Globals, Instruction, Scope, Source, Stage};

use crate::{given, read};

/// What the last ENV of a file sets, or why not.
fn value(word: &str) -> Result<String, String> {
    let source = format!(
        "FROM a\nENV foo=bar empty= path=/usr/local/bin:/bin text='a.b.c' star='a*b' multi='x y'\nENV out {word}\n"
    );
    let file = read(&source);
    let globals = Globals::new(&file, &given(&[])).unwrap();
    run(&file.stages[0], &globals).map(|scope| scope.env().last().unwrap().1.clone()).map_err(|e| e.message)
}

fn run<'g>(stage: &Stage, globals: &'g Globals) -> tare_dockerfile::Result<Scope<'g>> {
    let mut scope = Scope::new(globals, vec![("PATH".into(), "/bin".into())]);
    for step in &stage.steps {
        let expanded = scope.expand(step)?;
        scope.admit(&expanded);
    }
    Ok(scope)
}

#[test]
fn every_operator() {
    for (word, expected) in [
        ("$foo", "bar"),
        ("${foo}", "bar"),
        ("${foo}x$foo-", "barxbar-"),
        ("$none", ""),
        ("a$", "a$"),
        ("$foo_", ""),
        ("\\$foo", "$foo"),
        ("\\\\$foo", "\\bar"),
        ("'$foo'", "$foo"),
        ("\"$foo's\"", "bar's"),
        ("\"\\$foo \\\" \\x\"", "$foo \" \\x"),
        ("'it'\\''s'", "it's"),
        ("${none-w}", "w"),
        ("${none:-w}", "w"),
        ("${empty-w}", ""),
        ("${empty:-w}", "w"),
        ("${foo:-w}", "bar"),
        ("${foo+w}", "w"),
        ("${foo:+w}", "w"),
        ("${empty+w}", "w"),
        ("${empty:+w}", ""),
        ("${none+w}", ""),
        ("${none:-${foo:+${foo}s}}", "bars"),
        ("${none:-\"a } b\"}", "a } b"),
        ("${foo:?not set}", "bar"),
        ("${empty?not set}", ""),
        ("${path#*/}", "usr/local/bin:/bin"),
        ("${path##*/}", "bin"),
        ("${path%/*}", "/usr/local/bin:"),
        ("${path%%/*}", ""),
        ("${text%.*}", "a.b"),
        ("${text%%.*}", "a"),
        ("${text#?}", ".b.c"),
        ("${text/./-}", "a-b.c"),
        ("${text//./-}", "a-b-c"),
        ("${text//./}", "abc"),
        ("${text/*./$foo}", "barc"),
        ("${text//x/y}", "a.b.c"),
        ("${star/\\*/+}", "a+b"),
        ("${star#a\\*}", "b"),
        ("${foo/${none:-a}/o}", "bor"),
        ("${none//a/b}", ""),
        ("$1$@", ""),
    ] {
        assert_eq!(value(word).as_deref(), Ok(expected), "{word}");
    }
}

#[test]
fn what_cannot_be_expanded_says_why() {
    for (word, part) in [
        ("${none:?give me a name}", "none: give me a name"),
        ("${none?}", "none: is not set"),
        ("${empty:?}", "empty: is not set or empty"),
        ("${foo", "not closed"),
        ("${}", "without a variable's name"),
        ("${foo!x}", "unknown operator '!'"),
        ("${foo:x}", "known are :- :+ :?"),
        ("${foo:-x", "not closed"),
        ("${foo/a}", "not closed"),
        ("'x", "single quote"),
        ("\"x", "double quote"),
        (&format!("{}x{}", "${none:-".repeat(200), "}".repeat(200)), "deeper"),
    ] {
        let why = value(word).unwrap_err();
        assert!(why.contains(part), "{word}: {why}");
    }
}

#[test]
fn words_that_grow_without_end_and_slow_patterns_are_refused() {
    let mut source = String::from("FROM a\nENV a=0123456789\n");
    source.push_str(&"ENV a=$a$a$a$a$a$a$a$a\n".repeat(12));
    let file = read(&source);
    let globals = Globals::new(&file, &given(&[])).unwrap();
    assert!(run(&file.stages[0], &globals).unwrap_err().message.contains("grow beyond"));
    let slow = format!("FROM a\nENV a={}\nENV b=${{a//*a*a*a*b/}}\n", "a".repeat(100_000));
    let file = read(&slow);
    assert!(run(&file.stages[0], &globals).unwrap_err().message.contains("takes too long"));
}

#[test]
fn instructions_and_scopes_have_an_end() {
    let text = |lines: &str| format!("FROM a\nENV a={}\n{lines}", "x".repeat(1 << 20));
    for (lines, part) in [
        ("LABEL a=$a b=$a c=$a d=$a e=$a f=$a g=$a h=$a i=$a\n", "the instruction grows beyond"),
        ("EXPOSE $a$a$a $a$a$a $a$a$a\n", "the instruction grows beyond"),
        ("COPY <<A <<B <<C /x/\n$a$a$a\nA\n$a$a$a\nB\n$a$a$a\nC\n", "the instruction grows beyond"),
        ("USER $a$a$a$a$a$a$a$a$a\n", "a word grows beyond"),
        ("ENV b=$a\n", "all variables together grow beyond"),
        ("ARG b=$a\n", "all variables together grow beyond"),
    ] {
        let file = read(&text(lines));
        let globals = Globals::new(&file, &given(&[])).unwrap();
        let error = run(&file.stages[0], &globals).unwrap_err();
        assert!(error.message.contains(part), "{lines}: {}", error.message);
    }
    let globals = format!("ARG a={}\nARG b=$a\nARG c=$a\nFROM a\n", "x".repeat(1 << 20));
    let error = Globals::new(&read(&globals), &given(&[])).unwrap_err();
    assert!(error.message.contains("all variables together grow beyond"), "{}", error.message);
}

#[test]
fn a_line_sees_what_stood_before_it() {
    let file = read("FROM a\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n");
    let globals = Globals::new(&file, &given(&[])).unwrap();
    let scope = run(&file.stages[0], &globals).unwrap();
    let env: Vec<String> = scope.env().iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["PATH=/bin", "abc=bye", "def=hello", "ghi=bye"]);
}

#[test]
fn arguments_come_from_outside_then_from_here_then_from_the_top() {
    let file = read(
        "ARG TOP=top\nARG BOTH=global-$TOP\nFROM a\nARG TOP\nARG BOTH=local\nARG GIVEN=standing\nARG NONE\nARG TARGETARCH\n\
         ARG BUILDPLATFORM\nARG HIDDEN=arg\nENV HIDDEN=env\n",
    );
    let globals =
        Globals::new(&file, &given(&[("GIVEN", "outside"), ("http_proxy", "p"), ("MISSPELT", "x")])).unwrap();
    let scope = run(&file.stages[0], &globals).unwrap();
    let args: Vec<_> = scope.args().collect();
    assert_eq!(
        args,
        [
            ("TOP", "top"),
            ("BOTH", "local"),
            ("GIVEN", "outside"),
            ("TARGETARCH", "arm64"),
            ("BUILDPLATFORM", "linux/amd64")
        ]
    );
    assert_eq!(scope.proxies().collect::<Vec<_>>(), [("http_proxy", "p")]);
    assert_eq!(globals.unasked(&file), ["MISSPELT"]);
    let other = Globals::new(&file, &given(&[("TOP", "t")])).unwrap();
    assert!(run(&file.stages[0], &other).unwrap().args().any(|pair| pair == ("TOP", "t")));
}

#[test]
fn a_global_argument_is_unknown_inside_until_it_is_named() {
    let file = read("ARG V=1\nFROM a\nENV before=x$V\nARG V\nENV after=x$V\nFROM b\nENV other=x$V\n");
    let globals = Globals::new(&file, &given(&[])).unwrap();
    let first = run(&file.stages[0], &globals).unwrap();
    assert_eq!(first.env()[1..], [("before".into(), "x".into()), ("after".into(), "x1".into())]);
    assert_eq!(run(&file.stages[1], &globals).unwrap().env()[1].1, "x");
}

#[test]
fn commands_are_the_shells_business_and_the_rest_is_expanded() {
    let file = read(
        "FROM a\nENV v=1 many='1 2'\nRUN echo $v\nCMD $v\nCOPY --chown=$v <<A <<'B' $v/\n$v \"$v\" \\$v\nA\n$v\nB\nEXPOSE $many\n\
         RUN --mount=type=cache,target=/$v x\nONBUILD RUN $v\nUSER $v\nWORKDIR /$v\nVOLUME /$v\n",
    );
    let globals = Globals::new(&file, &given(&[])).unwrap();
    let mut scope = Scope::new(&globals, Vec::new());
    let expanded: Vec<Instruction<String>> = file.stages[0]
        .steps
        .iter()
        .map(|step| {
            let expanded = scope.expand(step).unwrap();
            scope.admit(&expanded);
            expanded
        })
        .collect();
    let Instruction::Copy(copy) = &expanded[3] else { panic!("{:?}", expanded[3]) };
    let bodies: Vec<&str> = copy
        .sources
        .iter()
        .map(|source| match source {
            Source::Heredoc(heredoc) => heredoc.body.as_str(),
            Source::Path(path) => path,
        })
        .collect();
    assert_eq!(bodies, ["1 \"1\" $v\n", "$v\n"]);
    insta::assert_debug_snapshot!(expanded);
}

#[test]
fn several_sources_need_a_directory() {
    let file = read("FROM a\nENV d=x\nCOPY a b $d\n");
    let globals = Globals::new(&file, &given(&[])).unwrap();
    let error = run(&file.stages[0], &globals).unwrap_err();
    assert!(error.message.contains("write \"x/\""), "{error}");
    assert_eq!(error.span.line, 3);
}
