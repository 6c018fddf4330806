use serde_json::{Value, json};
use tare_sys::clone;
use tare_sys::mount as attribute;

use super::*;

/// A minimal config.json with one value put in place, read as the runtime reads it.
pub(super) fn with(pointer: &str, value: Value) -> Result<InitPlan> {
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

#[test]
fn a_relative_root_is_below_the_bundle() {
    assert_eq!(with("/root/path", json!("rootfs")).unwrap().root.path, Path::new("/bundle/rootfs"));
    assert_eq!(with("/root/path", json!("/elsewhere")).unwrap().root.path, Path::new("/elsewhere"));
}

#[test]
fn a_writable_group_is_handed_to_who_uses_it() {
    let owner = |change: &dyn Fn(&mut Value)| {
        let mut document = json!({
            "ociVersion": "1.2.0", "root": {"path": "r"},
            "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 33, "gid": 0}},
            "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid"]}],
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "cgroup"}, {"type": "user"}],
                "uidMappings": [
                    {"containerID": 0, "hostID": 1000, "size": 1},
                    {"containerID": 1, "hostID": 100_000, "size": 65536},
                ],
                "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
            },
        });
        change(&mut document);
        super::plan(&serde_json::from_value(document).unwrap(), Path::new("/")).unwrap().group_owner()
    };
    assert_eq!(owner(&|_| ()), Some(100_032));
    assert_eq!(owner(&|d| d["process"]["user"]["uid"] = json!(0)), Some(1000));
    assert_eq!(owner(&|d| d["process"]["user"]["uid"] = json!(70_000)), None, "nobody outside");
    assert_eq!(owner(&|d| d["mounts"][0]["options"] = json!(["ro"])), None);
    assert_eq!(owner(&|d| d["mounts"][0]["destination"] = json!("/cgroup")), None);
    assert_eq!(owner(&|d| drop(d["linux"]["namespaces"].as_array_mut().unwrap().remove(1))), None);
    let without_user = |uid: u32| {
        owner(&move |d| {
            d["linux"] = json!({"namespaces": [{"type": "mount"}, {"type": "cgroup"}]});
            d["process"]["user"]["uid"] = json!(uid);
        })
    };
    assert_eq!((without_user(33), without_user(0)), (Some(33), None), "root has it already");
}

#[test]
fn labels_are_for_modules_and_new_file_systems() {
    let plan = with("/process/apparmorProfile", json!("docker-default")).unwrap();
    assert_eq!(plan.process.labels.apparmor.as_deref(), Some("docker-default"));
    for nothing in ["", "unconfined"] {
        assert_eq!(
            with("/process/apparmorProfile", json!(nothing)).unwrap().process.labels,
            Labels::default()
        );
    }
    let label = "system_u:object_r:container_file_t:s0:c1,c2";
    let mut document = json!({
        "ociVersion": "1.2.0", "root": {"path": "r"}, "process": {"args": ["sh"], "cwd": "/"},
        "linux": {"namespaces": [{"type": "mount"}], "mountLabel": label},
    });
    document["mounts"] = json!([
        {"destination": "/proc", "type": "proc"}, {"destination": "/tmp", "type": "tmpfs"},
        {"destination": "/own", "type": "tmpfs", "options": ["context=other"]},
        {"destination": "/b", "type": "bind", "source": "/b"},
    ]);
    let plan = super::plan(&serde_json::from_value(document).unwrap(), Path::new("/")).unwrap();
    let labels = |mount: &Mount| match &mount.kind {
        MountKind::New { parameters, .. } => {
            parameters.iter().filter_map(|(_, value)| value.clone()).collect()
        }
        _ => Vec::new(),
    };
    let labels: Vec<Vec<String>> = plan.mounts.iter().map(labels).collect();
    assert_eq!(labels, [vec![], vec![label.to_owned()], vec!["other".to_owned()], vec![]]);
}

#[test]
fn capabilities_that_are_not_known_are_said_and_grant_nothing() {
    let sets = json!({"bounding": ["CAP_FLY", "CAP_KILL"], "permitted": ["CAP_FLY", "CAP_SWIM"]});
    let plan = with("/process/capabilities", sets).unwrap().process;
    assert_eq!(plan.warnings, ["ignoring unknown or unavailable capabilities: CAP_FLY, CAP_SWIM"]);
    let kill = CapabilitySets { bounding: 1 << 5, ..CapabilitySets::default() };
    assert_eq!(plan.capabilities, kill);
}

#[test]
fn schedulers_and_memory_policies_become_numbers() {
    let scheduler = json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3,
                           "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]});
    let planned = with("/process/scheduler", scheduler).unwrap().process.schedule.scheduling.unwrap();
    assert_eq!((planned.policy, planned.flags), (6, 5));
    assert_eq!((planned.runtime, planned.deadline, planned.period), (1, 2, 3));
    let policy = json!({"mode": "MPOL_BIND", "nodes": "0,65", "flags": ["MPOL_F_STATIC_NODES"]});
    let memory = with("/linux/memoryPolicy", policy).unwrap().memory.unwrap();
    assert_eq!((memory.mode, &memory.nodes[..3]), (0x8002, &[1, 2, 0][..]));
    let affinity = json!({"initial": "0", "final": "1-2"});
    let schedule = with("/process/execCPUAffinity", affinity).unwrap().process.schedule;
    assert!(schedule.first.unwrap().is_set(0) && !schedule.first.unwrap().is_set(1));
    assert_eq!(schedule.then.unwrap().count(), 2);
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
