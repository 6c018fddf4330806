//! seccomp profiles: from the names of config.json to the kernel's instructions.

pub mod cache;

use tare_oci::runtime::Seccomp;
use tare_sys::seccomp::Instruction;
use thiserror::Error;

pub use cache::load_or_compile;

/// A compiled profile, ready for the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_…` bits.
    pub flags: u32,
}

/// Why a profile cannot be compiled.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct SeccompError(pub String);

/// Compiles a profile.
///
/// # Errors
/// Names the field and the rule that it breaks.
pub fn compile(_profile: &Seccomp) -> Result<Filter, SeccompError> {
    panic!("stands soon")
}
