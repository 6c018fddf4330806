//! What config.json must not say: every broken rule is named with its field, before anything is made.

use serde_json::{Value, json};

use super::tests::with;
use super::*;

/// Where a value is put, the value, and the field that the error must name.
type Case = (&'static str, Value, &'static str);

fn of_the_document() -> Vec<Case> {
    vec![
        ("/root", Value::Null, "root"),
        ("/root/path", json!(""), "root.path"),
        ("/hostname", json!("name"), "hostname"),
    ]
}

fn of_the_process() -> Vec<Case> {
    vec![
        ("/process", Value::Null, "process"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args", json!([""]), "process.args"),
        ("/process/args", json!(["sh", "a\u{0}b"]), "process.args[1]"),
        ("/process/env", json!(["A=\u{0}"]), "process.env[0]"),
        ("/process/cwd", json!("tmp"), "process.cwd"),
        ("/process/oomScoreAdj", json!(1001), "process.oomScoreAdj"),
        ("/process/user", json!({"uid": 4_294_967_295_u32, "gid": 0}), "process.user.uid"),
        (
            "/process/user",
            json!({"uid": 0, "gid": 0, "additionalGids": [4_294_967_295_u32]}),
            "process.user.additionalGids",
        ),
        ("/process/user", json!({"uid": 0, "gid": 0, "umask": 0o1000}), "process.user.umask"),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_WIT", "soft": 1, "hard": 1}]),
            "process.rlimits[0].type",
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]),
            "process.rlimits[0].soft",
        ),
        ("/process/capabilities", json!({"effective": ["CAP_KILL"]}), "process.capabilities.effective"),
        (
            "/process/ioPriority",
            json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
            "process.ioPriority.priority",
        ),
        ("/process/scheduler", json!({}), "process.scheduler.policy"),
        ("/process/scheduler", json!({"policy": "SCHED_FAIR"}), "process.scheduler.policy"),
        ("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 20}), "process.scheduler.nice"),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_RR", "priority": 1, "nice": 1}),
            "process.scheduler.nice",
        ),
        ("/process/scheduler", json!({"policy": "SCHED_FIFO"}), "process.scheduler.priority"),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_FIFO", "priority": 100}),
            "process.scheduler.priority",
        ),
        ("/process/scheduler", json!({"policy": "SCHED_BATCH", "priority": 1}), "process.scheduler.priority"),
        ("/process/scheduler", json!({"policy": "SCHED_OTHER", "period": 1}), "process.scheduler.period"),
        ("/process/scheduler", json!({"policy": "SCHED_DEADLINE"}), "process.scheduler.runtime"),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_DEADLINE", "runtime": 2, "deadline": 1}),
            "process.scheduler.runtime",
        ),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_X"]}),
            "process.scheduler.flags[0]",
        ),
        ("/process/execCPUAffinity", json!({"initial": "x"}), "process.execCPUAffinity.initial"),
        ("/process/execCPUAffinity", json!({"final": "0-1024"}), "process.execCPUAffinity.final"),
        ("/process/apparmorProfile", json!("a\nb"), "process.apparmorProfile"),
        ("/process/selinuxLabel", json!("a\u{0}b"), "process.selinuxLabel"),
    ]
}

fn of_mounts() -> Vec<Case> {
    vec![
        ("/mounts", json!([{"destination": "relative", "type": "tmpfs"}]), "mounts[0].destination"),
        ("/mounts", json!([{"destination": "/..", "type": "tmpfs"}]), "mounts[0].destination"),
        ("/mounts", json!([{"destination": "/a"}]), "mounts[0].type"),
        ("/mounts", json!([{"destination": "/a", "type": "bind", "source": ""}]), "mounts[0].source"),
        (
            "/mounts",
            json!([{"destination": "/a", "type": "bind", "source": "/b", "options": ["size=1"]}]),
            "mounts[0].options",
        ),
        (
            "/mounts",
            json!([{"destination": "/a", "type": "bind", "source": "/b", "options": ["bind", "idmap"]}]),
            "mounts[0].options",
        ),
        (
            "/mounts",
            json!([{"destination": "/a", "type": "bind", "source": "/b",
                    "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}]),
            "mounts[0].gidMappings",
        ),
        (
            "/mounts",
            json!([{"destination": "/a", "type": "sysfs", "options": ["tmpcopyup"]}]),
            "mounts[0].options",
        ),
        (
            "/mounts",
            json!([{"destination": "/a", "type": "tmpfs", "options": ["remount", "tmpcopyup"]}]),
            "mounts[0].options",
        ),
        ("/mounts", json!([{"destination": "/proc/sys", "type": "tmpfs"}]), "mounts[0].destination"),
        ("/mounts", json!([{"destination": "/x/../proc", "type": "tmpfs"}]), "mounts[0].destination"),
    ]
}

fn of_linux() -> Vec<Case> {
    vec![
        ("/linux/namespaces", json!([{"type": "pid"}]), "linux.namespaces"),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "mount"}]), "linux.namespaces[1]"),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "pid", "path": "x"}]),
            "linux.namespaces[1].path",
        ),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "user"}]), "linux.uidMappings"),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 0, "size": 1}]), "linux.uidMappings"),
        ("/linux/timeOffsets", json!({"boottime": {"secs": 1}}), "linux.timeOffsets"),
        ("/linux/maskedPaths", json!(["proc"]), "linux.maskedPaths[0]"),
        ("/linux/rootfsPropagation", json!("loud"), "linux.rootfsPropagation"),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "z"}]), "linux.devices[0].type"),
        ("/linux/sysctl", json!({"kernel.hostname": "x"}), "linux.sysctl.kernel.hostname"),
        ("/linux/sysctl", json!({"net.core.somaxconn": "1"}), "linux.sysctl.net.core.somaxconn"),
        ("/linux/personality", json!({"domain": "SOLARIS"}), "linux.personality.domain"),
        ("/linux/mountLabel", json!("a\nb"), "linux.mountLabel"),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_BEST"}), "linux.memoryPolicy.mode"),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_BIND"}), "linux.memoryPolicy.nodes"),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_LOCAL", "nodes": "0"}), "linux.memoryPolicy.nodes"),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0-"}), "linux.memoryPolicy.nodes"),
        (
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_X"]}),
            "linux.memoryPolicy.flags[0]",
        ),
        (
            "/linux/memoryPolicy",
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
            "linux.memoryPolicy.flags",
        ),
    ]
}

fn broken_field(pointer: &str, value: Value) -> String {
    match with(pointer, value) {
        Err(Error::Spec { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_broken_rule_names_its_field() {
    let cases = [of_the_document(), of_the_process(), of_mounts(), of_linux()];
    for (pointer, value, field) in cases.into_iter().flatten() {
        assert_eq!(broken_field(pointer, value.clone()), field, "{pointer} = {value}");
    }
}
