//! What engines read of a failure, and the flags before the command.

use std::fs;

use serde_json::Value;

use crate::world::World;

#[test]
fn errors_go_to_the_log_as_engines_parse_them() {
    let Some(world) = World::of("true") else { return };
    let log = world.path("log.json");
    let log = log.to_str().unwrap();
    let ran = world.tare(&["--log", log, "--log-format", "json", "start", "nobody"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, "tare-runtime: container does not exist\n"));
    let line: Value = serde_json::from_str(fs::read_to_string(log).unwrap().trim()).unwrap();
    assert_eq!((&line["level"], &line["msg"]), (&"error".into(), &"container does not exist".into()));
    line["time"].as_str().unwrap().parse::<tare_model::Timestamp>().unwrap();
}

#[test]
fn what_is_not_there_says_so() {
    let Some(world) = World::of("true") else { return };
    world.tare(&["fly"]).refused("unknown command fly");
    world.tare(&["state"]).refused("a container's id is needed");
    world.tare(&["spec"]).refused("config.json");
    assert!(world.tare(&["--version"]).ok().contains("spec: 1."));
    let features: Value = serde_json::from_str(&world.tare(&["features"]).ok()).unwrap();
    assert!(features["linux"]["namespaces"].as_array().unwrap().len() == 8);
}
