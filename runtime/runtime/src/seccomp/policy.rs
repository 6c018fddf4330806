//! Reading a profile: names become numbers, texts become actions, and every number gets its decision.

use std::collections::BTreeMap;

use tare_oci::runtime::{Seccomp, SyscallArgument, SyscallRule};

use super::SeccompError;
use super::syscalls::{Table, X32, number};
use crate::error::one_line;

/// What the kernel shall do: the value that a filter returns (seccomp(2), "Return value").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Action(pub u32);

impl Action {
    pub(super) const KILL_PROCESS: Self = Self(0x8000_0000);
    const KILL_THREAD: Self = Self(0);
    const TRAP: u32 = 0x0003_0000;
    const ERRNO: u32 = 0x0005_0000;
    const NOTIFY: Self = Self(0x7fc0_0000);
    const TRACE: u32 = 0x7ff0_0000;
    const LOG: Self = Self(0x7ffc_0000);
    const ALLOW: Self = Self(0x7fff_0000);
    const EPERM: u32 = 1;
    const ENOSYS: Self = Self(Self::ERRNO | 38);

    fn is_errno(self) -> bool {
        self.0 & 0xffff_0000 == Self::ERRNO
    }
}

/// What is compared, on values as wide as the kernel takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// Which argument, 0 to 5.
    pub index: u32,
    /// Only the lower half counts: the kernel takes an `int`.
    pub narrow: bool,
    pub compare: Compare,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    /// The bits under the mask equal the datum.
    Masked {
        mask: u64,
        datum: u64,
    },
}

/// One rule of a call: where all conditions hold, its action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub conditions: Vec<Condition>,
    pub action: Action,
}

/// What happens to one call: the first rule that holds decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub rules: Vec<Rule>,
    pub otherwise: Action,
}

/// One way into the kernel.
pub(super) struct Entry {
    /// `AUDIT_ARCH_…`; x32 shares that of x86_64.
    pub audit: u32,
    pub is_x32: bool,
    /// Numbers from the key up to the next key; the first key is the smallest number there can be.
    pub ranges: Vec<(u32, Decision)>,
}

pub(super) struct Policy {
    pub entries: Vec<Entry>,
    pub flags: u32,
}

/// The machines that filters can be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    X86_64,
    Aarch64,
}

impl Host {
    pub(super) fn this() -> Result<Self, SeccompError> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => error("architectures", format!("not supported yet on {other}")),
        }
    }

    /// Its own architecture first, then those that its kernels may run besides.
    fn tables(self) -> &'static [(&'static str, Table)] {
        match self {
            Self::X86_64 => &[("X86_64", Table::X86_64), ("X86", Table::X86), ("X32", Table::X32)],
            Self::Aarch64 => &[("AARCH64", Table::Aarch64), ("ARM", Table::Arm)],
        }
    }
}

/// `SCMP_ARCH_…` of the runtime specification. Those that do not run on this machine need no filter.
pub const ARCHITECTURES: [&str; 24] = [
    "NATIVE",
    "X86",
    "X86_64",
    "X32",
    "ARM",
    "AARCH64",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "PPC",
    "PPC64",
    "PPC64LE",
    "S390",
    "S390X",
    "PARISC",
    "PARISC64",
    "RISCV64",
    "LOONGARCH64",
    "M68K",
    "SH",
    "SHEB",
];

const fn audit(table: Table) -> u32 {
    const LITTLE_ENDIAN: u32 = 0x4000_0000;
    const WIDE: u32 = 0x8000_0000;
    match table {
        Table::X86_64 | Table::X32 => 62 | WIDE | LITTLE_ENDIAN,
        Table::X86 => 3 | LITTLE_ENDIAN,
        Table::Aarch64 => 183 | WIDE | LITTLE_ENDIAN,
        Table::Arm => 40 | LITTLE_ENDIAN,
    }
}

/// Arguments that the kernel takes as 32 bits. A filter that looked at all 64 could be passed with rubbish in the upper
/// half, which the kernel then ignores (CVE-2019-7303, CVE-2019-10063).
const NARROW: [(&str, u32); 21] = [
    ("bpf", 0),
    ("fcntl", 1),
    ("fcntl64", 1),
    ("futex", 1),
    ("io_uring_register", 1),
    ("ioctl", 1),
    ("keyctl", 0),
    ("madvise", 2),
    ("personality", 0),
    ("prctl", 0),
    ("sched_setscheduler", 1),
    ("seccomp", 0),
    ("seccomp", 1),
    ("setns", 1),
    ("socket", 0),
    ("socket", 1),
    ("socket", 2),
    ("socketcall", 0),
    ("socketpair", 0),
    ("socketpair", 1),
    ("socketpair", 2),
];

