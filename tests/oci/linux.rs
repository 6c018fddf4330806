//! config-linux.md: sysctl, propagation, masked and read-only paths, personality, Intel RDT and what came later.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::{clauses, skip};
use crate::runtime::Runtime;

clauses! {
    "config-linux.md#sysctl" {
        parameters_are_set_inside "Kernel parameters of the container's namespaces are set, and the host's stay"
        the_hosts_parameters_are_refused "A parameter that is not the container's own is an error"
        parameters_of_foreign_namespaces_are_refused "A parameter of a namespace that the container does not own is an error"
    }
    "config-linux.md#rootfs-mount-propagation" {
        the_root_can_be_private "private: the root spreads nothing"
        the_root_can_be_a_slave "slave: the root spreads nothing to the host"
        the_root_can_be_shared "shared: the root belongs to a group of peers"
        the_root_can_be_unbindable "unbindable: the root cannot be bound"
        an_unknown_propagation_is_an_error "Any other word is an error"
    }
    "config-linux.md#masked-paths" {
        masked_files_cannot_be_read "A masked file reads as nothing"
        masked_directories_are_empty "A masked directory is empty and cannot be written"
        missing_masked_paths_are_passed_over "A masked path that is not there is no error"
    }
    "config-linux.md#readonly-paths" {
        readonly_paths_cannot_be_written "A read-only path can be read and not be written"
        missing_readonly_paths_are_passed_over "A read-only path that is not there is no error"
    }
    "config-linux.md#personality" {
        linux32_is_a_32_bit_machine "LINUX32: uname shows a 32-bit machine"
        linux_is_the_machines_own "LINUX: uname shows the machine's own"
        an_unknown_domain_is_an_error "Any other domain is an error"
    }
    "config-linux.md#intelrdt" {
        without_resctrl_it_is_an_error "intelRdt without a mounted resctrl is an error"
    }
    "config-linux.md#memory-policy" {
        memory_policy_is_set "memoryPolicy is the program's"
        an_unknown_memory_policy_is_an_error "Any other mode is an error"
    }
    "config-linux.md#network-devices" {
        a_device_is_moved_in "netDevices: a device of the host's is moved in, under its new name"
        a_missing_device_is_an_error "A device that is not there is an error"
    }
}

fn parameters_are_set_inside(runtime: &Runtime) {
    let name = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let before = fs::read_to_string(name).unwrap();
    let mut bundle = Bundle::of(runtime, &format!("cat {name} /proc/sys/kernel/msgmax"));
    bundle.linux()["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "77", "kernel.msgmax": "4321"});
    assert_eq!(bundle.text(), "77\n4321\n");
    assert_eq!(fs::read_to_string(name).unwrap(), before);
}

fn the_hosts_parameters_are_refused(runtime: &Runtime) {
    let before = fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
    let mut bundle = Bundle::of(runtime, "true");
    bundle.linux()["sysctl"] = json!({"vm.swappiness": before.trim()});
    bundle.refused();
}

fn parameters_of_foreign_namespaces_are_refused(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.without_namespace("network");
    let own = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    bundle.linux()["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": own.trim()});
    bundle.refused();
}

/// mountinfo's line of the root.
fn root_with(runtime: &Runtime, propagation: &str) -> String {
    let mut bundle = Bundle::of(runtime, "cat /proc/self/mountinfo");
    bundle.linux()["rootfsPropagation"] = json!(propagation);
    let text = bundle.text();
    text.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap().to_owned()
}

fn the_root_can_be_private(runtime: &Runtime) {
    let line = root_with(runtime, "private");
    assert!(!line.contains("shared:") && !line.contains("master:"), "{line}");
}

fn the_root_can_be_a_slave(runtime: &Runtime) {
    let line = root_with(runtime, "slave");
    assert!(!line.contains("shared:"), "{line}");
}

fn the_root_can_be_shared(runtime: &Runtime) {
    let line = root_with(runtime, "shared");
    assert!(line.contains("shared:"), "{line}");
}

fn the_root_can_be_unbindable(runtime: &Runtime) {
    let line = root_with(runtime, "unbindable");
    assert!(line.contains(" unbindable "), "{line}");
}

