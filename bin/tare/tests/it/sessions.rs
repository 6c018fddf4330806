//! `run`, `exec` and `attach` without a terminal.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::daemon::{Asked, Fake, Once, Reply, error, frame, nothing};
use crate::{err, out, ran, tare};

pub(crate) const ID: &str = "abababababababababababababababababababababababababababababababab";

/// A daemon whose one container says something when it is started and ends with a code.
pub(crate) fn container(says: Vec<u8>, code: i64, start: impl Fn() -> Reply + Send + Sync + 'static) -> Fake {
    let started = Once::<bool>::default();
    Fake::start(move |asked| {
        let (waiting, attached, says) = (started.clone(), started.clone(), says.clone());
        match asked.what.split('?').next().unwrap() {
            "POST /containers/create" => {
                Reply::Json(201, format!(r#"{{"Id":"{ID}","Warnings":["careful"]}}"#))
            }
            path if path.ends_with("/attach") => Reply::Hijack(Box::new(move |mut stream| {
                attached.wait();
                stream.write_all(&says).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            })),
            path if path.ends_with("/wait") => Reply::Later(Box::new(move || {
                waiting.wait();
                format!(r#"{{"StatusCode":{code}}}"#)
            })),
            path if path.ends_with("/start") => {
                let reply = start();
                started.set(true);
                reply
            }
            other => error(404, &format!("page not found: {other}")),
        }
    })
}

#[test]
fn run_connects_before_it_starts_and_ends_as_the_program_did() {
    let said = [frame(1, "to out\n"), frame(2, "to err\n"), frame(1, "more\n")].concat();
    let fake = container(said, 42, nothing);
    let ran = ran(&fake, &["run", "--rm", "image", "true"]);
    assert_eq!((ran.status.code(), out(&ran)), (Some(42), "to out\nmore\n"));
    assert_eq!(err(&ran), "WARNING: careful\nto err\n");
    let mut asked = fake.asked();
    asked[1..3].sort();
    let [create, attach, wait, start] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(create, "POST /containers/create?starts=1");
    assert_eq!(attach, &format!("POST /containers/{ID}/attach?stream=1&stdout=1&stderr=1"));
    assert_eq!(wait, &format!("POST /containers/{ID}/wait?condition=removed"));
    assert_eq!(start, &format!("POST /containers/{ID}/start"));
}

#[test]
fn a_detached_run_prints_the_id_and_writes_the_file() {
    let fake = container(Vec::new(), 0, nothing);
    let file = fake.dir().join("cid");
    let detached = ran(&fake, &["run", "-d", "--cidfile", file.to_str().unwrap(), "image"]);
    assert_eq!(out(&detached), format!("{ID}\n"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), ID);
    assert_eq!(fake.asked().len(), 2);
    assert_eq!(fake.body_of("POST /containers/create")["AttachStdout"], false);
    let again = ran(&fake, &["run", "-d", "--cidfile", file.to_str().unwrap(), "image"]);
    assert_eq!(again.status.code(), Some(125));
    assert!(err(&again).contains("container ID file found"));
}

#[test]
fn what_cannot_be_started_has_a_shells_codes() {
    for (message, code) in [
        ("exec: \"nope\": executable file not found in $PATH: unknown", 127),
        ("exec: \"/x\": stat /x: no such file or directory: unknown", 127),
        ("exec: \"/etc/passwd\": permission denied: unknown", 126),
        ("exec: \"/etc\": is a directory: unknown", 126),
        ("no space left on device", 125),
    ] {
        let fake = container(Vec::new(), 0, move || error(400, message));
        let failed = ran(&fake, &["run", "image", "nope"]);
        assert_eq!(failed.status.code(), Some(code), "{message}");
        assert!(err(&failed).contains(&format!("tare: {message}")), "{}", err(&failed));
    }
}

#[test]
fn a_missing_image_is_pulled_and_the_container_made_again() {
    let pulled = AtomicBool::new(false);
    let fake = Fake::start(move |asked: &Asked| match asked.what.split('?').next().unwrap() {
        "POST /images/create" => {
            pulled.store(true, Ordering::SeqCst);
            let line = |text: &str| text.to_owned();
            Reply::Lines(vec![
                line(r#"{"status":"Pulling from library/debian","id":"12"}"#),
                line(r#"{"status":"Downloading","progressDetail":{"current":5,"total":10},"id":"aaa"}"#),
                line(r#"{"status":"Pull complete","progressDetail":{},"id":"aaa"}"#),
            ])
        }
        "POST /containers/create" if pulled.load(Ordering::SeqCst) => {
            Reply::Json(201, format!(r#"{{"Id":"{ID}"}}"#))
        }
        "POST /containers/create" => error(404, "No such image: debian:12"),
        _ => nothing(),
    });
    let never = ran(&fake, &["create", "--pull", "never", "debian:12"]);
    assert_eq!((never.status.code(), out(&never)), (Some(1), ""));
    assert!(err(&never).contains("No such image: debian:12") && err(&never).contains("hint: "));
    let made = ran(&fake, &["create", "debian:12"]);
    assert_eq!(out(&made), format!("{ID}\n"), "{}", err(&made));
    assert_eq!(
        err(&made),
        "Unable to find image 'debian:12' locally\n12: Pulling from library/debian\naaa: Pull complete\n"
    );
    assert!(fake.asked().contains(&"POST /images/create?fromImage=debian&tag=12".to_owned()));
}

#[test]
fn a_pull_that_fails_says_why_and_what_to_do() {
    let fake = Fake::start(|_| {
        let line =
            r#"{"errorDetail":{"message":"pull access denied for x"},"error":"pull access denied for x"}"#;
        Reply::Lines(vec![line.into()])
    });
    let failed = ran(&fake, &["pull", "x"]);
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(err(&failed), "tare: pull access denied for x\nhint: log in with: tare login REGISTRY\n");
}

#[test]
fn input_reaches_the_process_and_its_end_is_only_its_end() {
    let (started, exited) = (Once::<bool>::default(), Once::<bool>::default());
    let fake = Fake::start(move |asked| {
        let (waiting, attached, exited, ends) =
            (started.clone(), started.clone(), exited.clone(), exited.clone());
        match asked.what.split('?').next().unwrap() {
            "POST /containers/create" => Reply::Json(201, format!(r#"{{"Id":"{ID}"}}"#)),
            path if path.ends_with("/attach") => Reply::Hijack(Box::new(move |mut stream| {
                attached.wait();
                let mut input = String::new();
                stream.read_to_string(&mut input).unwrap();
                stream.write_all(&frame(1, &input.to_uppercase())).unwrap();
                ends.set(true);
            })),
            path if path.ends_with("/wait") => Reply::Later(Box::new(move || {
                exited.wait();
                r#"{"StatusCode":0}"#.into()
            })),
            _ => {
                waiting.set(true);
                nothing()
            }
        }
    });
    let mut child = tare(&fake)
        .args(["run", "-i", "image", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&b"x".repeat(200_000)).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stdout.len()), (Some(0), 200_000));
    assert!(done.stdout.iter().all(|byte| *byte == b'X'));
}

/// A container that lives until it is sent a signal.
fn until_signalled() -> (Fake, Once<bool>) {
    let (started, signalled) = (Once::<bool>::default(), Once::<i64>::default());
    let begun = started.clone();
    let fake = Fake::start(move |asked| {
        let (ends, exits) = (signalled.clone(), signalled.clone());
        match asked.what.split('?').next().unwrap() {
            "POST /containers/create" => Reply::Json(201, format!(r#"{{"Id":"{ID}"}}"#)),
            path if path.ends_with("/attach") => Reply::Hijack(Box::new(move |_stream| {
                ends.wait();
            })),
            path if path.ends_with("/wait") => {
                Reply::Later(Box::new(move || format!(r#"{{"StatusCode":{}}}"#, 128 + exits.wait())))
            }
            path if path.ends_with("/kill") => {
                signalled.set(asked.what.rsplit('=').next().unwrap().parse().unwrap());
                nothing()
            }
            _ => {
                started.set(true);
                nothing()
            }
        }
    });
    (fake, begun)
}

fn send(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn signals_go_to_the_container() {
    let (fake, started) = until_signalled();
    let mut child = tare(&fake).args(["run", "image"]).spawn().unwrap();
    started.wait();
    send(child.id(), rustix::process::Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(fake.asked().contains(&format!("POST /containers/{ID}/kill?signal=15")));
}

#[test]
fn a_start_that_hangs_can_be_left() {
    let (asked_to_start, never) = (Once::<bool>::default(), Once::<bool>::default());
    let starting = asked_to_start.clone();
    let fake = Fake::start(move |asked| {
        let (begun, never) = (starting.clone(), never.clone());
        match asked.what.split('?').next().unwrap() {
            "POST /containers/create" => Reply::Json(201, format!(r#"{{"Id":"{ID}"}}"#)),
            path if path.ends_with("/attach") => Reply::Hijack(Box::new(move |_stream| {
                never.wait();
            })),
            path if path.ends_with("/start") => {
                begun.set(true);
                never.wait();
                nothing()
            }
            _ => Reply::Later(Box::new(move || never.wait().to_string())),
        }
    });
    let mut child = tare(&fake).args(["run", "image"]).spawn().unwrap();
    asked_to_start.wait();
    send(child.id(), rustix::process::Signal::INT);
    // Two signals that come at once are one; the next one is another as soon as we have seen the first.
    while child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(20));
        send(child.id(), rustix::process::Signal::INT);
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn without_proxy_signals_are_ours() {
    let (fake, started) = until_signalled();
    let mut child = tare(&fake).args(["run", "--sig-proxy=false", "image"]).spawn().unwrap();
    started.wait();
    send(child.id(), rustix::process::Signal::TERM);
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    assert!(!fake.asked().iter().any(|asked| asked.contains("/kill")));
}

#[test]
fn a_reader_that_goes_away_ends_us_quietly() {
    let endless = frame(1, &"y\n".repeat(400_000));
    let fake = container(endless, 0, nothing);
    let mut child =
        tare(&fake).args(["run", "image"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 2];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), err(&done)), (Some(141), "WARNING: careful\n"));
}

#[test]
fn exec_ends_as_its_program_did() {
    let fake = Fake::start(|asked| match asked.what.as_str() {
        "POST /containers/web/exec" => Reply::Json(201, r#"{"Id":"e1"}"#.into()),
        "POST /exec/e1/start" => {
            Reply::Hijack(Box::new(|mut stream| stream.write_all(&frame(2, "no\n")).unwrap()))
        }
        "GET /exec/e1/json" => Reply::Json(200, r#"{"ID":"e1","ExitCode":3,"Running":false}"#.into()),
        other => error(404, other),
    });
    let ran = ran(&fake, &["exec", "-e", "A=B", "-w", "/w", "web", "ls", "-l"]);
    assert_eq!((ran.status.code(), err(&ran)), (Some(3), "no\n"));
    let body = fake.body_of("POST /containers/web/exec");
    assert_eq!(
        (&body["Cmd"], &body["Env"], &body["WorkingDir"]),
        (&serde_json::json!(["ls", "-l"]), &serde_json::json!(["A=B"]), &"/w".into())
    );
    assert_eq!((&body["AttachStdin"], &body["AttachStdout"]), (&false.into(), &true.into()));
}

#[test]
fn what_is_no_frame_is_an_error_and_not_output() {
    let fake = container(b"this is no multiplexed stream".to_vec(), 0, nothing);
    let failed = ran(&fake, &["run", "image"]);
    assert_eq!(out(&failed), "");
    assert!(err(&failed).contains("unrecognized stream header"), "{}", err(&failed));
    assert_ne!(failed.status.code(), Some(0));
}
