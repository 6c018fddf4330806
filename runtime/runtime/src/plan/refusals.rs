//! What config.json must not say: every broken rule is named with its field, before anything is made.

use serde_json::{Value, json};

use super::tests::with;
use super::*;

/// Where a value is put, the value, and the field that the error must name.
type Case = (&'static str, Value, &'static str);

fn of_the_document() -> Vec<Case> {
    vec![
        ("/ociVersion", json!(""), "ociVersion"),
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/ociVersion", json!("0.9.0"), "ociVersion"),
        ("/ociVersion", json!("1.2"), "ociVersion"),
        ("/ociVersion", json!("latest"), "ociVersion"),
        ("/root/path", json!("a\u{0}b"), "root.path"),
        ("/annotations", json!({"": "x"}), "annotations"),
        ("/domainname", json!("name"), "domainname"),
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

/// Interfaces and classes of service.
fn of_devices_that_are_shared() -> Vec<Case> {
    let network = |devices: Value| json!({"namespaces": [{"type": "mount"}, {"type": "network"}], "netDevices": devices});
    vec![
        ("/linux/netDevices", json!({"eth0": {}}), "linux.netDevices"),
        ("/linux", network(json!({"a/b": {}})), "linux.netDevices.a/b"),
        ("/linux", network(json!({"eth0": {"name": "sixteen-letters."}})), "linux.netDevices.eth0"),
        ("/linux", network(json!({"eth0": {"name": "x%d"}})), "linux.netDevices.eth0"),
        ("/linux", network(json!({"a": {"name": "x"}, "b": {"name": "x"}})), "linux.netDevices.b.name"),
        ("/linux/intelRdt", json!({"closID": "../x"}), "linux.intelRdt.closID"),
        ("/linux/intelRdt", json!({"closID": "info"}), "linux.intelRdt.closID"),
        ("/linux/intelRdt", json!({"l3CacheSchema": "L3:0=f\nMB:0=1"}), "linux.intelRdt.l3CacheSchema"),
        ("/linux/intelRdt", json!({"schemata": ["L3:0=f", "nothing"]}), "linux.intelRdt.schemata[1]"),
    ]
}

/// What would be mounted on the host.
fn of_shared_mounts() -> Vec<Case> {
    let alone = |field: &str, value: Value| json!({"namespaces": [{"type": "pid"}], field: value});
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let user = json!({"namespaces": [{"type": "user"}], "uidMappings": map, "gidMappings": map});
    vec![
        ("/linux", alone("maskedPaths", json!(["/proc/kcore"])), "linux.maskedPaths"),
        ("/linux", alone("readonlyPaths", json!(["/proc/sys"])), "linux.readonlyPaths"),
        ("/linux", alone("rootfsPropagation", json!("slave")), "linux.rootfsPropagation"),
        ("/linux", user, "linux.namespaces"),
    ]
}

fn of_linux() -> Vec<Case> {
    vec![
        ("/linux/devices", json!([{"path": "dev/x", "type": "c"}]), "linux.devices[0].path"),
        (
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "c", "major": 4096, "minor": 1}]),
            "linux.devices[0].major",
        ),
        (
            "/linux/devices",
            json!([{"path": "/dev/x", "type": "b", "major": 1, "minor": 1_048_576}]),
            "linux.devices[0].minor",
        ),
        ("/linux/readonlyPaths", json!(["/a", "b"]), "linux.readonlyPaths[1]"),
        (
            "/linux",
            json!({"namespaces": [{"type": "mount"}, {"type": "user"}], "gidMappings": [],
                   "uidMappings": vec![json!({"containerID": 0, "hostID": 0, "size": 1}); 341]}),
            "linux.uidMappings",
        ),
        (
            "/linux",
            json!({"namespaces": [{"type": "mount"}, {"type": "user"}],
                   "uidMappings": [{"containerID": 0, "hostID": 4_294_967_295_u32, "size": 2}]}),
            "linux.uidMappings[0].size",
        ),
        ("/linux/namespaces", json!([{"type": "mount", "path": "a"}]), "linux.namespaces[0].path"),
        (
            "/linux/sysctl",
            json!({"net/../kernel/core_pattern": "x"}),
            "linux.sysctl.net/../kernel/core_pattern",
        ),
        ("/linux/sysctl", json!({"": "x"}), "linux.sysctl."),
        ("/linux/personality", json!({"domain": "LINUX", "flags": ["x"]}), "linux.personality.flags"),
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
    let cases = [
        of_the_document(),
        of_the_process(),
        of_mounts(),
        of_shared_mounts(),
        of_linux(),
        of_devices_that_are_shared(),
    ];
    for (pointer, value, field) in cases.into_iter().flatten() {
        assert_eq!(broken_field(pointer, value.clone()), field, "{pointer} = {value}");
    }
}

