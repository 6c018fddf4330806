//! Device rules: v1's lines, and v2's eBPF program.

mod names;

use tare_oci::runtime::{DeviceRule, Resources};

use crate::error::{Error, Result};

pub(crate) use self::names::allowed;

/// A device rule that has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
    /// Bits of [`MKNOD`], [`READ`] and [`WRITE`].
    access: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    Block,
    Char,
}

// `BPF_DEVCG_…` of <linux/bpf.h>.
const BLOCK: i32 = 1;
const CHAR: i32 = 2;
const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MKNOD | READ | WRITE;

const DENY_ALL: Rule = Rule { allow: false, kind: Kind::Any, major: None, minor: None, access: ALL };

/// What every container may do: make any node (opening it is another matter) and use the devices that runtime-spec
/// ("Default Devices") gives to all: null, zero, full, random, urandom, tty, console, ptmx and the ptys.
const DEFAULTS: [Rule; 11] = [
    Rule { allow: true, kind: Kind::Char, major: None, minor: None, access: MKNOD },
    Rule { allow: true, kind: Kind::Block, major: None, minor: None, access: MKNOD },
    character(1, Some(3)),
    character(1, Some(5)),
    character(1, Some(7)),
    character(1, Some(8)),
    character(1, Some(9)),
    character(5, Some(0)),
    character(5, Some(1)),
    character(5, Some(2)),
    character(136, None),
];

const fn character(major: u32, minor: Option<u32>) -> Rule {
    Rule { allow: true, kind: Kind::Char, major: Some(major), minor, access: ALL }
}

/// The rules in force for `resources`: denial of all, its own in their order, the default devices. None where it has no
/// rules: then the group keeps what it has.
pub(crate) fn rules(resources: &Resources) -> Result<Vec<Rule>> {
    if resources.devices.is_empty() {
        return Ok(Vec::new());
    }
    let mut list = vec![DENY_ALL];
    for rule in &resources.devices {
        let rule = check(rule)?;
        if rule.is_everything() {
            list.clear();
        }
        list.push(rule);
    }
    // A container that may use everything needs no list of exceptions, and v1 would take none.
    if list != [Rule { allow: true, ..DENY_ALL }] {
        list.extend(DEFAULTS);
    }
    Ok(list)
}

fn check(rule: &DeviceRule) -> Result<Rule> {
    let invalid = |reason: String| Error::InvalidLimit { field: "devices", reason };
    let kind = match rule.kind.as_deref() {
        None | Some("" | "a") => Kind::Any,
        Some("b") => Kind::Block,
        Some("c" | "u") => Kind::Char,
        Some(other) => return Err(invalid(format!("type {other:?} is none of a, b and c"))),
    };
    let number = |n: Option<i64>| match n {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n).map(Some).map_err(|_| invalid(format!("{n} is no device number"))),
    };
    Ok(Rule {
        allow: rule.allow,
        kind,
        major: number(rule.major)?,
        minor: number(rule.minor)?,
        access: access(rule)?,
    })
}

fn access(rule: &DeviceRule) -> Result<u32> {
    let letters = rule.access.as_deref().filter(|a| !a.is_empty()).unwrap_or("rwm");
    letters.chars().try_fold(0, |bits, letter| match letter {
        'r' => Ok(bits | READ),
        'w' => Ok(bits | WRITE),
        'm' => Ok(bits | MKNOD),
        other => Err(Error::InvalidLimit {
            field: "devices",
            reason: format!("access {other:?} is none of r, w and m"),
        }),
    })
}

impl Rule {
    /// Whether it decides alone, whatever came before it.
    fn is_everything(&self) -> bool {
        Rule { allow: false, ..*self } == DENY_ALL
    }

