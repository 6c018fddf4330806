//! From create to delete.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::world::World;

#[test]
fn a_container_goes_through_its_life() {
    let Some(world) = World::of("echo begun; exec sleep 1000") else { return };
    world.create().ok();
    let state = world.state();
    assert_eq!((&state["status"], &state["id"]), (&json!("created"), &json!(world.id)));
    assert_eq!(state["bundle"], json!(fs::canonicalize(world.path("")).unwrap()));
    assert_eq!(world.output(), "", "nothing runs before the start");
    world.verb("start").ok();
    assert_eq!(world.status(), "running");
    // Its program runs, which is not to say that it has come to its first word.
    world.hear("begun\n");
    world.verb("start").refused("cannot start an already running container");
    world.verb("delete").refused("that is not stopped: running");
    world.create().refused("container with given ID already exists");
    let pid = world.pid();
    assert!(world.tare(&["list", "--quiet"]).ok().contains(&world.id));
    world.tare(&["kill", &world.id, "KILL"]).ok();
    world.wait(pid);
    let state = world.state();
    assert_eq!((&state["status"], &state["pid"]), (&json!("stopped"), &json!(0)));
    assert_eq!(world.output(), "begun\n");
    world.verb("kill").refused("container not running");
    world.verb("start").refused("cannot start a container that has stopped");
    world.verb("delete").ok();
    assert!(world.is_clean());
    world.verb("state").refused("container does not exist");
    world.verb("delete").refused("container does not exist");
    world.tare(&["delete", "--force", &world.id]).ok();
}

#[test]
fn a_container_that_was_never_started_is_deleted_without_force() {
    let Some(world) = World::of("true") else { return };
    world.create().ok();
    let pid = world.pid();
    world.verb("delete").ok();
    world.wait(pid);
    assert!(world.is_clean());
}

#[test]
fn nobody_else_reads_what_a_container_was_told() {
    use std::os::unix::fs::PermissionsExt;
    let Some(world) = World::of("true") else { return };
    world.create().ok();
    let mode =
        |name: &str| fs::metadata(world.path("state").join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(""), 0o711);
    assert_eq!(mode(&world.id), 0o700);
    for file in ["config.json", "state.json", "start.fifo", "answer.fifo"] {
        assert_eq!(mode(&format!("{}/{file}", world.id)), 0o600, "{file}");
    }
}

#[test]
fn what_cannot_be_made_leaves_nothing() {
    let Some(mut world) = World::of("true") else { return };
    for (field, value, words) in [
        (
            "/process/args",
            json!(["/no/such"]),
            "exec: \"/no/such\": stat /no/such: no such file or directory",
        ),
        ("/root/path", json!("nowhere"), "nowhere: no such file or directory"),
        ("/process/cwd", json!("relative"), "invalid process.cwd: must be an absolute path"),
        ("/process/terminal", json!(true), "invalid process.terminal: needs"),
        ("/mounts", json!("x"), "invalid mounts"),
    ] {
        let before = world.config.clone();
        *world.config.pointer_mut(field).unwrap() = value;
        world.save();
        world.create().refused(words);
        assert!(world.is_clean(), "{field}");
        world.config = before;
    }
    fs::remove_file(world.path("config.json")).unwrap();
    world.create().refused("config.json: no such file or directory");
    for id in ["../x", "a/b", "", "~seccomp"] {
        world.tare(&["create", id]).refused("container id");
        world.tare(&["state", id]).refused("container id");
    }
}

