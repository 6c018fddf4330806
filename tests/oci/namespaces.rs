//! config-linux.md: namespaces, user namespace mappings, offsets of the time namespace.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::{clauses, skip};
use crate::runtime::Runtime;

clauses! {
    "config-linux.md#namespaces" {
        pid_is_new "pid: the program is process 1 and sees no other"
        network_is_new "network: the container has its own links"
        mount_is_new "mount: the container has its own mount table"
        ipc_is_new "ipc: the container has its own queues"
        uts_is_new "uts: the container has its own host name"
        cgroup_is_new "cgroup: the container sees its group as the root"
        user_is_new "user: the container has its own ids"
        time_is_new "time: the container has its own clocks"
        what_is_not_listed_is_inherited "A namespace that is not listed is the runtime's"
        network_is_joined "A network namespace is joined by path"
        ipc_and_uts_are_joined "ipc and uts namespaces are joined by path"
        pid_is_joined "A pid namespace is joined by path"
        cgroup_is_joined "A cgroup namespace is joined by path"
        user_is_joined "A user namespace is joined by path"
        mount_is_joined "A mount namespace is joined by path"
        mount_is_shared "Without a mount namespace the program is in the runtime's, in the container's root, for run and exec"
        nothing_is_mounted_on_the_host "Without a mount namespace nothing is mounted on the host: what only a mount can keep is an error"
        time_is_joined "A time namespace is joined by path"
        a_path_of_another_type_is_an_error "A path that is a namespace of another type is an error"
        a_path_that_is_no_namespace_is_an_error "A path that is no namespace, or is not there, is an error"
        doubled_types_are_an_error "A type that is listed twice is an error"
        unknown_types_are_an_error "A type that does not exist is an error"
    }
    "config-linux.md#user-namespace-mappings" {
        ids_are_mapped "uidMappings and gidMappings are the namespace's maps"
        several_ranges_are_mapped "Several ranges are mapped as listed"
        owners_are_not_changed "The owners of files in the root are not changed"
    }
    "config-linux.md#offset-for-time-namespace" {
        clocks_are_set_off "timeOffsets set the clocks off"
    }
}

fn own(kind: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_str().unwrap().to_owned()
}

/// What a namespace is called inside.
fn inside(bundle: &mut Bundle<'_>, kind: &str) -> String {
    bundle.process()["args"] = json!(["/bin/readlink", format!("/proc/self/ns/{kind}")]);
    bundle.text().trim().to_owned()
}

fn pid_is_new(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "echo $$; ls /proc | grep -c '^[0-9]'");
    let text = bundle.text();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("1"));
    assert!(lines.next().unwrap().parse::<u32>().unwrap() <= 3, "{text}");
}

fn network_is_new(runtime: &Runtime) {
    assert_eq!(Bundle::of(runtime, "ls /sys/class/net | grep -v -e sit0 -e tunl0 -e ip6tnl0 -e gre -e erspan -e ip_vti0 -e ip6_vti0 -e bonding_masters").text(), "lo\n");
}

fn mount_is_new(runtime: &Runtime) {
    assert_ne!(inside(&mut Bundle::of(runtime, ""), "mnt"), own("mnt"));
}

fn ipc_is_new(runtime: &Runtime) {
    assert_ne!(inside(&mut Bundle::of(runtime, ""), "ipc"), own("ipc"));
}

fn uts_is_new(runtime: &Runtime) {
    assert_ne!(inside(&mut Bundle::of(runtime, ""), "uts"), own("uts"));
}

fn cgroup_is_new(runtime: &Runtime) {
    let text = Bundle::of(runtime, "cat /proc/self/cgroup").text();
    let foreign: Vec<&str> = text.lines().filter(|line| !line.ends_with(":/")).collect();
    // Hierarchies in which the runtime makes no group of its own show the runtime's.
    assert!(foreign.len() < text.lines().count() && !text.contains("oci-"), "{text}");
}

fn user_is_new(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "");
    bundle.map_ids();
    assert_ne!(inside(&mut bundle, "user"), own("user"));
}

fn time_is_new(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "");
    bundle.namespace("time", None);
    assert_ne!(inside(&mut bundle, "time"), own("time"));
}

fn what_is_not_listed_is_inherited(runtime: &Runtime) {
    for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("cgroup", "cgroup")] {
        let mut bundle = Bundle::of(runtime, "");
        bundle.without_namespace(kind);
        // Not to be had in the host's namespace.
        bundle.config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| mount["type"] != "sysfs" && mount["type"] != "mqueue");
        assert_eq!(inside(&mut bundle, file), own(file), "{kind}");
    }
}

/// Starts a container that lasts, and joins one of its namespaces from another one.
fn joined(runtime: &Runtime, kind: &str, file: &str, prepare: impl Fn(&mut Bundle<'_>, &mut Bundle<'_>)) {
    let mut owner = Bundle::of(runtime, "sleep 100; true");
    let mut guest = Bundle::of(runtime, "");
    prepare(&mut owner, &mut guest);
    owner.start();
    let path = format!("/proc/{}/ns/{file}", owner.pid());
    guest.namespace(kind, Some(&path));
    let name = fs::read_link(&path).unwrap();
    assert_eq!(inside(&mut guest, file), name.to_str().unwrap(), "{kind}");
}

fn network_is_joined(runtime: &Runtime) {
    joined(runtime, "network", "net", |_, _| {});
}

