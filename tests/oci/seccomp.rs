//! config-linux.md, Seccomp.

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::clause::clauses;
use crate::runtime::Runtime;

clauses! {
    "config-linux.md#seccomp" {
        errno_is_eperm_by_default "SCMP_ACT_ERRNO answers EPERM unless errnoRet says another"
        errno_ret_is_answered "errnoRet is what a denied call answers"
        default_action_holds_for_the_rest "defaultAction, with its defaultErrnoRet, holds for what no rule names"
        kill_ends_the_program "SCMP_ACT_KILL_PROCESS ends the program with SIGSYS"
        trap_sends_sigsys "SCMP_ACT_TRAP sends SIGSYS"
        log_lets_it_pass "SCMP_ACT_LOG lets the call pass"
        arguments_are_compared "args: EQ, NE, LT, LE, GE, GT and MASKED_EQ compare an argument"
        all_arguments_must_match "Several args must all match"
        it_holds_without_no_new_privileges "A profile holds without noNewPrivileges as well"
        it_holds_for_another_user "A profile holds for a program of another user"
        exec_is_filtered_too "A program that is run inside later is filtered as well"
        unknown_calls_are_passed_over "The name of a call that this kernel does not have is no error"
        flags_are_accepted "Flags of seccomp(2) are accepted"
        an_unknown_action_is_an_error "Any other action is an error"
        an_unknown_operator_is_an_error "Any other operator is an error"
        an_unknown_architecture_is_an_error "Any other architecture is an error"
        an_unknown_flag_is_an_error "Any other flag is an error"
        rules_need_a_name "A rule without names is an error"
        errno_with_another_action_is_an_error "errnoRet with an action that has none is an error"
    }
}

fn profile(rules: &Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": rules})
}

/// A shell that makes a directory and says what came of it.
fn mkdir_under(runtime: &Runtime, action: &Value) -> String {
    let mut rule = json!({"names": ["mkdir", "mkdirat"]});
    rule.as_object_mut().unwrap().extend(action.as_object().unwrap().clone());
    let mut bundle = Bundle::of(runtime, "mkdir /tmp/made 2>&1; echo $?");
    bundle.linux()["seccomp"] = profile(&json!([rule]));
    bundle.text()
}

fn errno_is_eperm_by_default(runtime: &Runtime) {
    let text = mkdir_under(runtime, &json!({"action": "SCMP_ACT_ERRNO"}));
    assert!(text.contains("Operation not permitted"), "{text}");
}

fn errno_ret_is_answered(runtime: &Runtime) {
    let text = mkdir_under(runtime, &json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 95}));
    assert!(text.contains("Operation not supported"), "{text}");
}

/// All that a static shell does but mkdir.
const SHELL: &str = "\
    read write open openat close stat fstat lstat newfstatat mmap mprotect munmap brk \
    rt_sigaction rt_sigprocmask rt_sigreturn ioctl access faccessat faccessat2 execve exit \
    exit_group arch_prctl set_tid_address set_robust_list rseq prlimit64 readlink readlinkat \
    getrandom getuid getgid geteuid getegid getpid getppid fcntl fcntl64 uname getcwd clone \
    clone3 vfork fork wait4 umask dup2 futex poll prctl capget capset setuid setgid setgroups \
    setresuid setresgid chdir fchdir sendmsg recvmsg sendto recvfrom seccomp fstatfs statfs \
    getdents64 lseek pread64 sched_getaffinity sigaltstack mremap madvise nanosleep epoll_ctl \
    epoll_pwait tgkill gettid pipe2 eventfd2 epoll_create1 sched_yield close_range execveat \
    setsid rt_sigtimedwait epoll_wait getsockopt setpgid time clock_gettime unlinkat openat2 \
    statx";

fn default_action_holds_for_the_rest(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "mkdir /tmp/made");
    let names: Vec<&str> = SHELL.split_whitespace().collect();
    bundle.linux()["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 95,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    });
    let ran = bundle.run();
    assert!(ran.code == 1 && ran.err.contains("Operation not supported"), "{ran:?}");
}

fn kill_ends_the_program(runtime: &Runtime) {
    // A shell says 128 and the signal's number.
    assert_eq!(mkdir_under(runtime, &json!({"action": "SCMP_ACT_KILL_PROCESS"})).lines().last(), Some("159"));
}

fn trap_sends_sigsys(runtime: &Runtime) {
    assert_eq!(mkdir_under(runtime, &json!({"action": "SCMP_ACT_TRAP"})).lines().last(), Some("159"));
}

fn log_lets_it_pass(runtime: &Runtime) {
    assert_eq!(mkdir_under(runtime, &json!({"action": "SCMP_ACT_LOG"})), "0\n");
}

