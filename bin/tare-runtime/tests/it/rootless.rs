//! What a user who is not root gets: numbers that no file of the machine knows, so that nothing is theirs but what is
//! given to them here.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::world::{Ran, World, ran};

const USER: u32 = 54_321;
/// What /etc/subuid gives them, in a test that has such a file.
const FIRST: u32 = 3_000_000;

#[test]
fn a_user_with_one_id_leads_a_container_through_its_life() {
    let Some(mut world) = World::of_user(USER, "echo $(id -u) $(id -g); exec sleep 1000") else { return };
    world.config["root"]["readonly"] = json!(false);
    world.save();
    world.create().ok();
    assert_eq!(world.status(), "created");
    let owner = format!("#{USER}");
    assert!(world.tare(&["list"]).ok().contains(&owner));
    world.verb("start").ok();
    assert_eq!(world.status(), "running");
    let map = world.tare(&["exec", &world.id, "cat", "/proc/self/uid_map"]).ok();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", &USER.to_string(), "1"]);
    let ran = world.tare(&["exec", "--cwd", "/tmp", &world.id, "sh", "-c", "touch made; ls /proc; exit 7"]);
    assert_eq!(ran.code, 7, "{}", ran.err);
    assert_eq!(fs::metadata(world.path("rootfs/tmp/made")).unwrap().uid(), USER);
    let pid = world.path("pid");
    world.leaving(&["exec", "-d", "--pid-file", pid.to_str().unwrap(), &world.id, "sleep", "1000"]).ok();
    let pid: i32 = fs::read_to_string(pid).unwrap().parse().unwrap();
    let same = |kind: &str| {
        let link = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        link(pid) == link(world.pid())
    };
    assert!(["user", "pid", "mnt", "ipc", "uts", "cgroup"].into_iter().all(same));
    let init = world.pid();
    world.tare(&["kill", &world.id, "KILL"]).ok();
    world.wait(init);
    world.wait(pid);
    assert_eq!(world.status(), "stopped");
    assert_eq!(world.output(), "0 0\n");
    world.verb("delete").ok();
    assert!(world.is_clean());
}

#[test]
fn run_answers_as_its_program_does_and_keeps_its_terminal() {
    let Some(mut world) = World::of_user(USER, "tty; exit 42") else { return };
    world.config["process"]["terminal"] = json!(true);
    world.save();
    let ran = world.verb("run");
    assert_eq!((ran.code, ran.out.as_str()), (42, "/dev/pts/0\r\n"), "{}", ran.err);
    world.config["process"] = json!({"args": ["nothing"], "cwd": "/", "env": ["PATH=/bin"]});
    world.save();
    assert_eq!(world.verb("run").code, 127);
    world.config["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [5]});
    world.save();
    world.verb("run").refused("set supplementary groups");
    assert!(world.is_clean());
}

#[test]
fn without_a_root_of_its_own_the_state_is_the_users() {
    let Some(world) = World::of_user(USER, "true") else { return };
    fs::create_dir(world.path("run")).unwrap();
    std::os::unix::fs::chown(world.path("run"), Some(USER), Some(USER)).unwrap();
    let mut command = world.command(&[]);
    let program = command.get_program().to_owned();
    use std::os::unix::process::CommandExt;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.uid(USER).gid(USER).env("XDG_RUNTIME_DIR", world.path("run")).current_dir(world.path(""));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.args(arguments).status().unwrap().success(), "{arguments:?}");
    };
    command.stdin(Stdio::null());
    run(&["create", &world.id]);
    let dir = world.path("run/tare-runtime").join(&world.id);
    assert_eq!(fs::metadata(&dir).unwrap().uid(), USER);
    run(&["delete", "--force", &world.id]);
    assert!(!dir.exists());
}

