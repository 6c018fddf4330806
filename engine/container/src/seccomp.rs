//! Chooses the system call filter: Docker's own, or a profile that a client sent.

use tare_model::{Capability, Platform};
use tare_oci::runtime::Seccomp;
use tare_oci::seccomp::{Circumstances, Profile};

use crate::spec::SeccompChoice;
use crate::{Error, Result};

/// Profiles are a few tens of kilobytes; more is an attempt to make us work.
const MAX_PROFILE: usize = 1 << 20;

/// Checks `text`, a JSON profile in Docker's form or the runtime specification's.
pub(crate) fn check_profile(text: &str) -> Result<()> {
    if text.len() > MAX_PROFILE {
        return Err(invalid(format!("{} bytes; at most {MAX_PROFILE} are taken", text.len())));
    }
    resolve(text, &[], (4, 19)).map(drop)
}

/// The filter of a container with these capabilities; nothing when it is unconfined. A privileged container has none
/// unless it asks for one.
pub(crate) fn filter(
    choice: &SeccompChoice,
    privileged: bool,
    capabilities: &[Capability],
    kernel: (u32, u32),
) -> Result<Option<Seccomp>> {
    match choice {
        SeccompChoice::Custom(profile) => resolve(profile, capabilities, kernel).map(Some),
        SeccompChoice::Default if !privileged => {
            let architecture = Platform::host().architecture;
            Ok(Some(tare_oci::seccomp_default::default_profile(capabilities, &architecture)))
        }
        SeccompChoice::Default | SeccompChoice::Unconfined => Ok(None),
    }
}

fn resolve(text: &str, capabilities: &[Capability], kernel: (u32, u32)) -> Result<Seccomp> {
    let profile: Profile = serde_json::from_str(text).map_err(invalid)?;
    let architecture = Platform::host().architecture;
    profile.resolve(Circumstances { capabilities, architecture: &architecture, kernel }).map_err(invalid)
}

fn invalid(why: impl std::fmt::Display) -> Error {
    Error::InvalidSpec(format!("Decoding seccomp profile failed: {why}"))
}