/// Everything that config.json can hold, and holds rightly.
const WHOLE: &str = r#"{
    "ociVersion": "1.3.0", "root": {"path": "rootfs", "readonly": true}, "hostname": "h", "domainname": "d",
    "process": {"terminal": true, "consoleSize": {"height": 1, "width": 2}, "args": ["sh", "-c"], "env": ["A=b"],
        "cwd": "/", "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]}, "noNewPrivileges": true,
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
            "inheritable": [], "ambient": []},
        "rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 2}], "apparmorProfile": "p", "selinuxLabel": "l",
        "oomScoreAdj": 5, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "scheduler": {"policy": "SCHED_OTHER", "nice": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "execCPUAffinity": {"initial": "0-1", "final": "2"}},
    "mounts": [{"destination": "/a", "type": "tmpfs", "source": "t", "options": ["ro", "size=1m", "rnosuid"]},
        {"destination": "/b", "type": "bind", "source": "/b", "options": ["rbind", "ridmap"],
            "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
            "gidMappings": [{"containerID": 0, "hostID": 1, "size": 2}]}],
    "hooks": {"prestart": [{"path": "/h", "args": ["h"], "env": ["A=b"], "timeout": 1}]},
    "annotations": {"a": "b"},
    "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "user"}, {"type": "uts"}, {"type": "ipc"},
            {"type": "network", "path": "/n"}, {"type": "time"}, {"type": "cgroup"}],
        "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}, {"containerID": 9, "hostID": 10, "size": 2}],
        "gidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
        "timeOffsets": {"monotonic": {"secs": 1, "nanosecs": 2}},
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 2, "fileMode": 438, "uid": 0, "gid": 0}],
        "cgroupsPath": "/c", "rootfsPropagation": "slave", "sysctl": {"kernel.msgmax": "1", "net.core.x": "2"},
        "maskedPaths": ["/m"], "readonlyPaths": ["/r"], "mountLabel": "l", "personality": {"domain": "LINUX32"},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        "netDevices": {"eth7": {"name": "eth0"}},
        "intelRdt": {"closID": "c", "schemata": ["L3:0=f"], "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"},
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "listenerPath": "/l",
            "listenerMetadata": "m", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]}]}}
}"#;

/// All the way to where something would be made.
fn judge(text: &[u8]) -> Result<(), String> {
    crate::check(text, Path::new("/bundle")).map_err(|error| error.to_string())
}

#[test]
fn a_whole_document_is_taken() {
    judge(WHOLE.as_bytes()).unwrap();
}

/// Every place in a document, the deepest first.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    let escape = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| places(field, &format!("{at}/{}", escape(name)), all))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| places(item, &format!("{at}/{i}"), all))
        }
        _ => {}
    }
    all.push(at.to_owned());
}

fn odd_values() -> Vec<Value> {
    let long = "x".repeat(70_000);
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(4_294_967_295_u32),
        json!(4_294_967_296_u64),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1.5),
        json!(1e300),
        json!(""),
        json!("\u{0}"),
        json!("/"),
        json!("/../.."),
        json!("relative"),
        json!("rro"),
        json!("remount"),
        json!("0-1023"),
        json!("9999999999-1"),
        json!("\u{202e}ä\n"),
        json!(long),
        json!([]),
        json!([null]),
        json!([[[]]]),
        json!({}),
        json!({"": ""}),
        json!({"a": {"b": []}}),
    ]
}

#[test]
fn one_wrong_value_anywhere_is_one_line_or_no_harm() {
    let document: Value = serde_json::from_str(WHOLE).unwrap();
    let mut all = Vec::new();
    places(&document, "", &mut all);
    for place in &all {
        for value in odd_values() {
            let mut broken = document.clone();
            *broken.pointer_mut(place).unwrap() = value.clone();
            if let Err(line) = judge(&serde_json::to_vec(&broken).unwrap()) {
                assert!(
                    line.starts_with("invalid ") && line.len() < 5000 && !line.contains(char::is_control),
                    "{place}: {line}"
                );
            }
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn several_wrong_values_make_nothing_panic(
        changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<proptest::sample::Index>()), 1..8),
    ) {
        let mut document: Value = serde_json::from_str(WHOLE).unwrap();
        let values = odd_values();
        for (place, value) in changes {
            let mut all = Vec::new();
            places(&document, "", &mut all);
            let place: &String = place.get(&all);
            *document.pointer_mut(place).unwrap() = value.get(&values[..]).clone();
        }
        let _ = judge(&serde_json::to_vec(&document).unwrap());
    }

    #[test]
    fn torn_text_makes_nothing_panic(at in 0..WHOLE.len(), bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..6), cut in 0..40_usize) {
        let mut text = WHOLE.as_bytes().to_vec();
        let end = (at + cut).min(text.len());
        text.splice(at..end, bytes);
        let _ = judge(&text);
    }
}
