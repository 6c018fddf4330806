use proptest::prelude::*;
use tare_model::{Capability, DEFAULT_CAPABILITIES};
use tare_oci::runtime::{Seccomp, SyscallArgument, SyscallRule};
use tare_oci::seccomp_default::default_profile;

use super::interpreter::{Call, run};
use super::policy::Host;
use super::syscalls::{Table, X32, number};
use super::{SeccompError, compile_for};

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn rule(names: &[&str], action: &str) -> SyscallRule {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    SyscallRule { names, action: action.to_owned(), ..SyscallRule::default() }
}

fn rule_if(name: &str, action: &str, args: &[(u32, &str, u64, u64)]) -> SyscallRule {
    let argument = |&(index, op, value, value_two): &(u32, &str, u64, u64)| SyscallArgument {
        index,
        value,
        value_two,
        op: format!("SCMP_CMP_{op}"),
    };
    SyscallRule { args: args.iter().map(argument).collect(), ..rule(&[name], action) }
}

fn profile(default: &str, syscalls: Vec<SyscallRule>) -> Seccomp {
    Seccomp { default_action: default.to_owned(), syscalls, ..Seccomp::default() }
}

fn call(table: Table, name: &str, arguments: [u64; 6]) -> Call {
    let architecture = match table {
        Table::X86_64 | Table::X32 => X86_64,
        Table::X86 => X86,
        Table::Aarch64 => AARCH64,
        Table::Arm => ARM,
    };
    Call { architecture, number: number(table, name).unwrap(), arguments }
}

fn answer(profile: &Seccomp, call: Call) -> u32 {
    run(&compile_for(Host::X86_64, profile).unwrap().instructions, &call).0
}

fn first(value: u64) -> [u64; 6] {
    [value, 0, 0, 0, 0, 0]
}

#[test]
fn every_action_becomes_its_return_value() {
    let actions = [
        ("SCMP_ACT_ALLOW", ALLOW),
        ("SCMP_ACT_ERRNO", EPERM),
        ("SCMP_ACT_KILL", 0),
        ("SCMP_ACT_KILL_THREAD", 0),
        ("SCMP_ACT_KILL_PROCESS", KILL_PROCESS),
        ("SCMP_ACT_TRAP", 0x0003_0000),
        ("SCMP_ACT_TRACE", 0x7ff0_0001),
        ("SCMP_ACT_LOG", 0x7ffc_0000),
        ("SCMP_ACT_NOTIFY", 0x7fc0_0000),
    ];
    for (action, expected) in actions {
        let default = if action == "SCMP_ACT_ALLOW" { "SCMP_ACT_KILL" } else { "SCMP_ACT_ALLOW" };
        let mut profile = profile(default, vec![rule(&["getpid"], action)]);
        profile.listener_path = Some("/run/listener".into());
        assert_eq!(answer(&profile, call(Table::X86_64, "getpid", first(0))), expected, "{action}");
        let filter = compile_for(Host::X86_64, &profile).unwrap();
        assert_eq!(filter.flags & tare_sys::seccomp::NEW_LISTENER != 0, action == "SCMP_ACT_NOTIFY");
    }
}

#[test]
fn every_operator_compares_all_64_bits() {
    let value = 0x0000_0005_8000_0000_u64;
    let around = [
        0,
        5,
        0x8000_0000,
        value - 1,
        value,
        value + 1,
        0x5_0000_0000,
        0x6_0000_0000,
        0x4_ffff_ffff,
        u64::MAX,
    ];
    type Expected = fn(u64, u64) -> bool;
    let operators: [(&str, Expected); 6] = [
        ("EQ", |a, b| a == b),
        ("NE", |a, b| a != b),
        ("LT", |a, b| a < b),
        ("LE", |a, b| a <= b),
        ("GT", |a, b| a > b),
        ("GE", |a, b| a >= b),
    ];
    for (op, expected) in operators {
        let profile = profile("SCMP_ACT_KILL", vec![rule_if("read", "SCMP_ACT_ALLOW", &[(0, op, value, 0)])]);
        for argument in around {
            let allowed = answer(&profile, call(Table::X86_64, "read", first(argument))) == ALLOW;
            assert_eq!(allowed, expected(argument, value), "{argument:#x} {op} {value:#x}");
        }
    }
    let (mask, datum) = (0xf000_0000_0000_000f, 0xa000_0000_0000_0003);
    let profile =
        profile("SCMP_ACT_KILL", vec![rule_if("read", "SCMP_ACT_ALLOW", &[(0, "MASKED_EQ", mask, datum)])]);
    for (argument, expected) in
        [(datum, true), (datum | 0xff0, true), (0x3, false), (0xa000_0000_0000_0002, false)]
    {
        assert_eq!(
            answer(&profile, call(Table::X86_64, "read", first(argument))) == ALLOW,
            expected,
            "{argument:#x}"
        );
    }
}

