//! config-linux.md: a seccomp agent is handed the container's notifications.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::console::receive_with;
use crate::runtime::Runtime;

clauses! {
    "config-linux.md#seccomp" {
        metadata_needs_a_listener "listenerMetadata without listenerPath is an error"
        an_unreachable_listener_is_an_error "A listenerPath at which nobody listens is an error"
    }
    "config-linux.md#the-container-process-state" {
        the_agent_is_told "The agent gets the container process state and the descriptor named seccompFd, once"
    }
}

fn notifying(runtime: &Runtime) -> Bundle<'_> {
    let mut bundle = Bundle::of(runtime, "sleep 100");
    bundle.linux()["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "listenerPath": bundle.path("agent.sock"),
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    });
    bundle
}

fn metadata_needs_a_listener(runtime: &Runtime) {
    let mut bundle = notifying(runtime);
    let seccomp = bundle.linux()["seccomp"].as_object_mut().unwrap();
    seccomp.remove("listenerPath");
    seccomp.insert("listenerMetadata".to_owned(), json!("words"));
    bundle.refused();
}

fn an_unreachable_listener_is_an_error(runtime: &Runtime) {
    let bundle = notifying(runtime);
    let created = bundle.try_create();
    // Where the filter is loaded with the start, that is when it shows.
    assert!(created.code != 0 || bundle.verb("start").code != 0, "{created:?}");
}

fn the_agent_is_told(runtime: &Runtime) {
    let mut bundle = notifying(runtime);
    bundle.linux()["seccomp"]["listenerMetadata"] = json!("words");
    bundle.config["annotations"] = json!({"org.example.key": "value"});
    let listener = UnixListener::bind(bundle.path("agent.sock")).unwrap();
    let (sender, receiver) = mpsc::channel();
    // It may be told with create or with start, which waits for it.
    std::thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        let connection = OwnedFd::from(connection);
        let mut text = vec![0; 65536];
        let (mut length, fds) = receive_with(&connection, &mut text);
        while let Ok(more) = rustix::io::read(&connection, &mut text[length..]) {
            length += more;
            if more == 0 {
                break;
            }
        }
        let _ = sender.send((text[..length].to_vec(), fds));
    });
    bundle.create();
    bundle.verb("start").ok();
    let (text, fds) = receiver.recv_timeout(Duration::from_secs(60)).expect("the agent is told");
    let told: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        (&told["fds"], fds.len(), &told["metadata"]),
        (&json!(["seccompFd"]), 1, &json!("words")),
        "{told}"
    );
    assert_eq!(told["state"]["id"], bundle.id.as_str());
    assert!(told["pid"].as_i64().is_some_and(|pid| pid > 0) && told["ociVersion"].is_string(), "{told}");
    let name =
        std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fds[0]))).unwrap();
    assert!(name.to_string_lossy().contains("seccomp"), "{name:?}");
}
