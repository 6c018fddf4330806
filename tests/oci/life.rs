//! runtime.md: operations, their order and their errors.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::runtime::Runtime;

clauses! {
    "runtime.md#lifecycle" {
        create_makes_the_environment_before_the_start "create makes all resources of config.json: namespaces, mounts, root, groups"
        later_changes_of_the_configuration_do_nothing "Changes of config.json after create have no effect"
        what_cannot_be_made_is_an_error "An environment that cannot be made is an error"
    }
    "runtime.md#errors" {
        a_failed_create_leaves_nothing "An error leaves everything as if nothing had been tried: no container, no group, no mount"
    }
    "runtime.md#create" {
        needs_an_id "create without an id is an error"
        needs_a_bundle "create with a bundle that is not there is an error"
        a_taken_id_is_an_error "An id that is taken is an error, and the container that has it is unharmed"
        an_invalid_id_is_an_error "An invalid id is an error"
        does_not_run_the_program "create does not run the program"
        the_status_is_created "After create the status is created"
    }
    "runtime.md#start" {
        start_needs_an_id "start without an id is an error"
        start_of_the_unknown_is_an_error "start of a container that does not exist is an error"
        start_of_the_started_is_an_error "start of a container that runs is an error and has no effect"
        start_of_the_stopped_is_an_error "start of a container that has stopped is an error"
        start_runs_the_program "start runs the program of process"
        the_status_is_running "After start the status is running"
    }
    "runtime.md#kill" {
        kill_needs_an_id "kill without an id is an error"
        kill_of_the_unknown_is_an_error "kill of a container that does not exist is an error"
        kill_of_the_stopped_is_an_error "kill of a container that has stopped is an error"
        kill_sends_the_signal "kill sends the signal that is named, by name or by number"
        kill_of_the_created_reaches_it "A container that is created can be killed"
        the_status_is_stopped "When the process has ended the status is stopped, whatever ended it"
    }
    "runtime.md#delete" {
        delete_needs_an_id "delete without an id is an error"
        delete_of_the_unknown_is_an_error "delete of a container that does not exist is an error"
        delete_of_the_running_is_an_error "delete of a container that runs is an error and has no effect"
        delete_removes_what_create_made "delete removes what create made: state and groups"
        delete_spares_what_others_made "delete does not remove what the container did not make: bundle, volumes, joined namespaces"
        the_id_is_free_again "After delete the id can be used again"
    }
}

fn create_makes_the_environment_before_the_start(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.mount("/tmp", "tmpfs", "tmpfs", &["size=8k"]);
    bundle.create();
    let pid = bundle.pid();
    for kind in ["pid", "net", "ipc", "uts", "mnt"] {
        let of = |who: &str| fs::read_link(format!("/proc/{who}/ns/{kind}")).unwrap();
        assert_ne!(of(&pid.to_string()), of("self"), "{kind}");
    }
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    assert!(mounts.lines().any(|line| line.contains(" /tmp ") && line.contains("size=8k")), "{mounts}");
    assert!(Path::new(&format!("/proc/{pid}/root/bin/busybox")).exists());
    assert!(bundle.groups().iter().any(|(_, path)| path != "/"), "{:?}", bundle.groups());
}

fn later_changes_of_the_configuration_do_nothing(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "echo first");
    bundle.create();
    let pid = bundle.pid();
    bundle.process()["args"] = json!(["/bin/sh", "-c", "echo second"]);
    bundle.save();
    bundle.verb("start").ok();
    bundle.wait(pid);
    assert_eq!(bundle.output(), "first\n");
}

fn what_cannot_be_made_is_an_error(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.mount("/tmp", "bind", "/no/such/source", &["bind"]);
    bundle.refused();
}

fn a_failed_create_leaves_nothing(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    let group = format!("/{}", bundle.id);
    bundle.linux()["cgroupsPath"] = json!(group);
    bundle.mount("/tmp", "nosuchfs", "nosuchfs", &[]);
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    bundle.refused();
    let left: Vec<_> = fs::read_dir("/sys/fs/cgroup")
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join(&bundle.id))
        .filter(|path| path.exists())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let of_bundle = |text: &str| text.lines().filter(|line| line.contains(&bundle.dir())).count();
    assert_eq!(of_bundle(&fs::read_to_string("/proc/self/mountinfo").unwrap()), of_bundle(&before));
    let entries = || fs::read_dir(bundle.path("state")).into_iter().flatten().flatten();
    assert!(!entries().any(|entry| entry.file_name().to_string_lossy().contains(&bundle.id)));
}

fn needs_an_id(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "true");
    bundle.save();
    assert_ne!(bundle.leaving(&["create", "--bundle", &bundle.dir()]).code, 0);
}

fn needs_a_bundle(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "true");
    assert_ne!(bundle.leaving(&["create", "--bundle", "/no/such/bundle", &bundle.id]).code, 0);
}

fn a_taken_id_is_an_error(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "sleep 100");
    bundle.create();
    let state = bundle.state();
    assert_ne!(bundle.try_create().code, 0);
    assert_eq!(bundle.state(), state);
    bundle.verb("start").ok();
}

fn an_invalid_id_is_an_error(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "true");
    bundle.save();
    for id in ["", "a/b", "../x", ".."] {
        assert_ne!(bundle.leaving(&["create", "--bundle", &bundle.dir(), id]).code, 0, "{id:?}");
    }
}