#[test]
fn conditions_of_a_rule_are_joined_by_and_those_of_rules_by_or() {
    let rules = vec![
        rule_if("read", "SCMP_ACT_ALLOW", &[(0, "EQ", 1, 0), (5, "EQ", 2, 0)]),
        rule_if("read", "SCMP_ACT_ALLOW", &[(1, "GT", 9, 0)]),
    ];
    let profile = profile("SCMP_ACT_KILL", rules);
    for (arguments, expected) in [
        ([1, 0, 0, 0, 0, 2], ALLOW),
        ([1, 0, 0, 0, 0, 0], 0),
        ([0, 0, 0, 0, 0, 2], 0),
        ([0, 10, 0, 0, 0, 0], ALLOW),
    ] {
        assert_eq!(answer(&profile, call(Table::X86_64, "read", arguments)), expected, "{arguments:?}");
    }
}

#[test]
fn rubbish_in_the_upper_half_of_an_int_changes_nothing() {
    let profile =
        profile("SCMP_ACT_ALLOW", vec![rule_if("ioctl", "SCMP_ACT_ERRNO", &[(1, "EQ", 0x5412, 0)])]);
    for argument in [0x5412, 0x1_0000_5412, 0xffff_ffff_0000_5412] {
        assert_eq!(
            answer(&profile, call(Table::X86_64, "ioctl", [0, argument, 0, 0, 0, 0])),
            EPERM,
            "{argument:#x}"
        );
    }
    let default = default_profile(&DEFAULT_CAPABILITIES, "amd64");
    for family in [38, 0x1_0000_0026, 40, 0x8000_0000_0000_0028] {
        assert_eq!(
            answer(&default, call(Table::X86_64, "socket", first(family))),
            EPERM,
            "family {family:#x}"
        );
    }
    for family in [1, 2, 10, 16, 39, 41] {
        assert_eq!(answer(&default, call(Table::X86_64, "socket", first(family))), ALLOW, "family {family}");
    }
}

#[test]
fn entries_that_the_profile_does_not_list_end_the_process() {
    let mut profile = profile("SCMP_ACT_ALLOW", vec![rule(&["getpid"], "SCMP_ACT_ERRNO")]);
    let x32 = call(Table::X32, "getpid", first(0));
    let x86 = call(Table::X86, "getpid", first(0));
    assert_eq!([answer(&profile, x32), answer(&profile, x86)], [KILL_PROCESS; 2]);
    assert_eq!(answer(&profile, Call { architecture: AARCH64, ..x86 }), KILL_PROCESS);
    profile.architectures = ["X86", "X32", "AARCH64"].map(|name| format!("SCMP_ARCH_{name}")).to_vec();
    assert_eq!([answer(&profile, x32), answer(&profile, x86)], [EPERM; 2]);
    assert_eq!(answer(&profile, Call { number: X32, ..x32 }), ALLOW);
    assert_eq!(answer(&profile, Call { architecture: AARCH64, ..x86 }), KILL_PROCESS);
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let rules = vec![rule(&["read", "openat2"], "SCMP_ACT_ALLOW")];
    let call = |number| Call { architecture: X86_64, number, arguments: [0; 6] };
    for (number, expected) in [(437, ALLOW), (438, ENOSYS), (5000, ENOSYS), (436, EPERM)] {
        assert_eq!(answer(&profile("SCMP_ACT_ERRNO", rules.clone()), call(number)), expected, "{number}");
    }
    assert_eq!(answer(&profile("SCMP_ACT_KILL_PROCESS", rules.clone()), call(438)), KILL_PROCESS);
    assert_eq!(answer(&profile("SCMP_ACT_ALLOW", rules), call(438)), ALLOW);
}

