//! From the runtime's rights to those of the user's program.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit as Limit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets as Kernel, Gid, Uid, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::failure::{Failure, Step};
use crate::plan::{CapabilitySets, Identity, Rlimit};

/// Sets the limits. Without CAP_SYS_RESOURCE a hard limit cannot be raised: it then stays as it is, which is a warning.
pub(crate) fn limit(limits: &[Rlimit], warnings: &mut Vec<String>) -> Result<(), Failure> {
    for limit in limits {
        match set(limit.resource, limit.soft, limit.hard) {
            Ok(()) => {}
            Err(Errno::PERM) => {
                let hard = getrlimit(limit.resource).maximum.unwrap_or(u64::MAX).min(limit.hard);
                set(limit.resource, limit.soft.min(hard), hard).step(|| format!("set {}", limit.name))?;
                warnings.push(format!("{} stays at {hard}: raising it needs CAP_SYS_RESOURCE", limit.name));
            }
            Err(e) => return Err(Failure::new(&format!("set {}", limit.name), e)),
        }
    }
    Ok(())
}

fn set(resource: Resource, soft: u64, hard: u64) -> Result<(), Errno> {
    let finite = |value: u64| (value != u64::MAX).then_some(value);
    setrlimit(resource, Limit { current: finite(soft), maximum: finite(hard) })
}

/// Becomes a user with exactly these groups and these capabilities.
pub(crate) fn assume(identity: &Identity, wanted: CapabilitySets) -> Result<(), Failure> {
    bound(wanted.bounding)?;
    // Without it a change from root to another user would empty the permitted set before it is cut down as asked.
    set_keep_capabilities(true).at("keep capabilities")?;
    become_user(identity)?;
    set_keep_capabilities(false).at("keep capabilities")?;
    let have = capabilities(None).at("read capabilities")?.permitted.bits();
    let sets = Kernel {
        effective: CapabilitySet::from_bits_retain(wanted.effective & have),
        permitted: CapabilitySet::from_bits_retain(wanted.permitted & have),
        inheritable: CapabilitySet::from_bits_retain(wanted.inheritable & have),
    };
    set_capabilities(None, sets).at("set capabilities")?;
    clear_ambient_capability_set().at("clear ambient capabilities")?;
    for bit in bits(wanted.ambient & have) {
        let one = CapabilitySet::from_bits_retain(bit);
        configure_capability_in_ambient_set(one, true).at("set ambient capabilities")?;
    }
    Ok(())
}

/// Groups, group and user, in the order in which each is still allowed.
pub(crate) fn become_user(identity: &Identity) -> Result<(), Failure> {
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match set_thread_groups(&groups) {
        // A user namespace of a user who has no other ids forbids it: nothing is left behind that way, but what the
        // user has. Without CAP_SETGID it would be another matter.
        Err(Errno::PERM) if groups.is_empty() && may_set_groups()? => {}
        done => done.at("set supplementary groups")?,
    }
    let gid = Gid::from_raw(identity.gid);
    set_thread_res_gid(gid, gid, gid).step(|| format!("become group {}", identity.gid))?;
    let uid = Uid::from_raw(identity.uid);
    set_thread_res_uid(uid, uid, uid).step(|| format!("become user {}", identity.uid))
}

/// Whether this process has the rights of root where it is.
pub(crate) fn may_administer() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

fn may_set_groups() -> Result<bool, Failure> {
    let have = capabilities(None).at("read capabilities")?.effective;
    Ok(have.contains(CapabilitySet::SETGID))
}

fn bound(bounding: u64) -> Result<(), Failure> {
    for bit in bits(!bounding) {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(bit)) {
            Ok(()) => {}
            // Above the last one that this kernel has.
            Err(Errno::INVAL) => break,
            Err(e) => return Err(Failure::new("drop capabilities from the bounding set", e)),
        }
    }
    Ok(())
}

fn bits(set: u64) -> impl Iterator<Item = u64> {
    (0..u64::BITS).map(|n| 1 << n).filter(move |bit| set & bit != 0)
}
