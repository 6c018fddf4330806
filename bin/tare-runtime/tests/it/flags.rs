//! Every flag of the field's runtimes does what it says.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use crate::inside::{console, sleeper, take_terminal};
use crate::world::World;

#[test]
fn flags_stand_before_or_behind_the_id() {
    let Some(world) = World::of("exec sleep 1000") else { return };
    world.leaving(&["run", &world.id, "-d"]).ok();
    world.tare(&["kill", &world.id, "KILL", "--all"]).ok();
    world.tare(&["delete", &world.id, "--force"]).ok();
    assert!(world.is_clean());
    world.tare(&["delete", "--fly", &world.id]).refused("unknown flag --fly");
    world.tare(&["state", &world.id, "another"]).refused("unexpected argument another");
}

#[test]
fn every_command_explains_itself() {
    let Some(world) = World::of("true") else { return };
    let all = world.tare(&["--help"]).ok();
    for command in [
        "create", "start", "run", "exec", "state", "list", "ps", "kill", "pause", "resume", "update",
        "events", "delete", "spec", "features",
    ] {
        assert!(all.contains(command), "{command}");
        let own = world.tare(&[command, "--help"]).ok();
        assert!(own.starts_with(&format!("usage: tare-runtime {command}")), "{own}");
    }
}

#[test]
fn a_root_on_a_ramdisk_is_entered_by_chroot() {
    let Some(world) = World::of("ls /; cat /proc/self/mountinfo; readlink /proc/1/root; ls /bin") else {
        return;
    };
    let text = world.tare(&["run", "--no-pivot", &world.id]).ok();
    assert!(text.starts_with("bin\ndev\netc\nproc\nsys\ntmp\n"), "{text}");
    let procs = text.lines().filter(|line| line.contains(" - proc ")).collect::<Vec<_>>();
    assert!(!procs.is_empty() && procs.iter().all(|line| line.contains(" /proc")), "only its own: {procs:?}");
    assert!(world.is_clean());
}

#[test]
fn the_session_keyring_is_a_new_one_unless_the_callers_is_kept() {
    let Some(mut world) = World::of("cat /proc/keys") else { return };
    // What is looked at is masked otherwise.
    world.config["linux"]["maskedPaths"] = json!([]);
    world.save();
    let serials = |text: &str| -> Vec<String> {
        let sessions = text.lines().filter(|line| line.contains("keyring") && line.contains("_ses"));
        sessions.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let new = |arguments: &[&str]| {
        let before = serials(&fs::read_to_string("/proc/keys").unwrap());
        serials(&world.tare(arguments).ok()).iter().filter(|serial| !before.contains(serial)).count()
    };
    assert!((0..5).all(|_| new(&["run", &world.id]) > 0));
    // Other programs of the machine make some too, but not all the time.
    assert!((0..50).any(|_| new(&["run", "--no-new-keyring", &world.id]) == 0));
}

#[test]
fn a_pidfd_is_handed_over() {
    let Some(world) = World::of("exec sleep 1000") else { return };
    let (listener, path) = console(&world);
    world.leaving(&["create", "--pidfd-socket", &path, &world.id]).ok();
    let init = take_terminal(&listener);
    world.verb("start").ok();
    world.leaving(&["exec", "-d", "--pidfd-socket", &path, &world.id, "sleep", "1000"]).ok();
    let other = take_terminal(&listener);
    let ended = |fd: &std::os::fd::OwnedFd, seconds| {
        let patience = Timespec { tv_sec: seconds, tv_nsec: 0 };
        poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&patience)).unwrap() == 1
    };
    assert!(!ended(&init, 0) && !ended(&other, 0));
    world.tare(&["kill", &world.id, "KILL"]).ok();
    assert!(ended(&init, 20) && ended(&other, 20));
}

