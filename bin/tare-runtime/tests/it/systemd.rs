//! Containers whose groups systemd makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::world::World;

/// A container on a machine that systemd runs, with the unit that it is to be.
fn world(script: &str) -> Option<(World, String)> {
    if !Path::new("/run/systemd/private").exists() {
        println!("skipped: needs systemd");
        return None;
    }
    if !is_v2_alone() {
        println!("skipped: needs cgroup v2 alone");
        return None;
    }
    let world = World::of(script)?;
    let unit = format!("tare-{}.scope", world.id);
    Some((world, unit))
}

fn is_v2_alone() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// A property of a unit, as systemctl shows it.
fn shown(unit: &str, property: &str) -> String {
    let output = Command::new("systemctl").args(["show", "--value", "-p", property, unit]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn is_forgotten(unit: &str) -> bool {
    shown(unit, "LoadState") == "not-found" && shown(unit, "ActiveState") == "inactive"
}

/// Where a process is in the v2 hierarchy.
fn group_of(pid: i32) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
}

/// A control file of a group; none where the host has its controller in v1.
fn control(group: &str, file: &str) -> Option<String> {
    let path = PathBuf::from("/sys/fs/cgroup").join(group.trim_start_matches('/')).join(file);
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[test]
fn a_scope_has_the_limits_and_goes_with_the_container() {
    let Some((mut world, unit)) = world("echo up; exec sleep 1000") else { return };
    world.config["linux"]["resources"] = json!({
        "memory": {"limit": 67_108_864, "swap": 67_108_864, "reservation": 33_554_432},
        "cpu": {"shares": 2048, "quota": 50_000, "period": 100_000, "cpus": "0"},
        "pids": {"limit": 40},
    });
    world.config["annotations"] = json!({"org.systemd.property.TimeoutStopUSec": "uint64 7000000"});
    world.save();
    world.leaving(&["--systemd-cgroup", "create", &world.id]).ok();
    for (property, wanted) in [
        ("ActiveState", "active"),
        ("Slice", "system.slice"),
        ("Delegate", "yes"),
        ("MemoryMax", "67108864"),
        ("MemorySwapMax", "0"),
        ("MemoryLow", "33554432"),
        ("CPUWeight", "174"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("AllowedCPUs", "0"),
        ("TasksMax", "40"),
        ("TimeoutStopUSec", "7s"),
    ] {
        assert_eq!(shown(&unit, property), wanted, "{property}");
    }
    let group = group_of(world.pid());
    assert_eq!(group, format!("/system.slice/{unit}"));
    let pids = control(&group, "cgroup.procs").unwrap();
    assert_eq!(pids, world.pid().to_string(), "nobody but init is in it");
    assert_eq!(control(&group, "memory.max").as_deref(), Some("67108864"));
    assert_eq!(control(&group, "pids.max").as_deref(), Some("40"));
    world.verb("start").ok();
    world.tare(&["delete", "--force", &world.id]).ok();
    assert!(is_forgotten(&unit), "{}", shown(&unit, "ActiveState"));
    assert!(world.is_clean() && control(&group, "cgroup.procs").is_none());
}

#[test]
fn an_update_is_known_to_systemd_and_stands_when_it_reloads() {
    let Some((mut world, unit)) = world("exec sleep 1000") else { return };
    world.allow_mknod();
    world.config["linux"]["resources"]["memory"] = json!({"limit": 67_108_864, "swap": 134_217_728});
    world.config["linux"]["resources"]["unified"] = json!({"memory.high": "60000000"});
    world.save();
    world.leaving(&["--systemd-cgroup", "run", "--detach", &world.id]).ok();
    let update = ["update", "--memory", "100663296", "--pids-limit", "77", "--cpu-quota", "25000", &world.id];
    world.tare(&update).ok();
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    let group = group_of(world.pid());
    for (property, file, shows, holds) in [
        ("MemoryMax", "memory.max", "100663296", "100663296"),
        ("MemoryHigh", "memory.high", "60000000", "59998208"),
        ("TasksMax", "pids.max", "77", "77"),
        ("CPUQuotaPerSecUSec", "cpu.max", "250ms", "25000 100000"),
    ] {
        assert_eq!(shown(&unit, property), shows, "{property}");
        assert_eq!(control(&group, file).as_deref(), Some(holds), "{file}");
    }
    world.assert_devices_are_filtered();
    world.verb("pause").ok();
    assert_eq!(world.status(), "paused");
    world.verb("resume").ok();
    world.tare(&["delete", "--force", &world.id]).ok();
    assert!(is_forgotten(&unit));
}

#[test]
fn a_path_names_slice_prefix_and_name() {
    let Some((mut world, _)) = world("exec sleep 1000") else { return };
    let slice = "tare-test.slice";
    world.config["linux"]["cgroupsPath"] = json!(format!("{slice}:libpod:{}", world.id));
    world.save();
    world.leaving(&["--systemd-cgroup", "run", "--detach", &world.id]).ok();
    let unit = format!("libpod-{}.scope", world.id);
    assert_eq!(group_of(world.pid()), format!("/tare.slice/{slice}/{unit}"));
    let seen = world.tare(&["exec", &world.id, "cat", "/proc/self/cgroup"]).ok();
    assert_eq!(seen, "0::/\n", "exec is in the scope, and the scope is the root of its namespace");
    world.tare(&["delete", "--force", &world.id]).ok();
    assert!(is_forgotten(&unit));
    assert!(Command::new("systemctl").args(["stop", "tare.slice"]).status().unwrap().success());
    for bad in ["/a/path", "only:two", "no-slice:a:b"] {
        world.config["linux"]["cgroupsPath"] = json!(bad);
        world.save();
        world.leaving(&["--systemd-cgroup", "create", &world.id]).refused("linux.cgroupsPath");
        assert!(world.is_clean());
    }
}

#[test]
fn what_cannot_be_made_leaves_no_unit() {
    let Some((mut world, unit)) = world("true") else { return };
    for (field, value) in [
        ("/process/args", json!(["/no/such"])),
        ("/linux/resources", json!({"unified": {"memory.nonsense": "1"}})),
        ("/linux/resources", json!({"memory": {"limit": 200, "swap": 100}})),
        ("/annotations", json!({"org.systemd.property.NoSuchThing": "true"})),
    ] {
        let before = world.config.clone();
        world.config["annotations"] = json!({});
        *world.config.pointer_mut(field).unwrap() = value;
        world.save();
        assert_ne!(world.leaving(&["--systemd-cgroup", "create", &world.id]).code, 0, "{field}");
        assert!(world.is_clean() && is_forgotten(&unit), "{field}");
        world.config = before;
    }
}

#[test]
fn the_end_of_a_program_ends_its_scope_whatever_its_end() {
    let hog = "x=x; while :; do x=$x$x; done";
    for script in ["exit 3", hog] {
        let Some((mut world, unit)) = world(script) else { return };
        world.config["linux"]["resources"]["memory"] = json!({"limit": 16_777_216, "swap": 16_777_216});
        world.save();
        let ran = world.tare(&["--systemd-cgroup", "run", &world.id]);
        assert!(ran.code == 3 || ran.code == 137, "{ran:?}");
        assert!(world.is_clean() && is_forgotten(&unit), "{}", shown(&unit, "ActiveState"));
        // The name is free again.
        world.leaving(&["--systemd-cgroup", "create", &world.id]).ok();
        world.verb("delete").ok();
        assert!(is_forgotten(&unit));
    }
}

/// Where the unit is in v1's hierarchies.
fn of_v1(unit: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    hierarchies.map(|path| path.join("system.slice").join(unit)).filter(|path| path.exists()).collect()
}

#[test]
fn on_v1_a_scope_keeps_its_devices_when_systemd_reloads() {
    if !Path::new("/run/systemd/private").exists() || !Path::new("/sys/fs/cgroup/devices").exists() {
        println!("skipped: needs systemd and cgroup v1");
        return;
    }
    let Some(mut world) = World::of("exec sleep 1000") else { return };
    let unit = format!("tare-{}.scope", world.id);
    world.allow_mknod();
    world.config["linux"]["resources"]["pids"] = json!({"limit": 40});
    world.config["linux"]["resources"]["devices"] = json!([
        {"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
    ]);
    world.save();
    world.leaving(&["--systemd-cgroup", "run", "--detach", &world.id]).ok();
    let reload = || assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", world.pid())).unwrap();
    assert!(groups.lines().all(|line| line.ends_with(&format!("/system.slice/{unit}"))), "{groups}");
    let read = |controller: &str, file: &str| {
        fs::read_to_string(format!("/sys/fs/cgroup/{controller}/system.slice/{unit}/{file}")).unwrap()
    };
    for limit in ["40", "41"] {
        reload();
        world.assert_devices_are_filtered();
        let list = read("devices", "devices.list");
        assert!(list.contains("c 10:229 rw") && !list.contains("a *:*"), "{list}");
        assert_eq!(read("pids", "pids.max").trim(), limit);
        world.tare(&["update", "--pids-limit", "41", &world.id]).ok();
    }
    world.verb("pause").ok();
    assert_eq!(world.status(), "paused");
    world.verb("resume").ok();
    world.tare(&["delete", "--force", &world.id]).ok();
    assert!(world.is_clean() && is_forgotten(&unit), "{}", shown(&unit, "ActiveState"));
    assert!(of_v1(&unit).is_empty(), "{:?}", of_v1(&unit));
}

/// Whose own systemd is up, in the guest.
const TESTER: u32 = 1000;

/// A container of that user.
fn world_of_tester(script: &str) -> Option<(World, String)> {
    let runtime_dir = PathBuf::from(format!("/run/user/{TESTER}"));
    if !runtime_dir.join("systemd/private").exists() || !is_v2_alone() {
        println!("skipped: needs cgroup v2 alone, and user {TESTER} with a systemd of their own");
        return None;
    }
    let mut world = World::of_user(TESTER, script)?;
    world.runtime_dir = runtime_dir;
    let unit = format!("tare-{}.scope", world.id);
    Some((world, unit))
}

const OWN: &str = "/user.slice/user-1000.slice/user@1000.service";

#[test]
fn a_users_own_systemd_makes_the_scope() {
    let Some((mut world, unit)) = world_of_tester("exec sleep 1000") else { return };
    world.config["linux"]["resources"] = json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 40}});
    world.save();
    world.leaving(&["--systemd-cgroup", "run", "--detach", &world.id]).ok();
    let group = group_of(world.pid());
    assert_eq!(group, format!("{OWN}/user.slice/{unit}"));
    assert_eq!(control(&group, "memory.max").as_deref(), Some("67108864"));
    assert_eq!(control(&group, "pids.max").as_deref(), Some("40"));
    assert_eq!(world.tare(&["exec", &world.id, "cat", "/proc/self/cgroup"]).ok(), "0::/\n");
    world.tare(&["update", "--pids-limit", "41", &world.id]).ok();
    assert_eq!(control(&group, "pids.max").as_deref(), Some("41"));
    world.verb("pause").ok();
    assert_eq!(world.status(), "paused");
    world.verb("resume").ok();
    let stats = world.tare(&["events", "--stats", &world.id]).ok();
    assert!(stats.contains("\"limit\":41"), "{stats}");
    world.tare(&["delete", "--force", &world.id]).ok();
    assert!(world.is_clean() && control(&group, "cgroup.procs").is_none());
}

#[test]
fn a_user_without_the_driver_has_a_group_beside_the_own_service() {
    let Some((mut world, _)) = world_of_tester("exec sleep 1000") else { return };
    world.config["linux"]["resources"] = json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 40}});
    world.save();
    // As what the user's systemd has started.
    let in_service = |arguments: &[&str]| {
        let own = world.command(arguments);
        let mut command = Command::new("setpriv");
        let ids = [format!("--reuid={TESTER}"), format!("--regid={TESTER}"), "--clear-groups".to_owned()];
        command.args(ids).args(["systemd-run", "--user", "--quiet", "--wait", "--collect", "--pipe"]);
        command.arg("--property=KillMode=process").arg("--working-directory").arg(world.path(""));
        command.arg(own.get_program()).args(own.get_args()).env("XDG_RUNTIME_DIR", &world.runtime_dir);
        let file = |name: &str| fs::File::create(world.path(name)).unwrap();
        let status =
            command.stdin(std::process::Stdio::null()).stdout(file("out")).stderr(file("err")).status();
        assert!(status.unwrap().success(), "{}", fs::read_to_string(world.path("err")).unwrap());
        fs::read_to_string(world.path("out")).unwrap()
    };
    in_service(&["run", "--detach", &world.id]);
    let group = group_of(world.pid());
    assert_eq!(group, format!("{OWN}/app.slice/tare/{}", world.id));
    assert_eq!(control(&group, "memory.max").as_deref(), Some("67108864"));
    assert_eq!(control(&group, "pids.max").as_deref(), Some("40"));
    assert_eq!(in_service(&["exec", &world.id, "cat", "/proc/self/cgroup"]), "0::/\n");
    in_service(&["pause", &world.id]);
    assert_eq!(world.status(), "paused");
    in_service(&["resume", &world.id]);
    in_service(&["delete", "--force", &world.id]);
    assert!(world.is_clean() && control(&group, "cgroup.procs").is_none());
    let _ = fs::remove_dir(format!("/sys/fs/cgroup{OWN}/app.slice/tare"));
}

#[test]
fn a_user_outside_of_what_is_theirs_does_without_a_group() {
    let Some((mut world, _)) = world_of_tester("exec sleep 1000") else { return };
    world.config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    world.save();
    world.create().ok();
    world.verb("start").ok();
    assert_eq!(group_of(world.pid()), group_of(std::process::id() as i32), "it stays where its maker was");
    world.verb("pause").refused("need a cgroup, which this user may not make");
    world.tare(&["delete", "--force", &world.id]).ok();
    assert!(world.is_clean());
}

#[test]
fn without_a_systemd_that_is_said() {
    if Path::new("/run/systemd/private").exists() {
        println!("skipped: needs a machine without systemd");
        return;
    }
    let Some(world) = World::of("true") else { return };
    world.leaving(&["--systemd-cgroup", "create", &world.id]).refused("leave out --systemd-cgroup");
    assert!(world.is_clean());
}