fn does_not_run_the_program(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "touch /tmp/ran");
    bundle.create();
    assert!(!bundle.inside("tmp/ran").exists());
    let pid = bundle.pid();
    bundle.verb("start").ok();
    bundle.wait(pid);
    assert!(bundle.inside("tmp/ran").exists(), "it is the start that runs it");
}

fn the_status_is_created(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "true");
    bundle.create();
    assert_eq!(bundle.status(), "created");
}

fn start_needs_an_id(runtime: &Runtime) {
    assert_ne!(Bundle::of(runtime, "true").cli(&["start"]).code, 0);
}

fn start_of_the_unknown_is_an_error(runtime: &Runtime) {
    assert_ne!(Bundle::of(runtime, "true").verb("start").code, 0);
}

fn start_of_the_started_is_an_error(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "echo once; sleep 100; true");
    bundle.start();
    bundle.hear("once");
    let pid = bundle.pid();
    assert_ne!(bundle.verb("start").code, 0);
    assert_eq!(
        (bundle.pid(), bundle.status().as_str(), bundle.output().as_str()),
        (pid, "running", "once\n")
    );
}

fn start_of_the_stopped_is_an_error(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "echo once");
    bundle.start_and_wait();
    assert_ne!(bundle.verb("start").code, 0);
    assert_eq!((bundle.status().as_str(), bundle.output().as_str()), ("stopped", "once\n"));
}

fn start_runs_the_program(runtime: &Runtime) {
    assert_eq!(Bundle::of(runtime, "echo it runs").start_and_wait(), "it runs\n");
}

fn the_status_is_running(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "sleep 100");
    bundle.start();
    assert_eq!(bundle.status(), "running");
}

fn kill_needs_an_id(runtime: &Runtime) {
    assert_ne!(Bundle::of(runtime, "true").cli(&["kill"]).code, 0);
}

fn kill_of_the_unknown_is_an_error(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "true");
    assert_ne!(bundle.cli(&["kill", &bundle.id, "KILL"]).code, 0);
}

fn kill_of_the_stopped_is_an_error(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "true");
    bundle.start_and_wait();
    assert_ne!(bundle.cli(&["kill", &bundle.id, "KILL"]).code, 0);
    assert_eq!(bundle.status(), "stopped");
}

fn kill_sends_the_signal(runtime: &Runtime) {
    let script =
        "for s in USR1 USR2 HUP; do trap \"echo got $s\" $s; done; echo ready; while :; do sleep 0.05; done";
    let bundle = Bundle::of(runtime, script);
    bundle.start();
    bundle.hear("ready");
    for (signal, heard) in [("USR1", "got USR1"), ("SIGUSR2", "got USR2"), ("1", "got HUP")] {
        bundle.cli(&["kill", &bundle.id, signal]).ok();
        bundle.hear(heard);
    }
    assert_eq!(bundle.status(), "running");
}

fn kill_of_the_created_reaches_it(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "true");
    bundle.create();
    let pid = bundle.pid();
    bundle.cli(&["kill", &bundle.id, "KILL"]).ok();
    bundle.wait(pid);
    assert_eq!(bundle.status(), "stopped");
}

fn the_status_is_stopped(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "sleep 100");
    bundle.start();
    let pid = bundle.pid();
    bundle.cli(&["kill", &bundle.id, "KILL"]).ok();
    bundle.wait(pid);
    assert_eq!(bundle.status(), "stopped");
}

fn delete_needs_an_id(runtime: &Runtime) {
    assert_ne!(Bundle::of(runtime, "true").cli(&["delete"]).code, 0);
}

fn delete_of_the_unknown_is_an_error(runtime: &Runtime) {
    assert_ne!(Bundle::of(runtime, "true").verb("delete").code, 0);
}

fn delete_of_the_running_is_an_error(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "sleep 100");
    bundle.start();
    let pid = bundle.pid();
    assert_ne!(bundle.verb("delete").code, 0);
    assert_eq!((bundle.status().as_str(), bundle.pid()), ("running", pid));
}

fn delete_removes_what_create_made(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.linux()["cgroupsPath"] = json!(format!("/{}", bundle.id));
    bundle.start_and_wait();
    bundle.verb("delete").ok();
    assert_ne!(bundle.verb("state").code, 0);
    let groups = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path().join(&bundle.id));
    assert_eq!(groups.filter(|path| path.exists()).count(), 0);
}

fn delete_spares_what_others_made(runtime: &Runtime) {
    let owner = Bundle::of(runtime, "sleep 100; true");
    owner.start();
    let mut bundle = Bundle::of(runtime, "touch /tmp/mine");
    let volume = tempfile::tempdir().unwrap();
    fs::write(volume.path().join("kept"), "kept").unwrap();
    bundle.mount("/tmp", "bind", volume.path().to_str().unwrap(), &["bind"]);
    bundle.namespace("network", Some(&format!("/proc/{}/ns/net", owner.pid())));
    bundle.start_and_wait();
    bundle.verb("delete").ok();
    assert_eq!(fs::read_to_string(volume.path().join("kept")).unwrap(), "kept");
    assert!(volume.path().join("mine").exists() && bundle.inside("bin/busybox").exists());
    assert_eq!(owner.status(), "running");
}

fn the_id_is_free_again(runtime: &Runtime) {
    let bundle = Bundle::of(runtime, "true");
    bundle.start_and_wait();
    bundle.verb("delete").ok();
    bundle.create();
    assert_eq!(bundle.status(), "created");
}
