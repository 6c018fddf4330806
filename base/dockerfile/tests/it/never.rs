use std::collections::BTreeSet;

use proptest::prelude::*;
use tare_dockerfile::{Globals, Scope, Stages, excerpt, parse, parse_trigger, ports};

use crate::given;

/// Everything that the room does with a file that it could read.
fn use_all(source: &str) {
    let file = match parse(source.as_bytes()) {
        Ok(file) => file,
        Err(error) => {
            error.explain(source, "Dockerfile");
            return;
        }
    };
    for step in file.stages.iter().flat_map(|stage| &stage.steps) {
        assert!(step.span.start <= step.span.end && step.span.end as usize <= source.len(), "{step:?}");
        excerpt(source, "Dockerfile", step.span);
    }
    let Ok(globals) = Globals::new(&file, &given(&[("A", "x")])) else { return };
    let _ = Stages::resolve(&file, &globals, &BTreeSet::new()).map(|stages| stages.order(stages.count() - 1));
    for stage in &file.stages {
        let mut scope = Scope::new(&globals, vec![("PATH".into(), "/bin".into())]);
        for step in &stage.steps {
            if let Ok(expanded) = scope.expand(step) {
                scope.admit(&expanded);
            }
        }
    }
}

fn lines() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("FROM a AS b".to_owned()),
        Just("FROM b".to_owned()),
        Just("COPY --from=b".to_owned()),
        Just("COPY <<EOF <<-'X' /d/".to_owned()),
        Just("RUN --mount=type=cache,target=$A".to_owned()),
        Just("ONBUILD".to_owned()),
        Just("ENV A=${A:-${B#*x}}".to_owned()),
        Just("ARG A=1".to_owned()),
        Just("EOF".to_owned()),
        Just("# escape=`".to_owned()),
        Just("\\".to_owned()),
        Just("HEALTHCHECK --interval=1s CMD".to_owned()),
        "[ -~é\t\r]{0,30}",
    ];
    let end = prop_oneof![Just("\n"), Just(" "), Just(" \\\n"), Just("\r\n")];
    proptest::collection::vec((word, end), 0..16)
        .prop_map(|parts| parts.into_iter().map(|(word, end)| word + end).collect::<String>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_file_panics(source in lines()) {
        use_all(&source);
        use_all(&format!("FROM a\n{source}"));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_word_panics(word in "[$\\{\\}:#%/?*+a-c\"'\\\\ é-]{0,40}") {
        use_all(&format!("FROM a\nENV a=1 b=abc\nENV c={word}\nLABEL x {word}\nEXPOSE {word}\nCOPY <<E /x\n{word}\nE\n"));
    }

    #[test]
    fn no_trigger_and_no_port_panics(text in ".{0,60}") {
        let _ = parse_trigger(&text);
        let _ = ports(&text, tare_dockerfile::Span::default());
    }
}