#[test]
fn unknown_names_are_passed_over_and_unknown_words_are_not() {
    let unknown = profile("SCMP_ACT_ALLOW", vec![rule(&["no_such_call", "getpid"], "SCMP_ACT_ERRNO")]);
    assert_eq!(answer(&unknown, call(Table::X86_64, "getpid", first(0))), EPERM);

    let message = |profile: &Seccomp| compile_for(Host::X86_64, profile).unwrap_err().to_string();
    assert!(
        message(&profile("SCMP_ACT_NONE", vec![])).starts_with("linux.seccomp.defaultAction: unknown action")
    );
    assert!(message(&profile("SCMP_ACT_NOTIFY", vec![])).contains("cannot be the default"));
    let bad = profile("SCMP_ACT_ALLOW", vec![rule_if("read", "SCMP_ACT_KILL", &[(6, "EQ", 0, 0)])]);
    assert!(message(&bad).starts_with("linux.seccomp.syscalls[0].args[0].index: "));
    let bad = profile("SCMP_ACT_ALLOW", vec![rule_if("read", "SCMP_ACT_KILL", &[(0, "LIKE", 0, 0)])]);
    assert!(message(&bad).starts_with("linux.seccomp.syscalls[0].args[0].op: "));
    let mut bad = profile("SCMP_ACT_ERRNO", vec![]);
    bad.default_errno_ret = Some(5000);
    assert!(message(&bad).contains("4095"));
    bad.default_errno_ret = None;
    bad.architectures = vec!["SCMP_ARCH_PDP11".to_owned()];
    assert!(message(&bad).starts_with("linux.seccomp.architectures[0]: "));
    bad.architectures = vec!["SCMP_ARCH_S390X".to_owned()];
    assert!(compile_for(Host::X86_64, &bad).is_ok());
    let notify = profile("SCMP_ACT_ALLOW", vec![rule(&["mount"], "SCMP_ACT_NOTIFY")]);
    assert!(message(&notify).starts_with("linux.seccomp.listenerPath: "));
    let mut relative = notify.clone();
    relative.listener_path = Some("x".into());
    assert_eq!(message(&relative), "linux.seccomp.listenerPath: must be absolute");
    let mut told = profile("SCMP_ACT_ALLOW", vec![]);
    told.listener_metadata = Some("x".to_owned());
    assert!(message(&told).starts_with("linux.seccomp.listenerMetadata: "));
    let mut write = profile("SCMP_ACT_ALLOW", vec![rule(&["write"], "SCMP_ACT_NOTIFY")]);
    write.listener_path = Some("/x".into());
    assert!(message(&write).contains("write"));
}

#[test]
fn a_listener_is_made_where_somebody_is_notified() {
    let mut some = profile("SCMP_ACT_ALLOW", vec![rule(&["mount"], "SCMP_ACT_ERRNO")]);
    some.flags = ["LOG", "TSYNC", "WAIT_KILLABLE_RECV"].map(|f| format!("SECCOMP_FILTER_FLAG_{f}")).to_vec();
    let filter = compile_for(Host::X86_64, &some).unwrap();
    assert_eq!((filter.flags, filter.notifies()), (2, false));
    some.listener_path = Some("/x".into());
    some.syscalls = vec![rule(&["mount"], "SCMP_ACT_NOTIFY")];
    let filter = compile_for(Host::X86_64, &some).unwrap();
    assert_eq!((filter.flags, filter.notifies()), (2 | 8 | 32, true));
}

#[test]
fn architectures_of_other_machines_are_accepted() {
    let names = "NATIVE X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE \
                 S390 S390X PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB";
    let mut all = profile("SCMP_ACT_ALLOW", vec![rule(&["getpid"], "SCMP_ACT_ERRNO")]);
    all.architectures = names.split_whitespace().map(|name| format!("SCMP_ARCH_{name}")).collect();
    for table in [Table::X86_64, Table::X86, Table::X32] {
        assert_eq!(answer(&all, call(table, "getpid", first(0))), EPERM, "{table:?}");
    }
}

