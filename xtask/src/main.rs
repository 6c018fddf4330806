//! The project's own chores, so that each is written once and runs the same everywhere: `cargo xtask <chore>`.

mod bench;
mod conformance;
mod demo;
mod peers;
mod setup;
mod tidy;
mod vm;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask <chore>
  setup           install the Debian packages that demo, tests and bench use
  setup demo      those that the demo needs, and its image
  images          make the images that tests, demo and bench run
  tidy            check the architecture: floors, doors, room cards, names, licences
  demo [IMAGE]    a real image, end to end, on a daemon of its own
  bench [RUNS]    this build beside every peer that is installed
  bench runtimes [RUNS]   its runtime alone
  bench ship [RUNS]       pull, load, push and save of a large image alone
  bench http [RUNS]       HTTP through a published port alone
  bench files [COUNT]     an image of a million files through everything, by this build alone
  peers           unpack the newest runc, crun and dockerd below target/, for bench and conformance
  conformance     ask this build and its peers for every clause of the OCI runtime specification, and write
                  docs/conformance.md
  vm [--v1 | --selinux] [FILTER...]   the runtime's and the cgroups' suites in a guest with systemd, cgroup v2 and
                  AppArmor; with v1's hierarchies, or SELinux, instead";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["setup"] => setup::run(),
        ["setup", "demo"] => setup::demo().and_then(|()| tare_tests::debian_image()).map(drop),
        ["images"] => {
            println!("{}\n{}", tare_tests::busybox_image()?, tare_tests::debian_image()?);
            Ok(())
        }
        ["tidy"] => tidy::run(),
        ["demo"] => demo::run(None),
        ["demo", image] => demo::run(Some(image)),
        ["conformance"] => conformance::run(),
        ["bench", "runtimes"] => bench::run_runtimes(30),
        ["bench", "runtimes", runs] => bench::run_runtimes(runs.parse()?),
        ["bench", "ship"] => bench::run_ship(5),
        ["bench", "ship", runs] => bench::run_ship(runs.parse()?),
        ["bench", "http"] => bench::run_http(5),
        ["bench", "http", runs] => bench::run_http(runs.parse()?),
        ["bench", "files"] => bench::run_files(bench::FILES),
        ["bench", "files", count] => bench::run_files(count.parse()?),
        ["bench-runner"] => bench::serve(),
        ["peers"] => peers::run(),
        ["bench"] => bench::run(15),
        ["bench", runs] => bench::run(runs.parse()?),
        ["vm", "--v1", ref filters @ ..] => vm::run(filters, vm::Machine::Hybrid),
        ["vm", "--selinux", ref filters @ ..] => vm::run(filters, vm::Machine::Selinux),
        ["vm", ref filters @ ..] => vm::run(filters, vm::Machine::Unified),
        _ => bail!("{USAGE}"),
    }
}
