use std::fmt::Write as _;
use std::io::Write as _;

use futures_util::StreamExt;
use tare_model::Timestamp;

use super::*;
use crate::container::{ImageUse, State, Status};
use crate::spec::ContainerSpec;

fn container(status: Status) -> Container {
    Container {
        id: tare_model::Id::from_random([1; 32]),
        name: "log".parse().unwrap(),
        created: Timestamp::ZERO,
        spec: Arc::new(ContainerSpec::default()),
        image: Arc::new(ImageUse {
            id: tare_model::Digest::from_bytes([0; 32]),
            top: None,
            config: Default::default(),
        }),
        mounts: Vec::new(),
        state: State { status, ..State::default() },
        restart_count: 0,
        stopped_by_user: false,
        log_path: None,
        of_build: false,
    }
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.fold(String::new(), |mut text, number| {
        let stream = if number % 10 == 9 { "stderr" } else { "stdout" };
        let _ = writeln!(
            text,
            r#"{{"log":"line {number}\n","stream":"{stream}","time":"2026-01-01T00:{:02}:00Z"}}"#,
            number % 60
        );
        text
    })
}

fn options() -> LogOptions {
    LogOptions { stdout: true, stderr: true, ..LogOptions::default() }
}

async fn read_all(path: &Path, options: LogOptions) -> Vec<String> {
    let (_publisher, view) = watch::channel(Arc::new(container(Status::Exited)));
    let stream = stream(path.to_owned(), options, view, None);
    stream
        .map(|entry| String::from_utf8(entry.unwrap().line.to_vec()).unwrap().trim_end().to_owned())
        .collect()
        .await
}

#[tokio::test]
async fn rotated_files_are_read_in_order_and_cut_from_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    std::fs::write(numbered(&path, 2), lines(0..20)).unwrap();
    std::fs::write(numbered(&path, 1), lines(20..40)).unwrap();
    std::fs::write(&path, lines(40..50)).unwrap();
    let all = read_all(&path, options()).await;
    assert_eq!((all.len(), all[0].as_str(), all[49].as_str()), (50, "line 0", "line 49"));
    for (tail, first) in [
        (0, None),
        (1, Some("line 49")),
        (10, Some("line 40")),
        (11, Some("line 39")),
        (45, Some("line 5")),
        (99, Some("line 0")),
    ] {
        let cut = read_all(&path, LogOptions { tail: Some(tail), ..options() }).await;
        assert_eq!((cut.len(), cut.first().map(String::as_str)), (tail.min(50), first), "tail {tail}");
    }
    let errors = read_all(&path, LogOptions { stdout: false, ..options() }).await;
    assert_eq!(errors, ["line 9", "line 19", "line 29", "line 39", "line 49"]);
    let since = Some("2026-01-01T00:45:00Z".parse().unwrap());
    assert_eq!(read_all(&path, LogOptions { since, ..options() }).await.len(), 5);
    let until = Some("2026-01-01T00:04:00Z".parse().unwrap());
    assert_eq!(read_all(&path, LogOptions { until, ..options() }).await.len(), 5);
}

#[tokio::test]
async fn long_logs_are_cut_without_reading_them_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    std::fs::write(&path, lines(0..30_000)).unwrap();
    let cut = read_all(&path, LogOptions { tail: Some(2_000), ..options() }).await;
    assert_eq!((cut.len(), cut[0].as_str()), (2_000, "line 28000"));
}

#[tokio::test]
async fn damaged_and_unfinished_lines_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    std::fs::write(&path, format!("nonsense\n{}\u{0}\u{0}\n{}{{\"log\":\"cut", lines(0..1), lines(1..2)))
        .unwrap();
    assert_eq!(read_all(&path, options()).await, ["line 0", "line 1"]);
    assert!(read_all(&dir.path().join("none"), options()).await.is_empty());
}

#[tokio::test]
async fn following_survives_rotations_and_ends_with_the_container() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    let (publisher, view) = watch::channel(Arc::new(container(Status::Running)));
    let notice = Notices::default().watch(&path).unwrap();
    let followed = stream(path.clone(), options(), view, Some(notice));
    let reader = tokio::spawn(followed.map(|entry| entry.unwrap().line.len()).collect::<Vec<_>>());
    for round in 0..40 {
        if round % 7 == 6 {
            let _ = std::fs::rename(numbered(&path, 1), numbered(&path, 2));
            std::fs::rename(&path, numbered(&path, 1)).unwrap();
        }
        let mut file = std::fs::File::options().create(true).append(true).open(&path).unwrap();
        file.write_all(lines(round..round + 1).as_bytes()).unwrap();
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    publisher.send_replace(Arc::new(container(Status::Exited)));
    assert_eq!(reader.await.unwrap().len(), 40);
}

#[tokio::test]
async fn a_long_log_lets_others_work() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    std::fs::write(&path, lines(0..30_000)).unwrap();
    let since = Some("2036-01-01T00:00:00Z".parse().unwrap());
    for options in [LogOptions { since, ..options() }, LogOptions { since, tail: Some(40_000), ..options() }]
    {
        let reader = tokio::spawn({
            let path = path.clone();
            async move { read_all(&path, options).await.len() }
        });
        let mut turns = 0;
        while !reader.is_finished() {
            tokio::task::yield_now().await;
            turns += 1;
        }
        assert_eq!(reader.await.unwrap(), 0);
        assert!(turns > 20, "one thread serves everybody, and it was kept for all but {turns} turns");
    }
}

#[tokio::test]
async fn nothing_is_lost_to_who_waits_for_the_first_line() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        let (publisher, view) = watch::channel(Arc::new(container(Status::Running)));
        let notice = Notices::default().watch(&path).unwrap();
        let followed = stream(path.clone(), options(), view, Some(notice));
        let reader = tokio::spawn(followed.map(|entry| entry.unwrap().line.len()).collect::<Vec<_>>());
        tokio::task::yield_now().await;
        let writer = tokio::task::spawn_blocking(move || {
            let mut file = std::fs::File::options().create(true).append(true).open(&path).unwrap();
            (0..2_000).for_each(|line| file.write_all(lines(line..line + 1).as_bytes()).unwrap());
            dir
        });
        let _dir = writer.await.unwrap();
        publisher.send_replace(Arc::new(container(Status::Exited)));
        assert_eq!(reader.await.unwrap().len(), 2_000);
    }
}
