use serde_json::{Value, json};

use super::*;
use crate::flags::read;

fn body(words: &[&str]) -> Result<Value> {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    let creation = creation(&read(&[CREATE, RUN], true, &words)?)?;
    Ok(serde_json::to_value(creation.request).unwrap())
}

/// What the body says that one of no flags at all does not.
fn changes(words: &[&str]) -> Value {
    fn differing(plain: &Value, other: &Value) -> Value {
        let (Value::Object(plain), Value::Object(other)) = (plain, other) else { return other.clone() };
        let changed = other.iter().filter(|(key, value)| plain.get(*key) != Some(*value));
        changed
            .map(|(key, value)| (key.clone(), plain.get(key).map_or(value.clone(), |p| differing(p, value))))
            .collect()
    }
    differing(&body(&["image"]).unwrap(), &body(words).unwrap())
}

fn host(flags: &[&str]) -> Value {
    let changed = changes(&[flags, &["image"]].concat());
    assert_eq!(changed.as_object().unwrap().len(), 1, "{changed}");
    changed["HostConfig"].clone()
}

/// Taken from what Docker's own client 28.2 sends for `create alpine true`.
#[test]
fn no_flags_say_what_dockers_client_says() {
    let ours = body(&["alpine", "true"]).unwrap();
    for (key, expected) in [
        ("AttachStdin", json!(false)),
        ("AttachStdout", json!(true)),
        ("AttachStderr", json!(true)),
        ("Env", Value::Null),
        ("Cmd", json!(["true"])),
        ("Image", json!("alpine")),
        ("Volumes", json!({})),
        ("Entrypoint", Value::Null),
        ("Labels", json!({})),
    ] {
        assert_eq!(ours[key], expected, "{key}");
    }
    for (key, expected) in [
        ("NetworkMode", json!("default")),
        ("PortBindings", json!({})),
        ("RestartPolicy", json!({"Name": "no", "MaximumRetryCount": 0})),
        ("LogConfig", json!({"Type": "", "Config": {}})),
        ("Dns", json!([])),
        ("MemorySwappiness", json!(-1)),
        ("OomKillDisable", json!(false)),
        ("PidsLimit", json!(0)),
        ("MaskedPaths", Value::Null),
        ("Binds", Value::Null),
    ] {
        assert_eq!(ours["HostConfig"][key], expected, "{key}");
    }
    assert!(ours["HostConfig"].get("Init").is_none() && ours.get("StopTimeout").is_none());
    assert!(ours["NetworkingConfig"]["EndpointsConfig"].get("default").is_some());
}

#[test]
fn flags_of_the_program_reach_its_configuration() {
    let said = changes(&[
        "-it",
        "-e",
        "A=B",
        "-h",
        "web",
        "-u",
        "1:2",
        "-w",
        "/w",
        "-l",
        "x=y",
        "--entrypoint",
        "",
        "--stop-signal",
        "INT",
        "--stop-timeout",
        "3",
        "--health-cmd",
        "true",
        "--health-interval",
        "5s",
        "image",
        "sh",
        "-c",
        "echo -i",
    ]);
    assert_eq!(
        said,
        json!({
            "AttachStdin": true, "OpenStdin": true, "StdinOnce": true, "Tty": true, "Env": ["A=B"], "Hostname": "web", "User": "1:2",
            "WorkingDir": "/w", "Labels": {"x": "y"}, "Entrypoint": [""], "StopSignal": "INT", "StopTimeout": 3,
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000_u64}, "Cmd": ["sh", "-c", "echo -i"],
        })
    );
}