#[test]
fn the_hosts_network_comes_with_the_hosts_sysfs_and_no_cgroup_can_be_written() {
    let script = "grep -c . /proc/net/dev; for f in /sys/kernel/x /sys/fs/cgroup/x /sys/fs/cgroup/*/x; do \
                  mkdir $f 2>/dev/null && echo made $f; done; grep -c ' - sysfs ' /proc/self/mountinfo; true";
    let Some(mut world) = World::of_user(USER, script) else { return };
    let theirs = Delegated::to(USER, &world.id);
    // The user owns a group of the host, and it must stay out of reach without a cgroup namespace.
    let namespaces = world.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "cgroup");
    let script = format!(
        "{script}; for d in /sys/fs/cgroup{0} /sys/fs/cgroup/*{0}; do mkdir $d/evil; done; true",
        theirs.0
    );
    world.config["process"]["args"] = json!(["/bin/sh", "-c", script]);
    for sysfs in
        [json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}), Value::Null]
    {
        let mounts = world.config["mounts"].as_array_mut().unwrap();
        if let Some(place) =
            mounts.iter_mut().find(|mount| mount["destination"] == "/sys" && !sysfs.is_null())
        {
            *place = sysfs;
        }
        world.save();
        let text = world.verb("run").ok();
        assert!(!text.contains("made"), "{text}");
        assert!(text.lines().count() == 2, "{text}");
        assert!(theirs.dirs().iter().all(|dir| !dir.join("evil").exists()));
        // The second time the cgroups below the host's /sys are not covered.
        world.config["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/sys/fs/cgroup");
    }
}

#[test]
fn a_network_namespace_has_a_sysfs_of_its_own() {
    let Some(mut world) = World::of_user(USER, "ls /sys/class/net; cat /proc/net/dev") else { return };
    world.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "network"}));
    let mounts = world.config["mounts"].as_array_mut().unwrap();
    let sys = mounts.iter_mut().find(|mount| mount["destination"] == "/sys").unwrap();
    *sys = json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid"]});
    world.save();
    // With some modules of the kernel every namespace has more devices than its loopback (`sit0`), or a file beside them.
    let said = world.verb("run").ok();
    let (listed, devices) = said.split_once("Inter-").unwrap();
    let mut devices: Vec<&str> =
        devices.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    devices.sort_unstable();
    let listed: Vec<&str> = listed.lines().filter(|name| *name != "bonding_masters").collect();
    assert_eq!(listed, devices, "it shows the devices of its own namespace");
    assert!(devices.contains(&"lo"), "{said}");
}

#[test]
fn what_needs_a_group_says_so_and_the_rest_goes_on_without() {
    let Some(mut world) = World::of_user(USER, "exec sleep 1000") else { return };
    world.config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    world.save();
    world.create().ok();
    world.verb("start").ok();
    world.verb("pause").refused("need a cgroup, which this user may not make");
    world.tare(&["update", "--pids-limit", "5", &world.id]).refused("need a cgroup");
    world.tare(&["events", "--stats", &world.id]).refused("need a cgroup");
    world.tare(&["delete", "--force", &world.id]).ok();
    world.config["linux"]["resources"] = json!({"pids": {"limit": 5}});
    world.save();
    world.create().refused("limits need a cgroup");
    world.config["linux"]["resources"] = Value::Null;
    world.config["linux"]["cgroupsPath"] = json!(format!("/{}", world.id));
    world.save();
    world.create().refused("make cgroup");
    world.config["linux"]["cgroupsPath"] = Value::Null;
    world.save();
    world.leaving(&["--rootless=false", "create", &world.id]).refused("make cgroup");
    assert!(world.is_clean());
}

/// A group in every hierarchy that is a user's; on v2 a process cannot be moved there from elsewhere by a user.
struct Delegated(String);

