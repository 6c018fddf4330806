use tare_container::{NetworkMode, SeccompChoice};

use super::*;

fn checked(body: &str) -> Result<Checked> {
    let request: ContainerCreateRequest = serde_json::from_str(body).unwrap();
    container(&request, &LogSpec::default())
}

fn spec(body: &str) -> ContainerSpec {
    checked(body).unwrap().spec
}

fn refused(body: &str) -> String {
    checked(body).unwrap_err().to_string()
}

#[test]
fn what_docker_run_sends_becomes_a_spec() {
    // The body of `docker run -it --rm --name web -p 8080:80 -v data:/data -m 64m --cap-drop NET_RAW debian bash`.
    let spec = spec(
        r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":true,"AttachStdout":true,"AttachStderr":true,
        "ExposedPorts":{"80/tcp":{}},"Tty":true,"OpenStdin":true,"StdinOnce":true,"Env":null,"Cmd":["bash"],"Image":"debian",
        "Volumes":{},"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{},"HostConfig":{"Binds":["data:/data"],
        "ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"NetworkMode":"default","PortBindings":{"80/tcp":[{"HostIp":"",
        "HostPort":"8080"}]},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":true,"ConsoleSize":[40,120],
        "CapDrop":["NET_RAW"],"Memory":67108864,"PidsLimit":0,"OomKillDisable":false,"MemorySwappiness":-1},
        "NetworkingConfig":{"EndpointsConfig":{"default":{}}}}"#,
    );
    assert_eq!((spec.image.as_str(), spec.streams.console_size), ("debian", Some((40, 120))));
    assert!(spec.streams.tty && spec.streams.stdin_once && spec.lifecycle.auto_remove);
    assert_eq!(spec.network.mode, NetworkMode::Bridge);
    assert_eq!((spec.network.published.len(), spec.network.exposed.len(), spec.mounts.len()), (1, 1, 1));
    assert_eq!((spec.limits.memory.limit, spec.limits.pids), (64 << 20, Some(0)));
    assert_eq!(spec.security.capabilities_dropped.len(), 1);
    let echoed: ContainerCreateRequest = serde_json::from_str(&spec.origin).unwrap();
    assert_eq!(echoed.host_config.binds.as_deref(), Some(&["data:/data".to_owned()][..]));
}

