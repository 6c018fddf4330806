//! When, where and as what a program runs.

use std::os::fd::AsFd;

use rustix::thread::{CpuSet, sched_getaffinity};
use tare_oci::runtime::{CpuAffinity, IoPriority, MemoryPolicy, Personality, Scheduler};
use tare_runtime::{Error, Target};

use crate::world::{Bundle, childless, pipes, process, read, reap};

fn scheduler(policy: &str) -> Scheduler {
    Scheduler { policy: policy.to_owned(), ..Scheduler::default() }
}

/// Of proc_pid_stat(5): nice, real-time priority, policy.
const STAT: &str = "read -r line < /proc/self/stat; set -- $line; echo ${19} ${40} ${41}";

pub(crate) fn a_scheduler_is_set() {
    let shown = |scheduler: Scheduler| {
        let mut bundle = Bundle::of(STAT);
        bundle.process().scheduler = Some(scheduler);
        match bundle.start() {
            Ok(container) => container.finish().stdout,
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(shown(Scheduler { nice: 7, ..scheduler("SCHED_BATCH") }), "7 0 3\n");
    assert_eq!(shown(Scheduler { nice: -5, ..scheduler("SCHED_OTHER") }), "-5 0 0\n");
    // These classes have no nice of their own, and leave the caller's.
    let nice = rustix::process::getpriority_process(None).unwrap();
    assert_eq!(shown(scheduler("SCHED_IDLE")), format!("{nice} 0 5\n"));
    // The kernel may give real-time classes no time in the group that the tests run in.
    let real_time = Scheduler { priority: 9, ..scheduler("SCHED_RR") };
    let allowed = [format!("{nice} 9 2\n"), "set the scheduler: operation not permitted".to_owned()];
    let found = shown(real_time);
    assert!(allowed.contains(&found), "{found}");
    assert!(shown(scheduler("SCHED_ISO")).starts_with("set the scheduler: invalid argument"));
    assert!(childless());
}

pub(crate) fn an_io_priority_and_a_personality_are_set() {
    let mut bundle = Bundle::of("ionice; uname -m; umask");
    for applet in ["ionice", "uname"] {
        std::os::unix::fs::symlink("busybox", bundle.path("bin").join(applet)).unwrap();
    }
    bundle.process().io_priority = Some(IoPriority { class: "IOPRIO_CLASS_BE".to_owned(), priority: 6 });
    bundle.process().user.umask = Some(0o77);
    let native = bundle.text();
    assert!(native.starts_with("best-effort: prio 6\n") && native.ends_with("\n0077\n"), "{native}");
    bundle.linux().personality = Some(Personality { domain: "LINUX32".to_owned(), flags: Vec::new() });
    let changed = bundle.text();
    if cfg!(target_arch = "x86_64") {
        assert_eq!(changed, native.replace("x86_64", "i686"));
    }
}

fn allowed(set: &CpuSet) -> Vec<usize> {
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

pub(crate) fn exec_is_pinned_to_processors() {
    let own = sched_getaffinity(None).unwrap();
    let [first, .., last] = allowed(&own)[..] else {
        println!("skipped: needs two processors");
        return;
    };
    let bundle = Bundle::of("echo up; exec sleep 100");
    let container = bundle.start().unwrap();
    assert_eq!(container.hear(), "up\n");
    let pinned = |initial: Option<usize>, after: Option<usize>| {
        let mut process = process(&["grep", "Cpus_allowed_list", "/proc/self/status"]);
        let text = |cpu: Option<usize>| cpu.map(|cpu| cpu.to_string());
        process.exec_cpu_affinity = Some(CpuAffinity { initial: text(initial), after: text(after) });
        let (stdio, [stdout, _stderr]) = pipes();
        let target = Target {
            id: "test",
            bundle: bundle.dir.path(),
            pidfd: container.running.pidfd.as_fd(),
            spec: &bundle.spec,
            cgroup: None,
            seccomp_cache: None,
        };
        let running = tare_runtime::exec(&target, &process, stdio)?;
        let text = read(stdout);
        assert_eq!(reap(&running.pidfd), 0);
        Ok::<_, Error>(text.split_whitespace().last().unwrap().to_owned())
    };
    assert_eq!(pinned(Some(first), None).unwrap(), first.to_string());
    assert_eq!(pinned(Some(first), Some(last)).unwrap(), last.to_string());
    assert_eq!(pinned(None, Some(last)).unwrap(), last.to_string());
    let refusal = pinned(Some(1000), None).unwrap_err().to_string();
    assert_eq!(refusal, "set the CPU affinity: invalid argument");
    assert!(sched_getaffinity(None).unwrap() == own, "the caller is where it was");
}

pub(crate) fn memory_is_taken_where_the_policy_says() {
    let mut bundle = Bundle::of("head -n 1 /proc/self/numa_maps; exec sleep 100");
    let policy = |mode: &str, nodes: &str| {
        Some(MemoryPolicy { mode: mode.to_owned(), nodes: nodes.to_owned(), flags: Vec::new() })
    };
    bundle.linux().memory_policy = policy("MPOL_BIND", "0");
    let container = match bundle.start() {
        Err(error) if error.to_string().contains("function not implemented") => {
            println!("skipped: needs NUMA in the kernel");
            return;
        }
        container => container.unwrap(),
    };
    assert!(container.hear().contains(" bind:0 "));
    let output =
        container.exec(&bundle.spec, &process(&["head", "-n", "1", "/proc/self/numa_maps"])).unwrap();
    assert!(output.stdout.contains(" bind:0 "), "{output:?}");
    drop(container);
    bundle.linux().memory_policy = policy("MPOL_BIND", "1000");
    assert_eq!(bundle.refusal().to_string(), "set the memory policy: invalid argument");
}

pub(crate) fn a_label_that_nobody_would_enforce_is_refused() {
    let enabled = |path: &str| std::path::Path::new(path).exists();
    let apparmor = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    let mut bundle = Bundle::of("true");
    if !apparmor.is_ok_and(|text| text.starts_with('Y')) {
        bundle.process().apparmor_profile = Some("docker-default".to_owned());
        let refusal = bundle.refusal().to_string();
        assert_eq!(
            refusal,
            "invalid process.apparmorProfile: needs AppArmor, which is not enabled on this machine"
        );
        bundle.process().apparmor_profile = Some("unconfined".to_owned());
        bundle.text();
    }
    if !enabled("/sys/fs/selinux/enforce") {
        bundle.process().selinux_label = Some("system_u:system_r:container_t:s0".to_owned());
        assert!(matches!(bundle.refusal(), Error::Spec { field, .. } if field == "process.selinuxLabel"));
        bundle.process().selinux_label = None;
        bundle.linux().mount_label = Some("system_u:object_r:container_file_t:s0".to_owned());
        assert!(matches!(bundle.refusal(), Error::Spec { field, .. } if field == "linux.mountLabel"));
    }
    assert!(childless());
}

pub(crate) fn a_capability_of_tomorrow_is_a_warning() {
    let mut bundle = Bundle::of("true");
    bundle.process().capabilities.as_mut().unwrap().unknown = vec!["CAP_FLY".to_owned()];
    let container = bundle.start().unwrap();
    assert_eq!(container.running.warnings, ["ignoring unknown or unavailable capabilities: CAP_FLY"]);
    assert_eq!(container.finish().code, 0);
}
