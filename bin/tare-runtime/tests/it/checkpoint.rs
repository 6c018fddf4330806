//! Written to disk and read back. criu must know the kernel: another one than the machine's can be named by `TARE_CRIU`.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::attack::{duration_of, is_quiet, killed_after};
use crate::inside::{console, sleeper, take_terminal};
use crate::world::{PATIENCE, Ran, World, script};

/// Counts in its memory what it does, and shows it as names. In a file, a checkpoint would at times find it between its
/// being emptied and its being written, and it would stay empty.
const COUNTER: &str = "i=0; while :; do i=$((i+1)); mkdir -p /tmp/n/$i; sleep 0.02; done";

fn criu() -> Option<String> {
    let criu = std::env::var("TARE_CRIU").unwrap_or("criu".to_owned());
    let checked = Command::new(&criu).arg("check").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let works = checked.is_ok_and(|status| status.success());
    if !works {
        println!("skipped: needs a criu that knows this kernel (criu check)");
    }
    works.then_some(criu)
}

fn counter() -> Option<World> {
    let mut world = World::of(COUNTER)?;
    world.config["root"]["readonly"] = json!(false);
    world.save();
    world.leaving(&["run", "-d", &world.id]).ok();
    count(&world, 3);
    Some(world)
}

/// Waits until it has counted that far, and answers how far it is. criu on an emulated processor takes its time.
#[track_caller]
fn count(world: &World, least: u32) -> u32 {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let names = fs::read_dir(world.path("rootfs/tmp/n")).into_iter().flatten().flatten();
        match names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max() {
            Some(number) if number >= least => return number,
            now if Instant::now() > deadline => {
                print_logs(world);
                let said = fs::read_to_string(world.path("err")).unwrap_or_default();
                panic!("it is at {now:?} and does not count to {least}: {:?} {said}", world.verb("state"));
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// For who reads why a test has failed.
fn print_logs(world: &World) {
    for log in ["work/dump.log", "work/restore.log", "images/restore.log"].map(|name| world.path(name)) {
        let text = fs::read_to_string(log).unwrap_or_default();
        let telling = text.lines().filter(|line| line.contains("Error") || line.contains("Warn"));
        telling.for_each(|line| println!("{line}"));
    }
}

fn with(world: &World, criu: &str, arguments: &[&str]) -> Ran {
    let own: &[&str] = &["--criu", criu, arguments[0], "--image-path", "images", "--work-path", "work"];
    let ran = world.leaving(&[own, &arguments[1..], &[&world.id]].concat());
    if ran.code != 0 {
        print_logs(world);
    }
    ran
}

#[test]
fn a_container_goes_on_where_it_was() {
    let Some(criu) = criu() else { return };
    let Some(world) = counter() else { return };
    with(&world, &criu, &["checkpoint"]).ok();
    world.verb("state").refused("container does not exist");
    assert!(world.is_clean());
    let stopped = count(&world, 3);
    let pid = world.path("pid");
    with(&world, &criu, &["restore", "--detach", "--pid-file", pid.to_str().unwrap()]).ok();
    assert_eq!(world.status(), "running");
    assert_eq!(fs::read_to_string(pid).unwrap(), world.pid().to_string());
    let now = count(&world, stopped + 1);
    assert!(now < stopped + 1000, "it did not begin anew: {stopped} {now}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("criu-root"), "the host's mounts stay as they are");
    assert_eq!(world.tare(&["exec", &world.id, "cat", "/proc/1/comm"]).ok(), "sh\n");
    // With a group of its own it can be stopped, and written again.
    world.verb("pause").ok();
    with(&world, &criu, &["checkpoint", "--leave-running"]).ok();
    assert_eq!(world.status(), "paused");
    world.verb("resume").ok();
    count(&world, now + 1);
    world.tare(&["delete", "--force", &world.id]).ok();
    assert!(world.is_clean());
}

#[test]
fn nothing_survives_a_restore_that_was_killed() {
    let Some(criu) = criu() else { return };
    let Some(world) = counter() else { return };
    let restore =
        ["--criu", &criu, "restore", "-d", "--image-path", "images", "--work-path", "work", &world.id];
    with(&world, &criu, &["checkpoint"]).ok();
    let whole = duration_of(&world, &restore);
    for i in 0..12_u64 {
        world.tare(&["delete", "--force", &world.id]).ok();
        assert!(world.is_clean(), "round {i}");
        killed_after(&world, &restore, whole * ((i * 7) % 12) / 11);
    }
    world.tare(&["delete", "--force", &world.id]).ok();
    assert!(world.is_clean() && is_quiet(&world), "a process is left");
    // The images are as good as before.
    let reached = count(&world, 3);
    world.leaving(&restore).ok();
    count(&world, reached + 1);
}

#[test]
fn memory_can_be_written_before() {
    let Some(criu) = criu() else { return };
    let tracks = Command::new(&criu).args(["check", "--feature", "mem_dirty_track"]).output().unwrap();
    if !tracks.status.success() {
        println!(
            "skipped: needs a kernel that tracks changes of memory (criu check --feature mem_dirty_track)"
        );
        return;
    }
    let Some(world) = counter() else { return };
    let before: &[&str] = &["--criu", &criu, "checkpoint", "--pre-dump", "--image-path", "before", &world.id];
    world.leaving(before).ok();
    assert_eq!(world.status(), "running");
    with(&world, &criu, &["checkpoint", "--parent-path", "../before"]).ok();
    assert!(fs::symlink_metadata(world.path("images/parent")).is_ok());
    let stopped = count(&world, 3);
    let mut restore = world.command(&["--criu", &criu, "restore", "--image-path", "images", &world.id]);
    // In the foreground it ends as its program does.
    // criu wants files where files were.
    let file = |name: &str| fs::File::options().append(true).create(true).open(world.path(name)).unwrap();
    let mut restore = restore.stdout(file("out")).stderr(file("err")).spawn().unwrap();
    count(&world, stopped + 1);
    // criu lets it go on a moment before this command hears of that, and writes it down.
    let deadline = Instant::now() + PATIENCE;
    while world.verb("state").code != 0 {
        assert!(Instant::now() < deadline, "it runs, and nobody knows it");
    }
    world.tare(&["kill", &world.id, "KILL"]).ok();
    assert_eq!(restore.wait().unwrap().code(), Some(137));
    assert!(world.is_clean());
}

/// A port that nobody has.
fn port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

/// A program that writes to descriptor 3 once it listens: ended with the test, if it has not ended before.
struct Server(Child);

impl Server {
    /// Returns when it listens.
    fn start(world: &World, command: &Command) -> Self {
        let ready = world.path("ready");
        let _ = fs::remove_file(&ready);
        let mut wrapped = Command::new("sh");
        wrapped.args(["-c", "exec \"$@\" 3>ready", "sh"]).arg(command.get_program()).args(command.get_args());
        wrapped.current_dir(world.path("")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Self(wrapped.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while fs::metadata(&ready).map_or(true, |found| found.len() == 0) {
            assert!(server.0.try_wait().unwrap().is_none(), "it ended: {command:?}");
            assert!(Instant::now() < deadline, "it does not listen: {command:?}");
            std::thread::yield_now();
        }
        server
    }

    fn ends_well(mut self) {
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn memory_can_be_sent_away() {
    let Some(criu) = criu() else { return };
    let Some(world) = counter() else { return };
    let port = port();
    fs::create_dir(world.path("images")).unwrap();
    let mut server = Command::new(&criu);
    server.args(["page-server", "--images-dir", "images", "--address", "127.0.0.1", "--port", &port]);
    let server = Server::start(&world, server.args(["--status-fd", "3"]));
    with(&world, &criu, &["checkpoint", "--page-server", &format!("127.0.0.1:{port}")]).ok();
    server.ends_well();
    let stopped = count(&world, 3);
    with(&world, &criu, &["restore", "--detach"]).ok();
    count(&world, stopped + 1);
}

#[test]
fn memory_can_follow_when_it_is_asked_for() {
    let Some(criu) = criu() else { return };
    let checked = Command::new(&criu).args(["check", "--feature", "uffd-noncoop"]).output().unwrap();
    if !checked.status.success() {
        println!("skipped: needs a kernel that asks for pages (criu check --feature uffd-noncoop)");
        print!("{}", String::from_utf8_lossy(&checked.stderr));
        return;
    }
    let Some(world) = counter() else { return };
    let port = port();
    let address = format!("127.0.0.1:{port}");
    let places = ["--image-path", "images", "--work-path", "work"];
    // It stays, and has the memory, until all was asked for.
    let mut dump = world.command(&["--criu", &criu, "checkpoint", "--lazy-pages", "--page-server", &address]);
    let dump = Server::start(&world, dump.args(["--status-fd", "3"]).args(places).arg(&world.id));
    let stopped = count(&world, 3);
    let mut fetch = Command::new(&criu);
    fetch.args(["lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", &port]);
    let fetch = Server::start(&world, fetch.args(["-D", "images", "-W", "work", "--status-fd", "3"]));
    let id = format!("{}-again", world.id);
    let restore = ["--criu", &criu, "restore", "--detach", "--lazy-pages"];
    world.leaving(&[&restore[..], &places[..], &[&id]].concat()).ok();
    count(&world, stopped + 1);
    fetch.ends_well();
    dump.ends_well();
    world.verb("state").refused("container does not exist");
    world.tare(&["delete", "--force", &id]).ok();
}

#[test]
fn a_terminal_comes_back() {
    let Some(criu) = criu() else { return };
    let Some(mut world) = World::of("read line; echo got $line; exec sleep 1000") else { return };
    world.config["process"]["terminal"] = json!(true);
    world.save();
    let (listener, path) = console(&world);
    world.leaving(&["run", "-d", "--console-socket", &path, &world.id]).ok();
    // Closed, it would be a hang-up.
    let first = take_terminal(&listener);
    with(&world, &criu, &["checkpoint"]).ok();
    drop(first);
    with(&world, &criu, &["restore", "-d"]).refused("process.terminal: needs --console-socket");
    with(&world, &criu, &["restore", "-d", "--console-socket", &path]).ok();
    let terminal = fs::File::from(take_terminal(&listener));
    rustix::io::write(&terminal, b"typed\n").unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(terminal));
    assert!(lines.any(|line| line.unwrap().contains("got typed")));
}

#[test]
fn what_cannot_be_done_says_why_and_changes_nothing() {
    let Some(world) = sleeper() else { return };
    with(&world, "/nowhere/criu", &["checkpoint"])
        .refused("no such program: install criu, or name it with --criu");
    let broken = world.path("broken");
    script(&broken, "#!/bin/sh\nexit 1\n");
    let odd = ["checkpoint", "--tcp-skip-in-flight", "--link-remap"];
    with(&world, broken.to_str().unwrap(), &odd).refused("criu ended without an answer");
    assert_eq!(world.status(), "running");
    with(&world, "criu", &["checkpoint", "--manage-cgroups-mode", "harsh"]).refused("must be soft, full");
    with(&world, "criu", &["checkpoint", "--page-server", "here"]).refused("ADDRESS:PORT");
    with(&world, "criu", &["checkpoint", "--parent-path", "/abs"]).refused("must be relative");
    with(&world, "criu", &["restore", "-d"]).refused("already exists");
    world.tare(&["delete", "--force", &world.id]).ok();
    with(&world, "criu", &["checkpoint"]).refused("container does not exist");
    with(&world, broken.to_str().unwrap(), &["restore", "-d"]).refused("criu ended without an answer");
    assert!(world.is_clean());
    fs::remove_dir_all(world.path("images")).unwrap();
    with(&world, "criu", &["restore", "-d"]).refused("open images: no such file or directory");
    assert!(world.is_clean());
}
