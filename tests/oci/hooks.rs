//! config.md, POSIX-platform hooks, and the steps of runtime.md's lifecycle that call them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::runtime::Runtime;

clauses! {
    "config.md#posix-platform-hooks" {
        all_are_called_in_their_order "prestart, createRuntime, createContainer, startContainer, poststart and poststop are called in this order around the program"
        those_of_one_list_are_called_in_order "Hooks of one list are called in the listed order"
        each_reads_the_state "Each hook reads the container's state on its standard input, with the status of its moment"
        args_and_env_are_exact "args and env of a hook are as listed, and nothing of the caller's environment is added"
        paths_must_be_absolute "A path that is not absolute is an error"
        one_that_takes_too_long_is_ended "A hook that takes longer than its timeout is ended, and has failed"
    }
    "config.md#prestart" {
        a_failing_prestart_is_an_error "A failing prestart hook is an error of create, and the container is gone"
    }
    "config.md#createruntime-hooks" {
        create_runtime_runs_in_the_runtimes_namespaces "createRuntime hooks run in the runtime's namespaces, their paths are the host's"
        a_failing_create_runtime_is_an_error "A failing createRuntime hook is an error of create, and the container is gone"
    }
    "config.md#createcontainer-hooks" {
        create_container_runs_in_the_containers_namespaces "createContainer hooks run in the container's namespaces, their paths are still the host's"
        a_failing_create_container_is_an_error "A failing createContainer hook is an error of create, and the container is gone"
    }
    "config.md#startcontainer-hooks" {
        start_container_runs_inside "startContainer hooks run inside, their paths are the container's"
        they_come_before_the_program "startContainer hooks come with the start and before the program"
        a_failing_start_container_stops_it "A failing startContainer hook is an error, and the program does not run"
    }
    "config.md#poststart" {
        poststart_comes_before_start_returns "poststart hooks have run when start returns, in the runtime's namespaces"
        a_failing_poststart_is_told "A failing poststart hook is told: by an error or in the log"
    }
    "config.md#poststop" {
        poststop_comes_before_delete_returns "poststop hooks have run when delete returns, in the runtime's namespaces"
        a_failing_poststop_hinders_nothing "A failing poststop hook does not keep the others from running or the container from being deleted"
        a_failed_create_calls_poststop "poststop hooks are called when a create hook has failed"
    }
}

/// A hook of the host: a script that appends to the bundle's file `log`.
fn on_host(bundle: &Bundle<'_>, script: &str) -> Value {
    let path = bundle.path("log");
    let script = script.replace("$LOG", path.to_str().unwrap());
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]})
}

fn log(bundle: &Bundle<'_>) -> String {
    fs::read_to_string(bundle.path("log")).unwrap_or_default()
}

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// One that writes a word, wherever it runs: the log is bound into the container under its own path.
fn everywhere(bundle: &mut Bundle<'_>, script: impl Fn(&str) -> String) {
    let log = bundle.path("log");
    fs::write(&log, "").unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).unwrap();
    let path = log.to_str().unwrap().to_owned();
    bundle.mount(&path, "bind", &path, &["bind"]);
    for kind in KINDS {
        bundle.config["hooks"][kind] = json!([on_host(bundle, &script(kind))]);
    }
}

/// Through its whole life.
fn live(bundle: &Bundle<'_>) {
    bundle.start_and_wait();
    bundle.verb("delete").ok();
}

fn all_are_called_in_their_order(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    everywhere(&mut bundle, |kind| format!("echo {kind} >> $LOG"));
    let path = bundle.path("log");
    bundle.process()["args"] = json!(["/bin/sh", "-c", format!("echo program >> {}", path.display())]);
    bundle.create();
    assert_eq!(log(&bundle), "prestart\ncreateRuntime\ncreateContainer\n");
    let pid = bundle.pid();
    bundle.verb("start").ok();
    bundle.wait(pid);
    // The program and poststart run side by side.
    let text = log(&bundle);
    assert!(text.starts_with("prestart\ncreateRuntime\ncreateContainer\nstartContainer\n"), "{text}");
    assert!(
        text.contains("program\n") && text.contains("poststart\n") && !text.contains("poststop"),
        "{text}"
    );
    bundle.verb("delete").ok();
    assert!(log(&bundle).ends_with("\npoststop\n"));
}

fn those_of_one_list_are_called_in_order(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    let hooks: Vec<Value> = ["one", "two", "three"]
        .iter()
        .map(|word| on_host(&bundle, &format!("echo {word} >> $LOG")))
        .collect();
    bundle.config["hooks"] = json!({"createRuntime": hooks});
    bundle.create();
    assert_eq!(log(&bundle), "one\ntwo\nthree\n");
}

fn each_reads_the_state(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    everywhere(&mut bundle, |_| "cat >> $LOG; echo >> $LOG".to_owned());
    bundle.config["annotations"] = json!({"org.example.key": "value"});
    live(&bundle);
    let text = log(&bundle);
    let states: Vec<Value> = text
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(states.len(), KINDS.len(), "{text}");
    for (kind, state) in KINDS.iter().zip(&states) {
        assert_eq!(state["id"], bundle.id.as_str(), "{kind}");
        assert_eq!(state["annotations"]["org.example.key"], "value", "{kind}");
        assert_eq!(
            fs::canonicalize(state["bundle"].as_str().unwrap()).unwrap(),
            fs::canonicalize(bundle.dir()).unwrap()
        );
        assert!(*kind == "poststop" || state["pid"].as_i64().is_some_and(|pid| pid > 0), "{kind}: {state}");
    }
    let statuses: Vec<&str> = states.iter().map(|state| state["status"].as_str().unwrap()).collect();
    assert_eq!(statuses[..3], ["creating"; 3]);
    assert_eq!(statuses[3..], ["created", "running", "stopped"]);
}