pub(super) fn error<T>(field: impl Into<String>, rule: impl Into<String>) -> Result<T, SeccompError> {
    Err(SeccompError { field: field.into(), rule: one_line(rule.into()) })
}

pub(super) fn read(host: Host, profile: &Seccomp) -> Result<Policy, SeccompError> {
    let default = action("defaultAction", &profile.default_action, profile.default_errno_ret)?;
    if default == Action::NOTIFY {
        return error(
            "defaultAction",
            "SCMP_ACT_NOTIFY cannot be the default: the one who is notified would wait for itself",
        );
    }
    if profile.listener_metadata.is_some() && profile.listener_path.is_none() {
        return error("listenerMetadata", "needs listenerPath");
    }
    let rules = rules(profile)?;
    let tables = tables(host, profile)?;
    let entries = tables.into_iter().map(|table| entry(table, &rules, default)).collect();
    Ok(Policy { entries, flags: flags(profile, &rules)? })
}

/// The rules of every name, in the profile's order.
type Rules<'a> = BTreeMap<&'a str, Vec<Rule>>;

fn rules(profile: &Seccomp) -> Result<Rules<'_>, SeccompError> {
    let mut rules = Rules::new();
    for (at, rule) in profile.syscalls.iter().enumerate() {
        let field = format!("syscalls[{at}]");
        let action = action(&format!("{field}.action"), &rule.action, rule.errno_ret)?;
        check_notify(&field, rule, action, profile)?;
        if rule.names.is_empty() {
            return error(field + ".names", "must name a system call");
        }
        for name in &rule.names {
            rules.entry(name.as_str()).or_default().extend(rules_of(&field, name, rule, action)?);
        }
    }
    Ok(rules)
}

/// Conditions are joined by "and", unless two look at the same argument: then each stands alone, as runc has it, because
/// that is what profiles of that form were written for.
fn rules_of(field: &str, name: &str, rule: &SyscallRule, action: Action) -> Result<Vec<Rule>, SeccompError> {
    let conditions: Vec<Condition> = rule
        .args
        .iter()
        .enumerate()
        .map(|(at, argument)| condition(field, name, at, argument))
        .collect::<Result<_, _>>()?;
    let twice =
        |condition: &Condition| conditions.iter().filter(|other| other.index == condition.index).count() > 1;
    if conditions.iter().any(twice) {
        return Ok(conditions
            .into_iter()
            .map(|condition| Rule { conditions: vec![condition], action })
            .collect());
    }
    Ok(vec![Rule { conditions, action }])
}

fn check_notify(
    field: &str,
    rule: &SyscallRule,
    action: Action,
    profile: &Seccomp,
) -> Result<(), SeccompError> {
    if action != Action::NOTIFY {
        return Ok(());
    }
    match &profile.listener_path {
        None => return error("listenerPath", "needed where an action is SCMP_ACT_NOTIFY"),
        Some(path) if !path.is_absolute() => return error("listenerPath", "must be absolute"),
        Some(_) => {}
    }
    if rule.names.iter().any(|name| name == "write") {
        return error(
            format!("{field}.names"),
            "SCMP_ACT_NOTIFY cannot be had for write: the container would stop at once",
        );
    }
    Ok(())
}

fn condition(
    field: &str,
    name: &str,
    at: usize,
    argument: &SyscallArgument,
) -> Result<Condition, SeccompError> {
    let field = format!("{field}.args[{at}]");
    if argument.index > 5 {
        return error(format!("{field}.index"), "0 to 5 are the arguments of a system call");
    }
    let value = argument.value;
    let compare = match argument.op.as_str() {
        "SCMP_CMP_EQ" => Compare::Equal(value),
        "SCMP_CMP_NE" => Compare::NotEqual(value),
        "SCMP_CMP_LT" => Compare::Less(value),
        "SCMP_CMP_LE" => Compare::LessOrEqual(value),
        "SCMP_CMP_GT" => Compare::Greater(value),
        "SCMP_CMP_GE" => Compare::GreaterOrEqual(value),
        "SCMP_CMP_MASKED_EQ" => Compare::Masked { mask: value, datum: argument.value_two },
        other => return error(format!("{field}.op"), format!("unknown operator \"{other}\"")),
    };
    Ok(Condition { index: argument.index, narrow: NARROW.contains(&(name, argument.index)), compare })
}

