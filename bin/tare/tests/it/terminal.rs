//! A person's terminal: raw while it is the container's, as it was on every way out.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::daemon::{Fake, Once, Reply, nothing};
use crate::sessions::ID;
use crate::tare;

struct Terminal {
    ours: File,
    theirs: File,
}

impl Terminal {
    fn open() -> Self {
        let ours: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        tcsetwinsize(&theirs, Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        Self { ours: ours.into(), theirs }
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.theirs).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    fn run(&self, fake: &Fake, words: &[&str]) -> Child {
        let end = || Stdio::from(self.theirs.try_clone().unwrap());
        tare(fake).args(words).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }

    fn read_until(&mut self, text: &str) -> String {
        let mut seen = String::new();
        let mut byte = [0];
        while !seen.contains(text) {
            self.ours.read_exact(&mut byte).unwrap();
            seen.push(byte[0].into());
        }
        seen
    }
}

/// A container with a terminal that greets, echoes a line and ends with 7 when the line is `exit`.
fn shell() -> Fake {
    let exited = Once::<i64>::default();
    Fake::start(move |asked| {
        let (ends, exits) = (exited.clone(), exited.clone());
        match asked.what.split('?').next().unwrap() {
            "POST /containers/create" => Reply::Json(201, format!(r#"{{"Id":"{ID}"}}"#)),
            path if path.ends_with("/attach") => Reply::Hijack(Box::new(move |mut stream| {
                stream.write_all(b"welcome\r\n").unwrap();
                let mut typed = Vec::new();
                let mut byte = [0];
                while !typed.ends_with(b"exit\r") {
                    match stream.read(&mut byte) {
                        Ok(1) => typed.push(byte[0]),
                        _ => return,
                    }
                    let _ = stream.write_all(&byte);
                }
                ends.set(7);
            })),
            path if path.ends_with("/wait") => {
                Reply::Later(Box::new(move || format!(r#"{{"StatusCode":{}}}"#, exits.wait())))
            }
            _ => nothing(),
        }
    })
}

#[test]
fn keys_reach_the_program_and_the_terminal_is_restored_at_its_end() {
    let (fake, mut terminal) = (shell(), Terminal::open());
    let mut child = terminal.run(&fake, &["run", "-it", "image"]);
    terminal.read_until("welcome");
    assert!(terminal.is_raw());
    terminal.ours.write_all(b"\x03exit\r").unwrap();
    terminal.read_until("\x03exit");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert!(!terminal.is_raw());
    assert_eq!(
        fake.body_of("POST /containers/create")["HostConfig"]["ConsoleSize"],
        serde_json::json!([33, 99])
    );
}

#[test]
fn the_detach_keys_leave_the_container_alone() {
    let (fake, mut terminal) = (shell(), Terminal::open());
    let mut child = terminal.run(&fake, &["run", "-it", "--detach-keys", "ctrl-x,q", "image"]);
    terminal.read_until("welcome");
    terminal.ours.write_all(b"ab\x18q").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!terminal.is_raw());
    assert!(!fake.asked().iter().any(|asked| asked.contains("/kill")));
}

#[test]
fn a_signal_finds_the_terminal_restored() {
    let (fake, mut terminal) = (shell(), Terminal::open());
    let mut child = terminal.run(&fake, &["run", "-it", "image"]);
    terminal.read_until("welcome");
    assert!(terminal.is_raw());
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!terminal.is_raw());
}

#[test]
fn a_larger_window_makes_a_larger_terminal() {
    let (fake, mut terminal) = (shell(), Terminal::open());
    let mut child = terminal.run(&fake, &["run", "-it", "image"]);
    terminal.read_until("welcome");
    tcsetwinsize(&terminal.theirs, Winsize { ws_row: 50, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    // The terminal is nobody's controlling one here, so that the kernel tells nobody of the change.
    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).unwrap();
    let wanted = format!("POST /containers/{ID}/resize?h=50&w=120");
    for _ in 0..1000 {
        if fake.asked().contains(&wanted) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(fake.asked().contains(&wanted), "{:?}", fake.asked());
    terminal.ours.write_all(b"exit\r").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

#[test]
fn who_has_no_terminal_is_told_so() {
    let fake = shell();
    let failed = tare(&fake).args(["run", "-it", "image"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8(failed.stderr).unwrap().starts_with("tare: the input device is not a TTY\n"));
    assert!(fake.asked().is_empty());
}

#[test]
fn an_archive_is_never_written_to_a_terminal_or_awaited_from_one() {
    let fake = Fake::start(|_| nothing());
    for (words, said) in
        [(&["save", "a"][..], "cowardly refusing to save to a terminal"), (&["load"], "stdin is empty")]
    {
        let mut terminal = Terminal::open();
        let mut child = terminal.run(&fake, words);
        terminal.read_until(said);
        assert_eq!(child.wait().unwrap().code(), Some(1));
    }
    assert!(fake.asked().is_empty(), "{:?}", fake.asked());
}