fn args_and_env_are_exact(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    let path = bundle.path("log");
    let script = format!("echo \"$0|$1|$MINE|$HOME\" > {}", path.display());
    let hook =
        json!({"path": "/bin/sh", "args": ["name", "-c", script, "zero", "one word"], "env": ["MINE=x y"]});
    bundle.config["hooks"] = json!({"createRuntime": [hook]});
    bundle.create();
    assert_eq!(log(&bundle), "zero|one word|x y|\n");
}

fn paths_must_be_absolute(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.config["hooks"] = json!({"createRuntime": [{"path": "bin/true"}]});
    bundle.refused();
}

fn one_that_takes_too_long_is_ended(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    let mut hook = on_host(&bundle, "exec sleep 50");
    hook["timeout"] = json!(1);
    bundle.config["hooks"] = json!({"createRuntime": [hook]});
    let begun = std::time::Instant::now();
    bundle.refused();
    assert!(begun.elapsed().as_secs() < 40, "it was waited for");
}

fn fails_create(runtime: &Runtime, kind: &str) {
    let mut bundle = Bundle::of(runtime, "true");
    let good = on_host(&bundle, "echo first >> $LOG");
    let bad = on_host(&bundle, "exit 3");
    let late = on_host(&bundle, "echo late >> $LOG");
    bundle.config["hooks"] = json!({kind: [good, bad, late]});
    bundle.refused();
    assert_eq!(log(&bundle), "first\n");
}

fn a_failing_prestart_is_an_error(runtime: &Runtime) {
    fails_create(runtime, "prestart");
}

fn a_failing_create_runtime_is_an_error(runtime: &Runtime) {
    fails_create(runtime, "createRuntime");
}

fn a_failing_create_container_is_an_error(runtime: &Runtime) {
    fails_create(runtime, "createContainer");
}

fn own_mount_namespace() -> String {
    fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap().to_owned()
}

fn create_runtime_runs_in_the_runtimes_namespaces(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.config["hooks"] =
        json!({"createRuntime": [on_host(&bundle, "readlink /proc/self/ns/net > $LOG")]});
    bundle.create();
    assert_eq!(log(&bundle).trim(), own_mount_namespace());
}

fn create_container_runs_in_the_containers_namespaces(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.config["hooks"] = json!({"createContainer": [on_host(&bundle, "readlink /proc/self/ns/net > $LOG; readlink /proc/self/ns/mnt >> $LOG")]});
    bundle.create();
    let of = |kind: &str| {
        fs::read_link(format!("/proc/{}/ns/{kind}", bundle.pid())).unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(log(&bundle), format!("{}\n{}\n", of("net"), of("mnt")));
}

fn start_container_runs_inside(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "cat /tmp/seen");
    let script = "cat /etc/mark > /tmp/seen; hostname >> /tmp/seen";
    fs::write(bundle.inside("etc/mark"), "inside\n").unwrap();
    bundle.config["hooks"] =
        json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}]});
    assert_eq!(bundle.start_and_wait(), "inside\noci\n");
}

fn they_come_before_the_program(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "test -e /tmp/made && echo after");
    bundle.config["hooks"] =
        json!({"startContainer": [{"path": "/bin/touch", "args": ["touch", "/tmp/made"]}]});
    bundle.create();
    assert!(!bundle.inside("tmp/made").exists(), "they come with the start");
    let pid = bundle.pid();
    bundle.verb("start").ok();
    bundle.wait(pid);
    assert_eq!(bundle.output(), "after\n");
}

fn a_failing_start_container_stops_it(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "touch /tmp/ran");
    bundle.config["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]});
    bundle.create();
    let pid = bundle.pid();
    let code = bundle.verb("start").code;
    bundle.wait(pid);
    assert!(!bundle.inside("tmp/ran").exists());
    assert_ne!(code, 0, "start has not told");
}

fn poststart_comes_before_start_returns(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "sleep 100");
    bundle.config["hooks"] = json!({"poststart": [on_host(&bundle, "readlink /proc/self/ns/net >> $LOG")]});
    bundle.create();
    assert_eq!(log(&bundle), "");
    bundle.verb("start").ok();
    assert_eq!(log(&bundle).trim(), own_mount_namespace());
}

fn a_failing_poststart_is_told(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "sleep 100");
    bundle.config["hooks"] = json!({"poststart": [on_host(&bundle, "exit 3")]});
    bundle.create();
    let ran = bundle.verb("start");
    assert!(ran.code != 0 || ran.err.contains("hook"), "{ran:?}");
}

fn poststop_comes_before_delete_returns(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.config["hooks"] = json!({"poststop": [on_host(&bundle, "readlink /proc/self/ns/net >> $LOG")]});
    bundle.start_and_wait();
    assert_eq!(log(&bundle), "");
    bundle.verb("delete").ok();
    assert_eq!(log(&bundle).trim(), own_mount_namespace());
}

fn a_failing_poststop_hinders_nothing(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.config["hooks"] =
        json!({"poststop": [on_host(&bundle, "exit 3"), on_host(&bundle, "echo second >> $LOG")]});
    bundle.start_and_wait();
    bundle.verb("delete").ok();
    assert_eq!(log(&bundle), "second\n");
    assert_ne!(bundle.verb("state").code, 0);
}

fn a_failed_create_calls_poststop(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.config["hooks"] = json!({"createRuntime": [on_host(&bundle, "exit 3")], "poststop": [on_host(&bundle, "echo stopped >> $LOG")]});
    bundle.refused();
    assert_eq!(log(&bundle), "stopped\n");
}