fn an_unknown_propagation_is_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.linux()["rootfsPropagation"] = json!("sideways");
    bundle.refused();
}

fn masked_files_cannot_be_read(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "cat /proc/version /etc/secret");
    fs::write(bundle.inside("etc/secret"), "secret").unwrap();
    bundle.linux()["maskedPaths"] = json!(["/proc/version", "/etc/secret"]);
    assert_eq!(bundle.text(), "");
}

fn masked_directories_are_empty(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "ls -A /proc/sys; ls -A /etc; ! touch /etc/new 2>/dev/null");
    bundle.linux()["maskedPaths"] = json!(["/proc/sys", "/etc"]);
    assert_eq!(bundle.text(), "");
}

fn missing_masked_paths_are_passed_over(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "echo ran");
    bundle.linux()["maskedPaths"] = json!(["/no/such/path", "/proc/nothing"]);
    assert_eq!(bundle.text(), "ran\n");
}

fn readonly_paths_cannot_be_written(runtime: &Runtime) {
    let mut bundle = Bundle::of(
        runtime,
        "cat /proc/sys/kernel/msgmax >/dev/null && echo read; echo 1 > /proc/sys/kernel/msgmax || touch /etc/x",
    );
    bundle.linux()["readonlyPaths"] = json!(["/proc/sys", "/etc"]);
    let ran = bundle.run();
    assert!(ran.out == "read\n" && ran.code != 0 && ran.err.matches("Read-only").count() == 2, "{ran:?}");
}

fn missing_readonly_paths_are_passed_over(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "echo ran");
    bundle.linux()["readonlyPaths"] = json!(["/no/such/path"]);
    assert_eq!(bundle.text(), "ran\n");
}

fn machine_with(runtime: &Runtime, domain: &str) -> String {
    let mut bundle = Bundle::of(runtime, "uname -m");
    bundle.linux()["personality"] = json!({"domain": domain});
    bundle.text().trim().to_owned()
}

fn linux32_is_a_32_bit_machine(runtime: &Runtime) {
    if std::env::consts::ARCH != "x86_64" {
        skip("an x86-64 machine");
    }
    assert_eq!(machine_with(runtime, "LINUX32"), "i686");
}

fn linux_is_the_machines_own(runtime: &Runtime) {
    assert_eq!(machine_with(runtime, "LINUX"), std::env::consts::ARCH);
}

fn an_unknown_domain_is_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.linux()["personality"] = json!({"domain": "MULTICS"});
    bundle.refused();
}

fn without_resctrl_it_is_an_error(runtime: &Runtime) {
    if fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
        skip("a machine without resctrl");
    }
    let mut bundle = Bundle::of(runtime, "true");
    bundle.linux()["intelRdt"] = json!({"closID": "group", "memBwSchema": "MB:0=20"});
    bundle.refused();
}

fn memory_policy_is_set(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "head -1 /proc/self/numa_maps");
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        skip("a kernel with NUMA");
    }
    bundle.linux()["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"});
    assert!(bundle.text().contains(" bind:0 "));
}

fn an_unknown_memory_policy_is_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.linux()["memoryPolicy"] = json!({"mode": "MPOL_ANYWHERE", "nodes": "0"});
    bundle.refused();
}

fn a_device_is_moved_in(runtime: &Runtime) {
    let ip = |words: &[&str]| {
        tare_tests::capture(std::process::Command::new("ip").args(words)).is_ok_and(|ran| ran.code == 0)
    };
    let name = format!("oci{}", std::process::id());
    let peer = format!("{name}p");
    if !ip(&["link", "add", &name, "type", "veth", "peer", "name", &peer]) {
        skip("veth");
    }
    let mut bundle = Bundle::of(runtime, "ls /sys/class/net");
    bundle.linux()["netDevices"] = json!({name.as_str(): {"name": "inner0"}});
    let ran = bundle.run();
    let _ = ip(&["link", "delete", &peer]);
    assert!(ran.ok().lines().any(|line| line == "inner0"), "{ran:?}");
}

fn a_missing_device_is_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.linux()["netDevices"] = json!({"nosuchdev0": {}});
    bundle.refused();
}
