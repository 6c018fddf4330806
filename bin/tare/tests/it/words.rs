//! Command lines, lists and messages.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::daemon::{Fake, Reply, error, nothing};
use crate::{err, out, ran, tare};

fn deaf() -> Fake {
    Fake::start(|asked| error(500, &format!("nobody should ask {}", asked.what)))
}

#[test]
fn mistakes_are_named_with_a_way_out() {
    let fake = deaf();
    for (words, code, message) in [
        (
            &["rnu"][..],
            1,
            "tare: unknown command: tare rnu\nhint: did you mean run? 'tare --help' shows all commands\n",
        ),
        (&["swarm", "init"], 1, "tare: not supported yet: tare swarm\n"),
        (&["ps", "--al"], 125, "tare: unknown flag: --al\nhint: did you mean --all?\n"),
        (&["run", "-m", "1x", "image"], 125, "tare: invalid argument \"1x\" for \"-m, --memory\" flag: "),
        (
            &["stop"],
            1,
            "tare: 'tare stop' requires at least 1 argument\nhint: Usage:  tare stop [OPTIONS] CONTAINER [CONTAINER...]\n",
        ),
        (&["container", "lss"], 1, "tare: unknown command: tare container lss\nhint: did you mean ls?"),
        (&["ps", "--format", "{{.ID"], 125, "tare: template parsing error: "),
        (&["run", "--cpu-count", "2", "image"], 125, "tare: not supported yet: --cpu-count\n"),
        (&["-H", "bogus", "ps"], 1, "tare: invalid host \"bogus\": "),
    ] {
        let failed = ran(&fake, words);
        assert!(err(&failed).starts_with(message), "{words:?}: {}", err(&failed));
        assert_eq!(failed.status.code(), Some(code), "{words:?}");
    }
    assert!(fake.asked().is_empty(), "{:?}", fake.asked());
}