fn action(field: &str, name: &str, errno: Option<u32>) -> Result<Action, SeccompError> {
    let data = |most: u32| match errno.unwrap_or(Action::EPERM) {
        number if number <= most => Ok(number),
        number => error(field, format!("errno {number} is out of range, {most} is the largest")),
    };
    let answers = matches!(name, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
    if errno.is_some() && !answers {
        return error(field, format!("{name} answers no errno: errnoRet must be left out"));
    }
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::ALLOW,
        "SCMP_ACT_ERRNO" => Action(Action::ERRNO | data(4095)?),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => Action::KILL_PROCESS,
        "SCMP_ACT_TRAP" => Action(Action::TRAP),
        "SCMP_ACT_TRACE" => Action(Action::TRACE | data(0xffff)?),
        "SCMP_ACT_LOG" => Action::LOG,
        "SCMP_ACT_NOTIFY" => Action::NOTIFY,
        other => return error(field, format!("unknown action \"{other}\"")),
    })
}

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`.
const WAIT_KILLABLE: u32 = 1 << 5;

fn flags(profile: &Seccomp, rules: &Rules<'_>) -> Result<u32, SeccompError> {
    let mut flags = 0;
    for flag in &profile.flags {
        flags |= match flag.as_str() {
            // There is one thread when the filter is loaded, so there is nothing to bring in line.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_LOG" => 1 << 1,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => 1 << 2,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => WAIT_KILLABLE,
            other => return error("flags", format!("unknown flag \"{other}\"")),
        };
    }
    let notifies = rules.values().flatten().any(|rule| rule.action == Action::NOTIFY);
    Ok(match notifies {
        true => flags | tare_sys::seccomp::NEW_LISTENER,
        // The kernel takes it with a listener only.
        false => flags & !WAIT_KILLABLE,
    })
}

/// The machine's own architecture always, and what the profile lists besides.
fn tables(host: Host, profile: &Seccomp) -> Result<Vec<Table>, SeccompError> {
    let mut wanted = Vec::new();
    for (at, text) in profile.architectures.iter().enumerate() {
        match text.strip_prefix("SCMP_ARCH_").filter(|name| ARCHITECTURES.contains(name)) {
            Some(name) => wanted.push(name),
            None => return error(format!("architectures[{at}]"), format!("unknown architecture \"{text}\"")),
        }
    }
    let own = host.tables().iter().enumerate();
    Ok(own
        .filter(|(at, (name, _))| *at == 0 || wanted.contains(name))
        .map(|(_, (_, table))| *table)
        .collect())
}

fn entry(table: Table, rules: &Rules<'_>, default: Action) -> Entry {
    let numbered = rules.iter().filter_map(|(name, rules)| Some((number(table, name)?, rules)));
    let mut decisions: BTreeMap<u32, Decision> = BTreeMap::new();
    for (number, rules) in numbered {
        // Two names may mean one call.
        let decision = decisions.entry(number).or_insert(Decision { rules: Vec::new(), otherwise: default });
        decision.rules.extend(rules.iter().map(|rule| rule.on(table)));
    }
    decisions.values_mut().for_each(Decision::settle);
    Entry { audit: audit(table), is_x32: table == Table::X32, ranges: ranges(table, decisions, default) }
}

impl Rule {
    /// Arguments have 32 bits on 32-bit architectures, so that "equal to −1" written with 64 bits means all of them.
    /// Comparisons by size stay as they are: they are true as they stand.
    fn on(&self, table: Table) -> Rule {
        let mut rule = self.clone();
        for condition in &mut rule.conditions {
            let by_bits = matches!(
                condition.compare,
                Compare::Equal(_) | Compare::NotEqual(_) | Compare::Masked { .. }
            );
            condition.narrow |= by_bits && matches!(table, Table::X86 | Table::Arm);
        }
        rule
    }
}

impl Decision {
    /// What stands behind a rule without conditions is never reached.
    fn settle(&mut self) {
        if let Some(last) = self.rules.iter().position(|rule| rule.conditions.is_empty()) {
            self.otherwise = self.rules[last].action;
            self.rules.truncate(last);
        }
    }
}

/// Joins neighbours that are treated alike, so that the search has little to tell apart.
fn ranges(table: Table, decisions: BTreeMap<u32, Decision>, default: Action) -> Vec<(u32, Decision)> {
    let plain = |otherwise| Decision { rules: Vec::new(), otherwise };
    let newest = decisions.keys().next_back().copied();
    let beyond = if default.is_errno() && newest.is_some() { Action::ENOSYS } else { default };
    let mut ranges: Vec<(u32, Decision)> = Vec::new();
    let mut push = |start: u32, decision: Decision| {
        if ranges.last().is_none_or(|(_, last)| *last != decision) {
            ranges.push((start, decision));
        }
    };
    let mut next = if table == Table::X32 { X32 } else { 0 };
    for (number, decision) in decisions {
        if number > next {
            push(next, plain(default));
        }
        push(number, decision);
        next = number + 1;
    }
    push(next, plain(beyond));
    ranges
}