    /// Lines for `devices.allow` or `devices.deny`. v1 takes `a` for everything only.
    pub(crate) fn v1_lines(&self) -> Vec<String> {
        if self.is_everything() {
            return vec!["a".to_owned()];
        }
        let kinds: &[char] = match self.kind {
            Kind::Any => &['b', 'c'],
            Kind::Block => &['b'],
            Kind::Char => &['c'],
        };
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let letters = self.letters();
        kinds
            .iter()
            .map(|kind| format!("{kind} {}:{} {letters}", number(self.major), number(self.minor)))
            .collect()
    }
}

/// One eBPF instruction, as the kernel takes it (`struct bpf_insn`).
const fn instruction(code: u8, to: u8, from: u8, jump: i16, value: i32) -> u64 {
    (code as u64)
        | (to as u64) << 8
        | (from as u64) << 12
        | (jump as u16 as u64) << 16
        | (value as u32 as u64) << 32
}

// Operation codes of <linux/bpf_common.h> and <linux/bpf.h>, in the combinations that are used.
const LOAD_32: u8 = 0x61;
const MOVE_32: u8 = 0xbc;
const SET_32: u8 = 0xb4;
const AND_32: u8 = 0x54;
const SHIFT_RIGHT_32: u8 = 0x74;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const JUMP_IF_ANY_BIT: u8 = 0x45;
const EXIT: u8 = 0x95;

// Registers. r0 is the answer, r1 comes in with the context.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const LEFT: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program for a v2 group. It reads `struct bpf_cgroup_dev_ctx` (access << 16 | type, major, minor) and looks at the
/// rules from the last to the first: an allowing one takes its access off what is left to be allowed, a denying one
/// that meets what is left refuses. So rules add up exactly as they do in v1's list. What no rule allows is refused.
pub(crate) fn program(rules: &[Rule]) -> Vec<u64> {
    let mut code = vec![
        instruction(LOAD_32, TYPE, CONTEXT, 0, 0),
        instruction(MOVE_32, LEFT, TYPE, 0, 0),
        instruction(AND_32, TYPE, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT_32, LEFT, 0, 0, 16),
        instruction(LOAD_32, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_32, MINOR, CONTEXT, 8, 0),
    ];
    // Nothing before a rule about everything can matter.
    let from = rules.iter().rposition(Rule::is_everything).unwrap_or(0);
    rules[from..].iter().rev().for_each(|rule| emit(rule, &mut code));
    code.extend(answer(0));
    code
}

fn answer(value: i32) -> [u64; 2] {
    [instruction(SET_32, ANSWER, 0, 0, value), instruction(EXIT, 0, 0, 0, 0)]
}

fn emit(rule: &Rule, code: &mut Vec<u64>) {
    let body = if rule.allow { allowing(rule.access) } else { denying(rule.access) };
    let mut tests = Vec::with_capacity(3);
    match rule.kind {
        Kind::Any => {}
        Kind::Block => tests.push((TYPE, BLOCK)),
        Kind::Char => tests.push((TYPE, CHAR)),
    }
    // A 64-bit comparison sign-extends its constant, and numbers of devices stay below 2^20.
    tests.extend(rule.major.map(|n| (MAJOR, n as i32)));
    tests.extend(rule.minor.map(|n| (MINOR, n as i32)));
    let count = tests.len();
    for (at, (register, value)) in tests.into_iter().enumerate() {
        let over = (count - at - 1 + body.len()) as i16;
        code.push(instruction(JUMP_IF_NOT_EQUAL, register, 0, over, value));
    }
    code.extend(body);
}

fn allowing(access: u32) -> Vec<u64> {
    let mut body = vec![
        instruction(AND_32, LEFT, 0, 0, (ALL & !access) as i32),
        instruction(JUMP_IF_NOT_EQUAL, LEFT, 0, 2, 0),
    ];
    body.extend(answer(1));
    body
}

fn denying(access: u32) -> Vec<u64> {
    let mut body = vec![
        instruction(JUMP_IF_ANY_BIT, LEFT, 0, 1, access as i32),
        // Always jumps over the answer: nothing of what is left is denied here.
        instruction(0x05, 0, 0, 2, 0),
    ];
    body.extend(answer(0));
    body
}

#[cfg(test)]
mod tests;
