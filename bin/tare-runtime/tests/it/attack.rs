//! Killed at any moment, short of space, or lied to: nothing is left behind that `delete --force` does not take away.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::json;

use crate::world::{PATIENCE, World};

/// Kills a command after a while, if it has not ended by then.
pub(crate) fn killed_after(world: &World, arguments: &[&str], microseconds: u64) {
    let mut command = world.command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
    let patience = Timespec::try_from(Duration::from_micros(microseconds)).unwrap();
    let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience));
    let _ = child.kill();
    child.wait().unwrap();
}

/// How long a command takes here, so that it is killed in its midst.
pub(crate) fn duration_of(world: &World, arguments: &[&str]) -> u64 {
    let begin = std::time::Instant::now();
    world.leaving(arguments).ok();
    begin.elapsed().as_micros() as u64
}

/// Processes whose root is the bundle's, by the mount that they have.
fn is_haunted(world: &World) -> bool {
    let root = world.path("rootfs");
    let root = root.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())).any(
        |entry| {
            let mounts = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
            mounts.lines().any(|line| {
                line.split(' ')
                    .nth(3)
                    .is_some_and(|source| source.ends_with(root.trim_start_matches('/')) || source == root)
            })
        },
    )
}

/// What is left goes a moment after its group was emptied.
pub(crate) fn is_quiet(world: &World) -> bool {
    let deadline = std::time::Instant::now() + PATIENCE;
    while is_haunted(world) {
        if std::time::Instant::now() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[test]
fn nothing_survives_a_command_that_was_killed() {
    let Some(world) = World::of("exec sleep 1000") else { return };
    let id = world.id.clone();
    let create = duration_of(&world, &["create", &id]);
    let start = duration_of(&world, &["start", &id]);
    let exec = duration_of(&world, &["exec", &id, "true"]);
    let delete = duration_of(&world, &["delete", "--force", &id]);
    // A sequence that covers each span evenly, whatever its order.
    for i in 0..100_u64 {
        let part = |whole: u64| whole * ((i * 61) % 100) / 90;
        killed_after(&world, &["create", &id], part(create));
        match i % 4 {
            0 => {}
            1 => killed_after(&world, &["start", &id], part(start)),
            2 => {
                world.verb("start");
                killed_after(&world, &["exec", &id, "true"], part(exec));
            }
            _ => {
                world.verb("start");
                killed_after(&world, &["delete", "--force", &id], part(delete));
            }
        }
        world.tare(&["delete", "--force", &id]).ok();
        assert!(world.is_clean(), "round {i}");
    }
    assert!(is_quiet(&world), "a process is left");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(world.path("").to_str().unwrap()), "a mount is left");
}

#[test]
fn nothing_survives_a_users_command_that_was_killed() {
    let Some(world) = World::of_user(54_322, "exec sleep 1000") else { return };
    let id = world.id.clone();
    let create = duration_of(&world, &["create", &id]);
    let delete = duration_of(&world, &["delete", "--force", &id]);
    for i in 0..30_u64 {
        let part = |whole: u64| whole * ((i * 61) % 30) / 27;
        killed_after(&world, &["create", &id], part(create));
        if i % 2 == 0 {
            killed_after(&world, &["delete", "--force", &id], part(delete));
        }
        world.tare(&["delete", "--force", &id]).ok();
        assert!(world.is_clean(), "round {i}");
    }
    assert!(is_quiet(&world), "a process is left");
}

#[test]
fn a_place_for_state_that_is_full_is_said_and_leaves_nothing() {
    let Some(world) = World::of("exec sleep 1000") else { return };
    let state = world.path("state");
    fs::create_dir_all(&state).unwrap();
    mount("tmpfs", &state, "tmpfs", MountFlags::empty(), Some(c"size=16k,mode=711")).unwrap();
    // Each time there is a little less: every file that is written fails once.
    for filler in (0..4).rev() {
        let _ = fs::remove_file(state.join("filler"));
        fs::write(state.join("filler"), vec![0; (4 - filler) * 4096]).unwrap_or_default();
        let created = world.create();
        if created.code != 0 {
            assert!(created.err.contains("no space left on device"), "{}", created.err);
        }
        world.tare(&["delete", "--force", &world.id]).ok();
        assert!(world.is_clean());
    }
    unmount(&state, UnmountFlags::DETACH).unwrap();
    assert!(is_quiet(&world));
}

#[test]
fn ids_and_bundles_that_lead_elsewhere_are_refused() {
    let Some(mut world) = World::of("exec sleep 1000") else { return };
    let long = "x".repeat(2000);
    for id in ["..", ".", "a/../b", "/etc", "a\nb", "a b", "%00", &long] {
        for verb in ["create", "state", "delete"] {
            let ran = world.tare(&[verb, "--", id]);
            assert!(ran.code != 0 && ran.err.contains("container id"), "{verb} {id:?}: {ran:?}");
        }
    }
    // A name in the state's place that is no container is left as it is.
    let other = world.path("other");
    fs::create_dir_all(other.join("precious")).unwrap();
    fs::create_dir_all(world.path("state")).unwrap();
    symlink(&other, world.path("state").join("link")).unwrap();
    world.tare(&["delete", "--force", "link"]).ok();
    world.leaving(&["create", "link"]).refused("already exists");
    assert!(other.join("precious").exists());
    // A group that is somebody else's is not taken over.
    let busy = format!("/busy-{}", world.id);
    let Some(group) = Busy::at(&busy) else { return };
    world.config["linux"]["cgroupsPath"] = json!(busy);
    world.save();
    world.create().refused("has processes in it");
    assert!(group.is_alive(), "what was there goes on");
}

/// A process in a group that is not ours.
struct Busy {
    group: String,
    child: std::process::Child,
}

impl Busy {
    fn at(path: &str) -> Option<Self> {
        let group = format!("/sys/fs/cgroup/pids{path}");
        if !Path::new("/sys/fs/cgroup/pids").exists() {
            println!("skipped: needs the pids controller as v1");
            return None;
        }
        fs::create_dir(&group).unwrap();
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(format!("{group}/cgroup.procs"), child.id().to_string()).unwrap();
        Some(Self { group, child })
    }

    fn is_alive(&self) -> bool {
        fs::read_to_string(format!("{}/cgroup.procs", self.group)).is_ok_and(|text| !text.is_empty())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir(&self.group);
    }
}
