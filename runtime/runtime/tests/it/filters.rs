//! seccomp on the real kernel: actions, flags, and the agent that calls are left to.

use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;
use tare_oci::runtime::{Seccomp, SyscallRule};
use tare_runtime::Target;

use crate::world::{Bundle, Container, childless, pipes, process, read, reap};

fn rule(name: &str, action: &str) -> SyscallRule {
    SyscallRule { names: vec![name.to_owned()], action: action.to_owned(), ..SyscallRule::default() }
}

fn profile(rules: Vec<SyscallRule>) -> Seccomp {
    Seccomp { default_action: "SCMP_ACT_ALLOW".to_owned(), syscalls: rules, ..Seccomp::default() }
}

/// mkdir(2) and mkdirat(2).
fn mkdir(action: &str) -> Vec<SyscallRule> {
    ["mkdir", "mkdirat"].map(|name| rule(name, action)).to_vec()
}

pub(crate) fn each_action_does_what_it_says() {
    // Of a process of its own, so that the shell sees how it ends.
    let script = "mkdir /tmp/x 2>/tmp/why; echo $?; cat /tmp/why";
    let shown = |action: &str, errno: Option<u32>, new_privileges: bool| {
        let mut bundle = Bundle::of(script);
        let mut rules = mkdir(action);
        rules.iter_mut().for_each(|rule| rule.errno_ret = errno);
        bundle.linux().seccomp = Some(profile(rules));
        bundle.process().no_new_privileges = !new_privileges;
        bundle.text()
    };
    for new_privileges in [false, true] {
        assert_eq!(shown("SCMP_ACT_ALLOW", None, new_privileges), "0\n");
        assert_eq!(shown("SCMP_ACT_LOG", None, new_privileges), "0\n");
        for kill in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
            // SIGSYS.
            assert!(shown(kill, None, new_privileges).starts_with("159\n"), "{kill}");
        }
        let denied = shown("SCMP_ACT_ERRNO", None, new_privileges);
        assert!(denied.starts_with("1\n") && denied.contains("Operation not permitted"), "{denied}");
        let denied = shown("SCMP_ACT_ERRNO", Some(28), new_privileges);
        assert!(denied.contains("No space left on device"), "{denied}");
        // Nobody traces it.
        let untraced = shown("SCMP_ACT_TRACE", Some(5), new_privileges);
        assert!(untraced.contains("not implemented"), "{untraced}");
    }
}

pub(crate) fn every_flag_is_taken() {
    let mut bundle = Bundle::of("mkdir /tmp/x; true");
    let mut profile = profile(mkdir("SCMP_ACT_ERRNO"));
    let names = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"];
    profile.flags = names.map(|name| format!("SECCOMP_FILTER_FLAG_{name}")).to_vec();
    bundle.linux().seccomp = Some(profile);
    bundle.text();
}

/// What an agent is sent.
fn receive(agent: &UnixStream) -> (Value, OwnedFd) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; 4096];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let length = recvmsg(agent, &mut [IoSliceMut::new(&mut text)], &mut ancillary, flags).unwrap().bytes;
    let mut fds = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    let fd = fds.next().unwrap();
    assert!(fds.next().is_none());
    text.truncate(length);
    let mut agent = agent;
    agent.read_to_end(&mut text).unwrap();
    (serde_json::from_slice(&text).unwrap(), fd)
}

/// Whether a call waits for the agent, within a bound.
fn asks(listener: &OwnedFd) -> bool {
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)], Some(&limit)) == Ok(1)
}

fn agent_of(bundle: &mut Bundle, flags: &[&str]) -> UnixListener {
    let path = bundle.dir.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut profile = profile(mkdir("SCMP_ACT_NOTIFY"));
    profile.listener_path = Some(path);
    profile.listener_metadata = Some("what it is for".to_owned());
    profile.flags = flags.iter().map(ToString::to_string).collect();
    bundle.linux().seccomp = Some(profile);
    listener
}

