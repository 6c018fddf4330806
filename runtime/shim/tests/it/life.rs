//! Start, end, and everything that may be asked in between.

use std::net::Shutdown;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit, test_kill_process};
use serde_json::json;
use tare_model::Kind;
use tare_protocol::{Event, Phase, Request, Response};

use crate::fixture::{Container, process, sh, until};

fn alive(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

#[test]
fn a_program_runs_and_its_end_is_told_and_recorded() {
    let (mut container, mut watch) = Container::run(&sh("exit 7"));
    watch.until(|event| matches!(event, Event::Started { .. }).then_some(()));
    let exit = watch.exit();
    assert_eq!((exit.exit_code, exit.signal, exit.oom_killed), (7, None, false));
    assert!(container.groups().is_empty());
    assert_eq!(watch.next(), None);
    assert_eq!(container.record(), exit);
}

#[test]
fn a_signal_ends_it_with_128_and_more() {
    let (mut container, mut watch) =
        Container::run(&sh("trap 'exit 5' TERM; : > /tmp/ready; while :; do sleep 0.01; done"));
    until("the trap", || container.dir.join("root/tmp/ready").exists());
    let kill = |signal| container.ask(&Request::Kill { session: None, signal, all: false });
    assert_eq!(kill(15), Response::Ok);
    assert_eq!(watch.exit().exit_code, 5);
    assert_eq!(container.record().exit_code, 5);
    let (mut container, mut watch) = Container::run(&sh("sleep 100"));
    let kill = |signal| container.ask(&Request::Kill { session: None, signal, all: false });
    assert!(matches!(kill(99), Response::Error { kind: Kind::InvalidInput, .. }));
    assert_eq!(kill(9), Response::Ok);
    let exit = watch.exit();
    assert_eq!((exit.exit_code, exit.signal), (137, Some(9)));
    container.wait();
}

#[test]
fn a_program_that_is_not_there_is_127() {
    let mut wanted = sh("");
    wanted.args = vec!["nothing-here".to_owned()];
    let mut container = Container::launch(&wanted);
    let mut watch = container.watch();
    // The runtime looks for the program while it prepares: no start is needed.
    let (message, exit_code) = watch.failure();
    assert!(message.contains("nothing-here") && message.contains("executable file not found"), "{message}");
    assert_eq!(exit_code, 127);
    let exit = container.record();
    assert_eq!((exit.error, exit.exit_code), (Some(message), 127));
}

#[test]
fn a_program_that_cannot_be_executed_fails_at_the_start() {
    let mut wanted = sh("");
    // Executable by its mode, and no program: only execve finds out.
    wanted.args = vec!["/etc/garbage".to_owned()];
    let mut container = Container::launch(&wanted);
    let mut watch = container.watch();
    watch.until_ready();
    let started = container.ask(&Request::Start);
    let Response::Error { message, exit_code: Some(126), .. } = started else { panic!("{started:?}") };
    let exit = watch.exit();
    assert_eq!((exit.exit_code, exit.error), (126, Some(message)));
    container.wait();
    assert!(container.groups().is_empty());
}

#[test]
fn a_container_that_cannot_be_made_says_why() {
    let mut wanted = sh("true");
    wanted.resources = json!({"cpu": {"cpus": "4000"}});
    let mut container = Container::launch(&wanted);
    // It has failed long before anybody asks, and still answers.
    until("its end", || container.dir.join("exit.json").exists());
    let (message, exit_code) = container.watch().failure();
    assert_eq!(exit_code, 125);
    assert!(message.contains("cpuset"), "{message}");
    assert_eq!(container.record().error, Some(message));
}

#[test]
fn a_start_that_never_comes_leaves_nothing() {
    let mut container = Container::launch(&sh("sleep 100"));
    let mut watch = container.watch();
    watch.until_ready();
    drop(watch);
    assert_eq!(container.record().exit_code, 137);
    assert!(container.groups().is_empty());
}

#[test]
fn reserved_ports_are_kept_until_the_end_and_no_longer() {
    let mut wanted = sh("sleep 100");
    let reserved = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    wanted.reserved = Some(reserved);
    let (container, mut watch) = Container::run(&wanted);
    drop(wanted);
    assert!(std::net::TcpListener::bind(address).is_err());
    let pid = watch.state.pid.unwrap();
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    assert_eq!(links.count(), 3);
    assert_eq!(container.ask(&Request::Kill { session: None, signal: 9, all: false }), Response::Ok);
    watch.exit();
    assert!(std::net::TcpListener::bind(address).is_ok());
}

/// The listener of a shim that has no descriptor left is ready all the time.
#[test]
fn a_shim_without_descriptors_rests_and_takes_clients_again() {
    let (container, _watch) = Container::run(&sh("sleep 100"));
    let shim = Pid::from_raw(container.shim);
    let open = std::fs::read_dir(format!("/proc/{}/fd", container.shim)).unwrap();
    let numbers = open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse::<u64>().unwrap());
    let before = prlimit(shim, Resource::Nofile, getrlimit(Resource::Nofile)).unwrap();
    let few = Rlimit { current: numbers.max().map(|last| last + 1), ..before };
    prlimit(shim, Resource::Nofile, few).unwrap();
    let waiting: Vec<_> = (0..20).map(|_| container.connect()).collect();
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", container.shim)).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let at_first = used();
    std::thread::sleep(Duration::from_secs(1));
    let ticks = used() - at_first;
    prlimit(shim, Resource::Nofile, before).unwrap();
    assert!(ticks < 20, "{ticks} hundredths of a second of one");
    drop(waiting);
    assert!(matches!(container.ask(&Request::Stats), Response::Stats(_)));
}

