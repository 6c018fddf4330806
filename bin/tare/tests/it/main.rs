//! The program as a person runs it, against a daemon that says what the test tells it to.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod build;
mod daemon;
mod ondemand;
mod sessions;
mod terminal;
mod words;

use std::process::{Command, Output};

use daemon::Fake;

/// The program, ready to speak to the fake.
fn tare(fake: &Fake) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tare"));
    command.env("TARE_HOST", format!("unix://{}", fake.socket().display())).env("DOCKER_CONFIG", fake.dir());
    command
}

fn ran(fake: &Fake, words: &[&str]) -> Output {
    tare(fake).args(words).output().unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}
