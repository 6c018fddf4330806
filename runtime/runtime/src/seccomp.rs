//! seccomp profiles: from the names of config.json to the kernel's instructions.
//!
//! `policy` reads and checks a profile, `syscalls` knows the numbers, `program` lays out the instructions, `cache` keeps
//! what was compiled.

pub mod cache;
pub(crate) mod listener;
mod policy;
mod program;
mod syscalls;

#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

use tare_oci::runtime::Seccomp;
use tare_sys::seccomp::Instruction;
use thiserror::Error;

pub use cache::load_or_compile;
pub use policy::ARCHITECTURES;

/// A compiled profile, ready for the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_…` bits.
    pub flags: u32,
}

impl Filter {
    /// Whether some call is left to an agent to decide: loading it then makes a listener.
    pub fn notifies(&self) -> bool {
        self.flags & tare_sys::seccomp::NEW_LISTENER != 0
    }
}

/// Why a profile cannot be compiled: the field and the rule that it breaks.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("linux.seccomp.{field}: {rule}")]
pub struct SeccompError {
    field: String,
    rule: String,
}

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
const MOST_INSTRUCTIONS: usize = 4096;

/// Compiles a profile for this machine.
///
/// Calls that the profile does not name get its default action, except that with `SCMP_ACT_ERRNO` those newer than every
/// call it names get `ENOSYS`: C libraries try new calls and fall back on that answer alone (runc does the same).
/// Entry by an architecture that the profile does not list ends the process.
///
/// # Errors
/// Names the field and the rule that it breaks.
pub fn compile(profile: &Seccomp) -> Result<Filter, SeccompError> {
    compile_for(policy::Host::this()?, profile)
}

fn compile_for(host: policy::Host, profile: &Seccomp) -> Result<Filter, SeccompError> {
    let policy = policy::read(host, profile)?;
    let instructions = program::lay_out(&policy);
    if instructions.len() > MOST_INSTRUCTIONS {
        let rule =
            format!("{} instructions come of it, {MOST_INSTRUCTIONS} are the most", instructions.len());
        return Err(SeccompError { field: "syscalls".to_owned(), rule });
    }
    Ok(Filter { instructions, flags: policy.flags })
}
