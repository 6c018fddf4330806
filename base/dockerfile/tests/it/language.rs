use insta::assert_snapshot;
use tare_dockerfile::{Command, Healthcheck, Instruction, Mount, RunCommand, Source, parse_trigger};

use crate::{read, tree};

/// The only step of a stage.
fn only(instruction: &str) -> Instruction {
    let file = read(&format!("FROM scratch\n{instruction}\n"));
    assert_eq!(file.stages[0].steps.len(), 1, "{instruction}");
    file.stages[0].steps[0].instruction.clone()
}

#[test]
fn a_real_file_of_several_stages() {
    assert_snapshot!(tree(
        r#"# syntax=docker/dockerfile:1
# an ordinary comment
ARG GO=1.22
FROM --platform=$BUILDPLATFORM golang:${GO} AS Build
WORKDIR /src
RUN --mount=type=cache,target=/root/.cache/go-build,sharing=locked \
    --mount=type=bind,source=go.mod,dst=go.mod,rw \
    # a comment between
    go build -o /out/app \
        ./cmd/app && \
    echo "done \
now"
FROM debian:bookworm-slim
COPY --from=build --chown=1000:1000 --chmod=0755 --link /out/app /usr/bin/
ADD --checksum=sha256:abc --unpack=false https://example.test/a.tar.gz /tmp/
ENV A=1 B="two words" C=th\ ree
LABEL "org.example name"="x y"
EXPOSE 80 8000-8002/udp
VOLUME ["/data", "/var/lib/x"]
USER app:app
STOPSIGNAL SIGQUIT
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
HEALTHCHECK --interval=5s --retries=3 CMD curl -f http://localhost/ || exit 1
ONBUILD COPY . /app
ENTRYPOINT ["/usr/bin/app"]
CMD serve --port 80
"#
    ));
}

#[test]
fn here_documents() {
    assert_snapshot!(tree(
        "FROM a\n\
         RUN <<EOF\nset -e\n# kept, this is the shell's\necho $HOME \\\n  x\nEOF\n\
         RUN <<-\"END\" cat > /x && cat <<B\n\tone $A\n\tEND\ntwo\nB\n\
         COPY <<a.txt <<-'b.c' plain /dir/\nhello $NAME\na.txt\n\t\tindented $NAME\n\tb.c\n\
         RUN python3 <<EOF\r\nprint(1)\r\nEOF\r\n\
         ONBUILD RUN <<EOF\ntrue\nEOF\n\
         RUN [\"cat\", \"<<EOF\"]\n\
         CMD echo <<EOF\n"
    ));
}

#[test]
fn the_other_escape_character_leaves_backslashes_alone() {
    let file = read("# escape=`\nFROM a\nRUN dir C:\\ `\n  && x\nCOPY a\\ c:\\b\n");
    let texts: Vec<&str> = file.stages[0].steps.iter().map(|step| step.text.as_str()).collect();
    assert_eq!(texts, ["RUN dir C:\\   && x", "COPY a\\ c:\\b"]);
}

#[test]
fn directives_stand_at_the_very_top_alone() {
    let file = read("# SYNTAX = a/b:1 \n#check=skip=all\n# other=1\n\n# escape=`\nFROM a\nRUN x \\\n y\n");
    assert_eq!(file.directives.syntax.as_deref(), Some("a/b:1"));
    assert_eq!(file.directives.check.as_deref(), Some("skip=all"));
    assert_eq!(file.directives.escape, '\\');
    let file = read("\u{feff}# escape=`\r\nFROM a\r\nRUN x `\r\n y\r\n");
    assert_eq!(file.stages[0].steps[0].text, "RUN x  y");
}

