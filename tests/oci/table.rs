//! docs/conformance.md, made of the clauses and of what the runtimes do with them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use crate::clause::{Clause, Verdict};
use crate::runtime::Runtime;

const SPECIFICATION: &str = "https://github.com/opencontainers/runtime-spec/blob/v1.2.1";

const HEAD: &str = "\
# Conformance to the OCI runtime specification

One row for every clause that `tests/oci` asks of a runtime, with the answers of this build and of its peers on one machine (Debian 12,
kernel 6.18, cgroups v1 and v2 side by side, no CAP_SYS_RESOURCE). Written by `cargo xtask conformance`; the suite refuses a table whose
clauses are not its own. **✓** kept · **✗** not kept · **–** could not be seen on this machine. A clause that was added to the
specification after a peer's release is ✗ for it. The last rows are attacks that have worked on a runtime once: ✗ is a peer of the time before
the repair, or without it, and shows that the test sees the flaw.

";

/// Asks every runtime that is here.
pub(crate) fn text(clauses: &[Clause], judge: impl Fn(&Clause, &Runtime) -> Verdict) -> String {
    let ours = Runtime::ours().unwrap_or_else(|error| panic!("{error:#}"));
    let runtimes: Vec<Runtime> = std::iter::once(ours).chain(Runtime::peers()).collect();
    let verdicts: Vec<Vec<Verdict>> = runtimes
        .iter()
        .map(|runtime| clauses.iter().map(|clause| judge(clause, runtime)).collect())
        .collect();
    let mut text = HEAD.to_owned();
    let names: Vec<String> = runtimes.iter().map(name).collect();
    let _ =
        writeln!(text, "| clause | rule | {} |\n|---|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (at, clause) in clauses.iter().enumerate() {
        let marks: Vec<&str> = verdicts.iter().map(|list| mark(&list[at])).collect();
        let _ = writeln!(text, "{} {} |", row(clause), marks.join(" | "));
    }
    let _ = writeln!(text);
    for (runtime, list) in names.iter().zip(&verdicts) {
        let count = |wanted: &str| list.iter().filter(|verdict| mark(verdict) == wanted).count();
        let _ = writeln!(
            text,
            "- {runtime}: {} kept, {} not kept, {} not seen",
            count("✓"),
            count("✗"),
            count("–")
        );
    }
    for (runtime, list) in names.iter().zip(&verdicts) {
        for (clause, verdict) in clauses.iter().zip(list) {
            // For who runs it; standard output is the table.
            match verdict {
                Verdict::Kept => {}
                Verdict::Skipped(why) => eprintln!("{runtime}: {}: skipped: {why}", clause.name),
                Verdict::Broken(why) => eprintln!("{runtime}: {}: {why}", clause.name),
            }
        }
    }
    text
}

fn name(runtime: &Runtime) -> String {
    if runtime.is_ours() {
        runtime.name.to_owned()
    } else {
        runtime.version().unwrap_or(runtime.name.to_owned())
    }
}

fn mark(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Kept => "✓",
        Verdict::Broken(_) => "✗",
        Verdict::Skipped(_) => "–",
    }
}

/// Up to the verdicts.
fn row(clause: &Clause) -> String {
    let Clause { section, rule, .. } = clause;
    let link = match section.split_once('#') {
        None => format!("https://nvd.nist.gov/vuln/detail/{section}"),
        Some(("moby", number)) => format!("https://github.com/moby/moby/issues/{number}"),
        Some(_) => format!("{SPECIFICATION}/{section}"),
    };
    format!("| [{section}]({link}) | {rule} |")
}

fn committed() -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md");
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Whether the committed table owns that we do not keep a clause: then it is no news, and may only get better.
pub(crate) fn is_owned_up_to(clause: &Clause) -> bool {
    let row = row(clause);
    committed().is_ok_and(|text| {
        let line = text.lines().find(|line| head(line).is_some_and(|head| head == row));
        line.is_some_and(|line| line[row.len()..].trim_start().starts_with('✗'))
    })
}

/// Whether the committed table has exactly these clauses.
pub(crate) fn is_current(clauses: &[Clause]) -> Result<(), String> {
    let text = committed()?;
    let written: BTreeSet<String> =
        text.lines().filter(|line| line.starts_with("| [")).filter_map(head).collect();
    let wanted: BTreeSet<String> = clauses.iter().map(row).collect();
    let lines = |sign: &str, from: &BTreeSet<String>, other: &BTreeSet<String>| -> String {
        from.difference(other).map(|line| format!("{sign} {line}\n")).collect()
    };
    let difference = lines("+", &wanted, &written) + &lines("-", &written, &wanted);
    if difference.is_empty() {
        return Ok(());
    }
    Err(format!("docs/conformance.md is not of these clauses: run cargo xtask conformance\n{difference}"))
}

/// A row without its verdicts.
fn head(line: &str) -> Option<String> {
    let ends = line.match_indices(" |").nth(1)?.0;
    Some(line[..ends + 2].to_owned())
}