/// `chmod` under a rule on its mode argument: which of these modes are refused.
fn refused_modes(runtime: &Runtime, args: &Value) -> String {
    let script = "for m in 0 7 100 644 777; do chmod $m /etc/passwd 2>/dev/null || echo -n \"$m \"; done";
    let mut bundle = Bundle::of(runtime, script);
    let at = |index: u32| {
        let mut args = args.clone();
        args.as_array_mut().unwrap().iter_mut().for_each(|arg| arg["index"] = json!(index));
        args
    };
    bundle.linux()["seccomp"] = profile(&json!([
        {"names": ["chmod", "fchmod"], "action": "SCMP_ACT_ERRNO", "args": at(1)},
        {"names": ["fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "args": at(2)},
    ]));
    bundle.text()
}

fn arguments_are_compared(runtime: &Runtime) {
    for (operator, value, two, refused) in [
        ("SCMP_CMP_EQ", 0o644, 0, "644 "),
        ("SCMP_CMP_NE", 0o644, 0, "0 7 100 777 "),
        ("SCMP_CMP_LT", 0o100, 0, "0 7 "),
        ("SCMP_CMP_LE", 0o100, 0, "0 7 100 "),
        ("SCMP_CMP_GE", 0o644, 0, "644 777 "),
        ("SCMP_CMP_GT", 0o644, 0, "777 "),
        ("SCMP_CMP_MASKED_EQ", 0o100, 0o100, "100 777 "),
    ] {
        let args = json!([{"value": value, "valueTwo": two, "op": operator}]);
        assert_eq!(refused_modes(runtime, &args), refused, "{operator}");
    }
}

fn all_arguments_must_match(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "kill -0 1; kill -CONT 1; kill -0 999; true");
    let args =
        json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}]);
    bundle.linux()["seccomp"] =
        profile(&json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95, "args": args}]));
    let ran = bundle.run();
    assert_eq!(ran.err.matches("Operation not supported").count(), 1, "{ran:?}");
}

fn deny_mkdir() -> Value {
    profile(&json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]))
}

fn it_holds_without_no_new_privileges(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "mkdir /tmp/made");
    bundle.process()["noNewPrivileges"] = json!(false);
    bundle.linux()["seccomp"] = deny_mkdir();
    let ran = bundle.run();
    assert!(ran.code != 0 && ran.err.contains("Operation not supported"), "{ran:?}");
}

fn it_holds_for_another_user(runtime: &Runtime) {
    for no_new_privileges in [true, false] {
        let mut bundle = Bundle::of(runtime, "mkdir /tmp/made; grep Seccomp: /proc/self/status");
        bundle.process()["noNewPrivileges"] = json!(no_new_privileges);
        bundle.process()["user"]["uid"] = json!(1000);
        bundle.linux()["seccomp"] = deny_mkdir();
        let ran = bundle.run();
        assert!(ran.ok() == "Seccomp:\t2" && ran.err.contains("Operation not supported"), "{ran:?}");
    }
}

fn exec_is_filtered_too(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "sleep 100");
    bundle.linux()["seccomp"] = deny_mkdir();
    bundle.start();
    let ran = bundle.cli(&["exec", &bundle.id, "/bin/mkdir", "/tmp/made"]);
    assert!(ran.code != 0 && ran.err.contains("Operation not supported"), "{ran:?}");
}

fn unknown_calls_are_passed_over(runtime: &Runtime) {
    let mut bundle = Bundle::of(runtime, "echo ran");
    bundle.linux()["seccomp"] =
        profile(&json!([{"names": ["call_of_tomorrow", "mkdir"], "action": "SCMP_ACT_ERRNO"}]));
    assert_eq!(bundle.text(), "ran\n");
}

fn flags_are_accepted(runtime: &Runtime) {
    for flag in ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"] {
        let mut bundle = Bundle::of(runtime, "grep Seccomp: /proc/self/status");
        bundle.linux()["seccomp"] = deny_mkdir();
        bundle.linux()["seccomp"]["flags"] = json!([flag]);
        assert_eq!(bundle.text(), "Seccomp:\t2\n", "{flag}");
    }
}

fn refuses(runtime: &Runtime, seccomp: Value) {
    let mut bundle = Bundle::of(runtime, "true");
    bundle.linux()["seccomp"] = seccomp;
    bundle.save();
    let (created, state) = (bundle.try_create(), bundle.verb("state"));
    assert!(created.code != 0 && state.code != 0, "it was created: {}", bundle.config["linux"]["seccomp"]);
}

fn an_unknown_action_is_an_error(runtime: &Runtime) {
    refuses(runtime, profile(&json!([{"names": ["mkdir"], "action": "SCMP_ACT_SMILE"}])));
}

fn an_unknown_operator_is_an_error(runtime: &Runtime) {
    let args = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_LIKE"}]);
    refuses(runtime, profile(&json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": args}])));
}

fn an_unknown_architecture_is_an_error(runtime: &Runtime) {
    let mut seccomp = deny_mkdir();
    seccomp["architectures"] = json!(["SCMP_ARCH_PDP11"]);
    refuses(runtime, seccomp);
}

fn an_unknown_flag_is_an_error(runtime: &Runtime) {
    let mut seccomp = deny_mkdir();
    seccomp["flags"] = json!(["SECCOMP_FILTER_FLAG_WAVE"]);
    refuses(runtime, seccomp);
}

fn rules_need_a_name(runtime: &Runtime) {
    refuses(runtime, profile(&json!([{"names": [], "action": "SCMP_ACT_ERRNO"}])));
}

fn errno_with_another_action_is_an_error(runtime: &Runtime) {
    refuses(runtime, profile(&json!([{"names": ["mkdir"], "action": "SCMP_ACT_KILL", "errnoRet": 1}])));
}
