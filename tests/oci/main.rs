//! The OCI runtime specification, clause by clause: each test asks a runtime for what the text promises and looks at what
//! the kernel or the command line shows. It judges this build's `tare-runtime`; with `TARE_PEERS=1` runc and crun go
//! through it as well, so that a clause which nobody keeps is known to be the test's own fault.
//!
//! `--table` prints docs/conformance.md.

// Tests may say loudly what is wrong.
#![allow(clippy::unwrap_used)]

mod bundle;
mod cgroups;
mod clause;
mod config;
mod console;
mod devices;
mod features;
mod hardening;
mod hooks;
mod life;
mod limits;
mod linux;
mod mounts;
mod namespaces;
mod notify;
mod process;
mod root;
mod runtime;
mod seccomp;
mod state;
mod sweep;
mod table;
mod user;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;

use clause::{Clause, Skipped, Verdict};
use runtime::Runtime;
use sweep::Run;

/// In the order of the specification's documents.
fn all() -> Vec<Clause> {
    [
        state::CLAUSES,
        life::CLAUSES,
        config::CLAUSES,
        root::CLAUSES,
        mounts::CLAUSES,
        process::CLAUSES,
        user::CLAUSES,
        console::CLAUSES,
        hooks::CLAUSES,
        namespaces::CLAUSES,
        devices::CLAUSES,
        cgroups::CLAUSES,
        limits::CLAUSES,
        linux::CLAUSES,
        seccomp::CLAUSES,
        notify::CLAUSES,
        features::CLAUSES,
        hardening::race::CLAUSES,
        hardening::leak::CLAUSES,
        hardening::confine::CLAUSES,
        hardening::entry::CLAUSES,
    ]
    .concat()
}

/// What the last failed assertion said.
static SAID: Mutex<String> = Mutex::new(String::new());

fn judge(run: &Run, clause: &Clause, runtime: &Runtime) -> Verdict {
    let ended = catch_unwind(AssertUnwindSafe(|| (clause.test)(runtime)));
    run.end_children();
    match ended {
        Ok(()) => Verdict::Kept,
        Err(payload) => match payload.downcast::<Skipped>() {
            Ok(skipped) => Verdict::Skipped(skipped.0),
            Err(_) => Verdict::Broken(std::mem::take(&mut *SAID.lock().unwrap())),
        },
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let names: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| {
        names.is_empty()
            || names.iter().any(|part| {
                if given("--exact") { part.as_str() == name } else { name.contains(part.as_str()) }
            })
    };
    let clauses: Vec<Clause> = all().into_iter().filter(|clause| wanted(clause.name)).collect();
    if given("--list") {
        clauses.iter().filter(|_| !given("--ignored")).for_each(|clause| println!("{}: test", clause.name));
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/bin/busybox").exists() {
        println!("skipped: needs root and /bin/busybox (busybox-static)");
        return ExitCode::SUCCESS;
    }
    match arguments.as_slice() {
        [word, dir] if word == "--janitor" => {
            sweep::janitor(dir.as_ref());
            return ExitCode::SUCCESS;
        }
        [word] if word == "--last" => {
            sweep::last();
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    // Containers that were detached come to this process when their maker ends.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let (ours, run) = (Runtime::ours().unwrap(), Run::begin());
    std::panic::set_hook(Box::new(|info| *SAID.lock().unwrap() = info.to_string()));
    if given("--table") {
        print!("{}", table::text(&clauses, |clause, runtime| judge(&run, clause, runtime)));
        return ExitCode::SUCCESS;
    }
    all_of(&clauses, &ours, &run, names.is_empty())
}

fn all_of(clauses: &[Clause], ours: &Runtime, run: &Run, whole: bool) -> ExitCode {
    let mut failed = clauses.iter().filter(|clause| report(run, clause, ours)).count();
    if std::env::var_os("TARE_PEERS").is_some() {
        for peer in Runtime::peers() {
            // Its verdicts are news, not failures.
            for clause in clauses {
                report(run, clause, &peer);
            }
        }
    }
    if whole && let Err(difference) = table::is_current(&all()) {
        println!("test table_lists_every_clause ... FAILED\n{difference}");
        failed += 1;
    }
    if whole {
        let tried = catch_unwind(sweep::leaves_nothing).is_ok();
        let said = std::mem::take(&mut *SAID.lock().unwrap());
        println!("test a_run_that_is_cut_off_leaves_nothing ... {}", if tried { "ok" } else { "FAILED" });
        if !tried {
            println!("{said}");
            failed += 1;
        }
    }
    match failed {
        0 => ExitCode::SUCCESS,
        some => {
            println!("{some} of {} failed", clauses.len());
            ExitCode::FAILURE
        }
    }
}

/// Whether it failed.
fn report(run: &Run, clause: &Clause, runtime: &Runtime) -> bool {
    let verdict = judge(run, clause, runtime);
    let name = if runtime.is_ours() {
        clause.name.to_owned()
    } else {
        format!("{} [{}]", clause.name, runtime.version().unwrap_or_default())
    };
    match &verdict {
        Verdict::Kept => println!("test {name} ... ok"),
        Verdict::Skipped(why) => println!("test {name} ... ok\nskipped: {why}"),
        Verdict::Broken(_) if runtime.is_ours() && table::is_owned_up_to(clause) => {
            println!("test {name} ... ok\nnot kept yet, as docs/conformance.md says");
            return false;
        }
        Verdict::Broken(why) => println!("test {name} ... FAILED\n{why}"),
    }
    matches!(verdict, Verdict::Broken(_))
}
