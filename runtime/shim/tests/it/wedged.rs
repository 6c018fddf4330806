//! A container that keeps what is started in it from running.

use std::time::{Duration, Instant};

use tare_protocol::{Request, Response};

use crate::fixture::{Container, process, sh, until};

/// init may stop whatever is born in its pid namespace, before it has become its program.
const STOPS_ALL: &str = "echo on; while true; do kill -STOP -1; done";

#[test]
fn a_program_that_is_stopped_before_it_runs_does_not_stop_the_shim() {
    let (mut container, mut watch) = Container::run(&sh(STOPS_ALL));
    until("the loop", || !container.log("log").is_empty());
    let begun = Instant::now();
    // Some are quick enough.
    let message =
        (0..50).find_map(|n| match container.exec(&format!("e{n}"), process(&["true"]), false, false) {
            Response::Error { message, .. } => Some(message),
            _ => None,
        });
    let message = message.expect("one is caught before its execve");
    assert!(message.contains("did not become its program within 10 s"), "{message}");
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    let kill = Request::Kill { session: None, signal: libc::SIGKILL, all: false };
    assert_eq!(container.ask(&kill), Response::Ok);
    assert_eq!(watch.exit().exit_code, 137);
    drop(watch);
    assert_eq!(container.record().exit_code, 137);
    assert!(container.groups().is_empty(), "nobody is left");
}
