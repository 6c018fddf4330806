//! config.md, Root.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::runtime::Runtime;

clauses! {
    "config.md#root" {
        path_may_be_relative "A relative path starts at the bundle"
        path_may_be_absolute "An absolute path is taken as it is"
        it_must_exist "A directory must exist at the path"
        is_required "root is required on Linux"
        is_writable_unless_asked_otherwise "The root is writable unless readonly is set"
        readonly_makes_it_read_only "readonly makes the root read-only inside"
        readonly_leaves_the_bundle_alone "readonly changes nothing outside the container"
    }
}

fn path_may_be_relative(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "cat /mark");
    fs::create_dir(bundle.path("other")).unwrap();
    fs::rename(bundle.path("rootfs"), bundle.path("other/tree")).unwrap();
    fs::write(bundle.path("other/tree/mark"), "relative").unwrap();
    bundle.config["root"]["path"] = json!("other/tree");
    assert_eq!(bundle.text(), "relative");
}

fn path_may_be_absolute(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "cat /mark");
    let elsewhere = tempfile::tempdir().unwrap();
    let tree = elsewhere.path().join("tree");
    fs::rename(bundle.path("rootfs"), &tree).unwrap();
    fs::write(tree.join("mark"), "absolute").unwrap();
    bundle.config["root"]["path"] = json!(tree);
    assert_eq!(bundle.text(), "absolute");
}

fn it_must_exist(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.config["root"]["path"] = json!("nowhere");
    bundle.refused();
}

fn is_required(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.config.as_object_mut().unwrap().remove("root");
    bundle.refused();
}

fn is_writable_unless_asked_otherwise(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "echo new > /file && cat /file");
    assert_eq!(bundle.text(), "new\n");
    assert_eq!(fs::read_to_string(bundle.inside("file")).unwrap(), "new\n");
}

fn readonly_makes_it_read_only(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "touch /file; touch /tmp/file; mount -o remount,rw /; touch /file");
    bundle.config["root"]["readonly"] = json!(true);
    assert_ne!(bundle.run().code, 0);
    assert!(!bundle.inside("file").exists() && !bundle.inside("tmp/file").exists());
}

fn readonly_leaves_the_bundle_alone(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "sleep 100");
    bundle.config["root"]["readonly"] = json!(true);
    bundle.start();
    fs::write(bundle.inside("from-outside"), "x").unwrap();
}