#[test]
fn sigterm_to_the_shim_ends_the_container() {
    let (mut container, mut watch) = Container::run(&sh("sleep 100"));
    kill_process(Pid::from_raw(container.shim).unwrap(), Signal::TERM).unwrap();
    assert_eq!(watch.exit().exit_code, 137);
    container.wait();
}

#[test]
fn a_daemon_that_comes_back_finds_everything() {
    let (mut container, watch) = Container::run(&sh("while :; do sleep 0.01; done"));
    assert!(matches!(container.exec("e1", process(&["sleep", "100"]), false, false), Response::Pid(_)));
    drop(watch);
    let mut watch = container.watch();
    let state = watch.state.clone();
    assert_eq!((state.phase, state.execs.len(), state.paused), (Phase::Running, 1, false));
    assert!(state.execs[0].running && state.started_at.is_some() && alive(state.pid.unwrap()));
    assert_eq!(container.ask(&Request::Kill { session: None, signal: 9, all: false }), Response::Ok);
    assert_eq!(watch.exec_exit("e1"), 137);
    assert_eq!(watch.exit().exit_code, 137);
    container.wait();
}

#[test]
fn pause_stops_and_resume_continues() {
    let (container, mut watch) = Container::run(&sh("while :; do :; done"));
    let used = || match container.ask(&Request::Stats) {
        Response::Stats(stats) => stats.cpu.total,
        other => panic!("{other:?}"),
    };
    assert_eq!(container.ask(&Request::Pause), Response::Ok);
    assert!(container.watch().state.paused);
    // A thread is frozen before it leaves its processor: the last of its time may still be counted.
    let before = std::cell::Cell::new(0);
    until("it to stand still", || {
        before.set(used());
        std::thread::sleep(Duration::from_millis(30));
        used() == before.get()
    });
    let refused = container.exec("e1", process(&["true"]), false, false);
    assert!(matches!(refused, Response::Error { kind: Kind::Conflict, .. }), "{refused:?}");
    assert_eq!(container.ask(&Request::Resume), Response::Ok);
    until("it to run on", || used() > before.get());
    assert_eq!(container.ask(&Request::Pause), Response::Ok);
    assert_eq!(container.ask(&Request::Kill { session: None, signal: 9, all: false }), Response::Ok);
    assert_eq!(watch.exit().exit_code, 137);
}

#[test]
fn limits_change_while_it_runs() {
    let (container, _watch) = Container::run(&sh("sleep 100"));
    let limits =
        serde_json::from_value(json!({"memory": {"limit": 33_554_432}, "pids": {"limit": 7}})).unwrap();
    assert_eq!(container.ask(&Request::Update(Box::new(limits))), Response::Ok);
    let Response::Stats(stats) = container.ask(&Request::Stats) else { panic!("no figures") };
    assert_eq!((stats.memory.limit, stats.pids.limit, stats.pids.current), (Some(33_554_432), Some(7), 1));
    let Response::Processes(pids) = container.ask(&Request::Processes) else { panic!("no processes") };
    assert_eq!(pids, [container.watch().state.pid.unwrap()]);
}

#[test]
fn a_memory_hog_is_told_as_such() {
    let mut wanted = sh("dd if=/dev/zero of=/dev/null bs=64M count=1; exit $?");
    wanted.resources = json!({"memory": {"limit": 16_777_216, "swap": 16_777_216}});
    let (mut container, mut watch) = Container::run(&wanted);
    watch.until(|event| matches!(event, Event::Oom).then_some(()));
    let exit = watch.exit();
    assert_eq!((exit.exit_code, exit.oom_killed), (137, true));
    assert!(container.record().oom_killed);
}

#[test]
fn in_the_hosts_pid_namespace_nobody_is_left() {
    let mut wanted = sh("setsid sleep 100 & sleep 0.01; exit 3");
    wanted.host_pids = true;
    let (mut container, mut watch) = Container::run(&wanted);
    assert_eq!(watch.exit().exit_code, 3);
    assert!(container.groups().is_empty());
    container.wait();
}

#[test]
fn nonsense_is_answered_and_harms_nobody() {
    let (container, mut watch) = Container::run(&sh("sleep 100"));
    for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02{}", b"\0\0\0\x04null"] {
        let mut stream = container.connect();
        std::io::Write::write_all(&mut stream, bytes).unwrap();
        let answer: Response = tare_protocol::read(&mut stream).unwrap();
        assert!(matches!(answer, Response::Error { kind: Kind::InvalidInput, .. }), "{answer:?}");
    }
    let half = container.connect();
    std::io::Write::write_all(&mut &half, b"\0\0\0\x09\"Wat").unwrap();
    half.shutdown(Shutdown::Both).unwrap();
    assert!(matches!(container.ask(&Request::Start), Response::Error { kind: Kind::NotModified, .. }));
    let unknown = Request::Kill { session: Some("nobody".into()), signal: 9, all: false };
    assert!(matches!(container.ask(&unknown), Response::Error { kind: Kind::NotFound, .. }));
    assert_eq!(container.ask(&Request::Kill { session: None, signal: 9, all: true }), Response::Ok);
    assert_eq!(watch.exit().exit_code, 137);
}