fn ipc_and_uts_are_joined(runtime: &Runtime) {
    joined(runtime, "ipc", "ipc", |_, _| {});
    joined(runtime, "uts", "uts", |_, guest| drop(guest.config.as_object_mut().unwrap().remove("hostname")));
}

fn pid_is_joined(runtime: &Runtime) {
    joined(runtime, "pid", "pid", |_, _| {});
}

fn cgroup_is_joined(runtime: &Runtime) {
    joined(runtime, "cgroup", "cgroup", |_, _| {});
}

fn user_is_joined(runtime: &Runtime) {
    joined(runtime, "user", "user", |owner, guest| {
        owner.map_ids();
        guest.map_ids();
        // The maps are the namespace's own.
        let linux = guest.linux().as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    });
}

fn mount_is_joined(runtime: &Runtime) {
    joined(runtime, "mount", "mnt", |_, guest| {
        guest.config["mounts"].as_array_mut().unwrap().truncate(1);
        guest.config["root"]["path"] = json!(guest.inside(""));
    });
}

fn mount_is_shared(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "ls /; sleep 100");
    bundle.share_mounts();
    bundle.start();
    bundle.hear("tmp\n");
    let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    assert_eq!(of(bundle.pid() as u32), of(bundle.host()));
    let listed = bundle.cli(&["exec", &bundle.id, "/bin/ls", "/"]);
    assert_eq!(listed.ok(), bundle.output().trim());
    bundle.cli(&["delete", "--force", &bundle.id]).ok();
}

fn nothing_is_mounted_on_the_host(runtime: &Runtime) {
    type Change = fn(&mut Bundle<'_>);
    let refused: [(&str, Change); 4] = [
        ("mounts", |bundle| bundle.mount("/tmp", "tmpfs", "tmpfs", &["nosuid"])),
        ("a read-only root", |bundle| bundle.config["root"]["readonly"] = json!(true)),
        ("masked paths", |bundle| bundle.linux()["maskedPaths"] = json!(["/etc"])),
        ("read-only paths", |bundle| bundle.linux()["readonlyPaths"] = json!(["/etc"])),
    ];
    let mounts =
        |bundle: &Bundle<'_>| fs::read_to_string(format!("/proc/{}/mountinfo", bundle.host())).unwrap();
    let mut bundle = Bundle::of(runtime, "true");
    bundle.share_mounts();
    let before = mounts(&bundle);
    bundle.run().ok();
    assert_eq!(mounts(&bundle), before);
    for (what, change) in refused {
        let mut bundle = Bundle::of(runtime, "true");
        bundle.share_mounts();
        change(&mut bundle);
        let before = mounts(&bundle);
        bundle.refused();
        assert_eq!(mounts(&bundle), before, "{what}");
    }
}

fn time_is_joined(runtime: &Runtime) {
    joined(runtime, "time", "time", |owner, _| owner.namespace("time", None));
}

fn a_path_of_another_type_is_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.namespace("network", Some("/proc/self/ns/ipc"));
    bundle.refused();
}

fn a_path_that_is_no_namespace_is_an_error(runtime: &Runtime) {
    for path in ["/etc/passwd", "/no/such/namespace"] {
        let mut bundle = Bundle::of(runtime, "true");
        bundle.namespace("network", Some(path));
        bundle.refused();
    }
}

fn doubled_types_are_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.linux()["namespaces"].as_array_mut().unwrap().push(json!({"type": "pid"}));
    bundle.refused();
}

fn unknown_types_are_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.linux()["namespaces"].as_array_mut().unwrap().push(json!({"type": "weather"}));
    bundle.refused();
}

fn ids_are_mapped(runtime: &Runtime) {
    let mut bundle =
        Bundle::of(runtime, "cat /proc/self/uid_map /proc/self/gid_map; id -u; stat -c %u /bin/busybox");
    bundle.map_ids();
    let text = bundle.text();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "65536", "0", "100000", "65536", "0", "65534"]);
}

fn several_ranges_are_mapped(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "cat /proc/self/uid_map");
    bundle.map_ids();
    bundle.linux()["uidMappings"] = json!([
        {"containerID": 0, "hostID": 100_000, "size": 10},
        {"containerID": 500, "hostID": 200_000, "size": 20},
    ]);
    let text = bundle.text();
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "10", "500", "200000", "20"]);
}

fn owners_are_not_changed(runtime: &Runtime) {
    use std::os::unix::fs::MetadataExt;
    let mut bundle = Bundle::of(runtime, "true");
    bundle.map_ids();
    bundle.text();
    assert_eq!(fs::metadata(bundle.inside("bin/busybox")).unwrap().uid(), 0);
    assert_eq!(fs::metadata(bundle.inside("tmp")).unwrap().uid(), 100_000);
}

fn clocks_are_set_off(runtime: &Runtime) {
    if !std::path::Path::new("/proc/self/timens_offsets").exists() {
        skip("time namespaces");
    }
    let mut bundle = Bundle::of(runtime, "cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime");
    bundle.namespace("time", None);
    bundle.linux()["timeOffsets"] =
        json!({"monotonic": {"secs": 7777}, "boottime": {"secs": 1_000_000, "nanosecs": 5}});
    let text = bundle.text();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words[..6], ["monotonic", "7777", "0", "boottime", "1000000", "5"], "{text}");
    assert!(words[6].parse::<u64>().unwrap() >= 1_000_000, "{text}");
}
