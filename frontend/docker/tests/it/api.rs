//! What clients see of an empty daemon.

use crate::Api;

#[tokio::test]
async fn ping_tells_which_version_to_speak() {
    let api = Api::start().await;
    for (method, path) in [("GET", "/_ping"), ("HEAD", "/_ping"), ("GET", "/v1.30/_ping")] {
        let answer = api.ask(method, path, None).await;
        assert_eq!(answer.status, 200, "{method} {path}");
        for header in [
            "api-version: 1.51",
            "ostype: linux",
            "docker-experimental: false",
            "builder-version: ",
            "server: tare/",
        ] {
            assert!(answer.head.contains(header), "{method} {path}: {header} in {}", answer.head);
        }
        assert_eq!(answer.body, if method == "HEAD" { "" } else { "OK" });
    }
}

#[tokio::test]
async fn versions_outside_the_range_are_refused() {
    let api = Api::start().await;
    let newer = api.ask("GET", "/v1.99/info", None).await;
    assert_eq!(
        (newer.status, newer.message().as_str()),
        (400, "client version 1.99 is too new. Maximum supported API version is 1.51")
    );
    assert!(newer.head.contains("api-version: 1.51"), "{}", newer.head);
    assert_eq!(api.ask("GET", "/v1.23/info", None).await.status, 400);
}

#[tokio::test]
async fn an_empty_daemon_lists_nothing_but_its_networks() {
    let api = Api::start().await;
    for prefix in ["", "/v1.24", "/v1.51"] {
        for (path, body) in [("/containers/json?all=1", "[]\n"), ("/images/json", "[]\n")] {
            let answer = api.ask("GET", &format!("{prefix}{path}"), None).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, body), "{prefix}{path}");
        }
    }
    let networks: serde_json::Value =
        serde_json::from_str(&api.ask("GET", "/networks", None).await.body).unwrap();
    let mut names: Vec<_> =
        networks.as_array().unwrap().iter().map(|network| network["Name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["bridge", "host", "none"]);
    let info: serde_json::Value = serde_json::from_str(&api.ask("GET", "/info", None).await.body).unwrap();
    assert_eq!((info["Containers"].as_u64(), info["OSType"].as_str()), (Some(0), Some("linux")));
    let version: serde_json::Value =
        serde_json::from_str(&api.ask("GET", "/version", None).await.body).unwrap();
    assert_eq!(
        (version["ApiVersion"].as_str(), version["MinAPIVersion"].as_str()),
        (Some("1.51"), Some("1.24"))
    );
}

#[tokio::test]
async fn malformed_bodies_are_refused_before_anything_happens() {
    let api = Api::start().await;
    let deep = "[".repeat(100_000);
    for body in [
        "{",
        "[]",
        "\"x\"",
        "{\"Image\":5}",
        "{\"Image\":\"a\"}x",
        "{\"HostConfig\":{\"Memory\":1e300}}",
        &deep,
        "",
    ] {
        let answer = api.ask("POST", "/v1.51/containers/create", Some(body)).await;
        assert_eq!(answer.status, 400, "{body:.40}");
        assert!(answer.message().len() > 5, "{body:.40}");
    }
    let form = api.ask_as("POST", "/containers/create", Some("{\"Image\":\"a\"}"), "text/plain").await;
    assert_eq!(form.status, 400);
    assert!(form.message().contains("must be 'application/json'"), "{}", form.message());
    let huge = format!("{{\"Image\":\"{}\"}}", "a".repeat(5 << 20));
    assert_eq!(api.ask("POST", "/containers/create", Some(&huge)).await.status, 400);
}

#[tokio::test]
async fn what_does_not_exist_is_404_in_dockers_words() {
    let api = Api::start().await;
    for (method, path, body, words) in [
        ("GET", "/containers/nobody/json", None, "No such container: nobody"),
        ("POST", "/containers/nobody/start", None, "No such container: nobody"),
        ("POST", "/containers/nobody/wait", None, "No such container: nobody"),
        ("POST", "/containers/nobody/attach?stream=1&stdout=1", None, "No such container: nobody"),
        ("GET", "/containers/nobody/logs?stdout=1", None, "No such container: nobody"),
        ("POST", "/containers/nobody/exec", Some("{\"Cmd\":[\"true\"]}"), "No such container: nobody"),
        ("POST", "/exec/nobody/start", Some("{}"), "No such exec instance: nobody"),
        ("DELETE", "/containers/nobody", None, "No such container: nobody"),
        ("GET", "/images/a/b:c/json", None, "No such image: a/b:c"),
        ("DELETE", "/images/a%2Fb:c", None, "No such image: a/b:c"),
        ("POST", "/containers/create", Some("{\"Image\":\"no/such:image\"}"), "No such image: no/such:image"),
        ("GET", "/volumes/nothing", None, "no such volume"),
        ("GET", "/networks/nothing", None, "nothing"),
        ("GET", "/nothing/here", None, "page not found"),
    ] {
        let answer = api.ask(method, path, body).await;
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.body);
        assert!(answer.message().contains(words), "{method} {path}: {}", answer.body);
    }
}

