//! Laying out the instructions (classic BPF, Documentation/networking/filter.rst; seccomp(2)).
//!
//! Jumps lead forward only, so the program is made from its end: when a jump is written its target stands already.

use tare_sys::seccomp::Instruction;

use super::policy::{Action, Compare, Condition, Decision, Entry, Policy};
use super::syscalls::X32;

pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_X86_64`.
const X86_64: u32 = 0xc000_003e;

/// A place in the program, counted from its end.
type Place = usize;

#[derive(Default)]
struct Program {
    /// Last instruction first.
    reversed: Vec<Instruction>,
    /// The latest return of every value.
    returns: Vec<(Action, Place)>,
}

pub(super) fn lay_out(policy: &Policy) -> Vec<Instruction> {
    let mut program = Program::default();
    let x32 = policy.entries.iter().find(|entry| entry.is_x32);
    let foreign = program.give(Action::KILL_PROCESS);
    // Backwards, so that the machine's own architecture, the first of the list, is compared first.
    let entries = policy.entries.iter().rev().filter(|entry| !entry.is_x32);
    let first = entries.fold(foreign, |next, entry| {
        let search = match entry.audit {
            X86_64 => program.search_x86_64(entry, x32),
            _ => program.search(&entry.ranges),
        };
        let load = program.before(search, LOAD, NUMBER);
        program.jump(JUMP_EQUAL, entry.audit, load, next)
    });
    program.before(first, LOAD, ARCHITECTURE);
    program.reversed.reverse();
    program.reversed
}

impl Program {
    fn emit(&mut self, code: u16, k: u32) -> Place {
        self.reversed.push(Instruction { code, jt: 0, jf: 0, k });
        self.reversed.len() - 1
    }

    /// An instruction after which `next` is executed.
    fn before(&mut self, next: Place, code: u16, k: u32) -> Place {
        if next + 1 != self.reversed.len() {
            self.bridge(next);
        }
        self.emit(code, k)
    }

    /// An instruction that does what stands at `target`, or leads there.
    fn bridge(&mut self, target: Place) -> Place {
        match self.reversed[target] {
            // As short as the jump to it.
            last if last.code == RETURN => self.emit(RETURN, last.k),
            _ => self.emit(JUMP, (self.reversed.len() - target - 1) as u32),
        }
    }

    /// A conditional jump. Its offsets have eight bits: what is further away is reached over a bridge.
    fn jump(&mut self, code: u16, k: u32, yes: Place, no: Place) -> Place {
        let (yes, no) = (self.near(yes), self.near(no));
        let here = self.reversed.len();
        let offset =
            |target: Place| u8::try_from(here - target - 1).expect("near() has brought it within reach");
        self.reversed.push(Instruction { code, jt: offset(yes), jf: offset(no), k });
        here
    }

    /// The limit leaves room for the bridge of the jump's other target.
    fn near(&mut self, target: Place) -> Place {
        if self.reversed.len() - target < 250 { target } else { self.bridge(target) }
    }

    /// A return, made anew only if the last one is out of reach.
    fn give(&mut self, action: Action) -> Place {
        let here = self.reversed.len();
        if let Some((_, place)) =
            self.returns.iter().find(|(given, place)| *given == action && here - place < 200)
        {
            return *place;
        }
        let place = self.emit(RETURN, action.0);
        self.returns.retain(|(given, _)| *given != action);
        self.returns.push((action, place));
        place
    }

    /// Finds the range of the number in the accumulator by halving.
    fn search(&mut self, ranges: &[(u32, Decision)]) -> Place {
        if let [(_, decision)] = ranges {
            return self.decide(decision);
        }
        let (lower, upper) = ranges.split_at(ranges.len() / 2);
        let yes = self.search(upper);
        let no = self.search(lower);
        self.jump(JUMP_GREATER_OR_EQUAL, upper[0].0, yes, no)
    }

    /// The x32 numbers lie above all others. Where x32 is not wanted they end the process, like a foreign architecture.
    fn search_x86_64(&mut self, own: &Entry, x32: Option<&Entry>) -> Place {
        let above = match x32 {
            Some(x32) => self.search(&x32.ranges),
            None => self.give(Action::KILL_PROCESS),
        };
        let below = self.search(&own.ranges);
        self.jump(JUMP_GREATER_OR_EQUAL, X32, above, below)
    }

    fn decide(&mut self, decision: &Decision) -> Place {
        let mut next = self.give(decision.otherwise);
        for rule in decision.rules.iter().rev() {
            let action = self.give(rule.action);
            next =
                rule.conditions.iter().rev().fold(action, |yes, condition| self.check(condition, yes, next));
        }
        next
    }

    fn check(&mut self, condition: &Condition, yes: Place, no: Place) -> Place {
        match condition.compare {
            Compare::Equal(value) => self.equal(condition, value, yes, no),
            Compare::NotEqual(value) => self.equal(condition, value, no, yes),
            Compare::Greater(value) => self.above(condition, JUMP_GREATER, value, yes, no),
            Compare::GreaterOrEqual(value) => self.above(condition, JUMP_GREATER_OR_EQUAL, value, yes, no),
            Compare::Less(value) => self.above(condition, JUMP_GREATER_OR_EQUAL, value, no, yes),
            Compare::LessOrEqual(value) => self.above(condition, JUMP_GREATER, value, no, yes),
            Compare::Masked { mask, datum } => self.masked(condition, (mask, datum), yes, no),
        }
    }

    fn equal(&mut self, condition: &Condition, value: u64, yes: Place, no: Place) -> Place {
        let lower = self.jump(JUMP_EQUAL, low(value), yes, no);
        let lower = self.load(condition, Half::Low, lower);
        if condition.narrow {
            return lower;
        }
        let upper = self.jump(JUMP_EQUAL, high(value), lower, no);
        self.load(condition, Half::High, upper)
    }

    /// Greater than, or not less than, as `code` has it for the lower half.
    fn above(&mut self, condition: &Condition, code: u16, value: u64, yes: Place, no: Place) -> Place {
        let lower = self.jump(code, low(value), yes, no);
        let lower = self.load(condition, Half::Low, lower);
        if condition.narrow {
            return lower;
        }
        let same = self.jump(JUMP_EQUAL, high(value), lower, no);
        let upper = self.jump(JUMP_GREATER, high(value), yes, same);
        self.load(condition, Half::High, upper)
    }

    fn masked(&mut self, condition: &Condition, (mask, datum): (u64, u64), yes: Place, no: Place) -> Place {
        let lower = self.jump(JUMP_EQUAL, low(datum), yes, no);
        let lower = self.before(lower, AND, low(mask));
        let lower = self.load(condition, Half::Low, lower);
        if condition.narrow {
            return lower;
        }
        let upper = self.jump(JUMP_EQUAL, high(datum), lower, no);
        let upper = self.before(upper, AND, high(mask));
        self.load(condition, Half::High, upper)
    }

    fn load(&mut self, condition: &Condition, half: Half, next: Place) -> Place {
        self.before(next, LOAD, address(condition, half))
    }
}

#[derive(Clone, Copy)]
enum Half {
    Low,
    High,
}

/// Where half an argument lies; all machines that we make filters for are little-endian.
fn address(condition: &Condition, half: Half) -> u32 {
    let half = match half {
        Half::Low => 0,
        Half::High => 4,
    };
    ARGUMENTS + 8 * condition.index + half
}

fn low(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}
