//! config.md, Process.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::runtime::Runtime;

clauses! {
    "config.md#process" {
        cwd_is_the_working_directory "cwd is the working directory of the program"
        cwd_must_be_absolute "A cwd that is not absolute is an error"
        env_is_the_environment "env is the environment: what is listed, in order, and nothing of the caller's"
        args_are_the_arguments "args are the arguments, unchanged, the first as the program's own name"
        args_are_searched_in_path "A program without a slash is looked for in PATH"
        args_are_required "args without an entry are an error at the latest at the start"
        a_missing_program_is_an_error "A program that is not there is an error"
    }
    "config.md#linux-process" {
        rlimits_are_set "rlimits: soft and hard limits hold"
        doubled_rlimits_are_an_error "Two rlimits of one type are an error"
        unknown_rlimits_are_an_error "An rlimit that the kernel does not know is an error"
        no_new_privileges_is_set "noNewPrivileges sets the kernel's flag, its absence does not"
        oom_score_adj_is_set "oomScoreAdj is the process's score"
        oom_score_adj_is_inherited "Without oomScoreAdj the score is that of the runtime"
        scheduler_is_set "scheduler sets policy and nice value"
        io_priority_is_set "ioPriority sets class and priority"
        all_five_capability_sets_are_set "capabilities: each of the five sets is as listed"
        no_capabilities_are_none "Without capabilities the program has none"
        unknown_capabilities_are_no_failure "A capability that cannot be granted is warned about and does not fail the container"
        initial_cpu_affinity_of_exec "execCPUAffinity: a program that is run inside later has the final affinity"
    }
    "runtime-linux.md#file-descriptors" {
        only_the_three_streams_are_open "Nothing but the three standard streams is open in the program"
        others_are_passed_when_asked "Further descriptors are passed when that is asked for"
    }
}

fn cwd_is_the_working_directory(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "pwd");
    bundle.process()["cwd"] = json!("/etc");
    assert_eq!(bundle.text(), "/etc\n");
}

fn cwd_must_be_absolute(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "pwd");
    bundle.process()["cwd"] = json!("etc");
    bundle.refused();
}

fn env_is_the_environment(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "");
    bundle.process()["args"] = json!(["/bin/env"]);
    bundle.process()["env"] = json!(["PATH=/bin", "B=2", "A=with = and space", "HOME=/root", "EMPTY="]);
    assert_eq!(bundle.text(), "PATH=/bin\nB=2\nA=with = and space\nHOME=/root\nEMPTY=\n");
}

fn args_are_the_arguments(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "");
    bundle.process()["args"] =
        json!(["/bin/sh", "-c", "tr '\\0' '|' < /proc/$$/cmdline; :", "", "a b", "*", "$HOME"]);
    assert_eq!(bundle.text(), "/bin/sh|-c|tr '\\0' '|' < /proc/$$/cmdline; :||a b|*|$HOME|");
}

fn args_are_searched_in_path(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "");
    bundle.process()["args"] = json!(["echo", "found"]);
    bundle.process()["env"] = json!(["PATH=/nowhere:/bin"]);
    assert_eq!(bundle.text(), "found\n");
}

fn args_are_required(runtime: &Runtime) {
    for args in [json!([]), json!(null)] {
        let mut bundle = Bundle::of(runtime, "");
        bundle.process()["args"] = args;
        assert_ne!(bundle.run().code, 0);
    }
}

fn a_missing_program_is_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "");
    bundle.process()["args"] = json!(["/no/such/program"]);
    assert_ne!(bundle.run().code, 0);
}

fn rlimits_are_set(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "ulimit -Sn; ulimit -Hn; ulimit -Sc");
    bundle.process()["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]);
    assert_eq!(bundle.text(), "100\n200\n0\n");
}

fn doubled_rlimits_are_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    let limit = |soft: u32| json!({"type": "RLIMIT_NOFILE", "soft": soft, "hard": 200});
    bundle.process()["rlimits"] = json!([limit(100), limit(50)]);
    bundle.refused();
}

fn unknown_rlimits_are_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.process()["rlimits"] = json!([{"type": "RLIMIT_FLIGHTS", "soft": 1, "hard": 1}]);
    bundle.refused();
}

fn no_new_privileges_is_set(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "grep NoNewPrivs /proc/self/status");
    assert_eq!(bundle.text(), "NoNewPrivs:\t1\n");
    bundle.process()["noNewPrivileges"] = json!(false);
    assert_eq!(bundle.text(), "NoNewPrivs:\t0\n");
}

