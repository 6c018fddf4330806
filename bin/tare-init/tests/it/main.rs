//! The init as the first process of a pid namespace of its own, made by unshare(1).

#![cfg(test)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const INIT: &str = env!("CARGO_BIN_EXE_tare-init");

fn in_namespace(args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", INIT, "--"]).args(args);
    command
}

fn code(args: &[&str]) -> Option<i32> {
    in_namespace(args).stderr(Stdio::null()).status().unwrap().code()
}

#[test]
fn it_ends_as_its_program_ends() {
    assert_eq!(code(&["sh", "-c", "exit 7"]), Some(7));
    assert_eq!(code(&["sh", "-c", "kill -9 $$"]), Some(137));
    assert_eq!(code(&["no-such-program"]), Some(127));
    assert_eq!(code(&["/etc/passwd"]), Some(126));
    assert_eq!(code(&[]), Some(125));
}

#[test]
fn the_program_is_its_child_and_has_no_signal_blocked() {
    let output = in_namespace(&["sh", "-c", "echo $PPID; cat /proc/self/status"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let set = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    assert!(text.starts_with("1\n"), "{text}");
    // What whoever runs the tests ignores stays ignored; SIGPIPE must not.
    assert_eq!((set("SigBlk:"), set("SigIgn:") & 1 << (13 - 1)), (0, 0), "{text}");
}

#[test]
fn orphans_are_reaped() {
    let script =
        "for i in 1 2 3; do (sleep 0.02 &); done; sleep 0.2; grep -l '(zombie)' /proc/[0-9]*/status | wc -l";
    let output = in_namespace(&["sh", "-c", script]).stderr(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "0");
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line
}

#[test]
fn signals_are_passed_on() {
    for (name, number) in [("TERM", "15"), ("USR1", "10"), ("RTMIN+3", "37")] {
        // dash knows no names of real-time signals.
        let script = format!("trap 'exit 42' {number}; echo ready; while :; do sleep 0.01; done");
        let mut child =
            Command::new(INIT).args(["sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(first_line(&mut child), "ready\n");
        let sent =
            Command::new("kill").args([&format!("-{number}"), &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(child.wait().unwrap().code(), Some(42), "{name}");
    }
}
