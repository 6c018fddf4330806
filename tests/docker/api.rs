use anyhow::Result;
use tare_tests::World;

#[test]
fn every_version_from_1_24_to_1_51_is_answered_and_others_are_not() -> Result<()> {
    let world = World::new()?;
    for prefix in ["", "/v1.24", "/v1.40", "/v1.51"] {
        assert_eq!(world.api("GET", &format!("{prefix}/_ping"), None)?, (200, "OK".to_owned()), "{prefix}");
        let (status, version) = world.api("GET", &format!("{prefix}/version"), None)?;
        let version: serde_json::Value = serde_json::from_str(&version)?;
        assert_eq!((status, version["ApiVersion"].as_str()), (200, Some("1.51")), "{prefix}");
        assert_eq!(world.api("GET", &format!("{prefix}/containers/json"), None)?.0, 200, "{prefix}");
    }
    for prefix in ["/v1.52", "/v1.23", "/v2.0"] {
        let (status, text) = world.api("GET", &format!("{prefix}/info"), None)?;
        assert_eq!(status, 400, "{prefix}: {text}");
        assert!(text.contains("version"), "{text}");
    }
    Ok(())
}

#[test]
fn what_is_not_there_yet_says_so() -> Result<()> {
    let world = World::new()?;
    for (method, path) in [
        ("POST", "/build?version=2"),
        ("POST", "/session"),
        ("GET", "/plugins"),
        ("POST", "/containers/x/update"),
        ("POST", "/networks/create"),
    ] {
        let (status, text) = world.api(method, path, Some("{}"))?;
        assert!(status == 501 && text.contains("not supported yet"), "{method} {path}: {status} {text}");
    }
    let (status, text) = world.api("GET", "/nothing/here", None)?;
    assert!(status == 404 && text.contains("page not found"), "{status} {text}");
    let (status, text) = world.api("GET", "/swarm", None)?;
    assert!(status == 503 && text.contains("not a swarm manager"), "{status} {text}");
    Ok(())
}

#[test]
fn bad_requests_are_refused_with_a_reason_and_leave_nothing() -> Result<()> {
    let world = World::new()?;
    let image = world.push_busybox()?;
    world.tare(&["pull", "-q", &image])?.ok();
    let create = |body: &str| world.api("POST", "/v1.51/containers/create", Some(body));
    for (body, status) in [
        ("{", 400),
        ("[]", 400),
        ("", 400),
        ("{\"Image\": 5}", 400),
        ("{\"Image\": \"no/such:image\"}", 404),
        (&format!("{{\"Image\": \"{image}\", \"HostConfig\": {{\"Memory\": -5}}}}"), 400),
        (&format!("{{\"Image\": \"{image}\", \"HostConfig\": {{\"Memory\": 1e300}}}}"), 400),
        (&format!("{{\"Image\": \"{image}\", \"HostConfig\": {{\"CapAdd\": [\"NOPE\"]}}}}"), 400),
        (&format!("{{\"Image\": \"{image}\", \"HostConfig\": {{\"Binds\": [\"sub/dir:/x\"]}}}}"), 400),
        (
            &format!(
                "{{\"Image\": \"{image}\", \"HostConfig\": {{\"PortBindings\": {{\"99999/tcp\": [{{}}]}}}}}}"
            ),
            400,
        ),
        (&format!("{{\"Image\": \"{image}\", \"WorkingDir\": \"relative\"}}"), 400),
        (&format!("{{\"Image\": \"{image}\", \"StopSignal\": \"NOPE\"}}"), 400),
    ] {
        let (got, text) = create(body)?;
        assert_eq!(got, status, "{body}: {text}");
        let message: serde_json::Value = serde_json::from_str(&text)?;
        assert!(message["message"].as_str().is_some_and(|m| m.len() > 5), "{body}: {text}");
    }
    assert_eq!(world.tare(&["ps", "-aq"])?.ok(), "");
    world.assert_clean(&[])?;
    for path in
        ["/v1.51/containers/../../etc/json", "/v1.51//containers/json", "/v1.51/containers/%2e%2e/json"]
    {
        assert!(world.api("GET", path, None)?.0 >= 400 || path.contains("//"), "{path}");
    }
    Ok(())
}

#[test]
fn info_and_version_describe_the_machine_to_both_clients() -> Result<()> {
    let world = World::new()?;
    for (client, run) in world.clients() {
        assert!(run(&["version"])?.ok().contains("1.51"), "{client}");
        let info = run(&["info", "--format", "{{.NCPU}} {{.OSType}} {{.Driver}}"])?;
        assert!(
            info.ok().ends_with("linux overlayfs") || info.ok().ends_with("linux overlay2"),
            "{client}: {info:?}"
        );
    }
    Ok(())
}
