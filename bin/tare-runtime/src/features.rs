//! `tare-runtime features`: what this runtime knows, in the form of the runtime specification.

use serde_json::{Value, json};
use tare_model::Capability;
use tare_runtime::seccomp::ARCHITECTURES;

/// The last version of the specification all of whose fields are known. What `spec` writes is of an earlier one, which
/// every runtime takes.
const NEWEST: &str = "1.3.0";

/// <https://github.com/opencontainers/runtime-spec/blob/main/features.md>
pub(crate) fn features() -> Value {
    let capabilities: Vec<String> = Capability::all().map(|c| c.to_string()).collect();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": NEWEST,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": [
            "async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "idmap", "iversion", "lazytime", "loud",
            "mand", "noatime", "nodev", "nodiratime", "noexec", "noiversion", "nolazytime", "nomand", "norelatime",
            "nostrictatime", "nosuid", "nosymfollow", "private", "ratime", "rbind", "rdev", "rdiratime", "relatime", "remount",
            "rexec", "ridmap", "rnoatime", "rnodev", "rnodiratime", "rnoexec", "rnorelatime", "rnostrictatime", "rnosuid",
            "rnosymfollow", "ro", "rprivate", "rrelatime", "rro", "rrw", "rshared", "rslave", "rstrictatime", "rsuid",
            "rsymfollow", "runbindable", "rw", "shared", "silent", "slave", "strictatime", "suid", "symfollow", "sync",
            "tmpcopyup", "unbindable",
        ],
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": capabilities,
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
            "seccomp": seccomp(),
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
            "netDevices": {"enabled": true},
            "memoryPolicy": memory_policy(),
            "mountExtensions": {"idmap": {"enabled": true}},
        },
    })
}

fn seccomp() -> Value {
    let flags = ["LOG", "SPEC_ALLOW", "TSYNC", "WAIT_KILLABLE_RECV"];
    let flags = flags.map(|name| format!("SECCOMP_FILTER_FLAG_{name}"));
    let named = ARCHITECTURES.into_iter().filter(|name| *name != "NATIVE");
    let mut archs: Vec<_> = named.map(|name| format!("SCMP_ARCH_{name}")).collect();
    archs.sort_unstable();
    let operators = ["EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE"];
    let actions = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "NOTIFY", "TRACE", "TRAP"];
    json!({
        "enabled": true,
        "actions": actions.map(|name| format!("SCMP_ACT_{name}")),
        "operators": operators.map(|name| format!("SCMP_CMP_{name}")),
        "archs": archs,
        "knownFlags": flags,
        "supportedFlags": flags,
    })
}

fn memory_policy() -> Value {
    json!({
        "modes": [
            "MPOL_BIND", "MPOL_DEFAULT", "MPOL_INTERLEAVE", "MPOL_LOCAL", "MPOL_PREFERRED", "MPOL_PREFERRED_MANY",
            "MPOL_WEIGHTED_INTERLEAVE",
        ],
        "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
    })
}
