//! System calls that come into the kernel by another door than the program's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::bundle::Bundle;
use crate::clause::{clauses, skip};
use crate::runtime::Runtime;

clauses! {
    "config-linux.md#seccomp" {
        i386_calls_are_filtered "A call through int 0x80 from a 64-bit program is filtered or ends it, listed architecture or not"
        x32_calls_are_filtered "A call with the x32 bit is filtered or ends the program"
    }
}

const BASE: u32 = 0x40_0000;
/// After the ELF header and one program header.
const CODE: u32 = 64 + 56;

/// A static 64-bit program of a few instructions, which makes `/tmp/made` by some entry and exits with the error's number.
fn program(call: &[u8], path_at: usize) -> Vec<u8> {
    // neg eax; mov edi, eax; mov eax, 60; syscall
    let exit = [0xf7, 0xd8, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let mut code = [call, &exit].concat();
    let path = BASE + CODE + code.len() as u32;
    code[path_at..path_at + 4].copy_from_slice(&path.to_le_bytes());
    code.extend(b"/tmp/made\0");
    let size = u64::from(CODE) + code.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0];
    file.extend(u64::from(BASE + CODE).to_le_bytes()); // entry
    file.extend(64_u64.to_le_bytes()); // program headers
    file.extend([0; 12]); // no sections, no flags
    for half in [64_u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]); // load, readable and executable
    for word in [0, u64::from(BASE), u64::from(BASE), size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

/// `int 0x80`: mov eax, 39; mov ebx, path; mov ecx, 0777; int 0x80.
fn through_i386() -> Vec<u8> {
    program(&[0xb8, 39, 0, 0, 0, 0xbb, 0, 0, 0, 0, 0xb9, 0xff, 1, 0, 0, 0xcd, 0x80], 6)
}

/// mov eax, 0x40000000 + 83; mov edi, path; mov esi, 0777; syscall.
fn through_x32() -> Vec<u8> {
    program(&[0xb8, 83, 0, 0, 0x40, 0xbf, 0, 0, 0, 0, 0xbe, 0xff, 1, 0, 0, 0x0f, 0x05], 6)
}

/// The program's exit code and whether it made the directory, under a filter for these architectures.
fn tried(runtime: &Runtime, program: &[u8], architectures: Option<serde_json::Value>) -> (i32, bool) {
    let mut bundle = Bundle::of(runtime, "");
    let path = bundle.inside("bin/attack");
    fs::write(&path, program).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    bundle.process()["args"] = json!(["/bin/attack"]);
    if let Some(architectures) = architectures {
        bundle.linux()["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": architectures,
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
        });
    }
    let code = bundle.run().code;
    (code, bundle.inside("tmp/made").exists())
}

fn is_filtered(runtime: &Runtime, program: &[u8], wide: &serde_json::Value) {
    if std::env::consts::ARCH != "x86_64" {
        skip("an x86-64 machine");
    }
    for architectures in [json!(["SCMP_ARCH_X86_64"]), wide.clone()] {
        let (code, made) = tried(runtime, program, Some(architectures.clone()));
        assert!(code != 0 && !made, "{architectures}: exit code {code}");
    }
}

fn i386_calls_are_filtered(runtime: &Runtime) {
    let program = through_i386();
    if std::env::consts::ARCH == "x86_64" && tried(runtime, &program, None) != (0, true) {
        skip("a kernel with calls of i386");
    }
    is_filtered(runtime, &program, &json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]));
    let (code, _) = tried(runtime, &program, Some(json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])));
    assert_eq!(code, 95, "the rule holds for its number of i386");
}

fn x32_calls_are_filtered(runtime: &Runtime) {
    // Where the kernel has no x32, the filter still sees the call first.
    is_filtered(runtime, &through_x32(), &json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]));
}
