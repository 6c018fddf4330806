//! What a killed process leaves: this binary starts itself again, as a writer that acknowledges on its standard output.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use tare_model::{HasKind, Kind};
use tare_store::Store;

use crate::{TABLE, Thing, open, put};

const ROLE: &str = "TARE_STORE_WRITER";

fn writer(directory: &std::path::Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::the_writer_that_is_killed", "--nocapture"])
        .env(ROLE, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test by itself: the child of the tests below.
#[test]
fn the_writer_that_is_killed() {
    let Some(directory) = std::env::var_os(ROLE) else { return };
    let store = open(directory.as_ref());
    for number in 0.. {
        store.commit_later(put(&format!("later {number:08}"), number));
        store.commit_blocking(put(&format!("{number:08}"), number)).unwrap();
        println!("acknowledged {number}");
    }
}

fn acknowledged(line: &str) -> Option<u64> {
    line.trim().rsplit_once("acknowledged ")?.1.parse().ok()
}

#[test]
fn every_acknowledged_commit_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 1..6 {
        let mut child = writer(directory.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = lines
            .by_ref()
            .map(Result::unwrap)
            .filter_map(|line| acknowledged(&line))
            .nth(37 * round)
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // The pipe may hold acknowledgements that came after we decided.
        let last =
            lines.map_while(Result::ok).filter_map(|line| acknowledged(&line)).last().unwrap_or(enough);
        let store = open(directory.path());
        for number in 0..=last.max(before) {
            for key in [format!("{number:08}"), format!("later {number:08}")] {
                assert_eq!(
                    store.get::<Thing>(TABLE, &key).unwrap().map(|thing| thing.size),
                    Some(number),
                    "{key}"
                );
            }
        }
        before = last.max(before);
    }
}

#[test]
fn a_second_process_is_told_who_has_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = writer(directory.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.by_ref().map(Result::unwrap).find_map(|line| acknowledged(&line)).unwrap();
    let error = Store::open(&directory.path().join("tare.db")).err().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(error.kind(), Kind::Conflict);
    let text = error.to_string();
    assert!(text.contains(&format!("process {} (", child.id())), "{text}");
    assert!(text.contains("--data-root"), "{text}");
}
