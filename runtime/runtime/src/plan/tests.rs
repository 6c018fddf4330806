use serde_json::{Value, json};
use tare_sys::clone;
use tare_sys::mount as attribute;

use super::*;

/// A minimal config.json with one value put in place, read as the runtime reads it.
fn with(pointer: &str, value: Value) -> Result<InitPlan> {
    let mut document = json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    });
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap()[name] = value;
    plan(&serde_json::from_value(document).unwrap(), Path::new("/bundle"))
}

fn broken_field(pointer: &str, value: Value) -> String {
    match with(pointer, value) {
        Err(Error::Spec { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_relative_root_is_below_the_bundle() {
    assert_eq!(with("/root/path", json!("rootfs")).unwrap().root.path, Path::new("/bundle/rootfs"));
    assert_eq!(with("/root/path", json!("/elsewhere")).unwrap().root.path, Path::new("/elsewhere"));
}

#[test]
fn each_broken_rule_names_its_field() {
    let cases = [
        ("/root", Value::Null, "root"),
        ("/root/path", json!(""), "root.path"),
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
        ("/hostname", json!("name"), "hostname"),
        ("/mounts", json!([{"destination": "relative", "type": "tmpfs"}]), "mounts[0].destination"),
        ("/mounts", json!([{"destination": "/..", "type": "tmpfs"}]), "mounts[0].destination"),
        ("/mounts", json!([{"destination": "/a"}]), "mounts[0].type"),
        ("/mounts", json!([{"destination": "/a", "type": "bind", "source": "b"}]), "mounts[0].source"),
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
    ];
    for (pointer, value, field) in cases {
        assert_eq!(broken_field(pointer, value.clone()), field, "{pointer} = {value}");
    }
}

#[test]
fn what_is_not_there_yet_is_said_so() {
    let cases = [
        ("/process/apparmorProfile", json!("docker-default")),
        ("/process/selinuxLabel", json!("system_u:x")),
    ];
    for (pointer, value) in cases {
        assert!(matches!(with(pointer, value), Err(Error::NotSupported { .. })), "{pointer}");
    }
}

#[test]
fn cgroup_and_offset_time_namespaces_are_not_cloned() {
    let document = json!({
        "namespaces": [{"type": "mount"}, {"type": "cgroup"}, {"type": "time"}, {"type": "network", "path": "/proc/1/ns/net"}],
        "timeOffsets": {"monotonic": {"secs": -5, "nanosecs": 7}},
    });
    let namespaces = with("/linux", document).unwrap().namespaces;
    assert_eq!(namespaces.new, clone::NEW_MOUNT);
    assert!(namespaces.new_cgroup);
    assert_eq!(namespaces.time_offsets.as_deref(), Some("monotonic -5 7\n"));
    let join = namespace::Join {
        kind: clone::NEW_NETWORK,
        path: "/proc/1/ns/net".into(),
        field: "linux.namespaces[3].path".to_owned(),
    };
    assert_eq!(namespaces.joined, [join]);
}

#[test]
fn overlapping_maps_are_refused() {
    let map = |first: u32, second: u32| {
        json!({
            "namespaces": [{"type": "mount"}, {"type": "user"}],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": first, "hostID": second, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        })
    };
    let maps = with("/linux", map(10, 1010)).unwrap().namespaces.id_maps.unwrap();
    assert_eq!((maps.uid.as_str(), maps.gid.as_str()), ("0 1000 10\n10 1010 10\n", "0 1000 10\n"));
    for (first, second) in [(9, 2000), (100, 1009), (u32::MAX, 5)] {
        assert!(with("/linux", map(first, second)).is_err());
    }
}

#[test]
fn mount_options_become_attributes() {
    let options = ["nosuid", "ro", "noatime", "rnoexec", "rrw", "rslave", "size=1m", "huge"];
    let mounts =
        json!([{"destination": "/a/./b/../c", "type": "tmpfs", "source": "tmpfs", "options": options}]);
    let plan = with("/mounts", mounts).unwrap();
    let expected = Mount {
        destination: "/a/c".into(),
        kind: MountKind::New {
            fs: "tmpfs".into(),
            source: "tmpfs".into(),
            parameters: vec![("size".into(), Some("1m".into())), ("huge".into(), None)],
            copy_up: false,
        },
        attributes: Attributes {
            set: attribute::NO_SUID | attribute::READ_ONLY | attribute::NO_ATIME,
            clear: attribute::ATIME,
        },
        recursive: Attributes { set: attribute::NO_EXEC, clear: attribute::READ_ONLY },
        propagation: Propagation::Slave,
        id_map: None,
    };
    assert_eq!(plan.mounts, [expected]);
}

#[test]
fn the_last_option_of_a_kind_wins() {
    let options = ["ro", "rw", "strictatime", "relatime", "private", "rshared"];
    let mounts = json!([{"destination": "/a", "type": "bind", "source": "/b", "options": options}]);
    let mount = &with("/mounts", mounts).unwrap().mounts[0];
    assert_eq!(mount.attributes, Attributes { set: 0, clear: attribute::READ_ONLY | attribute::ATIME });
    assert_eq!(mount.propagation, Propagation::Shared);
}

#[test]
fn ids_are_mapped_as_the_mount_says_else_as_the_container_does() {
    let map = |first: u32| json!([{"containerID": 0, "hostID": first, "size": 10}]);
    let planned = |mount: Value, namespace: Value| {
        let document = json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
            "mounts": [mount],
            "linux": {"namespaces": [{"type": "mount"}, namespace], "uidMappings": map(1), "gidMappings": map(2)},
        });
        let plan = plan(&serde_json::from_value(document).unwrap(), Path::new("/bundle")).unwrap();
        plan.mounts.into_iter().next().unwrap().id_map
    };
    let bind = |option: &str, ids: Value| {
        let mut mount =
            json!({"destination": "/a", "type": "bind", "source": "/b", "options": ["bind", option]});
        if ids != Value::Null {
            (mount["uidMappings"], mount["gidMappings"]) = (ids.clone(), ids);
        }
        mount
    };
    let maps = |uid: &str, gid: &str| Some(namespace::IdMaps { uid: uid.to_owned(), gid: gid.to_owned() });
    let (new, joined) = (json!({"type": "user"}), json!({"type": "user", "path": "/proc/1/ns/user"}));
    assert_eq!(planned(bind("ro", Value::Null), new.clone()), None);
    let own = mount::IdMap { maps: maps("0 1 10\n", "0 2 10\n"), recursive: false };
    assert_eq!(planned(bind("idmap", Value::Null), new.clone()), Some(own));
    let given = mount::IdMap { maps: maps("0 7 10\n", "0 7 10\n"), recursive: true };
    assert_eq!(planned(bind("ridmap", map(7)), new), Some(given));
    let theirs = mount::IdMap { maps: None, recursive: false };
    assert_eq!(planned(bind("idmap", Value::Null), joined), Some(theirs));
}

#[test]
fn sysctl_names_are_read_both_ways() {
    let document = json!({
        "namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "ipc"}],
        "sysctl": {"net.ipv4.conf.eth0/7.forwarding": "1", "net/ipv4/conf/eth0.7/forwarding": "1", "fs.mqueue.msg_max": "5"},
    });
    let paths: Vec<PathBuf> = with("/linux", document).unwrap().sysctls.into_iter().map(|s| s.path).collect();
    let expected = [
        "sys/fs/mqueue/msg_max",
        "sys/net/ipv4/conf/eth0.7/forwarding",
        "sys/net/ipv4/conf/eth0.7/forwarding",
    ];
    assert_eq!(paths, expected.map(PathBuf::from));
}

#[test]
fn asked_devices_take_the_place_of_default_ones() {
    let plan = with(
        "/linux/devices",
        json!([{"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 384}]),
    )
    .unwrap();
    let zero: Vec<&Device> = plan.devices.list.iter().filter(|d| d.path.ends_with("zero")).collect();
    assert_eq!(zero.len(), 1);
    assert_eq!(zero[0].mode, 0o600);
    assert_eq!(plan.devices.list.len(), 6);
    assert!(plan.devices.fill && !plan.devices.bind);
    let host = with(
        "/mounts",
        json!([{"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]}]),
    )
    .unwrap();
    assert!(!host.devices.fill, "the host's own /dev is left alone");
}

#[test]
fn ambient_capabilities_are_within_the_inheritable_ones() {
    let kill = ["CAP_KILL"];
    let sets = json!({"permitted": kill, "effective": kill, "ambient": kill});
    assert_eq!(with("/process/capabilities", sets).unwrap().process.capabilities.ambient, 0);
}