#[tokio::test]
async fn parameters_that_make_no_sense_are_refused() {
    let api = Api::start().await;
    for (method, path) in [
        ("GET", "/containers/json?filters={"),
        ("GET", "/containers/json?filters=%7B%22colour%22%3A%5B%22red%22%5D%7D"),
        ("GET", "/containers/json?filters=%7B%22status%22%3A%5B%22happy%22%5D%7D"),
        ("GET", "/containers/json?limit=many"),
        ("GET", "/events?since=never"),
        ("GET", "/images/json?filters=[]"),
        ("POST", "/containers/a/wait?condition=bored"),
        ("POST", "/containers/a/kill?signal=NOPE"),
        ("POST", "/containers/a/stop?t=soon"),
        ("POST", "/containers/a/resize?h=1"),
        ("POST", "/containers/a/rename"),
        ("POST", "/containers/a/attach?detachKeys=ctrl-alt-del"),
        ("POST", "/containers/create?name=a%20b"),
        ("POST", "/images/create"),
        ("POST", "/images/create?fromImage=Upper"),
        ("GET", "/containers/a/logs"),
    ] {
        let body = path.starts_with("/containers/create").then_some("{\"Image\":\"a\"}");
        let answer = api.ask(method, path, body).await;
        assert_eq!(answer.status, 400, "{method} {path}: {}", answer.body);
        assert!(!answer.message().is_empty(), "{method} {path}");
    }
}

#[tokio::test]
async fn paths_with_tricks_never_reach_a_handler() {
    let api = Api::start().await;
    for path in [
        "/v1.51/containers/../../etc/json",
        "/v1.51//containers/json",
        "/containers/%2e%2e/json",
        "/images/..%2f..%2fetc/json",
    ] {
        let answer = api.ask("GET", path, None).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.body);
        assert!(answer.message().starts_with("invalid path"), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn volumes_are_made_listed_and_removed() {
    let api = Api::start().await;
    let made = api.ask("POST", "/volumes/create", Some("{\"Name\":\"kept\",\"Labels\":{\"a\":\"b\"}}")).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let made: serde_json::Value = serde_json::from_str(&made.body).unwrap();
    assert_eq!((made["Driver"].as_str(), made["Scope"].as_str()), (Some("local"), Some("local")));
    for (filter, count) in [
        ("{\"label\":[\"a=b\"]}", 1),
        ("{\"label\":{\"a=c\":true}}", 0),
        ("{\"dangling\":[\"true\"]}", 1),
        ("{\"name\":[\"ep\"]}", 1),
    ] {
        let filter = filter.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let listed = api.ask("GET", &format!("/volumes?filters={filter}"), None).await;
        let listed: serde_json::Value = serde_json::from_str(&listed.body).unwrap();
        assert_eq!(listed["Volumes"].as_array().unwrap().len(), count, "{filter}");
    }
    assert_eq!(api.ask("POST", "/volumes/create", Some("{\"Name\":\"../x\"}")).await.status, 400);
    let kept = api.ask("POST", "/volumes/prune", None).await;
    assert!(kept.body.contains("\"VolumesDeleted\":[]"), "a named volume is kept: {}", kept.body);
    let pruned = api.ask("POST", "/v1.41/volumes/prune", None).await;
    assert!(pruned.body.contains("kept"), "before 1.42 it was not: {}", pruned.body);
    assert_eq!(api.ask("DELETE", "/volumes/kept", None).await.status, 404);
    let events = api.ask(
        "GET",
        "/events?since=1&until=2000000000&filters=%7B%22type%22%3A%5B%22volume%22%5D%7D",
        None,
    );
    let told = async {
        while !api.ask("GET", "/info", None).await.body.contains("\"NEventsListener\":1") {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = events => panic!("it waits for more: {}", answer.body),
        () = told => {}
    }
}
