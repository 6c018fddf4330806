//! Streams of peers: output, input, terminals, execs.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use tare_protocol::{Request, Response};

use crate::fixture::{Container, expect, frames, process, send, sh, until};

#[test]
fn attached_before_the_start_loses_nothing() {
    let container = Container::launch(&sh("echo out; echo err >&2; head -c 3000000 /dev/zero | tr '\\0' x"));
    let mut watch = container.watch();
    let mut attached: Vec<UnixStream> = (0..3).map(|_| container.attach(None)).collect();
    watch.until_ready();
    assert_eq!(container.ask(&Request::Start), Response::Ok);
    let readers: Vec<_> =
        attached.drain(..).map(|mut stream| std::thread::spawn(move || frames(&mut stream))).collect();
    for reader in readers {
        let (out, err) = reader.join().unwrap();
        assert_eq!((out.len(), &out[..5], &err[..]), (3_000_004, &b"out\nx"[..], &b"err\n"[..]));
    }
    assert_eq!(watch.exit().exit_code, 0);
}

#[test]
fn only_the_wanted_stream_is_sent() {
    let container = Container::launch(&sh("echo out; echo err >&2"));
    let mut watch = container.watch();
    watch.until_ready();
    let mut stream = container.connect();
    let request = Request::Attach { session: None, stdin: false, stdout: false, stderr: true };
    tare_protocol::write(&mut stream, &request).unwrap();
    assert_eq!(tare_protocol::read::<Response>(&mut stream).unwrap(), Response::Ok);
    container.ask(&Request::Start);
    assert_eq!(frames(&mut stream), (vec![], b"err\n".to_vec()));
}

#[test]
fn stdin_reaches_the_program_and_ends() {
    let mut wanted = sh("wc -c");
    wanted.stdin = true;
    let container = Container::launch(&wanted);
    let mut watch = container.watch();
    watch.until_ready();
    let mut stream = container.connect();
    // Bytes right behind the request, before it is answered, are stdin already.
    let request = Request::Attach { session: None, stdin: true, stdout: true, stderr: true };
    let mut first = tare_protocol::encode(&request).unwrap();
    first.extend_from_slice(b"12345");
    stream.write_all(&first).unwrap();
    assert_eq!(tare_protocol::read::<Response>(&mut stream).unwrap(), Response::Ok);
    container.ask(&Request::Start);
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        writer.write_all(&vec![b'x'; 2_000_000]).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let (out, _) = frames(&mut stream);
    writing.join().unwrap();
    assert_eq!(String::from_utf8(out).unwrap().trim(), "2000005");
    assert_eq!(watch.exit().exit_code, 0);
}

#[test]
fn a_peer_that_never_reads_holds_up_nobody() {
    let container = Container::launch(&sh("head -c 20000000 /dev/zero"));
    let mut watch = container.watch();
    watch.until_ready();
    let (idle, mut busy) = (container.attach(None), container.attach(None));
    container.ask(&Request::Start);
    assert_eq!(frames(&mut busy).0.len(), 20_000_000);
    assert_eq!(watch.exit().exit_code, 0);
    let mut idle = idle;
    assert_eq!(frames(&mut idle).0.len(), 20_000_000);
}

#[test]
fn a_peer_that_goes_away_harms_nobody() {
    let (container, mut watch) = Container::run(&sh("sleep 0.05; yes | head -c 5000000; sleep 0.05"));
    let stream = container.attach(None);
    drop(stream);
    let mut other = container.attach(None);
    let mut part = [0; 100];
    let _ = other.read(&mut part);
    drop(other);
    assert_eq!(watch.exit().exit_code, 0);
}

/// Nothing can be read of them, as there is no place for it.
#[test]
fn peers_that_leave_a_process_that_never_reads_are_not_kept() {
    let mut wanted = sh("sleep 100");
    wanted.stdin = true;
    let (container, _watch) = Container::run(&wanted);
    let mut full = container.attach(None);
    full.set_nonblocking(true).unwrap();
    until("stdin to be full", || {
        let mut send = || full.write(&[b'x'; 65536]).is_err();
        send() && {
            std::thread::sleep(std::time::Duration::from_millis(100));
            send()
        }
    });
    let open = || std::fs::read_dir(format!("/proc/{}/fd", container.shim)).unwrap().count();
    let at_first = open();
    (0..40).for_each(|_| drop(container.attach(None)));
    until("the shim to let them go", || open() < at_first + 15);
}