#[test]
fn a_program_that_the_kernel_refuses_is_told_by_start() {
    let Some(mut world) = World::of("true") else { return };
    fs::write(world.path("rootfs/garbage"), "\x7fELF nonsense").unwrap();
    fs::set_permissions(world.path("rootfs/garbage"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    world.config["process"]["args"] = json!(["/garbage"]);
    world.save();
    world.create().ok();
    world.verb("start").refused("exec /garbage: exec format error");
    assert_eq!(world.status(), "stopped");
    world.verb("delete").ok();
    assert!(world.is_clean());
}

#[test]
fn run_ends_as_its_program_does() {
    let Some(mut world) = World::of("echo out; echo err >&2; exit 42") else { return };
    let ran = world.verb("run");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (42, "out\n", "err\n"));
    assert!(world.is_clean());
    world.config["process"]["args"] = json!(["nothing"]);
    world.save();
    assert_eq!(world.verb("run").code, 127);
    assert!(world.is_clean());
}

#[test]
fn run_passes_signals_on() {
    let Some(world) = World::of("trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done") else { return };
    let mut run = world.command(&["run", &world.id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut word = [0; 3];
    std::io::Read::read_exact(run.stdout.as_mut().unwrap(), &mut word).unwrap();
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(9));
    assert!(world.is_clean());
}

#[test]
fn run_can_be_detached() {
    let Some(world) = World::of("exec sleep 1000") else { return };
    let file = world.path("pid");
    world.leaving(&["run", "--detach", "--pid-file", file.to_str().unwrap(), &world.id]).ok();
    assert_eq!(world.status(), "running");
    assert_eq!(fs::read_to_string(file).unwrap(), world.pid().to_string());
    world.tare(&["delete", "-f", &world.id]).ok();
    assert!(world.is_clean());
}

#[test]
fn a_create_that_is_killed_can_be_cleaned_up() {
    let Some(world) = World::of("true") else { return };
    fs::create_dir_all(world.path("state").join(&world.id)).unwrap();
    assert!(!world.tare(&["list"]).ok().contains(&world.id));
    world.create().refused("already exists");
    world.tare(&["delete", "--force", &world.id]).ok();
    world.create().ok();
}

#[test]
fn list_has_the_form_that_engines_read() {
    let Some(world) = World::of("exec sleep 1000") else { return };
    assert_eq!(world.tare(&["list", "--format", "json"]).ok(), "[]\n");
    world.create().ok();
    let list: Value = serde_json::from_str(&world.tare(&["list", "-f", "json"]).ok()).unwrap();
    assert_eq!((&list[0]["id"], &list[0]["status"]), (&json!(world.id), &json!("created")));
    assert!(world.tare(&["list"]).ok().starts_with("ID "));
}

#[test]
fn a_config_of_runc_works_as_it_is() {
    let Some(mut world) = World::of("true") else { return };
    fs::remove_file(world.path("config.json")).unwrap();
    let made = std::process::Command::new("runc").arg("spec").current_dir(world.path("")).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: needs runc");
        return;
    }
    world.config = serde_json::from_slice(&fs::read(world.path("config.json")).unwrap()).unwrap();
    world.config["process"]["terminal"] = json!(false);
    world.config["process"]["args"] = json!(["/bin/hostname"]);
    world.save();
    assert_eq!(world.verb("run").ok(), "runc\n");
}

#[test]
fn a_container_without_a_mount_namespace_leads_the_same_life() {
    let Some(mut world) = World::of("exec sleep 1000") else { return };
    for (section, fields) in [("linux", &["maskedPaths", "readonlyPaths"][..]), ("root", &["readonly"])] {
        let section = world.config[section].as_object_mut().unwrap();
        fields.iter().for_each(|field| drop(section.remove(*field)));
    }
    world.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != "mount");
    world.save();
    world.create().refused("invalid mounts: needs a mount namespace in linux.namespaces");
    assert!(world.is_clean());
    world.config["mounts"] = json!([]);
    let hook = |script: String| json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    let (outside, ended) = (world.path("outside"), world.path("ended"));
    world.config["hooks"] = json!({
        "createContainer": hook(format!("readlink /proc/self/ns/mnt > {}", outside.display())),
        "startContainer": hook("/bin/ls / > /tmp/inside".to_owned()),
        "poststop": hook(format!("echo > {}", ended.display())),
    });
    world.save();
    let is_mounted = || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.contains(world.path("").to_str().unwrap())
    };
    world.create().ok();
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap().trim(), own.to_str().unwrap());
    assert_eq!(world.tare(&["exec", &world.id, "ls", "/"]).ok(), "bin\ndev\netc\nproc\nsys\ntmp\n");
    world.verb("start").ok();
    assert!(!is_mounted());
    let root = "bin\ndev\netc\nproc\nsys\ntmp\n";
    assert_eq!(fs::read_to_string(world.path("rootfs/tmp/inside")).unwrap(), root);
    assert_eq!(world.tare(&["exec", &world.id, "ls", "/"]).ok(), root);
    world.tare(&["checkpoint", &world.id]).refused("without a mount namespace of its own");
    world.verb("pause").ok();
    world.verb("resume").ok();
    let pid = world.pid();
    world.tare(&["kill", &world.id, "KILL"]).ok();
    world.wait(pid);
    world.tare(&["exec", &world.id, "ls", "/"]).refused("cannot exec in a stopped container");
    world.verb("delete").ok();
    assert!(world.is_clean() && ended.exists());
    assert!(!is_mounted());
}

/// Numbers of processes come again, and may come as a thread's.
#[test]
fn a_number_that_is_another_ones_by_now_is_not_the_containers() {
    let Some(world) = World::of("true") else { return };
    world.create().ok();
    let pid = world.pid();
    world.verb("start").ok();
    world.wait(pid);
    let path = world.path("state").join(&world.id).join("state.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let thread = rustix::thread::gettid().as_raw_nonzero().get();
    for number in [thread, std::process::id() as i32, 1] {
        record["pid"] = json!(number);
        fs::write(&path, record.to_string()).unwrap();
        assert_eq!(world.status(), "stopped", "{number}");
        world.tare(&["kill", &world.id, "KILL"]).refused("container not running");
    }
    world.verb("delete").ok();
    assert!(world.is_clean());
}
