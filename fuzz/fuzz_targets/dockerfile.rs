//! Whatever the bytes: no panic, and what was read can be expanded and ordered.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use libfuzzer_sys::fuzz_target;
use tare_dockerfile::{Given, Globals, Scope, Stages, excerpt, parse};
use tare_model::Platform;

fuzz_target!(|bytes: &[u8]| {
    let source = String::from_utf8_lossy(bytes);
    let file = match parse(bytes) {
        Ok(file) => file,
        Err(error) => {
            error.explain(&source, "Dockerfile");
            return;
        }
    };
    let args = BTreeMap::from([("A".to_owned(), "x".to_owned())]);
    let given = Given {
        args,
        target_platform: Platform::host(),
        build_platform: Platform::host(),
        target_stage: None,
    };
    let Ok(globals) = Globals::new(&file, &given) else { return };
    let _ = Stages::resolve(&file, &globals, &BTreeSet::new()).map(|stages| stages.order(stages.count() - 1));
    for stage in &file.stages {
        let mut scope = Scope::new(&globals, Vec::new());
        for step in &stage.steps {
            excerpt(&source, "Dockerfile", step.span);
            if let Ok(expanded) = scope.expand(step) {
                scope.admit(&expanded);
            }
        }
    }
});
