//! config.md, Process: the terminal.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::runtime::Runtime;

clauses! {
    "config.md#process" {
        without_terminal_there_is_none "Without terminal the streams are the caller's and there is no controlling terminal"
        terminal_gives_a_pseudoterminal "terminal: the program has a pseudoterminal of the container's own on its three streams"
        console_size_is_its_size "consoleSize is the terminal's size at first"
        console_is_the_terminal "/dev/console is the terminal"
    }
}

fn without_terminal_there_is_none(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "tty; echo > /dev/tty");
    let ran = bundle.run();
    assert!(ran.out.contains("not a tty") && ran.code != 0, "{ran:?}");
}

/// Starts a container with a terminal, says `input`, and answers what the terminal shows until its end.
fn on_a_terminal(bundle: Bundle<'_>, input: &str) -> String {
    try_on_a_terminal(bundle, input).unwrap()
}

/// The same; what a runtime says that refuses it.
pub(crate) fn try_on_a_terminal(mut bundle: Bundle<'_>, input: &str) -> Result<String, String> {
    bundle.process()["terminal"] = json!(true);
    bundle.save();
    let socket = bundle.path("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let words =
        ["create", "--bundle", &bundle.dir(), "--console-socket", socket.to_str().unwrap(), &bundle.id];
    let created = bundle.leaving(&words);
    if created.code != 0 {
        return Err(created.err);
    }
    let (connection, _) = listener.accept().unwrap();
    let mut master = File::from(receive(&connection.into()));
    bundle.verb("start").ok();
    master.write_all(input.as_bytes()).unwrap();
    let mut text = Vec::new();
    // A terminal whose last holder is gone answers EIO.
    let _ = master.read_to_end(&mut text);
    Ok(String::from_utf8_lossy(&text).replace("\r\n", "\n"))
}

/// The descriptor that comes with a message.
pub(crate) fn receive(socket: &OwnedFd) -> OwnedFd {
    let mut text = [0; 4096];
    receive_with(socket, &mut text).1.remove(0)
}

/// A message's length, and its descriptors.
pub(crate) fn receive_with(socket: &OwnedFd, text: &mut [u8]) -> (usize, Vec<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length =
        recvmsg(socket, &mut [IoSliceMut::new(text)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap().bytes;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    (length, rights.flatten().collect())
}

fn terminal_gives_a_pseudoterminal(runtime: &Runtime) {
    let script =
        "test -t 0 && test -t 1 && test -t 2 && tty && read line && echo \"heard $line\" && echo > /dev/tty";
    let text = on_a_terminal(Bundle::of(runtime, script), "words\n");
    assert!(text.contains("/dev/") && text.contains("heard words"), "{text}");
}

fn console_size_is_its_size(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "stty size");
    bundle.process()["consoleSize"] = json!({"height": 31, "width": 97});
    let text = on_a_terminal(bundle, "");
    assert!(text.contains("31 97"), "{text}");
}

fn console_is_the_terminal(runtime: &Runtime) {
    let script = "test -c /dev/console && echo written > /dev/console && grep -c ' /dev/console ' /proc/self/mountinfo";
    let text = on_a_terminal(Bundle::of(runtime, script), "");
    assert!(text.contains("written\n1"), "{text}");
}