#[test]
fn the_default_profile_is_small_and_quick_on_every_architecture() {
    let all: Vec<Capability> = Capability::all().collect();
    for (host, name, table) in
        [(Host::X86_64, "amd64", Table::X86_64), (Host::Aarch64, "arm64", Table::Aarch64)]
    {
        for capabilities in [&DEFAULT_CAPABILITIES[..], &all[..], &[]] {
            let filter = compile_for(host, &default_profile(capabilities, name)).unwrap();
            assert!(filter.instructions.len() < 1024, "{} instructions", filter.instructions.len());
            let (allowed, steps) = run(&filter.instructions, &call(table, "read", [0; 6]));
            assert_eq!(allowed, ALLOW);
            assert!(steps <= 16, "{steps} steps for read");
        }
    }
}

#[test]
fn the_default_profile_answers_as_dockers_does() {
    let default = default_profile(&DEFAULT_CAPABILITIES, "amd64");
    let expected = [
        ("clone", [0x11, 0, 0, 0, 0, 0], ALLOW),
        ("clone", [0x1000_0000, 0, 0, 0, 0, 0], EPERM),
        ("clone", [0x0002_0000, 0, 0, 0, 0, 0], EPERM),
        ("clone3", [0; 6], ENOSYS),
        ("unshare", [0; 6], EPERM),
        ("setns", [0; 6], EPERM),
        ("mount", [0; 6], EPERM),
        ("bpf", [0; 6], EPERM),
        ("keyctl", [0; 6], EPERM),
        ("personality", [0xffff_ffff, 0, 0, 0, 0, 0], ALLOW),
        ("personality", [0x40000, 0, 0, 0, 0, 0], EPERM),
        ("chroot", [0; 6], ALLOW),
        ("reboot", [0; 6], EPERM),
    ];
    for table in [Table::X86_64, Table::X86, Table::X32] {
        for (name, arguments, answered) in expected {
            assert_eq!(
                answer(&default, call(table, name, arguments)),
                answered,
                "{table:?} {name} {arguments:?}"
            );
        }
    }
}

/// The kernel itself has the last word on whether a program is one.
#[test]
fn the_kernel_takes_the_default_profile_and_obeys_it() {
    if std::env::consts::ARCH != "x86_64" || !rustix::process::geteuid().is_root() {
        println!("skipped: needs root on x86_64");
        return;
    }
    let filter = compile_for(Host::X86_64, &default_profile(&DEFAULT_CAPABILITIES, "amd64")).unwrap();
    // Filters belong to threads: this one ends with its own.
    let refused = std::thread::spawn(move || {
        tare_sys::seccomp::load(&filter.instructions, filter.flags).unwrap();
        let mounted =
            rustix::mount::mount("none", "/nowhere", "tmpfs", rustix::mount::MountFlags::empty(), None);
        let alg = rustix::net::socket(
            rustix::net::AddressFamily::from_raw(38),
            rustix::net::SocketType::SEQPACKET,
            None,
        );
        let unix =
            rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None);
        (mounted.unwrap_err(), alg.unwrap_err(), unix.is_ok())
    });
    let permission = rustix::io::Errno::PERM;
    assert_eq!(refused.join().unwrap(), (permission, permission, true));
}

// The same semantics said a second time, the plain way, without numbers' ranges and without jumps.
fn meaning(profile: &Seccomp, table: Table, name: &str, arguments: [u64; 6]) -> String {
    let holds = |argument: &SyscallArgument| {
        let by_size = !["EQ", "NE", "MASKED_EQ"].contains(&&argument.op[9..]);
        let mask = if table == Table::X86 && !by_size { 0xffff_ffff } else { u64::MAX };
        let (value, given) = (argument.value & mask, arguments[argument.index as usize] & mask);
        match argument.op.as_str() {
            "SCMP_CMP_EQ" => given == value,
            "SCMP_CMP_NE" => given != value,
            "SCMP_CMP_LT" => given < value,
            "SCMP_CMP_LE" => given <= value,
            "SCMP_CMP_GT" => given > value,
            "SCMP_CMP_GE" => given >= value,
            _ => given & value == argument.value_two & mask,
        }
    };
    let applies = |rule: &&SyscallRule| {
        let mut indices: Vec<u32> = rule.args.iter().map(|argument| argument.index).collect();
        indices.sort_unstable();
        let twice = indices.windows(2).any(|pair| pair[0] == pair[1]);
        let named = rule.names.iter().any(|known| known == name);
        named && if twice { rule.args.iter().any(holds) } else { rule.args.iter().all(holds) }
    };
    match profile.syscalls.iter().find(applies) {
        Some(rule) => rule.action.clone(),
        None if is_newer(profile, table, name) => "ENOSYS".to_owned(),
        None => profile.default_action.clone(),
    }
}

