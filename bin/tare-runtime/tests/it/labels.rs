//! What security modules keep: AppArmor, which Debian's kernels have on, and SELinux with the small policy of the guest
//! that `cargo xtask vm --selinux` boots.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::world::World;

/// Says its label, and tries what the profile allows and what it denies.
const PROBE: &str = "cat /proc/self/attr/apparmor/current; echo x > /tmp/allowed && echo allowed; \
                     (echo x > /tmp/denied) 2>/dev/null || echo refused";

/// An AppArmor profile that is in the kernel as long as this is.
struct Profile(String);

impl Profile {
    /// It denies writing to /tmp/denied, and little else.
    fn load() -> Option<Self> {
        if !fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|t| t.starts_with('Y')) {
            println!("skipped: needs AppArmor");
            return None;
        }
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let profile = Self(format!("tare-test-{}-{number}", std::process::id()));
        profile.parser("--add").then_some(profile)
    }

    fn parser(&self, verb: &str) -> bool {
        let text = format!(
            "profile {} flags=(attach_disconnected) {{\n  file,\n  capability,\n  network,\n  signal,\n  ptrace,\n  \
             deny /tmp/denied w,\n}}\n",
            self.0
        );
        let mut command = Command::new("apparmor_parser");
        command.args(["--quiet", "--skip-cache", verb]).stdin(Stdio::piped());
        let Ok(mut parser) = command.spawn() else {
            println!("skipped: needs apparmor_parser (apparmor)");
            return false;
        };
        parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(parser.wait().unwrap().success());
        true
    }

    /// What [`PROBE`] prints where it is in force.
    fn kept(&self) -> String {
        format!("{} (enforce)\nallowed\nrefused\n", self.0)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parser("--remove");
    }
}

fn writable(script: &str) -> Option<World> {
    let mut world = World::of(script)?;
    world.config["root"]["readonly"] = json!(false);
    world.save();
    Some(world)
}

/// What AppArmor calls a process, as the host sees it.
fn label_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/attr/apparmor/current")).unwrap().trim().to_owned()
}

#[test]
fn an_apparmor_profile_confines_the_program() {
    let Some(profile) = Profile::load() else { return };
    let Some(mut world) = writable(PROBE) else { return };
    assert!(world.verb("run").ok().ends_with("\nallowed\n"), "nothing is refused without it");
    for no_new_privileges in [true, false] {
        fs::remove_file(world.path("rootfs/tmp/denied")).unwrap_or_default();
        world.config["process"]["apparmorProfile"] = json!(profile.0);
        world.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        world.save();
        assert_eq!(world.verb("run").ok(), profile.kept(), "noNewPrivileges {no_new_privileges}");
        assert!(!world.path("rootfs/tmp/denied").exists());
    }
    assert!(world.is_clean());
}

#[test]
fn an_apparmor_profile_confines_what_is_run_inside() {
    let Some(profile) = Profile::load() else { return };
    let Some(mut world) = writable("exec sleep 1000") else { return };
    world.create().ok();
    world.verb("start").ok();
    let exec = |world: &World, flags: &[&str]| {
        world.tare(&[&["exec"], flags, &[&world.id, "sh", "-c", PROBE]].concat()).ok()
    };
    assert_eq!(exec(&world, &["--apparmor", &profile.0]), profile.kept());
    assert!(exec(&world, &[]).ends_with("\nallowed\n"));
    assert!(!label_of(world.pid()).contains(&profile.0));
    world.tare(&["delete", "--force", &world.id]).ok();
    // Its own is that of whatever comes in.
    fs::remove_file(world.path("rootfs/tmp/denied")).unwrap();
    world.config["process"]["apparmorProfile"] = json!(profile.0);
    world.save();
    world.create().ok();
    world.verb("start").ok();
    assert_eq!(label_of(world.pid()), format!("{} (enforce)", profile.0));
    assert_eq!(exec(&world, &[]), profile.kept());
}

#[test]
fn an_apparmor_profile_confines_a_users_container() {
    let Some(profile) = Profile::load() else { return };
    let Some(mut world) = World::of_user(54_321, PROBE) else { return };
    world.config["root"]["readonly"] = json!(false);
    world.config["process"]["apparmorProfile"] = json!(profile.0);
    world.save();
    assert_eq!(world.verb("run").ok(), profile.kept());
}

#[test]
fn a_profile_that_is_not_loaded_is_refused_before_anything_is_made() {
    let Some(profile) = Profile::load() else { return };
    let Some(mut world) = writable("exec sleep 1000") else { return };
    let none = format!("{}-none", profile.0);
    let refusal =
        format!("invalid process.apparmorProfile: must be a profile that is loaded, which \"{none}\"");
    let ran = world.path("hook");
    world.config["hooks"]["prestart"] =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("touch {}", ran.display())]}]);
    world.config["process"]["apparmorProfile"] = json!(none);
    world.save();
    world.create().refused(&refusal);
    world.verb("run").refused(&refusal);
    assert!(world.is_clean() && !ran.exists());
    world.config["process"]["apparmorProfile"] = json!(profile.0);
    world.save();
    world.create().ok();
    world.verb("start").ok();
    world.tare(&["exec", "--apparmor", &none, &world.id, "true"]).refused(&refusal);
    assert_eq!(world.tare(&["ps", "--format", "json", &world.id]).ok().trim(), format!("[{}]", world.pid()));
}

