//! What is done to a container that runs.

use std::fs;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use crate::world::World;

pub(crate) fn sleeper() -> Option<World> {
    let world = World::of("exec sleep 1000")?;
    world.create().ok();
    world.verb("start").ok();
    Some(world)
}

#[test]
fn exec_runs_as_it_is_told() {
    let Some(world) = sleeper() else { return };
    let script = "id -u; id -g; readlink /proc/self/cwd; echo $MINE; exit 7";
    let ran = world
        .tare(&["exec", "--user", "5:6", "--cwd", "/tmp", "--env", "MINE=x", &world.id, "sh", "-c", script]);
    assert_eq!((ran.code, ran.out.as_str()), (7, "5\n6\n/tmp\nx\n"), "{}", ran.err);
    assert_eq!(world.tare(&["exec", &world.id, "nothing"]).code, 127);
    let process = json!({"args": ["echo", "by file"], "cwd": "/", "env": ["PATH=/bin"]});
    fs::write(world.path("process.json"), process.to_string()).unwrap();
    assert_eq!(world.tare(&["exec", "--process", "process.json", &world.id]).ok(), "by file\n");
    let pid = world.path("pid");
    world.leaving(&["exec", "-d", "--pid-file", pid.to_str().unwrap(), &world.id, "sleep", "1000"]).ok();
    let pid: i64 = fs::read_to_string(pid).unwrap().parse().unwrap();
    let processes: Vec<i64> =
        serde_json::from_str(&world.tare(&["ps", "--format", "json", &world.id]).ok()).unwrap();
    assert!(processes.len() == 2 && processes.contains(&pid), "{processes:?}");
    assert_eq!(world.tare(&["ps", &world.id]).ok().lines().count(), 3);
    let init = world.pid();
    world.tare(&["kill", &world.id, "9"]).ok();
    world.wait(init);
    world.tare(&["exec", &world.id, "true"]).refused("cannot exec in a stopped container");
}

#[test]
fn a_paused_container_stands_still() {
    let Some(world) = sleeper() else { return };
    world.verb("resume").refused("container not paused");
    world.verb("pause").ok();
    assert_eq!(world.status(), "paused");
    world.tare(&["exec", &world.id, "true"]).refused("cannot exec in a paused container");
    world.verb("resume").ok();
    assert_eq!(world.status(), "running");
    world.verb("pause").ok();
    world.tare(&["delete", "--force", &world.id]).ok();
    assert!(world.is_clean());
}

#[test]
fn limits_are_updated_and_counted() {
    let Some(world) = sleeper() else { return };
    world.tare(&["update", "--pids-limit", "33", &world.id]).ok();
    let stats =
        || -> Value { serde_json::from_str(&world.tare(&["events", "--stats", &world.id]).ok()).unwrap() };
    assert_eq!(stats()["data"]["pids"], json!({"current": 1, "limit": 33}));
    fs::write(world.path("r.json"), r#"{"pids":{"limit":44},"memory":{"limit":67108864}}"#).unwrap();
    world.tare(&["update", "--resources", "r.json", &world.id]).ok();
    let stats = stats();
    assert_eq!(stats["data"]["pids"]["limit"], 44);
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], 67_108_864);
    world.tare(&["update", "--memory", "lots", &world.id]).refused("invalid size");
}

/// A socket as engines offer it.
pub(crate) fn console(world: &World) -> (UnixListener, String) {
    let path = world.path("console.sock");
    let _ = fs::remove_file(&path);
    (UnixListener::bind(&path).unwrap(), path.to_str().unwrap().to_owned())
}

pub(crate) fn take_terminal(listener: &UnixListener) -> OwnedFd {
    let (peer, _) = listener.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 64];
    recvmsg(peer.as_fd(), &mut [std::io::IoSliceMut::new(&mut name)], &mut ancillary, RecvFlags::empty())
        .unwrap();
    let fds = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.unwrap()
}

fn all_of(terminal: OwnedFd) -> String {
    let mut text = Vec::new();
    // The master of a terminal ends with EIO.
    let _ = fs::File::from(terminal).read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_terminal_in_the_foreground_is_passed_on() {
    let Some(mut world) = World::of("tty; read line; echo \"got $line\"; exit 5") else { return };
    world.config["process"]["terminal"] = json!(true);
    world.save();
    let pipes = |command: &mut Command| {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = pipes(&mut world.command(&["run", &world.id]));
    assert_eq!(code, Some(5));
    assert!(text.contains("/dev/pts/0\r\n") && text.ends_with("got typed\r\n"), "{text:?}");
    assert!(world.is_clean());
    let Some(world) = sleeper() else { return };
    let script = "tty; read line; echo \"got $line\"; exit 6";
    let (code, text) = pipes(&mut world.command(&["exec", "--tty", &world.id, "sh", "-c", script]));
    assert_eq!(code, Some(6));
    assert!(text.contains("/dev/pts/0\r\n") && text.ends_with("got typed\r\n"), "{text:?}");
    world.tare(&["exec", "-t", "-d", &world.id, "tty"]).refused("needs --console-socket");
}

#[test]
fn a_terminal_is_handed_over() {
    let Some(mut world) = World::of("tty; stty size; exec sleep 1000") else { return };
    let (listener, path) = console(&world);
    world
        .leaving(&["create", "--console-socket", &path, &world.id])
        .refused("must be true with --console-socket");
    world.config["process"]["terminal"] = json!(true);
    world.config["process"]["consoleSize"] = json!({"height": 33, "width": 111});
    world.save();
    // Closed alone, it would be open in whatever another test has just forked, until its execve.
    drop(listener);
    fs::remove_file(&path).unwrap();
    world
        .leaving(&["create", "--console-socket", &path, &world.id])
        .refused("cannot connect to --console-socket");
    assert!(world.is_clean());
    let (listener, path) = console(&world);
    world.leaving(&["create", "--console-socket", &path, &world.id]).ok();
    let terminal = take_terminal(&listener);
    world.verb("start").ok();
    world.leaving(&["exec", "-d", "-t", "--console-socket", &path, &world.id, "tty"]).ok();
    assert_eq!(all_of(take_terminal(&listener)), "/dev/pts/1\r\n");
    world.tare(&["kill", &world.id, "KILL"]).ok();
    assert_eq!(all_of(terminal), "/dev/pts/0\r\n33 111\r\n");
}
