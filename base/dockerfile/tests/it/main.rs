//! What people write in Dockerfiles, and what comes of it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod bad;
mod expand;
mod language;
mod never;
mod stages;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tare_dockerfile::{Dockerfile, Given, parse};

/// The tree as text: one line an instruction.
fn tree(source: &str) -> String {
    let file =
        parse(source.as_bytes()).unwrap_or_else(|error| panic!("{}", error.explain(source, "Dockerfile")));
    let mut text = String::new();
    for global in &file.global_args {
        writeln!(text, "global {:?} {:?}", global.span, global.value).unwrap();
    }
    for stage in &file.stages {
        let (name, platform) = (stage.name.as_deref().unwrap_or("-"), &stage.platform);
        writeln!(text, "stage {name} {:?} {:?} platform {platform:?}", stage.span, stage.base).unwrap();
        for step in &stage.steps {
            writeln!(text, "  {:?} {:?}", step.span, step.instruction).unwrap();
        }
    }
    for warning in &file.warnings {
        writeln!(text, "warning {:?} {}", warning.span, warning.message).unwrap();
    }
    text
}

fn read(source: &str) -> Dockerfile {
    parse(source.as_bytes()).unwrap_or_else(|error| panic!("{}", error.explain(source, "Dockerfile")))
}

/// The message with its excerpt.
fn fault(source: &str) -> String {
    parse(source.as_bytes()).expect_err(source).explain(source, "Dockerfile")
}

fn given(args: &[(&str, &str)]) -> Given {
    let args: BTreeMap<String, String> =
        args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Given {
        args,
        target_platform: "linux/arm64/v8".parse().unwrap(),
        build_platform: "linux/amd64".parse().unwrap(),
        target_stage: None,
    }
}
