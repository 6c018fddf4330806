//! runtime.md, State: what `state` says.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::runtime::Runtime;

clauses! {
    "runtime.md#state" {
        has_its_required_members "The state has ociVersion, id, status and bundle, and a pid while created or running"
        version_is_the_bundles_series "ociVersion is a semantic version of the series that the bundle follows"
        pid_is_the_hosts_number_of_the_main_process "pid is the main process as the host numbers it"
        bundle_is_absolute "bundle is absolute, however it was given"
        annotations_are_told "annotations are those of config.json"
        no_annotations_are_absent_or_empty "Without annotations the member is absent or an empty map"
        created_before_the_program_ran "created: the environment stands and the program has not run"
        running_while_the_program_runs "running: the program has started and has not ended"
        stopped_after_the_program_ended "stopped: the program has ended"
    }
    "runtime.md#query-state" {
        needs_an_id "state without an id is an error"
        unknown_is_an_error "state of a container that does not exist is an error"
    }
}

fn has_its_required_members(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "sleep 100");
    bundle.create();
    let state = bundle.state();
    assert_eq!(state["id"], bundle.id.as_str());
    for text in ["ociVersion", "status", "bundle"] {
        assert!(state[text].is_string(), "{text}: {state}");
    }
    assert!(state["pid"].as_i64().is_some_and(|pid| pid > 1), "{state}");
}

fn version_is_the_bundles_series(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "sleep 100");
    bundle.create();
    let version = bundle.state()["ociVersion"].as_str().unwrap().to_owned();
    let core = version.split(['-', '+']).next().unwrap();
    assert!(core.starts_with("1.") && core.split('.').all(|n| n.parse::<u32>().is_ok()), "{version}");
}

fn pid_is_the_hosts_number_of_the_main_process(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "echo started; sleep 100; true");
    bundle.start();
    bundle.hear("started");
    let line = fs::read(format!("/proc/{}/cmdline", bundle.pid())).unwrap();
    assert!(line.starts_with(b"/bin/sh\0-c\0echo started"), "{}", String::from_utf8_lossy(&line));
}

fn bundle_is_absolute(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "sleep 100");
    bundle.save();
    bundle.leaving(&["create", "--bundle", ".", &bundle.id]).ok();
    let told = bundle.state()["bundle"].as_str().unwrap().to_owned();
    assert!(told.starts_with('/'), "{told}");
    assert_eq!(fs::canonicalize(told).unwrap(), fs::canonicalize(bundle.dir()).unwrap());
}

fn annotations_are_told(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "sleep 100");
    bundle.config["annotations"] = json!({"org.example.key": "value", "empty": ""});
    bundle.create();
    let told = bundle.state()["annotations"].clone();
    assert_eq!((&told["org.example.key"], &told["empty"]), (&json!("value"), &json!("")), "{told}");
}

fn no_annotations_are_absent_or_empty(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "sleep 100");
    bundle.create();
    let told = bundle.state()["annotations"].clone();
    assert!(told.is_null() || told.as_object().is_some_and(serde_json::Map::is_empty), "{told}");
}

fn created_before_the_program_ran(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "echo ran; sleep 100");
    bundle.create();
    assert_eq!((bundle.status().as_str(), bundle.output().as_str()), ("created", ""));
}

fn running_while_the_program_runs(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "echo ran; sleep 100; true");
    bundle.start();
    bundle.hear("ran");
    assert_eq!(bundle.status(), "running");
}

fn stopped_after_the_program_ended(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "true");
    bundle.start_and_wait();
    assert_eq!(bundle.status(), "stopped");
}

fn needs_an_id(runtime: &Runtime) {
    assert_ne!(Bundle::of(runtime, "true").cli(&["state"]).code, 0);
}

fn unknown_is_an_error(runtime: &Runtime) {
    assert_ne!(Bundle::of(runtime, "true").verb("state").code, 0);
}
