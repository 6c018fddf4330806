//! The daemon that is started because nobody answered.

use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use crate::daemon::{Reply, serve};

/// No test but a program: what the script named `tared` below becomes. The shell line that started it ends it.
#[test]
fn impersonate_the_daemon() {
    let (Ok(host), Ok(notify)) = (std::env::var("TARE_TEST_HOST"), std::env::var("NOTIFY_SOCKET")) else {
        return;
    };
    let listener = UnixListener::bind(host.strip_prefix("unix://").unwrap()).unwrap();
    UnixDatagram::unbound().unwrap().send_to(b"STATUS=listening\nREADY=1\n", notify).unwrap();
    let group = rustix::process::getpgid(None).unwrap();
    assert_eq!(group, rustix::process::getpid(), "a Ctrl-C does not reach it");
    std::thread::spawn(move || {
        let answer = |_: &_| Reply::Json(200, format!(r#"[{{"Id":"{}"}}]"#, "cd".repeat(32)));
        serve(&listener, &Arc::new(Mutex::new(Vec::new())), &Arc::new(answer));
    });
    std::thread::sleep(std::time::Duration::from_secs(60));
}

/// Runs a shell line with a /run of its own, where `tared` is this script. The shell makes the programs: a descriptor that
/// is open for writing here is inherited by what other tests start, until its execve, and as long as anybody has it the
/// program is busy (`ETXTBSY`).
fn in_own_run(tared: &str, line: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("script"), tared).unwrap();
    let whole = format!(
        "mount -t tmpfs tmpfs /run && cd {} && cp {} tare && install -m755 script tared && {{ {line}; }}",
        dir.path().display(),
        env!("CARGO_BIN_EXE_tare")
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &whole]);
    command.env_remove("TARE_HOST").env("TEST_PROGRAM", std::env::current_exe().unwrap());
    command.output().unwrap()
}

const IMPERSONATOR: &str = "#!/bin/sh\necho started >> /run/count; echo $$ > /run/pid\nTARE_TEST_HOST=$2 exec \"$TEST_PROGRAM\" --exact ondemand::impersonate_the_daemon --nocapture\n";

#[test]
fn a_daemon_is_started_once_however_many_ask_at_once() {
    let ran = in_own_run(
        IMPERSONATOR,
        "(./tare ps -q & ./tare ps -q & ./tare ps -q & wait); kill $(cat /run/pid); cat /run/count; ls /run/tare",
    );
    let out = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(
        out,
        "cdcdcdcdcdcd\ncdcdcdcdcdcd\ncdcdcdcdcdcd\nstarted\nstart.lock\ntare.sock\ntared.log\n",
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let ran = in_own_run("#!/bin/sh\necho 'the disk is on fire' >&2\nexit 3\n", "./tare ps");
    let err = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(err.starts_with("tare: cannot start the daemon: it ended before it was ready (exit status: 3): the disk is on fire\n"), "{err}");
    assert!(err.contains("hint: see /run/tare/tared.log"));
}

#[test]
fn a_host_that_is_named_is_never_started() {
    let ran = in_own_run(
        IMPERSONATOR,
        "./tare -H tcp://127.0.0.1:1 ps; TARE_HOST=unix:///run/x.sock ./tare ps; ls /run",
    );
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), "");
    assert_eq!(
        String::from_utf8(ran.stderr).unwrap().matches("cannot connect to the tare daemon").count(),
        2
    );
}