#[test]
fn a_daemon_that_is_not_there_is_no_mystery() {
    let fake = deaf();
    let nowhere = tare(&fake).args(["-H", "unix:///nonexistent/tare.sock", "ps"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(err(&nowhere).contains("cannot connect to the tare daemon at unix:///nonexistent/tare.sock"));
    assert!(
        err(&nowhere).contains(
            "hint: is it running? start one with: tare daemon --host unix:///nonexistent/tare.sock"
        )
    );
}

#[test]
fn of_several_each_is_tried_and_named() {
    let fake = Fake::start(|asked| match asked.what.as_str() {
        "POST /containers/b/stop?t=5&signal=INT" => error(404, "No such container: b"),
        _ => nothing(),
    });
    let stopped = ran(&fake, &["container", "stop", "-t5", "-s", "INT", "a", "b", "c"]);
    assert_eq!((stopped.status.code(), out(&stopped)), (Some(1), "a\nc\n"));
    assert_eq!(err(&stopped), "tare: No such container: b\nhint: list them with: tare ps -a\n");
}

#[test]
fn inspect_finds_what_it_is_and_keeps_the_order_of_the_daemon() {
    let fake = Fake::start(|asked| match asked.what.as_str() {
        "GET /volumes/data" => Reply::Json(200, r#"{"Name":"data","Driver":"local","Labels":{}}"#.into()),
        other => error(404, &format!("no such thing: {other}")),
    });
    let found = ran(&fake, &["inspect", "data"]);
    assert_eq!(
        out(&found),
        "[\n    {\n        \"Name\": \"data\",\n        \"Driver\": \"local\",\n        \"Labels\": {}\n    }\n]\n"
    );
    assert_eq!(
        out(&ran(&fake, &["volume", "inspect", "-f", "{{.Name}}/{{.Driver}}", "data"])),
        "data/local\n"
    );
    let missing = ran(&fake, &["inspect", "nothing"]);
    assert_eq!((missing.status.code(), out(&missing)), (Some(1), "[]\n"));
    assert!(err(&missing).starts_with("tare: no such object: nothing\n"));
}

#[test]
fn a_password_is_checked_kept_and_sent_with_pulls() {
    let fake = Fake::start(|asked| match asked.what.as_str() {
        "POST /auth" if asked.body.contains("right") => {
            Reply::Json(200, r#"{"Status":"Login Succeeded","IdentityToken":""}"#.into())
        }
        "POST /auth" => error(401, "incorrect username or password"),
        _ => Reply::Lines(Vec::new()),
    });
    let login = |password: &str| {
        let mut child = tare(&fake)
            .args(["login", "-u", "me", "--password-stdin", "127.0.0.1:5000"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
        child.wait_with_output().unwrap()
    };
    assert_eq!(login("wrong").status.code(), Some(1));
    let file = fake.dir().join("config.json");
    assert!(!file.exists());
    assert_eq!(out(&login("right")), "Login Succeeded\n");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        out(&ran(&fake, &["logout", "127.0.0.1:5000"])),
        "Removing login credentials for 127.0.0.1:5000\n"
    );
    assert_eq!(out(&ran(&fake, &["logout", "127.0.0.1:5000"])), "Not logged in to 127.0.0.1:5000\n");
}

#[test]
fn a_push_tells_what_becomes_of_each_layer_and_why_it_fails() {
    let fake = Fake::start(|asked| match asked.what.as_str() {
        "POST /images/127.0.0.1:5000/a/push?tag=v1" => Reply::Lines(
            [
                r#"{"status":"The push refers to repository [127.0.0.1:5000/a]"}"#,
                r#"{"status":"Preparing","progressDetail":{},"id":"abc"}"#,
                r#"{"status":"Pushing","progressDetail":{"current":5,"total":9},"id":"abc"}"#,
                r#"{"status":"Mounted from b","id":"abc"}"#,
                r#"{"status":"v1: digest: sha256:00 size: 7"}"#,
                r#"{"progressDetail":{},"aux":{"Tag":"v1","Digest":"sha256:00","Size":7}}"#,
            ]
            .map(str::to_owned)
            .into(),
        ),
        _ => Reply::Lines(vec![
            r#"{"errorDetail":{"message":"unauthorized: no"},"error":"unauthorized: no"}"#.into(),
        ]),
    });
    let pushed = ran(&fake, &["push", "127.0.0.1:5000/a:v1"]);
    let lines = "The push refers to repository [127.0.0.1:5000/a]\nabc: Preparing\nabc: Mounted from b\nv1: digest: sha256:00 size: 7\n";
    assert_eq!((out(&pushed), pushed.status.code()), (lines, Some(0)));
    assert_eq!(out(&ran(&fake, &["push", "-q", "127.0.0.1:5000/a:v1"])), "127.0.0.1:5000/a:v1\n");
    let refused = ran(&fake, &["push", "127.0.0.1:5000/b"]);
    assert_eq!(err(&refused), "tare: unauthorized: no\nhint: log in with: tare login REGISTRY\n");
    assert_eq!(out(&refused), "Using default tag: latest\n");
    let digest = format!("a@sha256:{}", "00".repeat(32));
    assert!(err(&ran(&fake, &["push", &digest])).starts_with("tare: cannot push a digest reference\n"));
    assert!(err(&ran(&fake, &["push", "-a", "a:v1"])).contains("--all-tags"));
}

#[test]
fn half_an_archive_never_has_the_name_that_was_asked_for() {
    let fake = Fake::start(|_| error(404, "No such image: a"));
    let file = fake.dir().join("a.tar");
    std::fs::write(&file, "what was here").unwrap();
    let failed = ran(&fake, &["save", "-o", file.to_str().unwrap(), "a"]);
    assert!(err(&failed).starts_with("tare: No such image: a\nhint: "), "{}", err(&failed));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "what was here");
    let directory = ran(&fake, &["save", "-o", fake.dir().to_str().unwrap(), "a"]);
    assert!(err(&directory).contains("is a directory"), "{}", err(&directory));
    let missing = ran(&fake, &["load", "-i", "/no/such/file.tar"]);
    assert!(err(&missing).starts_with("tare: /no/such/file.tar: No such file"), "{}", err(&missing));
}

#[test]
fn help_completions_and_manual_pages_come_from_the_tables() {
    let fake = deaf();
    assert!(out(&ran(&fake, &["--help"])).contains("Run 'tare COMMAND --help'"));
    assert!(out(&ran(&fake, &["help", "volume"])).contains("prune"));
    assert!(out(&ran(&fake, &["container", "run", "--help"])).contains("tare container run [OPTIONS] IMAGE"));
    assert!(out(&ran(&fake, &["completion", "bash"])).contains("--memory-swap"));
    let pages = fake.dir().join("man");
    assert!(ran(&fake, &["man", pages.to_str().unwrap()]).status.success());
    assert!(std::fs::read_to_string(pages.join("tare-run.1")).unwrap().contains("shm"));
    assert!(fake.asked().is_empty());
}