fn is_newer(profile: &Seccomp, table: Table, name: &str) -> bool {
    let named =
        profile.syscalls.iter().flat_map(|rule| &rule.names).filter_map(|name| number(table, name)).max();
    profile.default_action == "SCMP_ACT_ERRNO"
        && named.is_some_and(|newest| number(table, name).unwrap() > newest)
}

fn value(action: &str) -> u32 {
    match action {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_ERRNO" => EPERM,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "ENOSYS" => ENOSYS,
        _ => 0,
    }
}

// None of these has arguments that the kernel takes as int.
const NAMES: [&str; 12] = [
    "read", "write", "open", "close", "mmap", "clone", "execve", "kill", "mount", "openat", "execveat",
    "mseal",
];
const ACTIONS: [&str; 4] = ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_TRAP"];
const VALUES: [u64; 7] = [0, 1, 2, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, u64::MAX];

fn argument() -> impl Strategy<Value = SyscallArgument> {
    const OPERATORS: [&str; 7] = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];
    let value = || prop::sample::select(&VALUES[..]);
    (0..6_u32, value(), value(), prop::sample::select(&OPERATORS[..])).prop_map(
        |(index, value, value_two, op)| SyscallArgument {
            index,
            value,
            value_two,
            op: format!("SCMP_CMP_{op}"),
        },
    )
}

fn any_rule() -> impl Strategy<Value = SyscallRule> {
    let names = prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4);
    (names, prop::sample::select(&ACTIONS[..]), prop::collection::vec(argument(), 0..4))
        .prop_map(|(names, action, args)| SyscallRule { args, ..rule(&names, action) })
}

fn any_profile() -> impl Strategy<Value = Seccomp> {
    (prop::sample::select(&ACTIONS[..]), prop::collection::vec(any_rule(), 0..40)).prop_map(
        |(default, rules)| {
            let architectures = ["X86", "X32"].map(|name| format!("SCMP_ARCH_{name}")).to_vec();
            Seccomp { architectures, ..profile(default, rules) }
        },
    )
}

proptest! {
    #[test]
    fn the_program_means_what_the_profile_means(
        profile in any_profile(),
        calls in prop::collection::vec(
            (prop::sample::select(&NAMES[..]), prop::array::uniform6(prop::sample::select(&VALUES[..]))), 1..40),
    ) {
        let filter = compile_for(Host::X86_64, &profile).unwrap();
        for table in [Table::X86_64, Table::X86, Table::X32] {
            for (name, arguments) in &calls {
                let expected = value(&meaning(&profile, table, name, *arguments));
                let (answered, _) = run(&filter.instructions, &call(table, name, *arguments));
                prop_assert_eq!(answered, expected, "{:?} {} {:x?}", table, name, arguments);
            }
        }
    }

    #[test]
    fn no_profile_makes_it_panic(
        default in "(SCMP_ACT_[A-Z]{1,9}|.{0,8})",
        names in prop::collection::vec("[a-z_0-9]{0,12}", 0..8),
        errno: Option<u32>,
        arches in prop::collection::vec("(SCMP_ARCH_)?[A-Z0-9_]{0,8}", 0..4),
        args in prop::collection::vec((any::<u32>(), any::<u64>(), any::<u64>(), "(SCMP_CMP_[A-Z_]{0,9})"), 0..4),
    ) {
        let args = args.into_iter().map(|(index, value, value_two, op)| SyscallArgument { index, value, value_two, op });
        let rule = SyscallRule { names, action: default.clone(), errno_ret: errno, args: args.collect() };
        let profile = Seccomp { default_errno_ret: errno, architectures: arches, ..profile(&default, vec![rule]) };
        let _: Result<_, SeccompError> = compile_for(Host::X86_64, &profile);
        let _ = compile_for(Host::Aarch64, &profile);
    }
}
