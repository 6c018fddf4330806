//! exec.

use std::fs;
use std::os::fd::AsFd;

use tare_oci::runtime::ConsoleSize;
use tare_runtime::{Stdio, Target};

use crate::world::{Bundle, Container, LIST_FDS, childless, process, read, reap};

fn sleeper() -> Bundle {
    Bundle::of("echo up; exec sleep 100")
}

fn asleep(bundle: &Bundle) -> Container<'_> {
    let container = bundle.start().unwrap();
    assert_eq!(container.hear(), "up\n");
    container
}

pub(crate) fn exec_joins_everything() {
    let bundle = sleeper();
    let container = asleep(&bundle);
    let script = format!(
        "for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done; hostname; {LIST_FDS}; echo; \
         grep -E 'CapEff|CapInh' /proc/self/status; pwd"
    );
    let mut process = process(&["sh", "-c", &script]);
    process.cwd = "/tmp".into();
    let output = container.exec(&bundle.spec, &process).unwrap();
    let own = |name: &str| fs::read_link(format!("/proc/{}/ns/{name}", container.running.pid)).unwrap();
    let mut expected: String = ["pid", "net", "ipc", "uts", "mnt", "cgroup"]
        .map(|n| own(n).to_str().unwrap().to_owned() + "\n")
        .concat();
    expected += "tare-test\n0 1 2 \nCapInh:\t0000000000000000\nCapEff:\t00000000a80425fb\n/tmp\n";
    assert_eq!(output.stdout, expected, "{}", output.stderr);
    assert_eq!(output.code, 0);
    // The caller's children are again where it is itself.
    assert_eq!(
        fs::read_link("/proc/self/ns/pid").unwrap(),
        fs::read_link("/proc/self/ns/pid_for_children").unwrap()
    );
    drop(container);
    assert!(childless());
}

pub(crate) fn exec_has_the_same_errors() {
    let bundle = sleeper();
    let container = asleep(&bundle);
    let error = container.exec(&bundle.spec, &process(&["nothing"])).unwrap_err();
    assert_eq!(error.to_string(), "exec: \"nothing\": executable file not found in $PATH");
    assert_eq!(error.exit_code(), 127);
    let error = container.exec(&bundle.spec, &process(&["/etc"])).unwrap_err();
    assert_eq!(error.exit_code(), 126);
    assert_eq!(container.exec(&bundle.spec, &process(&["sh", "-c", "exit 9"])).unwrap().code, 9);
}

pub(crate) fn exec_gets_a_terminal() {
    let bundle = sleeper();
    let container = asleep(&bundle);
    let target = Target {
        id: "test",
        bundle: bundle.dir.path(),
        pidfd: container.running.pidfd.as_fd(),
        spec: &bundle.spec,
        cgroup: None,
        seccomp_cache: None,
    };
    let stdio = Stdio::Terminal { size: ConsoleSize { height: 10, width: 20 } };
    let running = tare_runtime::exec(&target, &process(&["sh", "-c", "tty; stty size"]), stdio).unwrap();
    let text = read(running.console.unwrap());
    assert_eq!(reap(&running.pidfd), 0);
    assert_eq!(text.lines().collect::<Vec<_>>(), ["/dev/pts/0", "10 20"]);
}

pub(crate) fn exec_into_a_user_namespace() {
    let mut bundle = sleeper();
    bundle.map_ids();
    let container = asleep(&bundle);
    let output =
        container.exec(&bundle.spec, &process(&["sh", "-c", "id -u; cat /proc/self/uid_map"])).unwrap();
    assert_eq!(
        output.stdout.split_whitespace().collect::<Vec<_>>(),
        ["0", "0", "100000", "65536"],
        "{}",
        output.stderr
    );
}

pub(crate) fn exec_cannot_leave_through_its_working_directory() {
    let _directory = fs::File::open("/etc").unwrap();
    let bundle = sleeper();
    let container = asleep(&bundle);
    for number in 3..24 {
        let mut process = process(&["ls"]);
        process.cwd = format!("/proc/self/fd/{number}").into();
        let error = container.exec(&bundle.spec, &process).unwrap_err();
        assert!(error.to_string().starts_with("chdir to cwd"), "{error}");
    }
}
