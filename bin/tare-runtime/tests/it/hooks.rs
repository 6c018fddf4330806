//! Hooks: when, where, and what becomes of their failures.

use std::fs;

use serde_json::{Value, json};

use crate::world::World;

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook of a shell that adds to a file of the bundle; `here` is the bundle, as the hook sees it.
fn hook(script: &str) -> Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], "timeout": 10}])
}

fn world(script: &str) -> Option<World> {
    let mut world = World::of(script)?;
    world.config["root"]["readonly"] = json!(false);
    Some(world)
}

/// What every hook was told, in order.
fn told(world: &World, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(world.path(name)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_is_called_in_its_time_with_the_state() {
    let Some(mut world) = world("exec sleep 1000") else { return };
    let log = world.path("told").display().to_string();
    for kind in KINDS.into_iter().filter(|kind| *kind != "startContainer") {
        world.config["hooks"][kind] = hook(&format!("cat >> {log}; echo >> {log}"));
    }
    world.config["hooks"]["startContainer"] = hook("cat > /tmp/told; echo >> /tmp/told");
    world.save();
    world.create().ok();
    let pid = world.pid();
    let state = |status: &str, pid: i32| (json!(status), json!(pid), json!(world.id));
    let seen = |name: &str| -> Vec<(Value, Value, Value)> {
        told(&world, name).iter().map(|s| (s["status"].clone(), s["pid"].clone(), s["id"].clone())).collect()
    };
    assert_eq!(seen("told"), vec![state("creating", pid); 3]);
    assert!(!world.path("rootfs/tmp/told").exists());
    world.verb("start").ok();
    assert_eq!(seen("rootfs/tmp/told"), [state("created", pid)]);
    assert_eq!(seen("told")[3..], [state("running", pid)]);
    world.tare(&["delete", "--force", &world.id]).ok();
    assert_eq!(seen("told")[4..], [state("stopped", 0)]);
}

#[test]
fn the_first_ones_are_outside_and_the_next_inside() {
    let Some(mut world) = world("true") else { return };
    let look = |file: &str| {
        let (out, root) = (world.path(file), world.path("rootfs"));
        let (out, root) = (out.display(), root.display());
        format!(
            "(readlink /proc/self/ns/mnt; [ -e {root}/dev/null ] && echo dev; [ -e {root}/proc/version ] && echo proc; true) > {out}"
        )
    };
    let hooks = json!({"createRuntime": hook(&look("outside")), "createContainer": hook(&look("inside"))});
    let own = fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    world.config["hooks"] = hooks;
    world.save();
    world.create().ok();
    let seen = |name: &str| fs::read_to_string(world.path(name)).unwrap_or_default();
    assert_eq!(seen("outside"), format!("{own}\n"));
    let inside = seen("inside");
    assert!(inside.ends_with("\ndev\nproc\n") && !inside.starts_with(&own), "{inside}");
}

#[test]
fn a_refusal_ends_the_container() {
    let Some(mut world) = world("exec sleep 1000") else { return };
    let gone = world.path("gone").display().to_string();
    for kind in ["prestart", "createRuntime", "createContainer"] {
        world.config["hooks"] =
            json!({kind: hook("echo no luck >&2; exit 3"), "poststop": hook(&format!("echo x >> {gone}"))});
        world.save();
        world.create().refused(&format!("{kind} hook 0: /bin/sh: exit code 3: no luck"));
        assert!(world.is_clean(), "{kind}");
    }
    assert_eq!(fs::read_to_string(gone).unwrap(), "x\nx\nx\n");
    for kind in ["startContainer", "poststart"] {
        world.config["hooks"] = json!({kind: hook("exit 3")});
        world.save();
        world.create().ok();
        world.verb("start").refused(&format!("{kind} hook 0: /bin/sh: exit code 3"));
        assert_eq!(world.status(), "stopped", "{kind}");
        world.verb("delete").ok();
    }
    world.config["hooks"] = json!({"poststop": [{"path": "/no/such"}]});
    world.save();
    world.create().ok();
    let deleted = world.verb("delete");
    assert!(deleted.err.contains("poststop hook 0: /no/such: no such file or directory"), "{deleted:?}");
    deleted.ok();
    assert!(world.is_clean());
}

#[test]
fn time_runs_out() {
    let Some(mut world) = world("true") else { return };
    world.config["hooks"] =
        json!({"createContainer": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]});
    world.save();
    world.create().refused("createContainer hook 0: /bin/sleep: did not end within 1 s");
    assert!(world.is_clean());
    world.config["hooks"] = json!({"poststart": [{"path": "true"}]});
    world.save();
    world.create().refused("invalid hooks.poststart[0].path: must be absolute");
    assert!(world.is_clean());
}