fn oom_score_adj_is_set(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "cat /proc/self/oom_score_adj");
    bundle.process()["oomScoreAdj"] = json!(321);
    assert_eq!(bundle.text(), "321\n");
}

fn oom_score_adj_is_inherited(runtime: &Runtime) {
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(Bundle::of(runtime, "cat /proc/self/oom_score_adj").text(), own);
}

fn scheduler_is_set(runtime: &Runtime) {
    // Fields 19 and 41 of stat: nice value and policy.
    let mut bundle = Bundle::of(runtime, "");
    bundle.process()["args"] = json!(["/bin/cut", "-d", " ", "-f", "19,41", "/proc/self/stat"]);
    bundle.process()["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
    assert_eq!(bundle.text(), "7 3\n");
}

fn io_priority_is_set(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "ionice -p $$");
    bundle.process()["ioPriority"] = json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0});
    assert!(bundle.text().starts_with("idle"), "{}", bundle.text());
}

fn all_five_capability_sets_are_set(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "");
    bundle.process()["args"] = json!(["/bin/grep", "Cap", "/proc/self/status"]);
    let (chown, kill, raw) = ("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW");
    bundle.process()["user"]["uid"] = json!(1000);
    bundle.process()["capabilities"] = json!({
        "bounding": [chown, kill, raw],
        "permitted": [chown, kill],
        "inheritable": [chown],
        "ambient": [chown],
        "effective": [chown],
    });
    // After the execve of another user's program: what is ambient is permitted and effective.
    let expected = "CapInh:\t0000000000000001\nCapPrm:\t0000000000000001\nCapEff:\t0000000000000001\nCapBnd:\t0000000000002021\nCapAmb:\t0000000000000001\n";
    assert_eq!(bundle.text(), expected);
}

fn no_capabilities_are_none(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "");
    bundle.process()["args"] = json!(["/bin/grep", "-E", "Cap(Prm|Eff|Inh|Amb)", "/proc/self/status"]);
    bundle.process()["capabilities"] = json!({});
    bundle.process()["user"]["uid"] = json!(1000);
    for line in bundle.text().lines() {
        assert!(line.ends_with("\t0000000000000000"), "{line}");
    }
}

fn unknown_capabilities_are_no_failure(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "echo ran");
    let sets = bundle.process()["capabilities"].as_object_mut().unwrap();
    for set in sets.values_mut() {
        set.as_array_mut().unwrap().push(json!("CAP_OF_TOMORROW"));
    }
    assert_eq!(bundle.text(), "ran\n");
}

fn initial_cpu_affinity_of_exec(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "sleep 100");
    bundle.process()["execCPUAffinity"] = json!({"final": "0"});
    bundle.start();
    let ran = bundle.cli(&["exec", &bundle.id, "/bin/grep", "Cpus_allowed_list", "/proc/self/status"]);
    assert_eq!(ran.ok(), "Cpus_allowed_list:\t0");
}

/// Lists open descriptors without opening one to do so.
const LIST: &str =
    "n=0; while [ $n -lt 64 ]; do [ -e /proc/self/fd/$n ] && echo -n \"$n \"; n=$((n+1)); done; true";

fn only_the_three_streams_are_open(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, LIST);
    bundle.save();
    // Descriptors of the caller that are not close-on-exec.
    let through = "exec 5</etc/passwd 9</etc; exec \"$@\"";
    let mut command = std::process::Command::new("sh");
    let inner = bundle.command();
    command.args(["-c", through, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.args(["run", "--bundle", &bundle.dir(), &bundle.id]);
    assert_eq!(tare_tests::capture(&mut command).unwrap().ok(), "0 1 2 ");
}

fn others_are_passed_when_asked(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "cat <&3; cat <&4");
    bundle.save();
    let (one, two) = (bundle.path("one"), bundle.path("two"));
    fs::write(&one, "one ").unwrap();
    fs::write(&two, "two").unwrap();
    let through = format!("exec 3<{} 4<{}; exec \"$@\"", one.display(), two.display());
    let mut command = std::process::Command::new("sh");
    let inner = bundle.command();
    command.args(["-c", &through, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.args(["run", "--preserve-fds", "2", "--bundle", &bundle.dir(), &bundle.id]);
    assert_eq!(tare_tests::capture(&mut command).unwrap().ok(), "one two");
}
