//! config.md and bundle.md: the document itself.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::runtime::Runtime;

clauses! {
    "bundle.md#container-format" {
        a_bundle_has_a_configuration "A bundle without config.json is an error"
    }
    "config.md#specification-version" {
        it_is_required "ociVersion is required"
        later_minor_versions_are_compatible "A bundle of another version of the 1.x series runs"
    }
    "config.md#extensibility" {
        unknown_members_are_ignored "Members that the runtime does not know are ignored"
    }
    "config.md#valid-values" {
        broken_json_is_an_error "A document that is no JSON is an error"
        wrong_types_are_an_error "A member of the wrong type is an error"
    }
    "config.md#annotations" {
        unknown_annotations_are_ignored "Annotations that the runtime does not know are no error"
    }
}

fn a_bundle_has_a_configuration(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "true");
    assert_ne!(bundle.leaving(&["create", "--bundle", &bundle.dir(), &bundle.id]).code, 0);
}

fn it_is_required(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.config.as_object_mut().unwrap().remove("ociVersion");
    bundle.refused();
}

fn later_minor_versions_are_compatible(runtime: &Runtime) {
    for version in ["1.0.0", "1.1.0", "1.2.1"] {
        let mut bundle = Bundle::of(runtime, "echo ran");
        bundle.config["ociVersion"] = json!(version);
        assert_eq!(bundle.text(), "ran\n", "{version}");
    }
}

fn unknown_members_are_ignored(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "echo ran");
    bundle.config["org.example.extension"] = json!({"any": ["thing"]});
    bundle.process()["org.example.extension"] = json!(1);
    bundle.linux()["org.example.extension"] = json!("x");
    assert_eq!(bundle.text(), "ran\n");
}

fn broken_json_is_an_error(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "true");
    for text in ["", "{", "[]", "{\"ociVersion\": \"1.0.2\",}"] {
        fs::write(bundle.path("config.json"), text).unwrap();
        assert_ne!(bundle.leaving(&["create", "--bundle", &bundle.dir(), &bundle.id]).code, 0, "{text:?}");
    }
}

fn wrong_types_are_an_error(runtime: &Runtime) {
    for (part, member, value) in [
        ("process", "args", json!("not a list")),
        ("process", "cwd", json!(7)),
        ("root", "path", json!({})),
        ("linux", "namespaces", json!("pid")),
    ] {
        let mut bundle = Bundle::of(runtime, "true");
        bundle.config[part][member] = value;
        bundle.refused();
    }
}

fn unknown_annotations_are_ignored(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "echo ran");
    bundle.config["annotations"] = json!({"org.example.unknown": "x"});
    assert_eq!(bundle.text(), "ran\n");
}
