//! Cache and memory bandwidth by class of service: Documentation/filesystems/resctrl.rst of Linux.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FsWord, statfs};

use crate::error::{Error, Result};
use crate::failure::{Failure, Step};
use crate::plan::Rdt;

const ROOT: &str = "/sys/fs/resctrl";
/// `RDTGROUP_SUPER_MAGIC`.
const MAGIC: FsWord = 0x0765_5821;

/// Before anything is made.
pub(crate) fn check(plan: Option<&Rdt>) -> Result<()> {
    let Some(plan) = plan else { return Ok(()) };
    if !statfs(ROOT).is_ok_and(|found| found.f_type == MAGIC) {
        return Err(Error::spec("linux.intelRdt", format!("needs resctrl, which is not mounted at {ROOT}")));
    }
    match &plan.class {
        Some(class) if plan.schemata.is_empty() && !Path::new(ROOT).join(class).is_dir() => Err(Error::spec(
            "linux.intelRdt.closID",
            format!("must be there already, or come with schemata: \"{class}\""),
        )),
        _ => Ok(()),
    }
}

/// Puts a process into its class, which is made where it is missing.
pub(crate) fn enter(plan: &Rdt, id: &str, pid: i32) -> Result<(), Failure> {
    let entered = join(plan, id, pid);
    if entered.is_err() {
        leave(plan, id);
    }
    entered
}

/// Other schemata for a container that runs, with all its processes where they had no class before.
pub(crate) fn change(plan: &Rdt, id: &str, pids: &[i32]) -> Result<()> {
    check(Some(plan))?;
    let (class, was_there) = (directory(plan, id), directory(plan, id).is_dir());
    let joined = pids.first().map_or(Ok(()), |init| join(plan, id, *init));
    if joined.is_err() && !was_there {
        leave(plan, id);
    }
    joined?;
    for pid in pids.iter().skip(1).filter(|_| !was_there) {
        // Who has ended meanwhile needs no class.
        let _ = write(&class.join("tasks"), &pid.to_string());
    }
    Ok(())
}

fn join(plan: &Rdt, id: &str, pid: i32) -> Result<(), Failure> {
    let class = directory(plan, id);
    let step = || format!("join class of service {}", class.display());
    make(&class).step(step)?;
    if !plan.schemata.is_empty() {
        let text = plan.schemata.iter().map(|line| format!("{line}\n")).collect::<String>();
        write(&class.join("schemata"), &text).step(|| format!("write {}/schemata", class.display()))?;
    }
    write(&class.join("tasks"), &pid.to_string()).step(step)?;
    if plan.monitoring {
        let group = class.join("mon_groups").join(id);
        make(&group)
            .and_then(|()| write(&group.join("tasks"), &pid.to_string()))
            .step(|| format!("join monitoring group {}", group.display()))?;
    }
    Ok(())
}

/// Removes what was made for this container alone.
pub(crate) fn leave(plan: &Rdt, id: &str) {
    let class = directory(plan, id);
    // Whoever removed them before has done the same.
    if plan.monitoring {
        let _ = fs::remove_dir(class.join("mon_groups").join(id));
    }
    if plan.class.as_deref().is_none_or(|class| class == id) {
        let _ = fs::remove_dir(&class);
    }
}

fn directory(plan: &Rdt, id: &str) -> PathBuf {
    Path::new(ROOT).join(plan.class.as_deref().unwrap_or(id))
}

fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// The kernel makes the files.
fn write(file: &Path, text: &str) -> io::Result<()> {
    File::options().write(true).open(file)?.write_all(text.as_bytes())
}