/// CVE-2019-16884, CVE-2023-28642, CVE-2024-45310 and their kind: what an image has under the names of /proc must not be
/// what the label is written to.
#[test]
fn a_false_proc_does_not_keep_a_profile_away() {
    let Some(profile) = Profile::load() else { return };
    type Change = fn(&mut World);
    let without_proc: Change = |world| {
        world.config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/proc"));
        world.config["linux"]["maskedPaths"] = json!([]);
        world.config["linux"]["readonlyPaths"] = json!([]);
    };
    let files: Change = |world| {
        for process in ["self", "thread-self", "1"] {
            let dir = world.path("rootfs/proc").join(process).join("attr/apparmor");
            fs::create_dir_all(&dir).unwrap();
            ["exec", "current"].iter().for_each(|name| fs::write(dir.join(name), "").unwrap());
            ["exec", "current"].iter().for_each(|name| fs::write(dir.join("..").join(name), "").unwrap());
        }
    };
    let link: Change = |world| {
        fs::remove_dir(world.path("rootfs/proc")).unwrap();
        symlink("/tmp", world.path("rootfs/proc")).unwrap();
    };
    let changes: [(&str, &[Change]); 2] =
        [("files", &[without_proc, files]), ("a link", &[without_proc, link])];
    for (what, changes) in changes {
        let Some(mut world) = writable("exec sleep 1000") else { return };
        changes.iter().for_each(|change| change(&mut world));
        world.config["process"]["apparmorProfile"] = json!(profile.0);
        world.save();
        world.create().ok();
        world.verb("start").ok();
        assert_eq!(label_of(world.pid()), format!("{} (enforce)", profile.0), "{what}");
        let pid = world.path("pid");
        let words = ["exec", "-d", "--pid-file", pid.to_str().unwrap(), &world.id, "sleep", "1000"];
        world.leaving(&words).ok();
        let inside = fs::read_to_string(pid).unwrap().parse().unwrap();
        assert_eq!(label_of(inside), format!("{} (enforce)", profile.0), "{what}");
    }
    // Nor can a mount be put there.
    let Some(mut world) = writable("true") else { return };
    let own = world.path("rootfs").display().to_string();
    for place in ["/proc", "/proc/self/attr", "/proc/self/attr/apparmor/exec"] {
        let mut config = world.config.clone();
        config["process"]["apparmorProfile"] = json!(profile.0);
        let mount = json!({"destination": place, "type": "bind", "source": own, "options": ["rbind"]});
        config["mounts"].as_array_mut().unwrap().push(mount);
        std::mem::swap(&mut world.config, &mut config);
        world.save();
        world.create().refused("/proc");
        std::mem::swap(&mut world.config, &mut config);
    }
    assert!(world.is_clean());
}

/// Whether SELinux knows the contexts of the guest's own policy.
fn has_policy() -> bool {
    let file = fs::File::options().read(true).write(true).open("/sys/fs/selinux/context");
    let known = file.is_ok_and(|mut file| file.write_all(b"tare_u:tare_r:container_t\0").is_ok());
    if !known {
        println!("skipped: needs SELinux with the guest's policy (cargo xtask vm --selinux)");
    }
    known
}

const LABEL: &str = "tare_u:tare_r:container_t";
const SECRET: &str = "tare_u:tare_r:secret_t";
const SHARED: &str = "tare_u:tare_r:shared_t";
/// Says its label, and writes to a file system of the container's own.
const WRITER: &str =
    "cat /proc/self/attr/current | tr -d '\\0'; echo; (echo x > /dev/shm/file) 2>/dev/null || echo refused";

#[test]
fn selinux_labels_confine_the_program_and_its_mounts() {
    if !has_policy() {
        return;
    }
    let Some(mut world) = World::of(WRITER) else { return };
    world.config["process"]["selinuxLabel"] = json!(LABEL);
    for (mounts, said) in [(SHARED, ""), (SECRET, "refused\n")] {
        world.config["linux"]["mountLabel"] = json!(mounts);
        world.save();
        assert_eq!(world.verb("run").ok(), format!("{LABEL}\n{said}"), "{mounts}");
    }
    world.config["process"]["selinuxLabel"] = json!("");
    world.save();
    assert!(!world.verb("run").ok().contains("refused"), "only the label's own domain is confined");
    // By a program that comes later as well.
    world.config["process"]["args"] = json!(["sleep", "1000"]);
    world.save();
    world.create().ok();
    world.verb("start").ok();
    let exec = |label: &str| world.tare(&["exec", "--process-label", label, &world.id, "sh", "-c", WRITER]);
    assert_eq!(exec(LABEL).ok(), format!("{LABEL}\nrefused\n"));
    exec("tare_u:tare_r:no_such_t").refused("invalid process.selinuxLabel: must be a context of the policy");
}

#[test]
fn a_label_that_the_policy_does_not_know_is_refused_before_anything_is_made() {
    if !has_policy() {
        return;
    }
    for (section, field) in [("process", "selinuxLabel"), ("linux", "mountLabel")] {
        let Some(mut world) = World::of("true") else { return };
        for label in ["tare_u:tare_r:no_such_t", "no context", "tare_u:tare_r:container_t:s0:c1"] {
            world.config[section][field] = json!(label);
            world.save();
            world.create().refused(&format!("invalid {section}.{field}: must be a context of the policy"));
            assert!(world.is_clean());
        }
    }
}