pub(crate) fn an_agent_is_sent_the_listener_and_the_state() {
    for (no_new_privileges, flags) in [(true, &["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"][..]), (false, &[])]
    {
        let mut bundle = Bundle::of("mkdir /tmp/x 2>&1; echo end");
        let listener = agent_of(&mut bundle, flags);
        bundle.process().no_new_privileges = no_new_privileges;
        bundle.spec.annotations.insert("a".to_owned(), "b".to_owned());
        let (stdio, [stdout, stderr]) = pipes();
        let mut created = tare_runtime::clone_init(bundle.launch(stdio)).unwrap();
        created.ready().unwrap();
        // It has it before the start, which may come when the caller is gone.
        let (message, seccomp) = receive(&listener.accept().unwrap().0);
        let expected = serde_json::json!({
            "ociVersion": "1.2.0", "fds": ["seccompFd"], "pid": created.pid, "metadata": "what it is for",
            "state": {
                "ociVersion": "1.2.0", "id": "test", "pid": created.pid, "status": "creating",
                "bundle": bundle.dir.path(), "annotations": {"a": "b"},
            },
        });
        assert_eq!(message, expected);
        let running = created.start().unwrap();
        assert!(asks(&seccomp), "the program's call waits for the agent");
        // An agent that goes lets every call fail.
        drop(seccomp);
        assert_eq!(read(stdout), "mkdir: can't create directory '/tmp/x': Function not implemented\nend\n");
        drop(stderr);
        assert_eq!(reap(&running.pidfd), 0);
    }
    assert!(childless());
}

pub(crate) fn an_agent_hears_of_exec_as_well() {
    let mut bundle = Bundle::of("echo up; exec sleep 100");
    let listener = agent_of(&mut bundle, &[]);
    let container: Container<'_> = bundle.start().unwrap();
    assert_eq!(container.hear(), "up\n");
    drop(receive(&listener.accept().unwrap().0));
    let (stdio, [stdout, _stderr]) = pipes();
    let target = Target {
        id: "test",
        bundle: bundle.dir.path(),
        pidfd: container.running.pidfd.as_fd(),
        spec: &bundle.spec,
        cgroup: None,
        seccomp_cache: None,
    };
    let running =
        tare_runtime::exec(&target, &process(&["sh", "-c", "mkdir /tmp/y; echo $?"]), stdio).unwrap();
    let (message, seccomp) = receive(&listener.accept().unwrap().0);
    assert_eq!((&message["pid"], &message["state"]["status"]), (&running.pid.into(), &"running".into()));
    assert!(asks(&seccomp));
    drop(seccomp);
    assert_eq!(read(stdout), "1\n");
    assert_eq!(reap(&running.pidfd), 0);
}

pub(crate) fn a_profile_that_allows_little_and_an_agent_that_is_not_there() {
    // What a static program needs, and of the runtime only write(2), read(2) and execve(2).
    let names = [
        "execve",
        "read",
        "write",
        "close",
        "exit_group",
        "brk",
        "mmap",
        "mprotect",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlink",
        "readlinkat",
        "getrandom",
        "newfstatat",
        "fstat",
        "getuid",
        "geteuid",
        "prctl",
        "ioctl",
        "writev",
        "uname",
        "rt_sigaction",
        "setuid",
        "getpid",
        "getppid",
        "munmap",
        "sched_yield",
        "getgid",
        "getegid",
        "set_thread_area",
    ];
    let rules = names.map(|name| rule(name, "SCMP_ACT_ALLOW")).to_vec();
    let mut bundle = Bundle::of("echo lives");
    bundle.linux().seccomp =
        Some(Seccomp { default_action: "SCMP_ACT_ERRNO".to_owned(), syscalls: rules, ..Seccomp::default() });
    assert_eq!(bundle.text(), "lives\n");

    let mut bundle = Bundle::of("true");
    drop(agent_of(&mut bundle, &[]));
    let refusal = bundle.refusal().to_string();
    assert!(
        refusal.starts_with("connect to the seccomp agent at ") && refusal.ends_with("connection refused"),
        "{refusal}"
    );
    bundle.linux().seccomp.as_mut().unwrap().listener_path = Some("agent.sock".into());
    assert_eq!(bundle.refusal().to_string(), "invalid linux.seccomp.listenerPath: must be absolute");
    assert!(childless());
}
