//! libseccomp as an oracle: its filters and ours answer every call alike.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use tare_oci::runtime::{Seccomp, SyscallArgument, SyscallRule};
use tare_sys::seccomp::Instruction;

use super::compile_for;
use super::interpreter::{Call, run};
use super::policy::Host;

const OPERATORS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
const VALUES: [u64; 8] =
    [0, 1, 2, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 0x8000_0000_0000_0000, u64::MAX];
/// With the values that they come to; calls newer than the profile get another answer than libseccomp's where the default
/// is an error, so that is none of them.
const ACTIONS: [(&str, Option<u32>, u32); 9] = [
    ("SCMP_ACT_ALLOW", None, 0x7fff_0000),
    ("SCMP_ACT_ALLOW", None, 0x7fff_0000),
    ("SCMP_ACT_LOG", None, 0x7ffc_0000),
    ("SCMP_ACT_TRACE", Some(7), 0x7ff0_0007),
    ("SCMP_ACT_NOTIFY", None, 0x7fc0_0000),
    ("SCMP_ACT_ERRNO", Some(13), 0x0005_000d),
    ("SCMP_ACT_TRAP", None, 0x0003_0000),
    ("SCMP_ACT_KILL_THREAD", None, 0),
    ("SCMP_ACT_KILL_PROCESS", None, 0x8000_0000),
];
const DEFAULTS: [&str; 4] = ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRAP"];

fn value(action: &str) -> u32 {
    ACTIONS.iter().find(|(name, ..)| *name == action).unwrap().2
}

const NAMES: [&str; 6] = ["read", "openat", "mmap", "clone", "execve", "mount"];

fn build(directory: &Path) -> Option<PathBuf> {
    let (source, program) = (directory.join("oracle.c"), directory.join("oracle"));
    std::fs::write(&source, include_str!("oracle.c")).unwrap();
    let built = Command::new("cc").arg(&source).arg("-o").arg(&program).arg("-lseccomp").output().ok()?;
    built.status.success().then_some(program)
}

fn ask(oracle: &Path, default: &str, rules: &[SyscallRule]) -> Vec<Instruction> {
    let mut lines = format!("{}\n", value(default));
    for rule in rules {
        lines.push_str(&format!("{} {}", rule.names[0], value(&rule.action)));
        for argument in &rule.args {
            let operator =
                OPERATORS.iter().position(|op| argument.op == format!("SCMP_CMP_{op}")).unwrap() + 1;
            lines.push_str(&format!(
                " {} {operator} {} {}",
                argument.index, argument.value, argument.value_two
            ));
        }
        lines.push('\n');
    }
    let mut child = Command::new(oracle).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    let instruction = |bytes: &[u8]| Instruction {
        code: u16::from_le_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    output.stdout.chunks_exact(8).map(instruction).collect()
}

fn rule() -> impl Strategy<Value = SyscallRule> {
    let value = || prop::sample::select(&VALUES[..]);
    let argument =
        (prop::sample::select(&OPERATORS[..]), value(), value()).prop_map(|(op, value, value_two)| {
            // Bits of the datum outside the mask can never be met; libseccomp drops them instead.
            let value_two = if op == "MASKED_EQ" { value & value_two } else { 0 };
            SyscallArgument { index: 0, value, value_two, op: format!("SCMP_CMP_{op}") }
        });
    let action = prop::sample::select(&ACTIONS[..]);
    let parts = (prop::sample::select(&NAMES[..]), action, prop::collection::vec(argument, 0..4));
    parts.prop_map(|(name, (action, errno_ret, _), mut args)| {
        args.iter_mut().zip(0..).for_each(|(argument, index)| argument.index = index);
        SyscallRule { names: vec![name.to_owned()], action: action.to_owned(), errno_ret, args }
    })
}

#[test]
fn libseccomp_answers_every_call_alike() {
    let directory = tempfile::tempdir().unwrap();
    let Some(oracle) = build(directory.path()) else {
        println!("skipped: needs cc and libseccomp-dev");
        return;
    };
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    // One rule a call: libseccomp 2.5.4 merges some pairs wrongly ("less than 0" with "less than 1 << 32" loses the
    // second). Several rules a call are compared with their plain meaning in the tests beside this one.
    let rules = prop::collection::vec(rule(), 0..12).prop_map(|mut rules| {
        rules.sort_by(|one, other| one.names.cmp(&other.names));
        rules.dedup_by(|one, other| one.names == other.names);
        rules
    });
    let default = prop::sample::select(&DEFAULTS[..]);
    runner.run(&(default, rules), |(default, rules)| compare(&oracle, default, rules)).unwrap();
}

fn compare(oracle: &Path, default: &str, rules: Vec<SyscallRule>) -> Result<(), TestCaseError> {
    let theirs = ask(oracle, default, &rules);
    let profile = Seccomp {
        default_action: default.to_owned(),
        listener_path: Some("/agent".into()),
        architectures: ["X86", "X32"].map(|name| format!("SCMP_ARCH_{name}")).to_vec(),
        syscalls: rules,
        ..Seccomp::default()
    };
    let ours = compile_for(Host::X86_64, &profile).unwrap().instructions;
    // libseccomp takes arguments of x32 for 32 bits wide, which they are not, and cuts what they are compared with.
    let cut = |argument: &SyscallArgument| argument.value > 0xffff_ffff;
    let by_size = |argument: &SyscallArgument| !["EQ", "NE", "MASKED_EQ"].contains(&&argument.op[9..]);
    let arguments = || profile.syscalls.iter().flat_map(|rule| &rule.args);
    let x86 = !arguments().any(|argument| cut(argument) && by_size(argument));
    let x32 = !arguments().any(cut);
    let narrow = [[0, 0, 0], [1, 2, 0xffff_ffff], [0xffff_ffff, 1, 1]];
    let wide = [[0x1_0000_0001, 1, 0], [u64::MAX, 0xffff_ffff, 1], [0x8000_0000_0000_0000, 0, u64::MAX]];
    let all = [&narrow[..], &wide[..]].concat();
    for (architecture, numbers, arguments, comparable) in [
        (0xc000_003e, 0..600, &all[..], true),
        (0x4000_0003, 0..600, &narrow[..], x86),
        (0xc000_003e, 0x4000_0000..0x4000_0258, &narrow[..], x32),
        (0xc000_00b7, 0..600, &narrow[..], true),
    ] {
        for (number, [first, second, third]) in numbers
            .flat_map(|number| arguments.iter().map(move |values| (number, *values)))
            .filter(|_| comparable)
        {
            let call = Call { architecture, number, arguments: [first, second, third, 0, 0, 0] };
            prop_assert_eq!(run(&ours, &call).0, run(&theirs, &call).0, "{:x?}", call);
        }
    }
    Ok(())
}