#[test]
fn sockets_that_were_passed_on_are_announced() {
    let Some(world) = World::of("echo $LISTEN_FDS $LISTEN_PID; cat <&3") else { return };
    fs::write(world.path("passed"), "through\n").unwrap();
    let command = world.command(&["run", &world.id]);
    let script = format!("exec 3<{}; LISTEN_FDS=1 exec \"$@\"", world.path("passed").display());
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let output = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(program)
        .args(arguments)
        .current_dir(world.path(""))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("1 1\nthrough\n"), "{text} {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn exec_enters_a_group_below_the_containers() {
    let Some(world) = sleeper() else { return };
    let group = format!("/sys/fs/cgroup/pids/tare/{}", world.id);
    if !fs::exists(&group).unwrap() {
        println!("skipped: needs the pids controller as v1");
        return;
    }
    fs::create_dir(format!("{group}/below")).unwrap();
    let line = |arguments: &[&str]| {
        let text =
            world.tare(&[&["exec"], arguments, &[world.id.as_str(), "cat", "/proc/self/cgroup"]].concat());
        let text = text.ok();
        text.lines().find(|line| line.contains(":pids:")).unwrap().to_owned()
    };
    assert!(line(&["--cgroup", "pids:below"]).ends_with(":/below"));
    assert!(line(&[]).ends_with(":/"));
    let refused = |value: &str, words: &str| {
        world.tare(&["exec", "--cgroup", value, &world.id, "true"]).refused(words);
    };
    refused("pids:nowhere", "nowhere");
    refused("pids:../..", "invalid cgroup path");
    refused("fly:below", "unknown cgroup controller fly");
}

#[test]
fn events_are_told_until_the_container_ends() {
    let Some(mut world) = World::of("exec sleep 1000") else { return };
    world.config["linux"]["resources"]["memory"] = json!({"limit": 16 << 20});
    world.save();
    world.create().ok();
    world.verb("start").ok();
    let mut events = world.command(&["events", "--interval", "50ms", &world.id]);
    let mut events = events.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines().map(|line| {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        event
    });
    assert_eq!(lines.next().unwrap()["type"], "stats");
    let hog = "a=x; while :; do a=$a$a; done";
    assert_ne!(world.tare(&["exec", &world.id, "sh", "-c", hog]).code, 0);
    let oom = lines.find(|event| event["type"] == "oom").unwrap();
    assert_eq!(oom["id"], json!(world.id));
    world.tare(&["kill", &world.id, "KILL"]).ok();
    lines.for_each(drop);
    assert!(events.wait().unwrap().success());
    world.tare(&["events", &world.id]).refused("is not running");
    world.tare(&["events", "--interval", "0s", &world.id]).refused("longer than 0");
}

#[test]
fn a_config_for_users_is_written() {
    let Some(world) = World::of("true") else { return };
    let dir = world.path("own");
    fs::create_dir(&dir).unwrap();
    world.tare(&["spec", "--rootless", "--bundle", dir.to_str().unwrap()]).ok();
    let spec: Value = serde_json::from_reader(File::open(dir.join("config.json")).unwrap()).unwrap();
    let kinds: Vec<_> = spec["linux"]["namespaces"].as_array().unwrap().iter().map(|n| &n["type"]).collect();
    assert!(kinds.contains(&&json!("user")) && !kinds.contains(&&json!("network")), "{kinds:?}");
    assert_eq!(spec["linux"]["uidMappings"], json!([{"containerID": 0, "hostID": 0, "size": 1}]));
    let mounts = spec["mounts"].as_array().unwrap();
    assert!(mounts.iter().all(|m| !m["options"].to_string().contains("gid=")));
    let sys = mounts.iter().find(|m| m["destination"] == "/sys").unwrap();
    assert_eq!(sys["options"], json!(["rbind", "nosuid", "noexec", "nodev", "ro"]));
}

#[test]
fn a_log_gets_one_line_for_each_failure() {
    let Some(world) = World::of("true") else { return };
    let log = world.path("log");
    let _ = world.tare(&["--log", log.to_str().unwrap(), "--debug", "--rootless=auto", "state", "nobody"]);
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("level=error msg=\"container does not exist\""), "{text}");
    world.tare(&["--rootless", "perhaps", "list"]).refused("--rootless must be");
}
