//! The suites: built here, packed onto a disk of their own, at the very paths that their binaries know.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Machine;
use super::image::file_system;

/// What `cargo test` builds: the rooms that speak to cgroups, or hold a container in one, and the clauses of the
/// specification.
const SUITES: [&[&str]; 2] = [
    &["-p", "tare-cgroup", "-p", "tare-runtime", "-p", "tare-runtime-cli"],
    &["-p", "tare-tests", "--test", "oci"],
];

/// What suites read of the workspace besides what they are made of.
const READ: [&str; 1] = ["docs/conformance.md"];

/// For SELinux: one domain that is confined, and what it must not write to.
const POLICY: &str = include_str!("policy.cil");

/// A policy is taken whole, in one write.
const LOAD_POLICY: &str = "mountpoint -q /sys/fs/selinux || mount -t selinuxfs selinuxfs /sys/fs/selinux\n\
    secilc --policyvers=$(cat /sys/fs/selinux/policyvers) --output=/run/policy --filecontext=/dev/null /suites/policy.cil &&\n\
    dd if=/run/policy of=/sys/fs/selinux/load bs=1M status=none && echo 1 > /sys/fs/selinux/enforce || exit 99\n";

/// One line of `cargo test --message-format=json`, as far as it matters.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    executable: Option<PathBuf>,
    #[serde(default)]
    manifest_path: Option<PathBuf>,
    #[serde(default)]
    target: Option<Target>,
    #[serde(default)]
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

/// A program that a suite is, or that one runs.
struct Program {
    path: PathBuf,
    /// The directory of its manifest, in which tests run.
    home: PathBuf,
    is_suite: bool,
}

/// Builds the suites and makes the disk.
pub(crate) fn pack(dir: &Path, machine: Machine, filters: &[&str]) -> Result<PathBuf> {
    let workspace = dir.parent().and_then(Path::parent).context("target/vm lies in the workspace")?;
    let tree = dir.join("suites");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let mut programs = Vec::new();
    for words in SUITES {
        programs.extend(build(words)?);
    }
    for program in &programs {
        let inside = tree.join("root").join(program.path.strip_prefix("/")?);
        fs::create_dir_all(inside.parent().context("a program lies in a directory")?)?;
        fs::hard_link(&program.path, &inside).or_else(|_| fs::copy(&program.path, &inside).map(drop))?;
        fs::create_dir_all(tree.join("root").join(program.home.strip_prefix("/")?))?;
    }
    for file in READ.map(|name| workspace.join(name)) {
        let inside = tree.join("root").join(file.strip_prefix("/")?);
        fs::create_dir_all(inside.parent().context("a file lies in a directory")?)?;
        fs::copy(&file, &inside)?;
    }
    let mut run = script(workspace, &programs, filters);
    if machine == Machine::Selinux {
        fs::write(tree.join("policy.cil"), POLICY)?;
        run.insert_str(0, LOAD_POLICY);
    }
    fs::write(tree.join("run.sh"), run)?;
    let disk = dir.join("suites.ext4");
    file_system(&tree, &disk, "1536M")?;
    fs::remove_dir_all(&tree)?;
    Ok(disk)
}

fn build(words: &[&str]) -> Result<Vec<Program>> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--no-run", "--message-format=json-render-diagnostics"]);
    let output = command.args(words).stderr(Stdio::inherit()).output().context("cargo cannot be run")?;
    ensure!(output.status.success(), "the suites do not build");
    let text = String::from_utf8(output.stdout)?;
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let programs: Vec<Program> = messages.filter_map(program).collect();
    ensure!(programs.iter().any(|program| program.is_suite), "cargo names no suite");
    Ok(programs)
}

fn program(message: Message) -> Option<Program> {
    // The tests beside the code touch no kernel: this machine runs them as well, and faster.
    let is_suite = message.target?.kind.iter().any(|kind| kind == "test");
    if message.profile?.test && !is_suite {
        return None;
    }
    Some(Program { path: message.executable?, home: message.manifest_path?.parent()?.to_owned(), is_suite })
}

/// What the guest runs; its exit code is the number of suites that failed.
fn script(workspace: &Path, programs: &[Program], filters: &[&str]) -> String {
    let workspace = workspace.display();
    let runtime = programs.iter().find(|program| program.path.ends_with("tare-runtime"));
    let binaries = runtime.and_then(|program| program.path.parent()).unwrap_or(Path::new("/nowhere"));
    // Which of Debian's own are to be asked as well is the caller's to say.
    let peers =
        std::env::var("TARE_PEERS").map(|value| format!("export TARE_PEERS={value}\n")).unwrap_or_default();
    let mut text = format!(
        // Debian's /tmp is a tmpfs, on which no device can be opened.
        "mkdir -p {workspace}; mount --bind /suites/root{workspace} {workspace}; export TMPDIR=/var/tmp\n\
         export TARE_BINARIES={binaries}\n{peers}\
         export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin RUST_BACKTRACE=0\n\
         uname -sr; systemctl --version | head -n1; failed=0\n",
        binaries = binaries.display(),
    );
    for suite in programs.iter().filter(|program| program.is_suite) {
        let name = suite.path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        text += &format!(
            "echo; echo '== {} {name}'; cd {}; timeout 900 {} --color=never --show-output {} || failed=$((failed + 1))\n",
            suite.home.file_name().map(|home| home.to_string_lossy()).unwrap_or_default(),
            suite.home.display(),
            suite.path.display(),
            filters.join(" "),
        );
    }
    text + "exit $failed\n"
}