impl Delegated {
    fn to(user: u32, name: &str) -> Self {
        let made = Self(format!("/delegated-{name}"));
        for dir in made.dirs() {
            fs::create_dir(&dir).unwrap();
            for file in ["", "cgroup.procs", "tasks", "cgroup.subtree_control"] {
                let _ = std::os::unix::fs::chown(dir.join(file), Some(user), Some(user));
            }
            for set in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(text) = fs::read_to_string(dir.join("..").join(set)) {
                    fs::write(dir.join(set), text).unwrap();
                }
            }
        }
        made
    }

    fn dirs(&self) -> Vec<PathBuf> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let points =
            mountinfo.lines().filter(|line| line.contains(" - cgroup ") || line.contains(" - cgroup2 "));
        let points = points.map(|line| line.split(' ').nth(4).unwrap());
        points.map(|point| PathBuf::from(format!("{point}{}", self.0))).collect()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for dir in self.dirs() {
            for below in ["inner", "start/tare", "start", "tare"] {
                let _ = fs::remove_dir(dir.join(below));
            }
            let _ = fs::remove_dir(dir);
        }
    }
}

/// Runs the command line where /etc/passwd, /etc/subuid and /etc/subgid know the user.
fn with_ids(world: &World, arguments: &[&str]) -> Ran {
    let entry = format!("{USER}:{FIRST}:65536\n");
    fs::write(world.path("passwd"), format!("root:x:0:0::/:/bin/sh\ntest:x:{USER}:{USER}::/:/bin/sh\n"))
        .unwrap();
    ["subuid", "subgid"].iter().for_each(|file| fs::write(world.path(file), &entry).unwrap());
    let binds = "for f in passwd subuid subgid; do mount --bind $f /etc/$f || exit 99; done";
    let drop_rights = format!("exec setpriv --reuid {USER} --regid {USER} --clear-groups \"$@\"");
    let own = world.command(arguments);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{binds}; {drop_rights}"), "sh"]).arg(own.get_program());
    command.args(own.get_args()).current_dir(world.path("")).stdin(Stdio::null());
    let out = File::options().append(true).create(true).open(world.path("out")).unwrap();
    let err = File::create(world.path("err")).unwrap();
    let status = command.stdout(out).stderr(err).status().unwrap();
    let err = fs::read_to_string(world.path("err")).unwrap();
    Ran { code: status.code().unwrap(), out: String::new(), err }
}

fn has_helpers() -> bool {
    let found = Path::new("/usr/bin/newuidmap").exists() && Path::new("/etc/subuid").exists();
    if !found {
        println!("skipped: needs newuidmap (uidmap)");
    }
    found
}