#[test]
fn flags_of_the_host_reach_its_configuration() {
    assert_eq!(
        host(&["--cpus", "1.5", "-m", "64m", "--memory-swap", "-1"]),
        json!({"NanoCpus": 1_500_000_000, "Memory": 67_108_864, "MemorySwap": -1})
    );
    assert_eq!(host(&["-v", "/a:/b:ro", "-v", "data:/d"]), json!({"Binds": ["/a:/b:ro", "data:/d"]}));
    assert_eq!(
        host(&["--cap-add", "net_admin", "--cap-drop", "ALL"]),
        json!({"CapAdd": ["CAP_NET_ADMIN"], "CapDrop": ["ALL"]})
    );
    assert_eq!(
        host(&["--tmpfs", "/run:size=1m", "--shm-size", "1g"]),
        json!({"Tmpfs": {"/run": "size=1m"}, "ShmSize": 1_u64 << 30})
    );
    assert_eq!(
        host(&["--restart", "on-failure:3"]),
        json!({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}})
    );
    assert_eq!(
        host(&["--init", "--rm", "--read-only", "-P"]),
        json!({"Init": true, "AutoRemove": true, "ReadonlyRootfs": true, "PublishAllPorts": true})
    );
    assert_eq!(
        host(&["--log-driver", "json-file", "--log-opt", "max-size=1m"]),
        json!({"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}})
    );
    assert_eq!(
        host(&["--security-opt", "systempaths=unconfined"]),
        json!({"MaskedPaths": [], "ReadonlyPaths": []})
    );
    assert_eq!(host(&["--init=false"]), json!({"Init": false}));
    assert_eq!(
        host(&["--gpus", "all"]),
        json!({"DeviceRequests": [{"Driver": "", "Count": -1, "DeviceIDs": null, "Capabilities": [["gpu"]], "Options": {}}]})
    );
}

#[test]
fn ports_and_volumes_stand_on_both_sides() {
    let said =
        changes(&["-p", "127.0.0.1:53:53/udp", "-p", "8080:80", "--expose", "99", "-v", "/anon", "image"]);
    assert_eq!(
        said,
        json!({
            "ExposedPorts": {"53/udp": {}, "80/tcp": {}, "99/tcp": {}}, "Volumes": {"/anon": {}},
            "HostConfig": {"PortBindings": {
                "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}], "80/tcp": [{"HostIp": "", "HostPort": "8080"}],
            }},
        })
    );
}

#[test]
fn the_first_network_is_the_mode_and_takes_the_flags() {
    let said = changes(&[
        "--network",
        "web",
        "--network",
        "n2",
        "--network-alias",
        "w",
        "--ip",
        "10.0.0.5",
        "--link",
        "a:b",
        "image",
    ]);
    assert_eq!(said["HostConfig"]["NetworkMode"], "web");
    let endpoints = &said["NetworkingConfig"]["EndpointsConfig"];
    assert_eq!(endpoints["web"]["IPAMConfig"], json!({"IPv4Address": "10.0.0.5"}));
    assert_eq!((&endpoints["web"]["Aliases"], &endpoints["web"]["Links"]), (&json!(["w"]), &json!(["a:b"])));
    assert!(endpoints["n2"]["Aliases"].is_null() && endpoints.get("default").is_none());
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_sent() {
    for (flags, expected) in [
        (&["--restart", "always", "--rm"][..], "conflicting options: cannot specify both --restart and --rm"),
        (&["--no-healthcheck", "--health-cmd", "x"], "--no-healthcheck conflicts with --health-* options"),
        (&["-p", "99999:1"], "invalid hostPort: 99999"),
        (&["--memory-swappiness", "200"], "invalid value: 200. Valid memory swappiness range is 0-100"),
        (
            &["-a", "foo"],
            "invalid argument \"foo\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR",
        ),
        (&["--ulimit", "x=1"], "invalid argument \"x=1\" for \"--ulimit\" flag: invalid ulimit type: x"),
        (
            &["--pull", "foo"],
            "invalid pull option: 'foo': must be one of \"always\", \"missing\" or \"never\"",
        ),
        (&["--pid", "foo"], "--pid: invalid PID mode"),
        (&["--log-driver", "none", "--log-opt", "a=b"], "invalid logging opts for driver none"),
        (&["-e", "=x"], "invalid argument \"=x\" for \"-e, --env\" flag: invalid environment variable: =x"),
        (
            &["--blkio-weight", "70000"],
            "invalid argument \"70000\" for \"--blkio-weight\" flag: a whole number in range is wanted",
        ),
        (&["--network", "a", "--network", "a"], "network \"a\" is specified multiple times"),
        (&["--cpu-count", "1"], "not supported yet: --cpu-count"),
        (
            &["--add-host", "foo"],
            "invalid argument \"foo\" for \"--add-host\" flag: bad format for add-host: \"foo\"",
        ),
    ] {
        let failure = body(&[flags, &["image"]].concat()).unwrap_err();
        assert_eq!((failure.message.as_str(), failure.code), (expected, 125), "{flags:?}");
    }
}
