//! config-linux.md: devices and default devices; runtime-linux.md: links of /dev.

use std::process::Command;

use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::runtime::Runtime;

clauses! {
    "config-linux.md#default-filesystems" {
        proc_sys_pts_and_shm_are_what_they_are_called "/proc, /sys, /dev/pts and /dev/shm are the file systems that the configuration mounts there"
    }
    "config-linux.md#devices" {
        they_are_available "A device that is listed is there, with its numbers, mode and owner"
        pipes_are_available "A pipe that is listed is there"
        the_place_is_free "A device may be anywhere in the root"
        another_file_in_its_place_is_an_error "Another file in the device's place is an error"
        an_unknown_type_is_an_error "A type that does not exist is an error"
    }
    "config-linux.md#default-devices" {
        the_six_nodes_are_there "null, zero, full, random, urandom and tty are there"
        they_work "null, zero, full and urandom can be used, though all devices are denied"
        ptmx_opens_the_containers_terminals "/dev/ptmx opens terminals of the container's own /dev/pts"
    }
    "config-linux.md#allowed-device-list" {
        entries_are_applied_in_order "Entries apply in the listed order"
        what_is_denied_cannot_be_opened "A device that is denied cannot be opened"
        what_is_allowed_can_be_opened "A device that is allowed can be opened"
    }
    "runtime-linux.md#dev-symbolic-links" {
        links_are_there "/dev/fd, /dev/stdin, /dev/stdout and /dev/stderr are links into /proc/self/fd"
    }
}

fn proc_sys_pts_and_shm_are_what_they_are_called(runtime: &Runtime) {
    let text = Bundle::of(runtime, "cat /proc/self/mountinfo").text();
    for (point, kind) in [("/proc", "proc"), ("/sys", "sysfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs")]
    {
        let found = text
            .lines()
            .any(|line| line.contains(&format!(" {point} ")) && line.contains(&format!(" - {kind} ")));
        assert!(found, "{point}: {text}");
    }
}

fn they_are_available(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "stat -c '%F %t:%T %a %u:%g' /dev/one /dev/two");
    bundle.linux()["devices"] = json!([
        {"path": "/dev/one", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/two", "type": "b", "major": 7, "minor": 200, "fileMode": 0o600, "uid": 0, "gid": 0},
    ]);
    assert_eq!(bundle.text(), "character special file a:e5 640 3:4\nblock special file 7:c8 600 0:0\n");
}

fn pipes_are_available(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "test -p /dev/pipe && echo pipe");
    bundle.linux()["devices"] = json!([{"path": "/dev/pipe", "type": "p", "fileMode": 0o600}]);
    assert_eq!(bundle.text(), "pipe\n");
}

fn the_place_is_free(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "stat -c %t:%T /devices/deep/zero");
    bundle.linux()["devices"] =
        json!([{"path": "/devices/deep/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666}]);
    assert_eq!(bundle.text(), "1:5\n");
}

fn another_file_in_its_place_is_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    std::fs::write(bundle.inside("etc/device"), "a file").unwrap();
    bundle.linux()["devices"] =
        json!([{"path": "/etc/device", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666}]);
    bundle.refused();
}

fn an_unknown_type_is_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.linux()["devices"] = json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 5}]);
    bundle.refused();
}

fn the_six_nodes_are_there(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "cd /dev; stat -c '%n %F %t:%T %a' null zero full random urandom tty");
    let expected: String = [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ]
    .iter()
    .map(|(name, numbers)| format!("{name} character special file {numbers} 666\n"))
    .collect();
    assert_eq!(bundle.text(), expected);
}

fn they_work(runtime: &Runtime) {
    let script = "echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c && ! echo x 2>/dev/null > /dev/full";
    assert_eq!(Bundle::of(runtime, script).text(), "4\n4\n");
}

fn ptmx_opens_the_containers_terminals(runtime: &Runtime) {
    assert_eq!(
        Bundle::of(runtime, "ls /dev/pts; exec 3<>/dev/ptmx; ls /dev/pts | grep -v ptmx").text(),
        "ptmx\n0\n"
    );
}

const FUSE: &str =
    "mknod /tmp/fuse c 10 229 && (exec 3<>/tmp/fuse) 2>/dev/null && echo opened || echo refused";

fn denies_fuse(runtime: &Runtime, rules: &serde_json::Value, answer: &str) {
    let mut bundle = Bundle::of(runtime, FUSE);
    bundle.linux()["resources"]["devices"] = rules.clone();
    assert_eq!(bundle.text(), format!("{answer}\n"), "{rules}");
}

fn entries_are_applied_in_order(runtime: &Runtime) {
    if !std::path::Path::new("/dev/fuse").exists() {
        crate::clause::skip("/dev/fuse");
    }
    let all = json!({"allow": false, "access": "rwm"});
    let entry =
        |allow: bool| json!({"allow": allow, "type": "c", "major": 10, "minor": 229, "access": "rwm"});
    denies_fuse(runtime, &json!([all, entry(true), entry(false)]), "refused");
    denies_fuse(runtime, &json!([all, entry(false), entry(true)]), "opened");
}

fn what_is_denied_cannot_be_opened(runtime: &Runtime) {
    denies_fuse(
        runtime,
        &json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "access": "m"}]),
        "refused",
    );
}

fn what_is_allowed_can_be_opened(runtime: &Runtime) {
    // The machine's own word on it.
    let opens = Command::new("sh")
        .args(["-c", "exec 3<>/dev/fuse"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !opens {
        crate::clause::skip("/dev/fuse");
    }
    let allow = json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"});
    denies_fuse(runtime, &json!([{"allow": false, "access": "rwm"}, allow]), "opened");
}

fn links_are_there(runtime: &Runtime) {
    let text = Bundle::of(runtime, "cd /dev; for l in fd stdin stdout stderr; do readlink $l; done").text();
    assert_eq!(text, "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n");
}
