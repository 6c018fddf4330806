//! Limits that change while a container runs.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::world::World;

/// A file of the container's own group, by its name in v1 and in v2.
fn limit(world: &World, controller: &str, v1: &str, v2: &str) -> String {
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", world.pid())).unwrap();
    let find = |wanted: &str| {
        let mut lines = groups.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
        lines.find(|parts| parts[1].split(',').any(|name| name == wanted)).map(|parts| parts[2].to_owned())
    };
    let path = match find(controller) {
        Some(path) => format!("/sys/fs/cgroup/{controller}{path}/{v1}"),
        None => format!("/sys/fs/cgroup{}/{v2}", find("").unwrap()),
    };
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_owned()
}

#[test]
fn a_change_of_one_limit_leaves_its_partner() {
    let Some(mut world) = World::of("exec sleep 1000") else { return };
    world.config["linux"]["resources"] = json!({
        "cpu": {"quota": 20_000, "period": 100_000},
        "memory": {"limit": 33_554_432, "swap": 67_108_864},
    });
    world.save();
    world.leaving(&["run", "--detach", &world.id]).ok();
    world.tare(&["update", "--cpu-period", "50000", &world.id]).ok();
    let quota = limit(&world, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("20000"));
    // Below the sum of memory and swap, which v2 can only tell from what was set before.
    world.tare(&["update", "--memory", "50331648", &world.id]).ok();
    assert_eq!(limit(&world, "memory", "memory.limit_in_bytes", "memory.max"), "50331648");
    let error = world.tare(&["update", "--memory", "134217728", &world.id]);
    error.refused("memory.swap: 67108864 is memory and swap together");
    world.tare(&["update", "--memory=-1", &world.id]).ok();
    let none = limit(&world, "memory", "memory.limit_in_bytes", "memory.max");
    assert!(none == "max" || none.len() == 19, "{none}");
}

#[test]
fn a_change_can_come_from_standard_input_and_devices_stay() {
    let Some(mut world) = World::of("exec sleep 1000") else { return };
    world.allow_mknod();
    world.leaving(&["run", "--detach", &world.id]).ok();
    let changes =
        json!({"pids": {"limit": 21}, "devices": [{"allow": true, "access": "rwm"}], "cpu": {"shares": 2}});
    let mut update = world.command(&["update", "-r", "-", &world.id]).stdin(Stdio::piped()).spawn().unwrap();
    update.stdin.take().unwrap().write_all(changes.to_string().as_bytes()).unwrap();
    assert!(update.wait().unwrap().success());
    assert_eq!(limit(&world, "pids", "pids.max", "pids.max"), "21");
    let weight = limit(&world, "cpu", "cpu.shares", "cpu.weight");
    assert!(weight == "2" || weight == "1", "{weight}");
    world.assert_devices_are_filtered();
    for (nonsense, words) in
        [("{", "invalid resources"), (r#"{"pids": {"limit": "x"}}"#, "invalid resources")]
    {
        std::fs::write(world.path("bad.json"), nonsense).unwrap();
        world.tare(&["update", "-r", "bad.json", &world.id]).refused(words);
    }
    world.tare(&["update", "-r", "none.json", &world.id]).refused("none.json");
}

#[test]
fn a_share_of_the_cache_needs_a_machine_that_divides_it() {
    let Some(world) = World::of("exec sleep 1000") else { return };
    if std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
        println!("skipped: needs a machine without resctrl");
        return;
    }
    world.leaving(&["run", "--detach", &world.id]).ok();
    for (flag, line) in [("--l3-cache-schema", "L3:0=f"), ("--mem-bw-schema", "MB:0=20")] {
        world.tare(&["update", flag, line, &world.id]).refused("linux.intelRdt: needs resctrl");
    }
    world
        .tare(&["update", "--l3-cache-schema", "f", &world.id])
        .refused("must be one line as in L3:0=f0;1=f");
    assert!(world.tare(&["update", "--pids-limit", "9", &world.id]).code == 0, "nothing of it was kept");
}

#[test]
fn figures_tell_of_limits_and_pressure() {
    let Some(mut world) = World::of("exec sleep 1000") else { return };
    world.config["linux"]["resources"]["memory"] = json!({"limit": 33_554_432, "swap": 67_108_864});
    world.config["linux"]["resources"]["cpu"] = json!({"cpus": "0", "mems": "0"});
    world.save();
    world.leaving(&["run", "--detach", &world.id]).ok();
    let event: Value = serde_json::from_str(&world.tare(&["events", "--stats", &world.id]).ok()).unwrap();
    let data = &event["data"];
    assert_eq!(data["memory"]["usage"]["limit"], 33_554_432);
    assert_eq!((&data["cpuset"]["cpus"], &data["cpuset"]["mems"]), (&json!([0]), &json!([0])));
    assert!(data["memory"]["swap"]["usage"].as_u64() >= data["memory"]["usage"]["usage"].as_u64());
    // The files are where the group is, on hybrid hosts, too.
    if std::path::Path::new("/proc/pressure/cpu").exists() && std::fs::read("/proc/pressure/cpu").is_ok() {
        for part in ["cpu", "memory", "blkio"] {
            assert!(data[part]["psi"]["some"]["avg10"].is_f64(), "{part}: {event}");
        }
    }
}

/// Paths of all members, but those that the kernel names.
fn members(value: &Value, path: &str, found: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten().filter(|_| !path.ends_with("/raw")) {
        let path = format!("{path}/{name}");
        members(value, &path, found);
        found.push(path);
    }
}

#[test]
fn figures_have_every_member_that_runcs_have() {
    let Some(world) = World::of("exec sleep 1000") else { return };
    let runc = |words: &[&str]| {
        let mut command = std::process::Command::new("runc");
        let state = world.path("runc");
        command.arg("--root").arg(state).args(words).arg(&world.id).current_dir(world.path(""));
        command.stdin(Stdio::null()).stderr(Stdio::null()).output()
    };
    let ended = std::process::Command::new("runc")
        .arg("--root")
        .arg(world.path("runc"))
        .args(["run", "--detach", &world.id])
        .current_dir(world.path(""))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !ended.is_ok_and(|status| status.success()) {
        println!("skipped: needs runc");
        return;
    }
    let theirs = runc(&["events", "--stats"]);
    runc(&["delete", "--force"]).unwrap();
    world.leaving(&["run", "--detach", &world.id]).ok();
    let ours = world.tare(&["events", "--stats", &world.id]).ok();
    let read = |text: &[u8]| {
        let mut found = Vec::new();
        members(&serde_json::from_slice(text).unwrap(), "", &mut found);
        found
    };
    let (theirs, ours) = (read(&theirs.unwrap().stdout), read(ours.as_bytes()));
    let missing: Vec<&String> = theirs.iter().filter(|path| !ours.contains(path)).collect();
    assert!(theirs.len() > 20 && missing.is_empty(), "{missing:?}");
}