#[test]
fn a_terminal_is_raw_and_can_be_resized_and_left() {
    let mut wanted = sh("stty -echo; stty size; read line; stty size; echo got $line; read line");
    wanted.terminal = true;
    wanted.stdin = true;
    let container = Container::launch(&wanted);
    let mut watch = container.watch();
    watch.until_ready();
    let mut stream = container.attach(None);
    container.ask(&Request::Start);
    expect(&mut stream, "24 80\r\n");
    assert_eq!(container.ask(&Request::Resize { session: None, rows: 40, columns: 120 }), Response::Ok);
    send(&mut stream, "hello\n");
    let seen = expect(&mut stream, "got hello\r\n");
    assert!(seen.contains("40 120\r\n"), "{seen:?}");
    drop(stream);
    let mut again = container.attach(None);
    send(&mut again, "bye\n");
    assert_eq!(watch.exit().exit_code, 0);
}

#[test]
fn an_exec_has_its_own_streams_and_code() {
    let (container, mut watch) = Container::run(&sh("sleep 100"));
    for (id, script, code, out, err) in [
        ("e1", "echo out; exit 3", 3, "out\n", ""),
        ("e2", "echo err >&2", 0, "", "err\n"),
        ("e3", "kill -9 $$", 137, "", ""),
    ] {
        let started = container.exec(id, process(&["sh", "-c", script]), false, true);
        assert!(matches!(started, Response::Pid(_)), "{started:?}");
        let ended = watch.exec_exit(id);
        // Attached late: what it has written is kept.
        let (got_out, got_err) = frames(&mut container.attach(Some(id)));
        assert_eq!((ended, &got_out[..], &got_err[..]), (code, out.as_bytes(), err.as_bytes()), "{id}");
        assert_eq!(container.ask(&Request::ForgetExec { id: id.into() }), Response::Ok);
    }
    assert!(container.watch().state.execs.is_empty());
    let missing = container.exec("e4", process(&["nothing-here"]), false, true);
    assert!(
        matches!(&missing, Response::Error { exit_code: Some(127), message, .. } if message.contains("nothing-here")),
        "{missing:?}"
    );
}

#[test]
fn execs_take_input_and_have_terminals() {
    let (container, mut watch) = Container::run(&sh("sleep 100"));
    assert!(matches!(container.exec("in", process(&["wc", "-l"]), true, true), Response::Pid(_)));
    let mut stream = container.attach(Some("in"));
    send(&mut stream, "a\nb\nc\n");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(frames(&mut stream).0, b"3\n");
    assert_eq!(watch.exec_exit("in"), 0);
    let mut shell = process(&["sh"]);
    shell.terminal = true;
    assert!(matches!(container.exec("tty", shell, true, true), Response::Pid(_)));
    let mut stream = container.attach(Some("tty"));
    expect(&mut stream, "# ");
    assert_eq!(
        container.ask(&Request::Resize { session: Some("tty".into()), rows: 11, columns: 22 }),
        Response::Ok
    );
    send(&mut stream, "stty size; exit 4\n");
    expect(&mut stream, "11 22");
    assert_eq!(watch.exec_exit("tty"), 4);
}

#[test]
fn a_child_that_an_exec_leaves_behind_neither_holds_it_up_nor_dies_of_it() {
    let (container, mut watch) = Container::run(&sh("sleep 100"));
    let script = "(sleep 0.2; echo late; echo later; echo alive > /tmp/alive) & echo now";
    assert!(matches!(container.exec("e1", process(&["sh", "-c", script]), false, true), Response::Pid(_)));
    let mut stream = container.attach(Some("e1"));
    assert_eq!(frames(&mut stream).0, b"now\n");
    assert_eq!(watch.exec_exit("e1"), 0);
    container.ask(&Request::ForgetExec { id: "e1".into() });
    until("it to live on", || container.dir.join("root/tmp/alive").exists());
}
