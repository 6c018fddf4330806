//! What the source itself must show: room cards, names, lengths, and where unsafe code may stand.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

const CARD: [&str; 6] = ["**Owns**", "**In**", "**Out**", "**Leans on**", "**Never**", "**Invariant**"];
const BANNED_FILES: [&str; 6] = ["utils", "util", "common", "helpers", "misc", "types"];
const BANNED_ENDINGS: [&str; 4] = ["Manager", "Helper", "Impl", "Data"];
const LINES_MAX: usize = 600;

pub(super) fn check() -> Result<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let listed = Command::new("git").arg("-C").arg(root).args(["ls-files", "*.rs"]).output()?;
    ensure!(listed.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
    let files: Vec<PathBuf> = String::from_utf8(listed.stdout)?.lines().map(PathBuf::from).collect();
    let mut wrong = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(root.join(&file)) else { continue };
        wrong.extend(file_faults(&file, &text));
    }
    Ok(wrong)
}

fn file_faults(file: &Path, text: &str) -> Vec<String> {
    let shown = file.display();
    let mut wrong = Vec::new();
    let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    if BANNED_FILES.contains(&stem)
        || file.components().any(|c| BANNED_FILES.iter().any(|b| c.as_os_str() == *b))
    {
        wrong.push(format!("{shown}: \"{stem}\" says nothing of what is inside"));
    }
    let generated =
        text.starts_with("// @generated") || text.lines().take(5).any(|l| l.contains("@generated"));
    let lines = text.lines().count();
    if lines > LINES_MAX && !generated {
        wrong.push(format!("{shown}: {lines} lines, {LINES_MAX} are the limit: perhaps two rooms"));
    }
    if is_room(file) {
        let missing: Vec<&str> = CARD.into_iter().filter(|part| !card_of(text).contains(part)).collect();
        if !missing.is_empty() {
            wrong.push(format!("{shown}: the room card lacks {}", missing.join(", ")));
        }
    }
    wrong.extend(
        text.lines()
            .enumerate()
            .filter_map(|(at, line)| line_fault(file, line).map(|f| format!("{shown}:{}: {f}", at + 1))),
    );
    wrong
}

/// `floor/room/src/lib.rs`
fn is_room(file: &Path) -> bool {
    let parts: Vec<&str> = file.iter().filter_map(|p| p.to_str()).collect();
    matches!(parts[..], [floor, _, "src", "lib.rs"] if floor != "bin")
}

fn card_of(text: &str) -> String {
    text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n")
}

fn line_fault(file: &Path, line: &str) -> Option<String> {
    let code = line.trim_start();
    if code.starts_with("//") {
        return None;
    }
    let may_be_unsafe = file.starts_with("host/sys") || file.starts_with("xtask");
    if !may_be_unsafe
        && ["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code)"].iter().any(|u| code.contains(u))
    {
        return Some("unsafe code outside host/sys".to_owned());
    }
    let declared = ["pub struct ", "pub enum ", "pub trait ", "struct ", "enum ", "trait "]
        .iter()
        .find_map(|k| code.strip_prefix(k))?;
    let name: String = declared.chars().take_while(char::is_ascii_alphanumeric).collect();
    let ending = BANNED_ENDINGS.into_iter().find(|ending| name.ends_with(ending))?;
    Some(format!("\"{name}\" ends in {ending}, which says nothing of what it is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_seen() {
        let faults = |file: &str, text: &str| file_faults(Path::new(file), text).len();
        assert_eq!(faults("engine/x/src/plan.rs", "fn f() {}\n"), 0);
        assert_eq!(faults("engine/x/src/utils.rs", ""), 1);
        assert_eq!(faults("engine/x/src/lib.rs", "//! # x\n"), 1);
        assert_eq!(faults("engine/x/src/a.rs", "pub struct ThingManager {}\n"), 1);
        assert_eq!(faults("engine/x/src/a.rs", "    unsafe { f() }\n"), 1);
        assert_eq!(faults("host/sys/src/a.rs", "    unsafe { f() }\n"), 0);
        assert_eq!(faults("engine/x/src/a.rs", &"\n".repeat(601)), 1);
    }

    #[test]
    fn the_source_as_it_stands_obeys() {
        let wrong = check().unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
