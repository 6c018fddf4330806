use std::collections::BTreeSet;

use tare_dockerfile::{Error, Globals, Origin, Span, Stages, Word};

use crate::{given, read};

fn resolve(source: &str, contexts: &[&str]) -> Result<Stages, Error> {
    let file = read(source);
    let globals = Globals::new(&file, &given(&[])).unwrap();
    let contexts: BTreeSet<String> = contexts.iter().map(ToString::to_string).collect();
    Stages::resolve(&file, &globals, &contexts)
}

fn from(text: &str) -> Word {
    Word { text: text.into(), span: Span::default() }
}

const FILE: &str = "ARG BASE=debian\nFROM $BASE AS base\nFROM base AS build\nRUN x\nFROM base AS test\nCOPY --from=build / /\n\
                    FROM scratch\nCOPY --from=0 / /\nRUN --mount=type=bind,from=build,target=/x y\nFROM other AS unused\n";

#[test]
fn stages_are_found_by_name_and_number() {
    let stages = resolve(FILE, &[]).unwrap();
    assert_eq!(
        stages.bases(),
        [
            Origin::Image("debian".into()),
            Origin::Stage(0),
            Origin::Stage(0),
            Origin::Scratch,
            Origin::Image("other".into())
        ]
    );
    assert_eq!(stages.order(3), [0, 1, 3]);
    assert_eq!(stages.order(2), [0, 1, 2]);
    assert_eq!(stages.order(4), [4]);
    assert_eq!(stages.target(None).unwrap(), 4);
    assert_eq!(stages.target(Some("TEST")).unwrap(), 2);
    assert_eq!(stages.target(Some("3")).unwrap(), 3);
    assert_eq!(stages.origin(&from("alpine:3")).unwrap(), Origin::Image("alpine:3".into()));
    assert_eq!(stages.origin(&from("Build")).unwrap(), Origin::Stage(1));
    assert!(stages.origin(&from("7")).unwrap_err().message.contains("there is no stage 7"));
}

#[test]
fn a_misspelt_target_is_met_with_the_nearest() {
    let stages = resolve(FILE, &[]).unwrap();
    assert!(stages.target(Some("biuld")).unwrap_err().message.ends_with("did you mean build?"));
    assert!(stages.target(Some("zzz")).unwrap_err().message.contains("there are base, build, test, unused"));
}

#[test]
fn a_name_means_an_image_until_the_stage_stands_above() {
    let stages = resolve("FROM debian AS debian\nFROM later\nFROM x AS later\n", &[]).unwrap();
    assert_eq!(stages.bases()[..2], [Origin::Image("debian".into()), Origin::Image("later".into())]);
}

#[test]
fn contexts_come_before_stages_and_images() {
    let stages =
        resolve("FROM debian\nCOPY --from=src / /\n", &["docker.io/library/debian:latest", "src"]).unwrap();
    assert_eq!(stages.bases(), [Origin::Context("debian".into())]);
    assert_eq!(stages.origin(&from("src")).unwrap(), Origin::Context("src".into()));
}

#[test]
fn circles_are_named() {
    let error = resolve("FROM a AS a\nCOPY --from=b / /\nFROM x AS b\nCOPY --from=a / /\n", &[]).unwrap_err();
    assert_eq!(error.message, "stages lean on each other in a circle: a → b → a: break it at one of them");
    assert!(resolve("FROM a AS a\nCOPY --from=a / /\n", &[]).unwrap_err().message.contains("a → a"));
}

#[test]
fn triggers_of_a_base_stage_count_as_the_childs_needs() {
    let stages =
        resolve("FROM a AS tools\nFROM a AS base\nONBUILD COPY --from=tools / /\nFROM base\n", &[]).unwrap();
    assert_eq!(stages.order(2), [0, 1, 2]);
    assert_eq!(stages.order(1), [1]);
}

#[test]
fn an_empty_base_is_refused() {
    let error = resolve("ARG BASE\nFROM $BASE\n", &[]).unwrap_err();
    assert!(error.message.contains("\"$BASE\" is empty"), "{error}");
}

#[test]
fn a_thousand_stages_in_a_row_are_ordered() {
    let mut source = String::from("FROM a AS s0\n");
    for at in 1..1000 {
        source.push_str(&format!("FROM s{} AS s{at}\n", at - 1));
    }
    assert_eq!(resolve(&source, &[]).unwrap().order(999).len(), 1000);
    source.push_str("FROM s999\n");
    let file = tare_dockerfile::parse(source.as_bytes());
    assert!(file.unwrap_err().message.contains("more than 1000 stages"));
}