#[test]
fn an_entrypoint_can_be_set_and_taken_away() {
    assert_eq!(spec(r#"{"Image":"a"}"#).command.entrypoint, None);
    assert_eq!(spec(r#"{"Image":"a","Entrypoint":[""]}"#).command.entrypoint, Some(vec![]));
    assert_eq!(spec(r#"{"Image":"a","Entrypoint":"sh"}"#).command.entrypoint, Some(vec!["sh".to_owned()]));
}

#[test]
fn each_wrong_field_is_named() {
    for (fields, words) in [
        (r#""Env":["=a"]"#, "invalid environment variable: =a"),
        (r#""WorkingDir":"tmp""#, "needs to be an absolute path"),
        (r#""StopSignal":"NOPE""#, "invalid signal: NOPE"),
        (r#""MacAddress":"02:42""#, "invalid mac address"),
        (r#""ExposedPorts":{"99999/tcp":{}}"#, "invalid port specification"),
        (r#""Volumes":{"data":{}}"#, "must be absolute"),
        (r#""HostConfig":{"PortBindings":{"99999/tcp":[{}]}}"#, "invalid port specification"),
        (
            r#""HostConfig":{"PortBindings":{"1-65535":[{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}]}}"#,
            "more published ports than the 10000 allowed",
        ),
        (r#""HostConfig":{"CapAdd":["NOPE"]}"#, "invalid CapAdd: unknown capability \"NOPE\""),
        (r#""HostConfig":{"Binds":["sub/dir:/x"]}"#, "includes invalid characters for a local volume name"),
        (r#""HostConfig":{"RestartPolicy":{"Name":"sometimes"}}"#, "unknown policy 'sometimes'"),
        (
            r#""HostConfig":{"RestartPolicy":{"Name":"always","MaximumRetryCount":1}}"#,
            "only be used with 'on-failure'",
        ),
        (
            r#""HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}"#,
            "can't create 'AutoRemove'",
        ),
        (r#""HostConfig":{"LogConfig":{"Type":"json-file","Config":{"max-size":"big"}}}"#, "max-size"),
        (
            r#""HostConfig":{"LogConfig":{"Type":"json-file","Config":{"colour":"red"}}}"#,
            "unknown log opt 'colour'",
        ),
        (r#""HostConfig":{"LogConfig":{"Type":"journald"}}"#, "not supported yet: the log driver"),
        (r#""HostConfig":{"Runtime":"kata"}"#, "unknown or invalid runtime name: kata"),
        (r#""HostConfig":{"SecurityOpt":["nonsense"]}"#, "invalid --security-opt"),
        (r#""HostConfig":{"VolumesFrom":["a"]}"#, "not supported yet: volumes from"),
        (r#""HostConfig":{"Mounts":[{"Type":"bind","Target":"/a"}]}"#, "field Source must not be empty"),
        (r#""HostConfig":{"Mounts":[{"Type":"bind","Source":"/a"}]}"#, "field Target must not be empty"),
        (r#""HostConfig":{"Mounts":[{"Type":"tape","Target":"/a"}]}"#, "mount type unknown"),
        (
            r#""HostConfig":{"Mounts":[{"Type":"tmpfs","Target":"/a","BindOptions":{}}]}"#,
            "field BindOptions must not",
        ),
        (r#""HostConfig":{"Dns":["resolver"]}"#, "invalid IP address"),
        (r#""HostConfig":{"MaskedPaths":["proc"]}"#, "must be absolute"),
        (r#""HostConfig":{"Ulimits":[{"Name":"nofile","Soft":-2,"Hard":1}]}"#, "invalid ulimit"),
    ] {
        let message = refused(&format!("{{\"Image\":\"a\",{fields}}}"));
        assert!(message.contains(words), "{fields}: {message}");
    }
    assert!(refused("{}").contains("no image given"));
}

#[test]
fn all_capabilities_but_the_dropped_ones() {
    let spec = spec(r#"{"Image":"a","HostConfig":{"CapAdd":["ALL"],"CapDrop":["SYS_ADMIN"]}}"#);
    assert!(!spec.security.capabilities_added.contains(&"SYS_ADMIN".parse().unwrap()));
    assert!(spec.security.capabilities_added.len() > 30);
}

#[test]
fn a_network_is_named_in_either_place() {
    let mode = |host: &str, endpoint: &str| {
        let body = format!(
            r#"{{"Image":"a","HostConfig":{{"NetworkMode":"{host}"}},"NetworkingConfig":{{"EndpointsConfig":{{"{endpoint}":null}}}}}}"#
        );
        checked(&body).map(|checked| checked.spec.network.mode)
    };
    assert_eq!(mode("", "none").unwrap(), NetworkMode::None);
    assert_eq!(mode("default", "bridge").unwrap(), NetworkMode::Bridge);
    assert_eq!(mode("front", "front").unwrap(), NetworkMode::Named("front".into()));
    assert!(mode("front", "back").is_err());
}

#[test]
fn volumes_step_back_for_mounts_at_their_place() {
    let spec = spec(
        r#"{"Image":"a","Volumes":{"/data":{},"/other":{}},"HostConfig":{"Binds":["/srv:/data:ro"],"Tmpfs":{"/run":"size=1m"},
        "Mounts":[{"Type":"volume","Source":"db","Target":"/db","ReadOnly":true,"VolumeOptions":{"NoCopy":true}},
        {"Type":"tmpfs","Target":"/t","TmpfsOptions":{"SizeBytes":1024,"Mode":511}}]}}"#,
    );
    let targets: Vec<_> = spec.mounts.iter().map(|mount| mount.target.display().to_string()).collect();
    assert_eq!(targets, ["/data", "/db", "/t", "/run", "/other"]);
    assert!(spec.mounts[0].read_only && spec.mounts[1].read_only);
    assert!(
        matches!(&spec.mounts[2].source, MountSource::Tmpfs(tmpfs) if tmpfs.size == Some(1024) && tmpfs.mode == Some(511))
    );
}

#[test]
fn what_has_no_effect_is_warned_of() {
    let warned =
        checked(r#"{"Image":"a","Healthcheck":{"Test":["CMD","true"]},"HostConfig":{"KernelMemory":1}}"#)
            .unwrap();
    assert_eq!(warned.warnings.len(), 2);
    assert_eq!(
        spec(r#"{"Image":"a","HostConfig":{"SecurityOpt":["seccomp=unconfined"]}}"#).security.seccomp,
        SeccompChoice::Unconfined
    );
}
