//! Where memory is taken from.

use tare_oci::runtime::MemoryPolicy;
use tare_sys::process::NodeMask;

use super::list;
use crate::error::{Error, Result};

/// What set_mempolicy(2) takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MemoryPlan {
    /// With its flags.
    pub(crate) mode: u32,
    pub(crate) nodes: NodeMask,
}

const DEFAULT: u32 = 0;
const PREFERRED: u32 = 1;
const LOCAL: u32 = 4;
const MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", DEFAULT),
    ("MPOL_PREFERRED", PREFERRED),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", LOCAL),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];
const STATIC: u32 = 1 << 15;
const RELATIVE: u32 = 1 << 14;
const FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_STATIC_NODES", STATIC),
    ("MPOL_F_RELATIVE_NODES", RELATIVE),
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
];

pub(super) fn plan(policy: &MemoryPolicy) -> Result<MemoryPlan> {
    let broken = |name: &str, rule: String| Error::spec(format!("linux.memoryPolicy.{name}"), rule);
    let mode = MODES.into_iter().find(|(name, _)| *name == policy.mode);
    let (name, mode) = mode.ok_or_else(|| {
        broken("mode", format!("must be one of MPOL_DEFAULT, MPOL_BIND, …, not \"{}\"", policy.mode))
    })?;
    let mut nodes = NodeMask::default();
    if !policy.nodes.is_empty() {
        let list = list::numbers("linux.memoryPolicy.nodes", &policy.nodes)?;
        list.into_iter().for_each(|node| nodes[node / 64] |= 1 << (node % 64));
    }
    match (policy.nodes.is_empty(), mode) {
        (false, DEFAULT | LOCAL) => return Err(broken("nodes", format!("must be empty for {name}"))),
        (true, mode) if !matches!(mode, DEFAULT | LOCAL | PREFERRED) => {
            return Err(broken("nodes", format!("must name nodes for {name}")));
        }
        _ => {}
    }
    let mut flags = 0;
    for (i, flag) in policy.flags.iter().enumerate() {
        let known = FLAGS.into_iter().find(|(known, _)| known == flag);
        flags |= known.ok_or_else(|| broken(&format!("flags[{i}]"), format!("unknown flag \"{flag}\"")))?.1;
    }
    if flags & STATIC != 0 && flags & RELATIVE != 0 {
        return Err(broken(
            "flags",
            "must not hold both MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES".to_owned(),
        ));
    }
    Ok(MemoryPlan { mode: mode | flags, nodes })
}
