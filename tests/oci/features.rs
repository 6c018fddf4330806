//! features.md: what a runtime says of itself.

use serde_json::Value;

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::runtime::Runtime;

clauses! {
    "features.md#specification-version" {
        versions_are_told "ociVersionMin and ociVersionMax are semantic versions"
    }
    "features.md#hooks" {
        hooks_are_told "hooks names the hooks that are called"
    }
    "features.md#mount-options" {
        mount_options_are_told "mountOptions names the options that are known"
    }
    "features.md#unsafe-annotations-in-configjson" {
        unsafe_annotations_are_told "potentiallyUnsafeConfigAnnotations names the annotations that change what the runtime does"
    }
    "features-linux.md#namespaces" {
        namespaces_are_told "linux.namespaces names the types that are known"
    }
    "features-linux.md#capabilities" {
        capabilities_are_told "linux.capabilities names the capabilities that are known"
    }
    "features-linux.md#cgroup" {
        cgroups_are_told "linux.cgroup says which versions are known"
    }
    "features-linux.md#seccomp" {
        seccomp_is_told "linux.seccomp names what is known of it"
    }
}

fn features(runtime: &Runtime) -> Value {
    serde_json::from_str(Bundle::of(runtime, "true").cli(&["features"]).ok()).unwrap()
}

#[track_caller]
fn names(list: &Value, wanted: &[&str]) {
    for name in wanted {
        assert!(list.as_array().is_some_and(|list| list.iter().any(|one| one == name)), "{name}: {list}");
    }
}

fn versions_are_told(runtime: &Runtime) {
    let features = features(runtime);
    for member in ["ociVersionMin", "ociVersionMax"] {
        let version = features[member].as_str().unwrap();
        let core = version.split(['-', '+']).next().unwrap();
        assert!(
            core.split('.').count() == 3 && core.split('.').all(|n| n.parse::<u32>().is_ok()),
            "{version}"
        );
    }
}

fn hooks_are_told(runtime: &Runtime) {
    names(
        &features(runtime)["hooks"],
        &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
    );
}

fn mount_options_are_told(runtime: &Runtime) {
    names(
        &features(runtime)["mountOptions"],
        &["bind", "rbind", "ro", "nosuid", "nodev", "noexec", "rshared", "rslave"],
    );
}

fn unsafe_annotations_are_told(runtime: &Runtime) {
    // All of them let systemd's properties be set by annotation.
    names(&features(runtime)["potentiallyUnsafeConfigAnnotations"], &["org.systemd.property."]);
}

fn namespaces_are_told(runtime: &Runtime) {
    names(
        &features(runtime)["linux"]["namespaces"],
        &["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
    );
}

fn capabilities_are_told(runtime: &Runtime) {
    names(&features(runtime)["linux"]["capabilities"], &["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_BPF"]);
}

fn cgroups_are_told(runtime: &Runtime) {
    let cgroup = features(runtime)["linux"]["cgroup"].clone();
    assert!(cgroup["v1"].is_boolean() && cgroup["v2"].is_boolean(), "{cgroup}");
}

fn seccomp_is_told(runtime: &Runtime) {
    let seccomp = features(runtime)["linux"]["seccomp"].clone();
    assert_eq!(seccomp["enabled"], true);
    names(
        &seccomp["actions"],
        &["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_NOTIFY"],
    );
    names(&seccomp["operators"], &["SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"]);
    names(&seccomp["archs"], &["SCMP_ARCH_X86_64"]);
}