#[test]
fn a_user_with_subordinate_ids_has_a_whole_set_of_them_inside() {
    if !has_helpers() {
        return;
    }
    let script = "id -u; id -G; cat /proc/self/uid_map /proc/self/setgroups; touch /tmp/theirs";
    let Some(mut world) = World::of_user(USER, script) else { return };
    let map = json!([
        {"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": FIRST, "size": 65536},
    ]);
    world.config["linux"]["uidMappings"] = map.clone();
    world.config["linux"]["gidMappings"] = map;
    world.config["root"]["readonly"] = json!(false);
    world.config["process"]["user"] = json!({"uid": 33, "gid": 44, "additionalGids": [55]});
    world.save();
    fs::set_permissions(world.path("rootfs/tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777))
        .unwrap();
    let ran = with_ids(&world, &["run", &world.id]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let text = world.output();
    let words: Vec<_> = text.split_whitespace().collect();
    let (user, first) = (USER.to_string(), FIRST.to_string());
    assert_eq!(words, ["33", "44", "55", "0", &user, "1", "1", &first, "65536", "allow"]);
    assert_eq!(fs::metadata(world.path("rootfs/tmp/theirs")).unwrap().uid(), FIRST + 32);
}

#[test]
fn ids_that_nobody_gave_are_refused_with_the_reason() {
    if !has_helpers() {
        return;
    }
    let Some(mut world) = World::of_user(USER, "true") else { return };
    let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    world.config["linux"]["uidMappings"] = map.clone();
    world.config["linux"]["gidMappings"] = map;
    world.save();
    with_ids(&world, &["run", &world.id]).refused("/etc/subuid must give the ids to this user");
    let without = world.command(&["run", &world.id]).env("PATH", "/nowhere").output().unwrap();
    ran(&without).refused("newuidmap is not in $PATH: install it");
    assert!(world.is_clean());
}

#[test]
fn a_delegated_group_limits_and_stops() {
    let Some(mut world) = World::of_user(USER, "exec sleep 1000") else { return };
    let theirs = Delegated::to(USER, &world.id);
    let unified = theirs.dirs().into_iter().find(|dir| dir.join("cgroup.controllers").exists());
    let Some(unified) = unified else {
        println!("skipped: needs cgroup v2");
        return;
    };
    // On v2 a user moves processes only within what is theirs: so the command line itself starts there.
    let start = unified.join("start");
    fs::create_dir(&start).unwrap();
    ["", "cgroup.procs"]
        .iter()
        .for_each(|f| std::os::unix::fs::chown(start.join(f), Some(USER), Some(USER)).unwrap());
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec setpriv --reuid {USER} --regid {USER} --clear-groups \"$@\"",
        start.display()
    );
    let inside = |arguments: &[&str]| {
        let own = world.command(arguments);
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(own.get_program()).args(own.get_args());
        command.current_dir(world.path("")).stdin(Stdio::null());
        let out = File::create(world.path("out")).unwrap();
        let err = File::create(world.path("err")).unwrap();
        let status = command.stdout(out).stderr(err).status().unwrap();
        let read = |name: &str| fs::read_to_string(world.path(name)).unwrap();
        Ran { code: status.code().unwrap(), out: read("out"), err: read("err") }
    };
    let set = |path: Value| {
        let mut config = world.config.clone();
        config["linux"]["cgroupsPath"] = path;
        config["linux"]["resources"] = json!({"pids": {"limit": 7}});
        fs::write(world.path("config.json"), config.to_string()).unwrap();
    };
    for named in [json!(format!("{}/inner", theirs.0)), Value::Null] {
        set(named);
        inside(&["create", &world.id]).ok();
        inside(&["start", &world.id]).ok();
        let groups = inside(&["exec", &world.id, "cat", "/proc/self/cgroup"]).ok();
        assert!(
            groups.lines().all(|line| line.ends_with(":/")),
            "each is the root of what it sees: {groups}"
        );
        let stats: Value = serde_json::from_str(&inside(&["events", "--stats", &world.id]).ok()).unwrap();
        assert_eq!(stats["data"]["pids"], json!({"current": 1, "limit": 7}));
        inside(&["pause", &world.id]).ok();
        assert_eq!(world.status(), "paused");
        inside(&["resume", &world.id]).ok();
        inside(&["update", "--pids-limit", "9", &world.id]).ok();
        inside(&["delete", "--force", &world.id]).ok();
        let places =
            [unified.join("inner"), start.join("tare").join(&world.id), unified.join("tare").join(&world.id)];
        assert!(places.iter().all(|place| !place.exists()), "{places:?}");
    }
    world.config = Value::Null;
}

#[test]
fn nobody_makes_root_touch_what_is_anothers() {
    let Some(mut world) = World::of_user(USER, "exec sleep 1000") else { return };
    world.create().ok();
    // As root, with the user's state.
    let state = world.path("state");
    let user = world.user.take();
    for verb in ["delete", "state", "kill", "start", "pause"] {
        world.tare(&[verb, &world.id]).refused(&format!("belongs to user {USER}: run as that user"));
    }
    world.tare(&["delete", "--force", &world.id]).refused("belongs to user");
    assert_eq!(world.tare(&["list", "-q"]).ok(), "");
    // A link in root's own place that leads there.
    let own = world.path("roots");
    fs::create_dir(&own).unwrap();
    symlink(state.join(&world.id), own.join("alias")).unwrap();
    let root = own.to_str().unwrap();
    world.tare(&["--root", root, "delete", "--force", "alias"]).ok();
    world.tare(&["--root", root, "state", "alias"]).refused("container does not exist");
    world.user = user;
    assert_eq!(world.status(), "created", "nobody has touched it");
    world.tare(&["delete", "--force", &world.id]).ok();
}
