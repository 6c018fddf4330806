//! The log file.

use std::fs;

use crate::fixture::{Container, sh, until};

fn entry(stream: &str, text: &str) -> (String, String) {
    (stream.to_owned(), text.to_owned())
}

#[test]
fn both_streams_are_logged_line_by_line() {
    let (mut container, _watch) =
        Container::run(&sh("echo one; sleep 0.05; printf 'a\\nb' ; sleep 0.05; echo err >&2"));
    container.record();
    let mut log = container.log("log");
    // The end of a stream comes last.
    assert_eq!(log.remove(0), entry("stdout", "one\n"));
    assert_eq!(log.remove(0), entry("stdout", "a\n"));
    log.sort();
    assert_eq!(log, [entry("stderr", "err\n"), entry("stdout", "b")]);
}

#[test]
fn long_lines_are_cut_and_nothing_is_lost() {
    let (mut container, _watch) = Container::run(&sh("head -c 40000 /dev/zero | tr '\\0' x; echo"));
    container.record();
    let log = container.log("log");
    assert_eq!(log.iter().map(|(_, text)| text.len()).collect::<Vec<_>>(), [16384, 16384, 7233]);
}

#[test]
fn logs_rotate_by_size_and_the_oldest_go() {
    let mut wanted = sh("seq 1 1000");
    wanted.log = Some((10_000, 3));
    let (mut container, _watch) = Container::run(&wanted);
    container.record();
    let mut numbers = Vec::new();
    for file in ["log.2", "log.1", "log"] {
        assert!(fs::metadata(container.dir.join(file)).unwrap().len() <= 10_000);
        numbers.extend(container.log(file).into_iter().map(|(_, text)| text.trim().parse::<u32>().unwrap()));
    }
    assert!(!container.dir.join("log.3").exists());
    assert_eq!(numbers.last(), Some(&1000));
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    assert!(numbers.len() > 200, "{}", numbers.len());
}

#[test]
fn a_terminals_output_is_logged_as_stdout() {
    let mut wanted = sh("echo hello; echo err >&2");
    wanted.terminal = true;
    let (mut container, _watch) = Container::run(&wanted);
    container.record();
    assert_eq!(container.log("log"), [entry("stdout", "hello\r\n"), entry("stdout", "err\r\n")]);
}

#[test]
fn a_full_disk_loses_lines_and_says_so_once() {
    let mut wanted =
        sh("seq 1 30; echo go > /tmp/full; while [ -e /tmp/full ]; do sleep 0.01; done; echo after");
    wanted.log = None;
    let mut container = Container::launch(&wanted);
    let log = container.dir.join("small");
    container.stop_and_relaunch_with_log_in(&log);
    let (files, mut watch) = (log.join("log"), container.watch());
    watch.until_ready();
    container.ask(&tare_protocol::Request::Start);
    until("the disk to be full", || {
        !container.complaints().is_empty() && container.dir.join("root/tmp/full").exists()
    });
    fs::remove_file(log.join("ballast")).unwrap();
    fs::remove_file(container.dir.join("root/tmp/full")).unwrap();
    assert_eq!(watch.exit().exit_code, 0);
    container.wait();
    let text = fs::read_to_string(files).unwrap();
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{text}");
    assert!(text.contains("lines are lost") && text.contains("after"), "{text}");
    assert_eq!(container.complaints().matches("log lines are lost").count(), 1);
}