#[test]
fn json_and_shell_forms_are_told_apart() {
    let exec = |words: &[&str]| Command::Exec(words.iter().map(ToString::to_string).collect());
    for (text, command) in [
        (r#"["a", "b \" c"]"#, exec(&["a", "b \" c"])),
        ("[]", exec(&[])),
        (r#"["a"] trailing"#, exec(&["a"])),
        ("['a']", Command::Shell("['a']".into())),
        (r#"[ -f x ] && echo "y""#, Command::Shell(r#"[ -f x ] && echo "y""#.into())),
        ("echo  two   spaces", Command::Shell("echo  two   spaces".into())),
    ] {
        assert_eq!(only(&format!("CMD {text}")), Instruction::Cmd(command.clone()), "{text}");
        assert_eq!(only(&format!("entrypoint   {text}  ")), Instruction::Entrypoint(command));
    }
    let warned = read("FROM a\nCMD ['a', 'b']\n").warnings;
    assert!(warned[0].message.contains("looks like a JSON list"), "{warned:?}");
}

#[test]
fn pairs_have_two_forms() {
    let pairs = |text: &str| match only(text) {
        Instruction::Env(pairs) | Instruction::Label(pairs) => {
            pairs.into_iter().map(|(name, value)| (name.text, value.text)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(pairs("ENV a b=c  d "), owned(&[("a", "b=c  d")]));
    assert_eq!(pairs("ENV a=b \\\n  c='d e' f="), owned(&[("a", "b"), ("c", "'d e'"), ("f", "")]));
    assert_eq!(pairs("LABEL \"a b\"=\"c=d\""), owned(&[("\"a b\"", "\"c=d\"")]));
}

#[test]
fn healthchecks() {
    assert_eq!(only("HEALTHCHECK none"), Instruction::Healthcheck(Healthcheck::None));
    let Instruction::Healthcheck(Healthcheck::Probe {
        command,
        interval,
        timeout,
        retries,
        start_interval,
        ..
    }) = only("HEALTHCHECK --interval=1m30s --timeout=0 --start-interval=5ms --retries=0 CMD [\"x\"]")
    else {
        panic!("no probe")
    };
    assert_eq!(command, Command::Exec(vec!["x".into()]));
    assert_eq!(interval.unwrap().as_secs(), 90);
    assert_eq!((timeout, retries, start_interval.unwrap().as_millis()), (None, None, 5));
}

#[test]
fn every_kind_of_mount_with_what_holds_unless_said() {
    let Instruction::Run(run) = only(
        "RUN --mount=target=/a --mount=type=cache,target=/b,id=x,ro,mode=0700,uid=5 --mount=type=tmpfs,dst=/c,size=64m \
         --mount=type=secret,id=s,env=S,required --mount=type=secret,target=/etc/key --mount=type=ssh --network=none \
         --security=insecure true",
    ) else {
        panic!("no RUN")
    };
    assert_eq!(run.command, RunCommand::Shell("true".into()));
    insta::assert_debug_snapshot!(run);
}

#[test]
fn sources_keep_their_order_and_quotes_hold_words_together() {
    let Instruction::Copy(copy) =
        only("COPY --exclude=*.md --exclude=\"a b\" --parents one 'two words' <<three /x/\n3\nthree")
    else {
        panic!("no COPY")
    };
    let sources: Vec<String> = copy
        .sources
        .iter()
        .map(|source| match source {
            Source::Path(word) => word.text.clone(),
            Source::Heredoc(heredoc) => format!("<{}>", heredoc.body),
        })
        .collect();
    assert_eq!(sources, ["one", "'two words'", "<3\n>"]);
    assert!(copy.parents && !copy.link);
    assert_eq!(copy.exclude.iter().map(|word| word.text.as_str()).collect::<Vec<_>>(), ["*.md", "a b"]);
}

#[test]
fn triggers_are_read_again() {
    let Instruction::Onbuild(text) = only("ONBUILD  RUN --mount=type=cache,target=/c <<EOF\n  make\nEOF")
    else {
        panic!("no ONBUILD")
    };
    assert_eq!(text, "RUN --mount=type=cache,target=/c <<EOF\n  make\nEOF");
    let Instruction::Run(run) = parse_trigger(&text).unwrap().instruction else { panic!("no RUN") };
    assert!(matches!(run.mounts[..], [Mount::Cache(_)]));
    let RunCommand::Script(script) = run.command else { panic!("no script") };
    assert_eq!(script.body, "  make\n");
    assert!(parse_trigger("ONBUILD RUN x").is_err() && parse_trigger("FROM a").is_err());
}

#[test]
fn what_is_probably_not_meant_is_said() {
    assert_snapshot!(tree(
        "FROM a AS x\nMAINTAINER me\nCMD a\nCMD b\nrun c \\\n\n  d\nENV DB_PASSWORD=x old form\nARG API_KEY\nFROM b AS x\n\
         ENV PUBLIC_KEY x\n"
            .replace(" old form", "")
            .as_str()
    ));
    assert!(read("from a\nrun x\n").warnings.is_empty());
}
