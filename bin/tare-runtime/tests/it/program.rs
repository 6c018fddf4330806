//! The program itself: where it runs from, and what it makes of the descriptors that it gets.

use std::fs;
use std::process::{Command, Stdio};

use rustix::fs::{StatVfsMountFlags, statvfs};
use serde_json::json;

use crate::world::World;

#[test]
fn it_runs_from_a_view_that_nobody_can_write_to() {
    let Some(world) = World::of("exec sleep 1000") else { return };
    let mut waiting = world.command(&["run", &world.id]).stdout(Stdio::piped()).spawn().unwrap();
    let process = format!("/proc/{}", waiting.id());
    while world.verb("state").code != 0 || world.status() != "running" {
        std::thread::yield_now();
    }
    let view = statvfs(format!("{process}/exe")).unwrap();
    let maps = fs::read_to_string(format!("{process}/maps")).unwrap();
    let words = fs::read_to_string(format!("{process}/cmdline")).unwrap();
    world.tare(&["kill", &world.id, "KILL"]).ok();
    waiting.wait().unwrap();
    assert!(view.f_flag.contains(StatVfsMountFlags::RDONLY), "it can be written to");
    assert!(!maps.contains("tare-runtime"), "a mapping leads to where it was: {maps}");
    assert!(words.contains("tare-runtime") && words.ends_with(&format!("{}\0", world.id)), "{words:?}");
}

#[test]
fn streams_that_are_closed_are_not_taken_for_files() {
    let script = "for n in 0 2; do readlink /proc/$$/fd/$n; done > /tmp/streams";
    let Some(mut world) = World::of(script) else { return };
    world.config["root"]["readonly"] = json!(false);
    world.save();
    let run = world.command(&["run", &world.id]);
    let mut closed = Command::new("/bin/sh");
    closed.args(["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-"]).arg(run.get_program()).args(run.get_args());
    assert!(closed.current_dir(world.path("")).status().unwrap().success());
    let streams = fs::read_to_string(world.path("rootfs/tmp/streams")).unwrap();
    let names: Vec<&str> = streams.lines().collect();
    assert!(names.len() == 2 && names.iter().all(|name| name.ends_with("/null")), "{names:?}");
}
