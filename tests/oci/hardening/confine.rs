//! What a program inside may be and do.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::{clauses, skip};
use crate::runtime::Runtime;

clauses! {
    "CVE-2022-29162" {
        nothing_is_inheritable "No capability is inheritable or ambient unless asked for, for run and exec, with and without more of them"
    }
    "CVE-2022-36109" {
        groups_are_exact_for_exec "A program that is run inside as another user has exactly the groups that were asked for"
    }
    "CVE-2024-40635" {
        ids_do_not_wrap "A user or group id beyond the kernel's is refused, and never becomes root"
    }
    "CVE-2023-25809" {
        groups_of_others_cannot_be_written "Without a cgroup namespace a writable mount shows the container's own groups and no other"
    }
    "config-linux.md#allowed-device-list" {
        a_made_device_cannot_be_opened "A device node that was made inside cannot be opened, also after an update"
    }
    "moby#38972" {
        a_special_passwd_costs_nothing "An /etc/passwd or /etc/group that is endless, a pipe, a device or a link out costs neither time nor memory"
    }
}

fn nothing_is_inheritable(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "grep -E 'Cap(Inh|Amb)' /proc/self/status; echo; sleep 100");
    bundle.start();
    bundle.hear("\n\n");
    let none = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000";
    assert_eq!(bundle.output().trim(), none);
    let grep = ["/bin/grep", "-E", "Cap(Inh|Amb)", "/proc/self/status"];
    let exec = |flags: &[&str]| bundle.cli(&[&["exec"], flags, &[&bundle.id], &grep[..]].concat());
    assert_eq!(exec(&[]).ok(), none);
    assert_eq!(exec(&["--cap", "CAP_NET_ADMIN"]).ok(), none);
    assert_eq!(exec(&["--user", "1000:1000"]).ok(), none);
}

fn groups_are_exact_for_exec(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "sleep 100");
    fs::write(bundle.inside("etc/group"), "root:x:0:web\nextra:x:77:web\nweb:x:1000:\n").unwrap();
    fs::write(bundle.inside("etc/passwd"), "web:x:1000:1000::/:/bin/sh\n").unwrap();
    bundle.start();
    let words = |flags: &[&str]| {
        let ran = bundle
            .cli(&[&["exec"], flags, &[&bundle.id, "/bin/grep", "Groups", "/proc/self/status"]].concat());
        ran.ok().trim_start_matches("Groups:").trim().to_owned()
    };
    assert_eq!(words(&["--user", "1000:1000"]), "");
}

fn ids_do_not_wrap(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "id -u; id -g");
    for id in [
        json!(4_294_967_296_u64),
        json!(-1),
        json!(4_294_967_295_u64),
        json!("0x0"),
        json!(2_147_483_648_u64),
    ] {
        for member in ["uid", "gid"] {
            bundle.process()["user"] = json!({"uid": 1, "gid": 1});
            bundle.process()["user"][member] = id.clone();
            let ran = bundle.run();
            assert!(ran.code != 0 || !ran.out.lines().any(|line| line == "0"), "{member} {id}: {ran:?}");
        }
    }
    let bundle = Bundle::of(runtime, "sleep 100");
    bundle.start();
    for user in ["4294967296", "-1", "4294967295", "0x0", "1:4294967296", "18446744073709551616"] {
        let ran = bundle.cli(&["exec", "--user", user, &bundle.id, "/bin/id", "-u"]);
        assert!(ran.code != 0 || ran.out.trim() != "0", "{user}: {ran:?}");
    }
}

fn groups_of_others_cannot_be_written(runtime: &Runtime) {
    let neighbour = Bundle::of(runtime, "sleep 100");
    neighbour.start();
    let mut bundle = Bundle::of(
        runtime,
        "find() { for d in $1/*/; do [ -d $d ] && echo $d && find ${d%/}; done; }; find /sys/fs/cgroup",
    );
    bundle.without_namespace("cgroup");
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "rw"]);
    let ran = bundle.run();
    assert!(!ran.out.contains(&neighbour.id), "{}", ran.out);
}

fn a_made_device_cannot_be_opened(runtime: &Runtime) {
    let numbers = fs::read_dir("/sys/block")
        .unwrap()
        .flatten()
        .filter_map(|disk| fs::read_to_string(disk.path().join("dev")).ok());
    let Some(disk) = numbers.max() else { skip("a disk") };
    let (major, minor) = disk.trim().split_once(':').unwrap();
    let open = format!("[ -e /tmp/disk ] || mknod /tmp/disk b {major} {minor}; head -c 1 /tmp/disk");
    let mut bundle = Bundle::of(runtime, "sleep 100");
    // What engines allow: nodes may be made.
    let make = |kind: &str| json!({"allow": true, "type": kind, "access": "m"});
    bundle.linux()["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}, make("b"), make("c")]);
    bundle.start();
    let refused = || {
        let ran = bundle.cli(&["exec", &bundle.id, "/bin/sh", "-c", &open]);
        assert!(
            ran.code != 0
                && ran.err.contains("Operation not permitted")
                && bundle.inside("tmp/disk").exists(),
            "{ran:?}"
        );
    };
    refused();
    bundle.cli(&["update", "--pids-limit", "50", &bundle.id]).ok();
    refused();
}

fn a_special_passwd_costs_nothing(runtime: &Runtime) {
    for name in ["passwd", "group"] {
        for kind in ["sparse", "pipe", "device", "link"] {
            let bundle = Bundle::of(runtime, "echo ran");
            let path = bundle.inside("etc").join(name);
            fs::remove_file(&path).unwrap();
            match kind {
                "sparse" => fs::File::create(&path).unwrap().set_len(4 << 30).unwrap(),
                "pipe" => mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap(),
                "device" => symlink("/dev/zero", &path).unwrap(),
                _ => symlink("/../../../../../../../../dev/zero", &path).unwrap(),
            }
            let begun = Instant::now();
            let ran = bundle.run();
            assert_eq!(ran.out, "ran\n", "{name} {kind}: {ran:?}");
            // Reading four gigabytes takes longer than any start, also on a machine that does much else.
            assert!(begun.elapsed() < Duration::from_secs(10), "{name} {kind}: {:?}", begun.elapsed());
        }
    }
}
