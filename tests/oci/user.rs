//! config.md, User, hostname and domainname.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::runtime::Runtime;

clauses! {
    "config.md#posix-platform-user" {
        uid_and_gid_are_the_programs "uid and gid are the program's"
        additional_groups_are_the_programs "additionalGids are its groups besides, and no others are"
        umask_is_the_programs "umask is the program's"
        names_are_not_looked_up "Numbers without an entry in /etc/passwd are good"
    }
    "config.md#hostname" {
        hostname_is_the_containers "hostname is the name that programs inside see"
        the_hosts_own_name_stays "The host's own name stays as it is"
    }
    "config.md#domainname" {
        domainname_is_the_containers "domainname is the domain that programs inside see"
    }
}

fn uid_and_gid_are_the_programs(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "");
    bundle.process()["args"] = json!(["/bin/grep", "-E", "^(Uid|Gid)", "/proc/self/status"]);
    bundle.process()["user"] = json!({"uid": 1000, "gid": 2000});
    assert_eq!(bundle.text(), "Uid:\t1000\t1000\t1000\t1000\nGid:\t2000\t2000\t2000\t2000\n");
}

fn additional_groups_are_the_programs(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "");
    bundle.process()["args"] = json!(["/bin/grep", "^Groups", "/proc/self/status"]);
    bundle.process()["user"] = json!({"uid": 1000, "gid": 2000, "additionalGids": [7, 9]});
    assert_eq!(bundle.text(), "Groups:\t7 9 \n");
    bundle.process()["user"] = json!({"uid": 1000, "gid": 2000});
    assert_eq!(bundle.text().trim(), "Groups:");
}

fn umask_is_the_programs(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "umask; touch /tmp/file; stat -c %a /tmp/file");
    fs::set_permissions(bundle.inside("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    bundle.process()["user"]["umask"] = json!(0o037);
    assert_eq!(bundle.text(), "0037\n640\n");
}

fn names_are_not_looked_up(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "id -u; id -g");
    fs::remove_file(bundle.inside("etc/passwd")).unwrap();
    bundle.process()["user"] = json!({"uid": 4_000_000, "gid": 4_000_001});
    assert_eq!(bundle.text(), "4000000\n4000001\n");
}

fn hostname_is_the_containers(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "hostname");
    bundle.config["hostname"] = json!("mrs-dalloway");
    assert_eq!(bundle.text(), "mrs-dalloway\n");
}

fn the_hosts_own_name_stays(runtime: &Runtime) {
    let name = || fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let before = name();
    hostname_is_the_containers(runtime);
    assert_eq!(name(), before);
}

fn domainname_is_the_containers(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "cat /proc/sys/kernel/domainname");
    bundle.config["domainname"] = json!("example.org");
    assert_eq!(bundle.text(), "example.org\n");
}
